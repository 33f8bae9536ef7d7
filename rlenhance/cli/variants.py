"""`rlenhance variants`: one photograph in many looks on one sheet, each with the options that make it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlenhance.cli.sheet_options import add_sheet, check_sheet, save_sheet
from rlenhance.core.errors import UsageError, check_unit_interval
from rlenhance.pipelines.options import AUTO, number_or_auto

if TYPE_CHECKING:
    import numpy as np

    from rlenhance.io.contact_sheet import Cell
    from rlenhance.pipelines.enhance import Enhancer

#: Exposures that are shown where the model takes them.
EXPOSURES = (0.25, 0.35, 0.45, 0.55, 0.65)


@dataclass(frozen=True)
class Look:
    """One way of enhancing.

    Attributes:
        words: the options that ask for it.
        preference, strength: what they stand for.
        asked: somebody named it, so that a model which does not take it is an error.
    """

    words: str
    preference: dict[str, float | None]
    strength: float = 1.0
    asked: bool = False


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    variants = commands.add_parser(
        "variants", help="show one photograph in many looks",
        description="Show one photograph in many looks on one sheet: as it is, the model's default, the presets, and "
                    "several exposures. Under each stand the options of `rlenhance enhance` that make it.",
    )
    variants.add_argument("photo", metavar="PHOTO", help="the photograph")
    variants.add_argument("-m", "--model", metavar="NAME|RUN/best", help="the model (default: as for enhance)")
    variants.add_argument("--presets", nargs="*", metavar="NAME|FILE.json",
                          help="these presets (default: all that are shipped and that the model takes)")
    variants.add_argument("--exposures", nargs="*", type=number_or_auto, metavar="LEVEL|auto",
                          help=f"these exposures (default: {' '.join(map(str, EXPOSURES))}, as far as the model takes "
                               f"them)")
    variants.add_argument("--strengths", nargs="*", type=float, default=[], metavar="S",
                          help="the model's default at these strengths")
    variants.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
    add_sheet(variants, "PHOTO_variants.jpg beside it")


def run(arguments: argparse.Namespace) -> int:
    """Make the sheet.

    Raises:
        UsageError: the photograph cannot be read, a look that was named cannot be made, or the sheet has no place.
    """
    from rlenhance.io import STDIO, OutputNaming, make_plan, read

    check_sheet(arguments)
    plan = make_plan([arguments.photo], arguments.output, naming=OutputNaming("_variants", extension=".jpg"
                     if arguments.output is None else None), overwrite=arguments.overwrite)
    if len(plan.jobs) != 1 or STDIO in (plan.jobs[0].source, plan.jobs[0].target):
        raise UsageError(f"{arguments.photo}: one photograph, in a file, is shown in its variants")
    (job,) = plan.jobs
    photo = read(job.source)  # before the model: a bad file costs nothing
    from rlenhance.pipelines.configure import check_device, model_or_default
    from rlenhance.pipelines.enhance import Enhancer

    enhancer = Enhancer(model_or_default(arguments.model), device=check_device(arguments.device))
    cells = _cells(photo.visible_pixels, enhancer, _looks(arguments, enhancer), arguments.size)
    save_sheet(list(cells), job.target, arguments)
    return 0


def _looks(arguments: argparse.Namespace, enhancer: Enhancer) -> Iterator[Look]:
    from rlenhance.pipelines.presets import load_preset, shipped_presets

    yield Look("default", {})
    presets = shipped_presets() if arguments.presets is None else map(load_preset, arguments.presets)
    for preset in presets:
        yield Look(f"--preset {preset.name}", dict(preset.preference),
                   1.0 if preset.strength is None else preset.strength, arguments.presets is not None)
    low, _, high = enhancer.ranges.get("exposure_level", (1.0, 1.0, 0.0))
    exposures = [level for level in EXPOSURES if low <= level <= high]
    for level in exposures if arguments.exposures is None else arguments.exposures:
        yield Look(f"--exposure {level if level == AUTO else f'{level:g}'}",
                   {"exposure_level": None if level == AUTO else level}, 1.0, True)
    for strength in arguments.strengths:
        yield Look(f"--strength {strength:g}", {}, strength, True)


def _cells(pixels: np.ndarray, enhancer: Enhancer, looks: Iterator[Look], side: int) -> Iterator[Cell]:
    """Each look decided on the whole photograph and shown on the reduced one.

    Raises:
        UsageError: the model does not take a look that was named.
    """
    from rlenhance.io.contact_sheet import Cell, fitted

    small = fitted(pixels, side)
    yield Cell(small, ("as it is",))
    shares = _shares(enhancer)
    for look in looks:
        try:
            enhancer.choose(look.preference)
            enhancer.strength = check_unit_interval("strength", look.strength)
        except UsageError as error:
            if look.asked:
                raise UsageError(f"{look.words}: {error}") from error
            print(f"note: {look.words} is left out: {error}", file=sys.stderr)
            continue
        yield Cell(enhancer(small, enhancer.decide(pixels) if shares else None), (look.words,))


def _shares(enhancer: Enhancer) -> bool:
    """What it decides on the whole photograph can be done to the reduced one."""
    try:
        enhancer.check_shares()
    except UsageError:
        return False
    return True
