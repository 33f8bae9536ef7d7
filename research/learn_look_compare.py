"""What a look learns from a few edits of simulated editors: `python -m research.learn_look_compare DIR`.

An editor is a function of the picture, known here and unknown to `rlenhance learn`: knobs of the model that follow
statistics of the picture, or curves that the model does not have. It edits some pictures of the training split; the
looks are scored on pictures of other scenes. A model that was trained on the edits (`--pairs` writes them) is scored
beside the looks with `--trained`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import text_table
from rlenhance.experiments.core.stored_tables import table_made_here
from rlenhance.io import write
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Example, ImageCache, load_split, open_dataset
from rlenhance.learning.data.examples import evenly_spread
from rlenhance.learning.ops.image import to_array
from rlenhance.looks.edit_pairs import make_look, tables_of, with_table
from rlenhance.looks.learn_look import (
    KnobSearch,
    Regression,
    decibels,
    knobs_of,
    leave_one_out,
    make_functions,
    named_knobs,
    refine,
    regress,
)
from rlenhance.ops.style import clamp_to_ranges, measure
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.look_functions import standardised, statistics, with_knobs
from rlenhance.pipelines.looks import Look
from rlenhance.pipelines.options import EnhanceSettings

#: Scatter of an editor's knobs.
NOISE: Mapping[str, float] = {"exposure_shift": 0.01, "contrast": 0.1, "color": 0.1, "highlights": 0.05,
                              "strength": 0.02, "warmth": 3.0}
_PLAIN = EnhanceSettings(denoise=0.0, white=0.0)
#: (picture, standardised statistics, generator) -> the edit; pictures are (H, W, 3) uint8.
Editor = Callable[[np.ndarray, Mapping[str, float], np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Arguments:
    """Measure looks that are learned from a few edits of simulated editors."""

    data: Annotated[Path, tyro.conf.Positional]
    """A folder of pairs; their dark pictures are edited."""
    split: str = "val"
    """Of the pictures that the looks are scored on: train, val or test."""
    edits: int = 5
    """Pictures that an editor edits, of the training split."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Which pictures are edited, and how the editors scatter."""
    editors: tuple[str, ...] = ()
    """Some of the editors (default: all)."""
    limit: int = 24
    """Scenes that are scored on, evenly spread, one picture each (0: all)."""
    bounds: bool = False
    """Also the best knobs of every picture, and the best constants in hindsight."""
    pairs: Path | None = None
    """Write the pictures and their edits into low and high of this folder, for `lol_train`, and end; it needs one
    editor and one seed."""
    trained: Path | None = None
    """A run that was trained on the edits of one editor and one seed, which is scored too."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the table there too, as JSON."""


def main(arguments: Arguments) -> dict[str, Any]:
    """Learn, score, print, and give the rows by editor."""
    torch.set_num_threads(1)
    splits = open_dataset(arguments.data)
    if not splits.parts.get(arguments.split):
        raise UsageError(f"{splits.source}: no pictures in the split {arguments.split!r}")
    model = Enhancer(settings=_PLAIN)
    editors = editors_of(model)
    if unknown := set(arguments.editors) - set(editors):
        raise UsageError(f"editors are {', '.join(editors)}; got {', '.join(sorted(unknown))}")
    if (arguments.pairs or arguments.trained) and (len(arguments.editors), len(arguments.seeds)) != (1, 1):
        raise UsageError("--pairs and --trained need one of --editors and one of --seeds")
    shown = _pictures(splits.parts[arguments.split], arguments.limit)
    own = _pictures(splits.parts["train"], 0)
    if arguments.pairs is not None:
        _write_pairs(arguments.pairs, *edits_of(editors[arguments.editors[0]], own, arguments, arguments.seeds[0])[:2])
        return {}
    rows: dict[str, dict[str, float]] = {}
    for name in arguments.editors or editors:
        found = [score(model, editors[name], own, shown, arguments, seed) for seed in arguments.seeds]
        rows[name] = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
        rows[name]["least gain"] = min(row["look"] - max(row["constant"], row["absolute"]) for row in found)
        rows[name]["gain"] = rows[name]["look"] - max(rows[name]["constant"], rows[name]["absolute"])
        print(f"\n{name}\n{text_table({name: rows[name]})}", flush=True)
    count = f"{len(shown)} pictures of {arguments.split}, {arguments.edits} edits, seeds {arguments.seeds}"
    print(f"\n{count}\n{text_table(rows)}")
    if arguments.out is not None:
        write_atomically(arguments.out, json.dumps({
            "what": count, "rows": rows, "tables": [table_made_here(["editor", *next(iter(rows.values()))], [
                [name, *(f"{value:.1f}" for value in row.values())] for name, row in rows.items()], arguments.seeds)],
        }, indent=1).encode())
    return rows


