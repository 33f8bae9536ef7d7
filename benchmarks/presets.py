"""`python -m benchmarks presets DIR`: whether each preset does what it is for, and whether all can be distinguished."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.looks import load_examples
from benchmarks.table import Table
from benchmarks.visible_faults import visible_noise
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.io import write
from rlenhance.io.contact_sheet import Cell, make_sheet
from rlenhance.learning.data import ImageCache, load_split
from rlenhance.learning.metrics.full_reference import mean_level, relative_color, relative_contrast
from rlenhance.learning.ops.image import to_array, to_tensor
from rlenhance.ops.color_difference import DISTINGUISHED, thumbnail_difference
from rlenhance.pipelines.decision import newly_burnt
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.looks import shipped_presets

DEFAULT = "default"
_GREY = 0.02  # saturation of a picture below which it has no colours to keep
_ROWS = 6  # photographs on a sheet

#: What is measured of a result beside its photograph, (H, W, 3) uint8 each.
MEASURES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mean": lambda image, initial: mean_level(to_tensor(image)).item(),
    "contrast": lambda image, initial: relative_contrast(to_tensor(image)).item(),
    "saturation": lambda image, initial: relative_color(to_tensor(image)).item(),
    "warmth": lambda image, initial: float(image[..., 0].mean() / max(1.0, image[..., 2].mean())),
    "shadows": lambda image, initial: float(np.percentile(image.mean(axis=2), 10)) / 255,
    "change": lambda image, initial: float(np.abs(image.astype(int) - initial).mean()) / 255,
    "newly burnt": newly_burnt,
    "noise": lambda image, initial: visible_noise(image),
}
#: Measures in words, for the page.
MEANINGS = {
    "mean": "mean brightness", "contrast": "deviation of the brightness of 16x16 cells, over the mean",
    "saturation": "largest minus smallest channel, over the mean", "warmth": "mean red over mean blue",
    "shadows": "the brightness below which a tenth of the pixels lie",
    "change": "mean absolute difference to the photograph",
    "newly burnt": "share of the pixels above 250 that were below 240",
    "noise": "standard deviation in the flattest blocks, in 255ths"}
_COLOURED = ("saturation", "warmth")  # measured on photographs with colours alone


@dataclass(frozen=True)
class Bound:
    """What one measure of a preset may be, relative to the default.

    Attributes:
        measure: of `MEASURES`.
        low, high: of the ratio of the means over all photographs, both ends included.
        points: of the difference instead, in the measure's unit.
    """

    measure: str
    low: float = -math.inf
    high: float = math.inf
    points: bool = False

    def value(self, preset: float, default: float) -> float:
        """The ratio or the difference; the ratio of something to nothing is infinite, of nothing no number."""
        if self.points:
            return preset - default
        return preset / default if default else math.inf if preset else math.nan

    def holds(self, value: float) -> bool:
        """Whether the value lies in the bounds; what is no number breaks none."""
        return not (value < self.low or value > self.high)

    def words(self) -> str:
        """The bound for people: "mean 0.95 to 1.05 x"."""
        unit = "" if self.points else " ×"
        low, high = (f"{100 * end:+g} %" if self.points else f"{end:g}" for end in (self.low, self.high))
        if math.isinf(self.high):
            return f"{self.measure} at least {low}{unit}"
        return f"{self.measure} {f'at most {high}' if math.isinf(self.low) else f'{low} to {high}'}{unit}"


#: Preset -> what it is held to, relative to the default on the same photographs.
INTENTS: Mapping[str, tuple[Bound, ...]] = {
    "bright": (Bound("mean", 1.25, 1.5), Bound("newly burnt", high=0.03, points=True)),
    "documentary": (Bound("mean", 0.75, 0.92), Bound("saturation", 0.65, 0.92), Bound("newly burnt", high=0.01,
                                                                                     points=True)),
    "soft": (Bound("mean", 0.94, 1.06), Bound("contrast", 0.7, 0.92), Bound("shadows", low=1.15),
                Bound("newly burnt", high=0.6)),
    "night-mood": (Bound("mean", 0.42, 0.65), Bound("shadows", high=0.5), Bound("contrast", low=1.2),
                   Bound("warmth", low=0.97), Bound("newly burnt", high=0.3)),
    "print": (Bound("mean", 1.1, 1.25), Bound("shadows", low=1.1), Bound("contrast", 0.88, 1.1),
              Bound("newly burnt", high=0.03, points=True)),
    "subtle": (Bound("change", 0.45, 0.55), Bound("newly burnt", high=0.1)),
    "vivid": (Bound("mean", 0.9, 1.1), Bound("saturation", 1.05, 1.6), Bound("contrast", 0.9, 1.15)),
}


def intents_table() -> str:
    """The intents in Markdown, as docs/howto/enhance.md has them."""
    rows = [(f"`{preset.name}`", preset.use, "; ".join(bound.words() for bound in INTENTS[preset.name]))
            for preset in shipped_presets()]
    return "\n".join(markdown_table(("preset", "what it is for", "measured, relative to the default"), rows))


@dataclass(frozen=True)
class Arguments:
    """Measure every preset on photographs: its intent, and how far it looks from all others as a thumbnail."""

    pictures: Annotated[Path, tyro.conf.Positional]
    """A folder of photographs; or of pairs (low/ and high/), of whose dark ones a split is taken."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/presets")
    """Folder for the sheets and presets.json."""
    split: str = "val"
    """train, val or test, of pairs."""
    limit: int = 0
    """Take that many, evenly spread (0: all)."""
    model: str | None = None
    """A shipped model or a run (default: the shipped default)."""
    sheets: int = 2
    """How many sheets of six photographs are written (0: none)."""


