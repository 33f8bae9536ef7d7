"""`python -m benchmarks blind DIR --of A --of B`: which of two ways to enhance people prefer, judged without names.

The page shows the two results of a photograph side by side, in random order, and keeps the choices in the browser until
they are saved as votes.json; `--count votes.json` says whose they were. The page and its pictures do not tell which way
made which: that stands in key.json alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.looks import Way, load_examples
from benchmarks.table import Table
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.io import read, write
from rlenhance.learning.data import ImageCache, load_split
from rlenhance.learning.ops.image import to_array
from rlenhance.pipelines.enhance import Enhancer

SIDES = ("left", "right")
ALIKE = "alike"


@dataclass(frozen=True)
class Arguments:
    """Write unnamed pairs of results and a page to choose between them; or count the choices."""

    pictures: Annotated[Path, tyro.conf.Positional]
    """A folder of photographs; or of pairs (low/ and high/), of whose dark ones a split is taken."""
    of: tuple[str, ...] = ()
    """Given twice: a shipped model, a run, or a folder of finished results whose names (without endings) are those of
    the photographs."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/blind")
    """Folder for the pairs, index.html and key.json."""
    split: str = "test"
    """train, val or test, of pairs."""
    limit: int = 60
    """Take that many, evenly spread (0: all)."""
    seed: int = 0
    """Of the order of the pairs and of the sides."""
    count: tuple[Path, ...] = ()
    """Files that the page has saved, one a judge: count them, with the key.json of --out."""


def main(arguments: Arguments) -> Table | None:
    """Write the pairs, or count the choices and print the table.

    Raises:
        UsageError: not two ways, a photograph without a result, or choices that do not belong to the pairs.
    """
    if arguments.count:
        table = count_votes(arguments.out / "key.json", arguments.count)
        print(table.markdown())
        return table
    if len(set(arguments.of)) != 2:
        raise UsageError(f"--of names two different ways, as in --of balanced --of natural; got "
                         f"{', '.join(arguments.of) or 'none'}")
    examples, _ = load_examples(arguments.pictures, arguments.split, arguments.limit)
    ways = [way_of(name) for name in arguments.of]
    random = np.random.default_rng(arguments.seed)
    pairs: list[dict[str, str]] = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    loaded = load_split(examples, ImageCache(0))
    for number, place in enumerate(random.permutation(len(examples)).tolist()):
        example, order = examples[place], random.permutation(2).tolist()
        picture = to_array(loaded[place].image)
        for side, which in zip(SIDES, order, strict=True):
            write(ways[which](example.name, picture), arguments.out / f"{number:03d}-{side}.png")
        pairs.append({"photograph": example.name, "scene": example.scene,
                      **{side: arguments.of[which] for side, which in zip(SIDES, order, strict=True)}})
    (arguments.out / "key.json").write_text(json.dumps({"ways": list(arguments.of), "pairs": pairs}, indent=1))
    (arguments.out / "index.html").write_text(PAGE.replace("COUNT", str(len(pairs))), encoding="utf-8")
    print(f"{len(pairs)} pairs: open {arguments.out / 'index.html'}, choose, save votes.json; then count it with "
          f"--count votes.json --out {arguments.out}")
    return None


def way_of(name: str) -> NamedWay:
    """What makes, or finds, the result of a photograph.

    Args:
        name: a folder of results, a shipped model or a run.
    """
    folder = Path(name)
    if folder.is_dir() and not list(folder.glob("**/config.json")):
        return NamedWay(name, files={path.stem: path for path in sorted(folder.iterdir())})
    return NamedWay(name, way=Enhancer(name))


@dataclass(frozen=True)
class NamedWay:
    """One of the two ways.

    Attributes:
        name: as it was given.
        way: enhances a photograph, where the results are not there yet.
        files: the results by the photographs' names without endings.
    """

    name: str
    way: Way | None = None
    files: dict[str, Path] | None = None

    def __call__(self, photograph: str, picture: np.ndarray) -> np.ndarray:
        if self.way is not None:
            return self.way(picture)
        path = (self.files or {}).get(Path(photograph).stem)
        if path is None:
            raise UsageError(f"--of {self.name}: has no result of {photograph}")
        return read(path).visible_pixels


