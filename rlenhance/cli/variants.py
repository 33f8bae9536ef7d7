"""`rlenhance variants`: one photograph in many looks on one sheet, each with the options that make it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import refuse_stranger
from rlenhance.cli.photo_command import flag_reader
from rlenhance.cli.sheet_options import add_sheet, check_sheet, save_sheet
from rlenhance.core.errors import UsageError, printable
from rlenhance.pipelines.options import AUTO, PREFERENCES, EnhanceSettings

if TYPE_CHECKING:
    import numpy as np

    from rlenhance.io.contact_sheet import Cell
    from rlenhance.pipelines.enhance import Enhancer

#: Exposures that are shown where the model takes them.
EXPOSURES = (0.25, 0.35, 0.45, 0.55, 0.65)
_DEFAULT = "default"


@dataclass(frozen=True)
class Variant:
    """One way of enhancing.

    Attributes:
        words: its flags.
        settings: their values.
        required: it was named: shown whatever it looks like, and an error where the model does not take it.
        reward: weights of reward terms.
    """

    words: str
    settings: EnhanceSettings = field(default_factory=EnhanceSettings)
    required: bool = False
    reward: Mapping[str, float] = field(default_factory=dict)


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    variants = commands.add_parser(
        "variants", help="show one photograph in many looks",
        description="Show one photograph in many looks on one sheet: as it is, the model's default, the presets, and "
                    "several exposures, without those that cannot be distinguished on this photograph. Labels "
                    "give the options of `rlenhance enhance` that make each.",
    )
    variants.add_argument("photo", metavar="PHOTO", help="the photograph")
    variants.add_argument("-m", "--model", metavar="NAME|RUN/best", help="the model (default: as for enhance)")
    variants.add_argument("--presets", nargs="*", metavar="NAME|FILE.json",
                          help="these presets (default: all that are shipped and that the model takes)")
    variants.add_argument("--exposures", nargs="*", metavar="LEVEL|auto",
                          type=flag_reader(PREFERENCES["exposure_level"]),
                          help=f"these exposures (default: {' '.join(map(str, EXPOSURES))}, as far as the model takes "
                               f"them)")
    variants.add_argument("--strengths", nargs="*", type=float, default=[], metavar="S",
                          help="the model's default at these strengths")
    variants.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
    add_sheet(variants, "PHOTO_variants.jpg beside it")


def run(arguments: argparse.Namespace) -> int:
    """Make the sheet."""
    from rlenhance.io import STDIO, OutputNaming, make_plan, read

    check_sheet(arguments)
    plan = make_plan([arguments.photo], arguments.output, naming=OutputNaming("_variants", extension=".jpg"
                     if arguments.output is None else None), overwrite=arguments.overwrite)
    if len(plan.jobs) != 1 or STDIO in (plan.jobs[0].source, plan.jobs[0].target):
        raise UsageError(f"{arguments.photo}: one photograph, in a file, is shown in its variants")
    (job,) = plan.jobs
    refuse_stranger(job.target, "sheet", "-o", arguments.overwrite)
    photo = read(job.source)  # before the model: a bad file costs nothing
    from rlenhance.core.machine import check_device
    from rlenhance.hub.shipped import resolve_model
    from rlenhance.pipelines.enhance import Enhancer

    enhancer = Enhancer(resolve_model(arguments.model), device=check_device(arguments.device))
    cells = _cells(photo.visible_pixels, enhancer, _variants(arguments, enhancer), arguments.size)
    save_sheet(list(cells), job.target, arguments)
    return 0


def _variants(arguments: argparse.Namespace, enhancer: Enhancer) -> Iterator[Variant]:
    from rlenhance.pipelines.looks import load_preset, shipped_presets

    yield Variant(_DEFAULT)
    presets = shipped_presets() if arguments.presets is None else map(load_preset, arguments.presets)
    for preset in presets:
        yield Variant(f"--preset {preset.name}", preset.settings, arguments.presets is not None, preset.reward)
    low, _, high = enhancer.preference_ranges.get("exposure_level", (1.0, 1.0, 0.0))
    exposures = [level for level in EXPOSURES if low <= level <= high]
    for level in exposures if arguments.exposures is None else arguments.exposures:
        yield Variant(f"--exposure {level if level == AUTO else f'{level:g}'}",
                      EnhanceSettings(preference={"exposure_level": None if level == AUTO else level}),
                      arguments.exposures is not None)
    for strength in arguments.strengths:
        yield Variant(f"--strength {strength:g}", EnhanceSettings(strength=strength), True)


def _cells(pixels: np.ndarray, enhancer: Enhancer, variants: Iterator[Variant], side: int) -> Iterator[Cell]:
    """The cells: each variant is decided on the whole photograph and applied to the reduced one."""
    from rlenhance.io.contact_sheet import Cell, thumbnail
    from rlenhance.ops.color_difference import DISTINGUISHED, thumbnail_difference

    small = thumbnail(pixels, side)
    shown = [Cell(small, ("as it is",))]
    yield shown[0]
    for variant in variants:
        try:
            weighed = enhancer.with_reward(variant.reward)
            made = weighed.with_settings(
                variant.settings, preference={**variant.settings.preference, **weighed.settings.preference},
                exposure_shift=variant.settings.exposure_shift or weighed.settings.exposure_shift)
        except UsageError as error:
            if variant.required:
                raise UsageError(f"{variant.words}: {error}") from error
            print(f"note: {variant.words} is left out: {printable(error)}", file=sys.stderr)
            continue
        if made.shares_decision:
            made = made.with_decision(made.decide(pixels))
        cell = Cell(made(small), (variant.words,))
        alike = next((other.lines[0] for other in shown
                      if thumbnail_difference(cell.pixels, other.pixels) < DISTINGUISHED), None)
        if alike and not variant.required and variant.words != _DEFAULT:
            print(f"note: {variant.words} is left out: on this photograph it cannot be distinguished from {alike!r}",
                  file=sys.stderr)
            continue
        shown.append(cell)
        yield cell
