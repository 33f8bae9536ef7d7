"""Command lines of `rlenhance` side by side, scored on the same photographs.

    python -m research.pipelines DATA --row "keep: enhance --white keep" --row "auto: enhance"
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import numpy as np
import tyro
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from research.photographs import DAMAGES, Photograph, photographs
from rlenhance.cli.main import main as rlenhance
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.experiments.core.bootstrap import Interval, bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.stored_tables import table_made_here
from rlenhance.experiments.tasks.lowlight_baselines import stop_at_mean
from rlenhance.io import read, write
from rlenhance.io.files import write_atomically
from rlenhance.learning.metrics.full_reference import (
    detail_kept,
    gt_mean_psnr,
    newly_clipped,
    psnr,
    relative_contrast,
    sharpness_ratio,
    ssim,
)
from rlenhance.learning.ops.image import to_array, to_tensor
from rlenhance.ops.noise_estimation import estimate_sigma

_PERFECT = 99.0  # dB of equal pictures
_LOST = 0.05  # dB below the photograph from which a result is worse than it
_CELLS = 16  # regions along each side over which the colours of a series are compared


@dataclass(frozen=True)
class Arguments:
    """Score command lines of `rlenhance` side by side; differences are to the first row."""

    data: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of pairs; of good photographs, where a damage is drawn; or of photographs without reference."""
    row: tuple[str, ...] = ()
    """"NAME: COMMAND OPTIONS" of `rlenhance`, as often as there are rows; or input, stop-at-mean LEVEL,
    non-local-means, lanczos SCALE, bicubic SCALE."""
    damage: tuple[str, ...] = ("",)
    """What is done to good photographs first (see research/photographs.py), a table each; "": pairs as they are."""
    split: str = "test"
    """train, val or test; one that is empty becomes val."""
    limit: int = 0
    """Photographs of each folder, evenly spread (0: all)."""
    seed: int = 0
    """Of the damage."""
    series: bool = False
    """Each command gets the frames of one scene at a time, and their evenness is scored: for `--match-series`."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File for every number and the tables, as JSON."""


@dataclass(frozen=True)
class Result:
    """What a row made of a photograph, (H, W, 3) uint8, and CPU seconds per megapixel of it, files included."""

    pixels: np.ndarray
    seconds: float