@dataclass
class Measured:
    """What was measured: values of each look photograph by photograph, and distances of each two looks."""

    scenes: list[str] = field(default_factory=list)
    colored: list[bool] = field(default_factory=list)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    distances: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, scene: str, initial: np.ndarray, made: Mapping[str, np.ndarray]) -> None:
        """One photograph and the results of every look."""
        self.scenes.append(scene)
        self.colored.append(relative_color(to_tensor(initial)).item() >= _GREY)
        for name, image in made.items():
            for measure, function in MEASURES.items():
                self.values.setdefault(name, {}).setdefault(measure, []).append(function(image, initial))
        for one, other in itertools.combinations(made, 2):
            self.distances.setdefault((one, other), []).append(thumbnail_difference(made[one], made[other]))

    def mean(self, look: str, measure: str) -> float:
        """The mean over the photographs, those with colours where that counts; not a number without any."""
        values = [value for value, colored in zip(self.values[look][measure], self.colored, strict=True)
                  if colored or measure not in _COLOURED]
        return float(np.mean(values)) if values else math.nan


def looks_of(model: str | None) -> dict[str, Enhancer]:
    """The default and every shipped preset."""
    enhancer = Enhancer(model)
    return {DEFAULT: enhancer, **{preset.name: enhancer.with_settings(preset.settings) for preset in shipped_presets()}}


def main(arguments: Arguments) -> dict[str, Table]:
    """Measure, write the sheets, print the tables and what falls short."""
    examples, _ = load_examples(arguments.pictures, arguments.split, arguments.limit)
    looks, measured, cells = looks_of(arguments.model), Measured(), list[Cell]()
    shown = set(np.linspace(0, len(examples) - 1, min(_ROWS * arguments.sheets, len(examples))).round().astype(int))
    for number, (example, batch) in enumerate(zip(examples, load_split(examples, ImageCache(0)), strict=True)):
        initial = to_array(batch.image)
        made = {name: look(initial) for name, look in looks.items()}
        measured.add(example.scene, initial, made)
        if number in shown:
            cells += [Cell(picture, (name,)) for name, picture in {example.name: initial, **made}.items()]
    arguments.out.mkdir(parents=True, exist_ok=True)
    each = 1 + len(looks)
    for sheet, first in enumerate(range(0, len(cells), _ROWS * each)):
        write(make_sheet(cells[first : first + _ROWS * each], each, 200), arguments.out / f"presets-{sheet + 1}.png")
    tables = {"measures": measures_table(measured), "intents": held_table(measured),
              "distances": distances_table(measured)}
    (arguments.out / "presets.json").write_text(json.dumps({
        **{name: table.rows for name, table in tables.items()},
        "tables": [table.stored() for table in tables.values()]}, indent=1))
    print("\n\n".join(f"{table.title}\n\n{table.markdown()}" for table in tables.values()))
    short = [f"{row[0]}: {row[1]}, found {row[2]}" for row in tables["intents"].rows if row[3] == "no"]
    short += [f"{row[0]} and {row[1]}: {row[2]:.1f} apart" for row in tables["distances"].rows if row[5] == "no"]
    print("\n" + "\n".join(f"falls short: {line}" for line in short or ["nothing"]) + f"\n\n{arguments.out}")
    return tables


def measures_table(measured: Measured) -> Table:
    """The means of every measure, look by look."""
    rows: list[Sequence[object]] = [(look, *(None if math.isnan(value) else round(value, 4) for value in (
        measured.mean(look, measure) for measure in MEASURES))) for look in measured.values]
    grey = measured.colored.count(False)
    return Table("presets", f"{len(measured.scenes)} photographs, {grey} of them grey (without saturation and warmth)",
                 ("look", *MEASURES), rows)


def held_table(measured: Measured) -> Table:
    """Every bound of every preset: what was found, and whether it holds; nothing where no photograph has colours."""
    rows: list[Sequence[object]] = []
    for name, bounds in INTENTS.items():
        for bound in bounds:
            value = bound.value(*(measured.mean(look, bound.measure) for look in (name, DEFAULT)))
            rows.append((name, bound.words(), None if math.isnan(value) else f"{value:.3f}",
                         None if math.isnan(value) else "yes" if bound.holds(value) else "no"))
    return Table("intents", "Intents: ratios to the default (differences where a bound is signed)",
                 ("preset", "intent", "found", "holds"), rows)


def distances_table(measured: Measured) -> Table:
    """Every two looks: mean CIEDE2000 of the thumbnails, the interval over scenes, the share that is distinguished."""
    rows: list[Sequence[object]] = []
    for (one, other), values in measured.distances.items():
        found = bootstrap_interval(values, measured.scenes)
        rows.append((one, other, round(found.mean, 2), f"{found.low:.1f} to {found.high:.1f}",
                     round(100 * float(np.mean(np.array(values) >= DISTINGUISHED)), 1),
                     "yes" if found.mean >= DISTINGUISHED else "no"))
    rows.sort(key=lambda row: float(str(row[2])))
    return Table("distances", f"Distances of thumbnails (mean CIEDE2000; distinguished from {DISTINGUISHED:g} on)",
                 ("look", "other", "distance", "95 % interval", "photographs distinguished, %", "distinguished"), rows)