def score(model: Enhancer, editor: Editor, own: Sequence[np.ndarray], shown: Sequence[np.ndarray],
          arguments: Arguments, seed: int) -> dict[str, float]:
    """Decibels on the pictures that were not edited: of the default, a reference, constants and looks."""
    chosen, edited, rng = edits_of(editor, own, arguments, seed)
    searches = [KnobSearch(model, *pair) for pair in zip(chosen, edited, strict=True)]
    pairs = [search.run() for search in searches]
    targets = [_edit(editor, picture, rng) for picture in shown]
    learned, one = (make_look(model, str(model.folder), searches[:count], pairs[:count], {})
                    for count in (len(pairs), 1))
    near, constant, best = refine(searches, pairs, *regress(pairs))
    names = knobs_of(model)
    by_knobs, plain = _look_of(model, names, best), _look_of(model, names, constant)
    tables = tables_of(searches, [constant.bias] * len(pairs), leave_one_out(near, constant))
    fixed = max((found for found in tables if found[0].function is None), key=lambda found: np.mean(
        [decibels(error) for error in found[1]]))[0]
    ways: dict[str, Enhancer] = {
        "default": Enhancer(denoise=0), "match-style": Enhancer(denoise=0, preference=_level(model, edited[:1])),
        "look of one": Enhancer(look=_quiet(one.look)), "absolute": _absolute(model, names, constant, edited),
        "constant": Enhancer(look=plain), "constant, table": Enhancer(look=with_table(plain, fixed)),
        "look of knobs": Enhancer(look=by_knobs), "look": Enhancer(look=_quiet(learned.look))}
    if arguments.trained is not None:
        ways["trained"] = Enhancer(arguments.trained, denoise=0, white=0)
    row = {name: _score(way, shown, targets) for name, way in ways.items()}
    if arguments.bounds:
        fitted = [KnobSearch(model, *pair).run() for pair in zip(shown, targets, strict=True)]
        row["hindsight"] = _score(Enhancer(look=_look_of(model, names, regress(fitted)[0])), shown, targets)
        row["best knobs"] = float(np.mean([decibels(pair.error) for pair in fitted]))
    return {**row, "functions": float(len(learned.look.functions)), "table": float(learned.table is not None)}


def edits_of(editor: Editor, own: Sequence[np.ndarray], arguments: Arguments,
             seed: int) -> tuple[list[np.ndarray], list[np.ndarray], np.random.Generator]:
    """The pictures that an editor edits, the edits, and the generator for what follows."""
    rng = np.random.default_rng(seed)
    chosen = [own[index] for index in rng.permutation(len(own))[: arguments.edits]]
    return chosen, [_edit(editor, picture, rng) for picture in chosen], rng


def _write_pairs(folder: Path, chosen: Sequence[np.ndarray], edited: Sequence[np.ndarray]) -> None:
    for side, pictures in (("low", chosen), ("high", edited)):
        for number, picture in enumerate(pictures):
            write(picture, folder / side / f"{number:03}.png")


def _quiet(look: Look) -> Look:
    """A look that removes no noise."""
    return replace(look, settings=replace(look.settings, denoise=0.0))


def _look_of(model: Enhancer, names: Sequence[str], found: Regression) -> Look:
    fixed = {name: value for name, value in named_knobs(names, found.bias).items()
             if names.index(name) not in found.active}
    settings = with_knobs(EnhanceSettings(denoise=0.0), fixed)
    return Look(str(model.folder), model.sha256, settings, make_functions(names, found))


def _absolute(model: Enhancer, names: Sequence[str], found: Regression, edited: Sequence[np.ndarray]) -> Enhancer:
    """The constants with the mean level of the edits in the place of a shift."""
    settings = with_knobs(EnhanceSettings(denoise=0.0), {
        name: value for name, value in named_knobs(names, found.bias).items() if name != "exposure_shift"})
    return model.with_settings(settings, preference={**settings.preference, **_level(model, edited)})


