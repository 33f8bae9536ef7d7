"""`rlenhance learn`: a look from photographs and the user's edits of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import add_written_file
from rlenhance.cli.photo_command import add_model
from rlenhance.core.errors import UsageError, printable

if TYPE_CHECKING:
    from rlenhance.looks.edit_pairs import LearnedLook

#: Pairs from which on fine-tuning the model is offered.
MANY = 30
#: Pairs from which on a look may depend on the picture.
FEW = 3
#: Terms of the recipes that pull elsewhere than towards the edits.
_OTHER_TERMS = ("exposure", "reference_exposure", "reference_color", "shape_psnr", "revealed_noise",
                "contrast_preference", "color_preference", "highlights", "clipping", "smoothness")
CURVE_WORDS = {"gamma": "a gamma of table_gain stops", "exposure": "table_gain stops of light"}


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    learn = commands.add_parser(
        "learn", help="learn a look from your own edits",
        description="Learn a look from photographs and your edits of them (rlenhance enhance --look uses it). Pairs go "
                    "by name: night.jpg or night.dng with night.jpg, night_edited.tif or 'night (2).png'. Sizes may "
                    "differ, and an edit may be cropped. One pair is enough; from three on, knobs may depend on the "
                    "picture. Exit status: 0, or 2 where nothing was learned.",
    )
    learn.add_argument("before", type=Path, metavar="BEFORE_DIR", help="the folder of the photographs")
    learn.add_argument("after", type=Path, metavar="AFTER_DIR", help="the folder of the edits")
    add_written_file(learn, "-o", "--output", kind="look", required=True, metavar="FILE.json",
                     help="where the look goes")
    learn.add_argument("--overwrite", action="store_true", help="replace a look that exists")
    add_model(learn, "a model to enhance, shipped or your own (default: the shipped default)")
    learn.add_argument("--json", action="store_true", help="print the result as one JSON object")
    learn.add_argument("-q", "--quiet", action="store_true", help="print failures only")


def run(arguments: argparse.Namespace) -> int:
    """Pair, search, learn, report."""
    from rlenhance.core.machine import check_device
    from rlenhance.hub.shipped import find_model, resolve_model
    from rlenhance.looks.edit_pairs import find_edits
    from rlenhance.pipelines.looks import save_look

    def note(text: str) -> None:
        print(f"note: {printable(text)}", file=sys.stderr)

    pairs, unmatched = find_edits(arguments.before, arguments.after)
    for line in unmatched:
        note(line)
    if not pairs:
        raise UsageError(f"{arguments.after}: no edit has the name of a photograph in {arguments.before}; an edit of "
                         f"night.jpg is called night.jpg, night_edited.jpg or night.tif")
    model = resolve_model(arguments.model)
    find_model(model, "enhance")
    from rlenhance.looks.edit_pairs import decibels, learn_from
    from rlenhance.pipelines.enhance import Enhancer

    silent = arguments.quiet or arguments.json
    enhancer = Enhancer(model, device=check_device(arguments.device))
    learned = learn_from(
        enhancer, model, pairs, on_note=note, on_pair=lambda pair: None if silent else
        print(printable(f"{pair.name}: {decibels(pair.default_error):.1f} dB by default, {decibels(pair.error):.1f} dB "
                        f"with its own knobs"), flush=True))
    save_look(learned.look, arguments.output)
    if arguments.json:
        print(json.dumps({"look": str(arguments.output), "unmatched": unmatched, **as_json(learned)}))
    elif not arguments.quiet:
        for line in describe(learned):
            print(printable(line))
        print(f"look -> {printable(arguments.output)}")
        if len(learned.pairs) >= MANY:
            print(printable(fine_tuning(model, len(learned.pairs))))
    return 0


def describe(learned: LearnedLook) -> list[str]:
    """What was learned, knob by knob, and how well it explains the edits."""
    settings, lines = learned.look.settings, []
    table = settings.table
    constants: dict[str, Any] = {"exposure_shift": settings.exposure_shift, **settings.preference,
                                 "strength": settings.strength}
    if "warmth" not in learned.look.functions:
        constants["white"] = f"{settings.white:g} K" if settings.white else "kept"
    if table is not None and table.curve != "model":
        constants = {"table_gain": table.gain}
    for name, value in constants.items():
        if name not in learned.look.functions:
            lines.append(f"{name}: {value if isinstance(value, str) else format(value, '+.2f')}, for every picture")
    for name, function in learned.look.functions.items():
        lines.append(f"{name}: {function.bias:+.2f}, and with the picture: {_largest(function.weights)}")
    if table is not None:
        words = "follows the model" if table.curve == "model" else \
            f"takes the place of the model's curves: {CURVE_WORDS[table.curve]}, then the table"
        lines.append(f"a table of {table.size} x {table.size} x {table.size} colours {words}")
    count = len(learned.pairs)
    these = "this edit" if count == 1 else f"these {count} edits"
    gain = _mean(learned.own) - _mean(learned.default)
    lines.append(f"{these}: {abs(gain):.1f} dB {'nearer' if gain >= 0 else 'farther'} than the default "
                 f"({_mean(learned.default):.1f} to {_mean(learned.own):.1f} dB)")
    if learned.predicted:
        depends = "; no knob depends on the picture" if not learned.look.functions else ""
        lines.append(f"each as the others predict it: {_mean(learned.predicted):.1f} dB, with constant knobs "
                     f"{_mean(learned.constant):.1f} dB{depends}")
    if count < FEW:
        lines.append(f"from {FEW} edits on, a look may depend on the picture")
    if learned.unfit:
        named = ", ".join(f"{name} ({value:.0f} dB)" for name, value in learned.unfit.items())
        lines.append(f"{len(learned.unfit)} {'pair does' if len(learned.unfit) == 1 else 'pairs do'} not fit, and "
                     f"nothing was learned from {'it' if len(learned.unfit) == 1 else 'them'}: {named}")
    return lines


def as_json(learned: LearnedLook) -> dict[str, Any]:
    """The same for programs."""
    rows = [{"name": pair.name, "default": round(before, 2), "look": round(after, 2)} for pair, before, after in
            zip(learned.pairs, learned.default, learned.own, strict=True)]
    return {"pairs": rows, "unfit": {name: round(value, 2) for name, value in learned.unfit.items()},
            "functions": sorted(learned.look.functions), "decibels": learned.look.about["decibels"]}


def fine_tuning(model: Path | str, count: int) -> str:
    """The offer to train the model on the pairs."""
    preset = "--preset balanced " if str(model) == "balanced" else ""
    others = " ".join(f"{name}=0" for name in _OTHER_TERMS)
    return (f"where edits differ from place to place, as no look does, {model} can be trained on {count} pairs: put "
            f"photographs into pairs/low and their edits, uncropped, under the same names into pairs/high, and run\n"
            f"    python -m rlenhance.experiments.lol_train --data pairs {preset}--init {model} --learner direct "
            f"--no-train-on-references --reward squared_error=100 {others} --name my-look")


def _largest(weights: Mapping[str, float], count: int = 3) -> str:
    """The statistics that count most."""
    named = sorted(weights.items(), key=lambda pair: -abs(pair[1]))[:count]
    return ", ".join(f"{value:+.2g} per deviation of {name}" for name, value in named)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