def count_votes(key: Path, votes: Sequence[Path]) -> Table:
    """How often each way was preferred, and its share of the decided pairs with a 95 % interval over scenes.

    Args:
        key: key.json of the pairs.
        votes: files of the page, one a judge.

    Raises:
        UsageError: no key, choices of other pairs, or none that is decided.
    """
    stored = read_object(key)
    ways, pairs = stored["ways"], stored["pairs"]
    counted: Counter[str] = Counter()
    wins: list[float] = []
    scenes: list[str] = []
    for file in votes:
        for number, choice in read_object(file).items():
            if not (number.isdigit() and int(number) < len(pairs)) or choice not in (*SIDES, ALIKE):
                raise UsageError(f"{file}: {number!r}: {choice!r} is no choice of the {len(pairs)} pairs of {key}")
            pair = pairs[int(number)]
            counted[ALIKE if choice == ALIKE else pair[choice]] += 1
            if choice != ALIKE:
                wins.append(float(pair[choice] == ways[0]))
                scenes.append(pair["scene"])
    if not wins:
        raise UsageError(f"{', '.join(map(str, votes))}: no pair is decided")
    found = bootstrap_interval(wins, scenes)
    shares = [(found.mean, found.low, found.high), (1 - found.mean, 1 - found.high, 1 - found.low)]
    return Table("blind", f"judges: {len(votes)}, decided pairs: {len(wins)}, alike: {counted[ALIKE]}", (
        "way", "preferred", "of decided pairs, %", "95 % interval"), [
        (way, counted[way], round(100 * mean, 1), f"{100 * low:.0f} to {100 * high:.0f}")
        for way, (mean, low, high) in zip(ways, shares, strict=True)])


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Which is better?</title>
<style>
body { margin: 0; background: #777; color: #fff; font: 16px sans-serif; display: flex; flex-direction: column;
  height: 100vh }
main { flex: 1; display: flex; gap: 1vw; min-height: 0; padding: 1vw }
figure { flex: 1; margin: 0; overflow: hidden; cursor: pointer }
img { width: 100%; height: 100%; object-fit: contain }
.full img { width: auto; height: auto; object-fit: none }
footer { padding: 0 1vw 1vw; display: flex; gap: 1em; align-items: center }
button { font: inherit; padding: .4em 1em }
</style>
<main><figure><img id="left" alt="left result"></figure><figure><img id="right" alt="right result"></figure></main>
<footer><button data-choice="left">Left is better</button><button data-choice="alike">Alike</button>
<button data-choice="right">Right is better</button><button id="zoom">1:1</button><button id="back">Back</button>
<button id="save">Save votes.json</button><span id="where"></span></footer>
<script>
const count = COUNT, kept = "blind " + location.pathname, main = document.querySelector("main");
const votes = JSON.parse(localStorage.getItem(kept) || "{}");
let now = 0;
while (now < count - 1 && now in votes) now++;
function show() {
  const name = String(now).padStart(3, "0");
  for (const side of ["left", "right"]) document.getElementById(side).src = name + "-" + side + ".png";
  const done = Object.keys(votes).length;
  document.getElementById("where").textContent = `pair ${now + 1} of ${count}` +
    (votes[now] ? `, chosen: ${votes[now]}` : "") + (done === count ? ": all are judged, save votes.json" : "");
}
function choose(choice) {
  votes[now] = choice;
  localStorage.setItem(kept, JSON.stringify(votes));
  now = Math.min(now + 1, count - 1);
  show();
}
document.querySelectorAll("[data-choice]").forEach(one => one.onclick = () => choose(one.dataset.choice));
document.querySelectorAll("figure").forEach(one => one.onmousemove = at => {
  if (!main.classList.contains("full")) return;
  const box = one.getBoundingClientRect();
  const place = `${100 * (at.clientX - box.left) / box.width}% ${100 * (at.clientY - box.top) / box.height}%`;
  document.querySelectorAll("img").forEach(img => {
    img.style.width = img.style.height = "100%";
    img.style.objectPosition = place;
  });
});
document.getElementById("zoom").onclick = () => {
  main.classList.toggle("full");
  document.querySelectorAll("img").forEach(img => img.removeAttribute("style"));
};
document.getElementById("back").onclick = () => { now = Math.max(0, now - 1); show(); };
document.getElementById("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(votes)], {type: "application/json"}));
  link.download = "votes.json";
  link.click();
};
onkeydown = key => {
  const choice = {ArrowLeft: "left", ArrowRight: "right", ArrowDown: "alike"}[key.key];
  if (choice) choose(choice);
};
show();
</script></html>
"""
