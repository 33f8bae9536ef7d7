"""What `--match-series` does to stacks and sets of scenes: `python -m research.series_scores DIR`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import tyro
from skimage.color import deltaE_ciede2000, rgb2lab

from rlenhance.core.color import linear_from_srgb, srgb_from_linear
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import text_table
from rlenhance.io import read, write
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Example, open_dataset
from rlenhance.ops.white_balance import apply_gains, kelvin_gains
from rlenhance.pipelines.enhance import Enhancer

PARTS = ("stacks", "changed stacks", "sets")
_CELLS = 16  # regions along each side over which colours are compared
_SET, _WRONG = 8, 0.4  # scenes of a set; share of them that is made too bright or too dark
_RESAMPLES = 2000


@dataclass(frozen=True)
class Arguments:
    """Measure the evenness of series with and without `--match-series`."""

    data: Annotated[Path, tyro.conf.Positional]
    """A folder of pairs; the frames of a scene are a series."""
    split: str = "val"
    """train, val or test."""
    limit: int = 0
    """Take that many scenes (0: all)."""
    seed: int = 0
    """Of the simulated exposures, lights and sets."""
    parts: tuple[str, ...] = PARTS
    """What to measure: stacks as they are, stacks whose frames are changed further, sets of different scenes."""
    sets: int = 12
    """Sets of different scenes."""
    denoise: float = 0.0
    """See `rlenhance enhance --denoise`."""
    model: str = ""
    """The policy (default: the shipped one)."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the tables there too, as JSON."""


def main(arguments: Arguments) -> dict[str, Any]:
    """Score, print, and give the tables: `stacks`, `changed stacks`, `sets`."""
    if unknown := set(arguments.parts) - set(PARTS):
        raise UsageError(f"parts are {', '.join(PARTS)}; got {', '.join(unknown)}")
    splits = open_dataset(arguments.data)
    scenes: dict[str, list[Example]] = {}
    for example in splits.parts.get(arguments.split) or ():
        scenes.setdefault(example.scene, []).append(example)
    chosen = dict(list(scenes.items())[: arguments.limit or None])
    stacks = {name: [example.image for example in found if isinstance(example.image, Path)]
              for name, found in chosen.items() if len(found) > 1}
    if not stacks or ("sets" in arguments.parts and len(chosen) < _SET):
        raise UsageError(f"{splits.source}: no scene with two frames, or fewer than {_SET} scenes, in the split "
                         f"{arguments.split!r}")
    enhancer, rng = Enhancer(arguments.model or None, denoise=arguments.denoise), np.random.default_rng(arguments.seed)
    tables: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts:
            if part == "sets":
                targets = [target for found in chosen.values() if isinstance(target := found[0].target, Path)]
                rows = set_table(enhancer, targets, rng, arguments.sets, Path(folder, "sets"))
                print(f"\n{arguments.sets} sets of {_SET} different scenes, errors in stops\n{text_table(rows)}")
            else:
                found = stacks if part == "stacks" else {name: [write(
                    _changed(read(path).pixels, rng), Path(folder, name, f"{path.stem}.png")) for path in paths]
                    for name, paths in stacks.items()}
                rows = stack_table({name: score_stack(enhancer, paths) for name, paths in found.items()})
                print(f"\n{part}: {len(found)} scenes, {sum(map(len, found.values()))} frames\n{text_table(rows)}",
                      flush=True)
            tables[part] = rows
    if arguments.out:
        write_atomically(arguments.out, json.dumps({"split": arguments.split, **tables}, indent=1).encode())
    return tables