def _level(model: Enhancer, edited: Sequence[np.ndarray]) -> dict[str, float]:
    """What `--match-style` takes from edits, the mean of them."""
    levels = [measure(picture)["exposure_level"] for picture in edited]
    return clamp_to_ranges({"exposure_level": float(np.mean(levels))}, model.preference_ranges)[0]


def _score(way: Enhancer, shown: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    errors = [np.square((way(picture).astype(np.float64) - target) / 255).mean()
              for picture, target in zip(shown, targets, strict=True)]
    return float(np.mean([decibels(float(error)) for error in errors]))


def _pictures(examples: Sequence[Example], limit: int) -> list[np.ndarray]:
    """One picture of every scene, at half its size."""
    scenes = {example.scene: example for example in reversed(examples)}
    chosen = evenly_spread(sorted(scenes.values(), key=lambda example: example.scene), limit)
    return [np.ascontiguousarray(to_array(batch.image)[::2, ::2]) for batch in load_split(chosen, ImageCache(0))]


def _edit(editor: Editor, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return editor(picture, {name: standardised(name, value) for name, value in statistics(picture).items()}, rng)


def editors_of(model: Enhancer) -> dict[str, Editor]:
    """The editors by name; `constant` is there to see what learning a function costs where there is none."""
    def by_knobs(function: Callable[[Mapping[str, float]], dict[str, float]]) -> Editor:
        def edit(picture: np.ndarray, seen: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
            knobs = {name: value + rng.normal() * NOISE[name] for name, value in function(seen).items()}
            return np.asarray(model.with_settings(with_knobs(_PLAIN, knobs))(picture))
        return edit

    return {
        "dusk": by_knobs(lambda seen: {
            "exposure_shift": -0.05 + 0.06 * seen["stops"], "contrast": 0.1 - 0.3 * seen["spread"],
            "color": 0.2 - 0.3 * seen["saturation"], "strength": 0.95}),
        "neutral": by_knobs(lambda seen: {
            "exposure_shift": 0.03 - 0.04 * seen["bright"], "highlights": 0.3 + 0.3 * seen["bright"],
            "warmth": -20 - 40 * seen["warmth"], "contrast": 0.2}),
        "mood": by_knobs(lambda seen: {
            "exposure_shift": -0.06, "strength": 0.75 + 0.12 * seen["stops"] - 0.05 * seen["spread"],
            "warmth": -30 + 15 * seen["dark"], "color": -0.2 + 0.2 * seen["warmth"]}),
        "gamma": edit_by_gamma, "gamma by picture": edit_by_own_gamma, "cube": edit_by_table,
        "constant": by_knobs(lambda _: {"exposure_shift": -0.07, "contrast": 0.4, "color": 0.3, "warmth": 20.0,
                                        "strength": 0.9}),
    }


def edit_by_gamma(picture: np.ndarray, _: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """One gamma for all pictures, and a matrix that makes colours stronger."""
    mixed = np.power(picture / 255.0, 0.5 + 0.01 * rng.normal()) @ (1.08 * np.eye(3) - 0.025)
    return _rounded(mixed)


def edit_by_own_gamma(picture: np.ndarray, seen: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """A gamma that leaves dark pictures darker, and a matrix with a warm cast."""
    gamma = np.clip(0.5 + 0.06 * seen["stops"] + 0.015 * rng.normal(), 0.25, 1)
    matrix = np.array([[1.08, -0.06, -0.02], [-0.03, 1.02, 0.01], [-0.02, -0.02, 1.04]])
    return _rounded(np.power(picture / 255.0, gamma) @ matrix.T)


def edit_by_table(picture: np.ndarray, seen: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """An exposure in linear light, more for darker pictures, then a colour table: shoulder, S-curve, split toning."""
    stops = np.clip(2.2 - seen["stops"] + 0.1 * rng.normal(), 0, 5)
    light = linear_from_srgb(picture / np.float32(255)) * 2.0**stops
    tone = srgb_from_linear(np.clip(1.15 * light / (1 + light), 0, 1))
    tone = tone + 0.25 * (tone * tone * (3 - 2 * tone) - tone)
    level = tone.mean(axis=2, keepdims=True)
    return _rounded(tone + np.array([0.03, 0, -0.04]) * level + np.array([-0.02, 0, 0.03]) * (1 - level))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * values.clip(0, 1)).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))