def main(arguments: Arguments) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Score, print, and give the scores: damage -> row -> photograph -> score -> number.

    Raises:
        UsageError: no row, one without a name, a command that fails, or a damage, split or folder that is not there.
    """
    rows = dict(map(_parse, arguments.row))
    if not rows or len(rows) < len(arguments.row):
        raise UsageError('--row "NAME: COMMAND OPTIONS" is given once or more, each with a name of its own')
    if unknown := set(arguments.damage) - set(DAMAGES):
        raise UsageError(f"--damage is among {', '.join(filter(None, DAMAGES))}; got {', '.join(unknown)}")
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    tables = []
    for damage in arguments.damage:
        shown = photographs(damage, arguments.data, arguments.split, arguments.limit, arguments.seed)
        with TemporaryDirectory() as folder:
            results = {name: run(name, words, shown, arguments.series, Path(folder)) for name, words in rows.items()}
        first = [result.pixels for result in results[next(iter(rows))]]
        scores = found[damage] = {name: [
            score(photograph, result, beside) for photograph, result, beside in zip(shown, made, first, strict=True)]
            for name, made in results.items()}
        table = table_of(scores, [photograph.scene for photograph in shown])
        if arguments.series:
            evenness = evenness_table(results, [photograph.scene for photograph in shown])
            tables.append(table_made_here(*evenness))
            print("\n".join(["", *markdown_table(*evenness)]))
        tables.append(table_made_here(*table, seed=arguments.seed if damage else None))
        print("\n".join([f"\n{damage or 'as they are'}: {len(shown)} photographs\n", *markdown_table(*table)]),
              flush=True)
    if arguments.out:
        write_atomically(arguments.out, json.dumps({"scores": found, "tables": tables}, indent=1).encode())
    return found


def _parse(row: str) -> tuple[str, list[str]]:
    name, sign, words = row.partition(":")
    if not (name.strip() and sign and words.strip()):
        raise UsageError(f'--row is "NAME: COMMAND OPTIONS"; got {row!r}')
    try:
        command, *options = shlex.split(words)
    except ValueError as error:
        raise UsageError(f"--row {name.strip()}: {error}") from error
    if command in RULES and not (len(options) == (command in _NUMBERED) and all(map(_is_number, options))):
        raise UsageError(f"--row {name.strip()}: {command} takes "
                         f"{'a number above 0' if command in _NUMBERED else 'nothing more'}; got {words.strip()!r}")
    return name.strip(), [command, *options]


def _is_number(word: str) -> bool:
    try:
        return 0 < float(word) < np.inf
    except ValueError:
        return False


#: Rows that are no command of `rlenhance`: (H, W, 3) uint8 and a number -> the result.
RULES: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "input": lambda pixels, _: pixels,
    "stop-at-mean": lambda pixels, level: to_array(stop_at_mean(to_tensor(pixels), level)),
    "non-local-means": lambda pixels, _: np.asarray(cv2.fastNlMeansDenoisingColored(pixels, None, 3, 3, 7, 21)),
    "lanczos": lambda pixels, scale: _enlarged(pixels, scale, Image.Resampling.LANCZOS),
    "bicubic": lambda pixels, scale: _enlarged(pixels, scale, Image.Resampling.BICUBIC),
}

_NUMBERED = ("stop-at-mean", "lanczos", "bicubic")  # rules that take a number


def _enlarged(pixels: np.ndarray, scale: float, rule: Image.Resampling) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), rule))


def run(name: str, words: Sequence[str], shown: Sequence[Photograph], series: bool, folder: Path) -> list[Result]:
    """The results of a row; commands read and write PNG files in a folder of their own."""
    megapixels = sum(photograph.pixels.shape[0] * photograph.pixels.shape[1] for photograph in shown) / 1e6
    begun = time.process_time()
    if words[0] in RULES:
        number = float(words[1]) if len(words) > 1 else 0.0
        made = [RULES[words[0]](photograph.pixels, number) for photograph in shown]
    else:
        given, out = folder / "given", folder / f"row-{len(list(folder.iterdir()))}"
        groups: dict[str, list[str]] = {}
        for number, photograph in enumerate(shown):
            path = given / f"{number:05}.png"
            if not path.exists():
                write(photograph.pixels, path)
            groups.setdefault(photograph.scene if series else "", []).append(str(path))
        begun = time.process_time()
        for paths in groups.values():
            try:
                status = rlenhance([words[0], *paths, *words[1:], "-o", f"{out}/", "--format", "png", "-q"])
            except SystemExit as stop:  # an option that there is not, which was named
                status = int(stop.code or 0)
            if status:
                raise UsageError(f"--row {name}: rlenhance {shlex.join(words)} ended with status {status}")
        made = [read(path).pixels for path in sorted(out.glob("*.png"))]
        if len(made) != len(shown):
            raise UsageError(f"--row {name}: rlenhance {shlex.join(words)} made {len(made)} of {len(shown)} results")
    seconds = (time.process_time() - begun) / (megapixels or 1)
    return [Result(pixels, seconds) for pixels in made]


def score(photograph: Photograph, result: Result, first: np.ndarray) -> dict[str, float]:
    """Scores of a result; those to a reference where there is one, those to the photograph where the size is the same.

    Returns:
        `PSNR`, `SSIM`, `GT-mean` PSNR and `sharpness` to the reference; percent newly `clipped`; mean `change` in
        255ths; `detail` that the first row's result has and is kept; `noise` in 255ths; `contrast`; `mean`; CPU
        seconds per megapixel.
    """
    made, before = to_tensor(result.pixels), to_tensor(photograph.pixels)
    found: dict[str, float] = {}
    if photograph.reference is not None:
        wanted = to_tensor(photograph.reference)
        own = psnr(before, wanted).item() if before.shape == wanted.shape else np.nan
        value = psnr(made, wanted).item()
        found = {"PSNR, dB": min(_PERFECT, value), "SSIM": ssim(made, wanted).item(),
                 "GT-mean PSNR, dB": min(_PERFECT, gt_mean_psnr(made, wanted).item()),
                 "sharpness": sharpness_ratio(made, wanted).item(), "worse, %": 100.0 * (value < own - _LOST)}
    if made.shape == before.shape:
        change = np.abs(result.pixels.astype(float) - photograph.pixels).mean()
        found |= {"newly clipped, %": 100 * newly_clipped(made, before).item(), "change, 255ths": float(change),
                  "as they are, %": 100.0 * (change == 0)}
    if result.pixels.shape == first.shape:
        found["detail"] = detail_kept(made, to_tensor(first)).item()
    return {**found, "noise, 255ths": 255 * estimate_sigma(result.pixels), "contrast": relative_contrast(made).item(),
            "mean": made.mean().item(), "CPU s / MP": result.seconds}


Table = tuple[list[str], list[list[str]]]


def table_of(scores: Mapping[str, Sequence[Mapping[str, float]]], scenes: Sequence[str]) -> Table:
    """Means, and of the first score the difference to the first row: its 95 % interval over scenes, and the worst."""
    first, *_ = scores.values()
    leading, *others = [key for key in first[0] if all(key in row for rows in scores.values() for row in rows)]
    body = []
    for name, rows in scores.items():
        gains = [row[leading] - other[leading] for row, other in zip(rows, first, strict=True)]
        gain = bootstrap_interval(gains, list(scenes))
        body.append([name, f"{np.mean([row[leading] for row in rows]):.2f}",
                     *(["", ""] if rows is first else [_words(gain), f"{min(gains):+.2f}"]),
                     *(f"{np.mean([row[key] for row in rows]):.3g}" for key in others)])
    return ["", leading, f"less {next(iter(scores))}'s", "the worst", *others], body


def _words(found: Interval) -> str:
    return f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def evenness_table(results: Mapping[str, Sequence[Result]], scenes: Sequence[str]) -> Table:
    """How alike the frames of a scene are, row by row: the means over scenes with several frames.

    The spread is the standard deviation of their mean brightness in 255ths; colours are CIEDE2000 between two frames,
    the mean over all pairs: of the mean colour, over 16 x 16 regions, and the same without the difference of lightness.
    """
    places: dict[str, list[int]] = {}
    for number, scene in enumerate(scenes):
        places.setdefault(scene, []).append(number)
    stacks = {scene: found for scene, found in places.items() if len(found) > 1}
    if not stacks:
        raise UsageError("--series: no scene has two frames")
    body = []
    for name, made in results.items():
        frames = [[made[number].pixels for number in found] for found in stacks.values()]
        cells = [[float(np.std([picture.mean() for picture in stack])) for stack in frames]]
        cells += [[_mean_difference(stack, *how) for stack in frames]
                  for how in ((1, True), (_CELLS, True), (_CELLS, False))]
        intervals = [bootstrap_interval(values, list(stacks)) for values in cells]
        body.append([name, *(f"{each.mean:.2f} ({each.low:.2f} to {each.high:.2f})" for each in intervals)])
    return ["", "spread, 255ths", "colour", "regions", "regions, without lightness"], body


def _mean_difference(stack: Iterable[np.ndarray], cells: int, lightness: bool) -> float:
    seen = map(partial(_lab, cells=cells, lightness=lightness), stack)
    return float(np.mean([deltaE_ciede2000(one, other).mean() for one, other in combinations(seen, 2)]))


def _lab(picture: np.ndarray, cells: int, lightness: bool) -> Any:
    """CIELAB of the mean light of cells x cells regions; without lightness all of them are middle grey in it."""
    light = cv2.resize(linear_from_srgb(picture / np.float32(255)), (cells, cells), interpolation=cv2.INTER_AREA)
    found = rgb2lab(srgb_from_linear(light).clip(0, 1).reshape(cells, cells, 3))
    if not lightness:
        found[..., 0] = 50
    return found


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))
