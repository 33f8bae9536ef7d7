"""`rlenhance enhance`: photographs in, better photographs out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.errors import UsageError
from rlenhance.knobs import as_options

if TYPE_CHECKING:
    from rlenhance.enhancer import Enhancer, Outcome
    from rlenhance.presets import Preset


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    enhance = commands.add_parser(
        "enhance", help="brighten dark photographs",
        description="Brighten dark photographs. night.jpg becomes night_enhanced.jpg beside it; a source is never "
                    "overwritten. Exit status: 0, or 2 where something was refused or a photograph failed.",
    )
    enhance.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR", help="photographs, or folders of them")
    enhance.add_argument("-o", "--output", type=Path, metavar="FILE|DIR",
                         help="write there (a folder keeps the names)")
    enhance.add_argument("-m", "--model", metavar="NAME|RUN/best",
                         help="a shipped model (`rlenhance models` lists them), or a run of your own (default: the "
                              "shipped default; where none is shipped, the newest run in runs/lol)")
    enhance.add_argument("--preset", metavar="NAME|FILE.json",
                         help="a look with a name (`rlenhance presets` lists them), or one of your own; options beside "
                              "it win over it")
    enhance.add_argument("--exposure", type=float, metavar="LEVEL",
                         help="how bright: asked exposure, for example 0.35 to 0.6 (default: the model's)")
    enhance.add_argument("--strength", type=float, metavar="S",
                         help="how much of the change is made: 0 (none, the same pixels) to 1 (default)")
    enhance.add_argument("--steps", type=int, metavar="N", help="stop the policy after N of its steps")
    enhance.add_argument("--format", metavar="EXT", help="kind of file to write: jpg, png, webp, tiff, bmp "
                                                         "(default: the source's)")
    enhance.add_argument("--overwrite", action="store_true", help="replace results that exist")
    enhance.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")


def run(arguments: argparse.Namespace) -> int:
    """Enhance what was named.

    Raises:
        UsageError: something cannot be done; nothing was written.
    """
    from rlenhance import weights
    from rlenhance.enhancer import Enhancer, check_strength, plan_files
    from rlenhance.photo import EXTENSIONS
    from rlenhance.presets import Preset, load_preset

    extension = f".{arguments.format.lower().lstrip('.')}" if arguments.format else None
    if extension is not None and extension not in EXTENSIONS:
        raise UsageError(f"--format is one of {' '.join(e.lstrip('.') for e in EXTENSIONS)}; got {arguments.format!r}")
    # names are checked before a model is loaded: a typo costs nothing
    plan_files(arguments.photos, arguments.output, extension=extension, overwrite=arguments.overwrite)
    preset = load_preset(arguments.preset) if arguments.preset else Preset("", "", {}, None)
    strength = preset.strength if arguments.strength is None else check_strength(arguments.strength)
    enhancer = Enhancer(arguments.model or weights.default_model() or newest_run(), steps=arguments.steps,
                        device=_device(arguments.device), strength=1.0 if strength is None else strength)
    asked = {} if arguments.exposure is None else {"exposure_level": arguments.exposure}
    enhancer.choose({**_from_preset(preset, asked, enhancer), **asked})
    outcomes = enhancer.enhance_files(arguments.photos, arguments.output, extension=extension,
                                      overwrite=arguments.overwrite, tell=_tell)
    failed = sum(outcome.error is not None for outcome in outcomes)
    if failed and len(outcomes) > 1:
        print(f"{failed} of {len(outcomes)} photographs failed; the others are written", file=sys.stderr)
    return 2 if failed else 0


def _from_preset(preset: Preset, asked: Mapping[str, Any], enhancer: Enhancer) -> dict[str, float | None]:
    """What a preset asks for beside the options that win over it.

    Raises:
        UsageError: the model cannot obey; names the preset, the knob, and the options that would do.
    """
    wanted = {name: value for name, value in preset.preference.items() if name not in asked}
    try:
        enhancer.choose(wanted)
    except UsageError as error:
        taken = {name: value for name, value in wanted.items() if name in enhancer.ranges}
        rest = as_options(taken, preset.strength) if len(taken) < len(wanted) else ""
        raise UsageError(f"preset {preset.name}: {error}{rest and f'; what it does take of it: {rest}'}") from error
    return wanted


def newest_run(root: Path = Path("runs/lol")) -> Path:
    """The checkpoint of the newest run.

    Raises:
        UsageError: there is none.
    """
    found = sorted(root.glob("*/best/config.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"no trained model in {root}: train one with python -m experiments.lol_train (five minutes), "
                         f"or name one with --model RUN/best")
    return found[-1].parent


def _tell(outcome: Outcome) -> None:
    if outcome.error:
        print(f"failed: {outcome.error}", file=sys.stderr)
    else:
        print(f"{outcome.source} -> {outcome.written}")


def _device(name: str) -> str:
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name):
        usable = ", ".join(device for device, usable in there.items() if usable)
        raise UsageError(f"--device {name}: not available here; there is {usable}")
    return name