def score_stack(enhancer: Enhancer, paths: Sequence[Path]) -> dict[str, float]:
    """Evenness of the results of one scene.

    Returns:
        `spread`: standard deviation of their mean brightness, in 255ths, as photographed, enhanced and matched;
        `color`, `regions`: CIEDE2000 between two of them, the mean over all pairs, of the mean colour and over 16 x 16
        regions; `region colors`: the same without the difference of lightness.
    """
    photos = [read(path) for path in paths]
    series = enhancer.match_series(paths)
    results = {"photographed": [photo.pixels for photo in photos],
               "enhanced": [enhancer.process(photo).photo.pixels for photo in photos],
               "matched": [series.process(photo).photo.pixels for photo in photos]}
    found = {}
    for name, pictures in results.items():
        found[f"spread {name}"] = float(np.std([picture.mean() for picture in pictures]))
        for key, cells, light in (("color", 1, True), ("regions", _CELLS, True), ("region colors", _CELLS, False)):
            seen = [_lab(picture, cells) for picture in pictures]
            found[f"{key} {name}"] = float(np.mean([_difference(one, other, light)
                                                    for one, other in combinations(seen, 2)]))
    return found


def stack_table(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Means over scenes with their intervals, and by how many per cent the spread of the results is smaller."""
    table = {}
    for key in next(iter(rows.values())):
        interval = bootstrap_interval([row[key] for row in rows.values()], list(rows))
        table[key] = {"mean": interval.mean, "low": interval.low, "high": interval.high,
                      "largest": max(row[key] for row in rows.values())}
    for begin in ("photographed", "enhanced"):
        before, after = (np.array([row[f"spread {name}"] for row in rows.values()]) for name in (begin, "matched"))
        drawn = np.random.default_rng(0).integers(0, len(before), (_RESAMPLES, len(before)))
        shares = 100 * (1 - after[drawn].sum(axis=1) / before[drawn].sum(axis=1))
        low, high = np.quantile(shares, (0.025, 0.975))
        table[f"less than {begin}, %"] = {"mean": float(100 * (1 - after.sum() / before.sum())), "low": float(low),
                                          "high": float(high)}
    return table


def set_table(enhancer: Enhancer, targets: Sequence[Path], rng: np.random.Generator, sets: int,
              folder: Path) -> dict[str, dict[str, float]]:
    """Well-exposed photographs of different scenes, some made brighter or darker by 0.5 to 2 stops, only levelled.

    Returns:
        How far they are from right, in stops, before and after: those that were changed, and those that were right.
    """
    level = enhancer.with_settings(strength=0.0, denoise=0.0)
    errors: dict[str, list[tuple[float, float]]] = {"made wrong": [], "right": []}
    for number in range(sets):
        paths, wrong = list[Path](), list[float]()
        for place in rng.choice(len(targets), _SET, replace=False):
            stops = float(rng.choice([-1, 1]) * rng.uniform(0.5, 2)) if rng.random() < _WRONG else 0.0
            picture = apply_gains(read(targets[place]).pixels, np.full(3, 2.0**stops))
            paths.append(write(picture, folder / f"{number}/{len(paths)}.png"))
            wrong.append(stops)
        series = level.match_series(paths)
        for path, stops in zip(paths, wrong, strict=True):
            left = stops + series.corrections[str(path)].stops
            errors["made wrong" if stops else "right"].append((abs(stops), abs(left)))
    return {name: {"photographs": len(rows), "before": float(np.mean([row[0] for row in rows])),
                   "after": float(np.mean([row[1] for row in rows])),
                   "95th percentile after": float(np.quantile([row[1] for row in rows], 0.95))}
            for name, rows in errors.items() if rows}


def _changed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure, by up to a stop, and another light, 4500 to 8500 K."""
    return apply_gains(picture, 2.0 ** rng.uniform(-1, 1) * kelvin_gains(rng.uniform(4500, 8500)))


def _difference(one: np.ndarray, other: np.ndarray, light: bool) -> float:
    if not light:
        one, other = one.copy(), other.copy()
        one[..., 0] = other[..., 0] = (one[..., 0] + other[..., 0]) / 2
    return float(deltaE_ciede2000(one, other).mean())


def _lab(picture: np.ndarray, cells: int) -> np.ndarray:
    """CIELAB of the mean light of cells x cells regions."""
    light = cv2.resize(linear_from_srgb(picture / np.float32(255)), (cells, cells), interpolation=cv2.INTER_AREA)
    encoded = srgb_from_linear(light).clip(0, 1)
    return np.asarray(rgb2lab(encoded.reshape(cells, cells, 3)))


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))
