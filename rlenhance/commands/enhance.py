"""`rlenhance enhance`: photographs in, better photographs out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.errors import UsageError
from rlenhance.knobs import add_options

if TYPE_CHECKING:
    from rlenhance.enhancer import Outcome


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
    enhance.add_argument("--match", type=Path, metavar="REFERENCE",
                         help="take the knobs from a picture that looks as wanted; knobs beside it win over it")
    add_options(enhance)
    enhance.add_argument("--strength", type=float, metavar="S",
                         help="how much of the change is made: 0 (none, the same pixels) to 1 (default)")
    enhance.add_argument("--steps", type=int, metavar="N", help="stop the policy after N of its steps")
    enhance.add_argument("--together", action="store_true", default=None,
                         help="a burst or time-lapse: one decision for all, made on the one of median exposure")
    enhance.add_argument("--save-recipe", type=Path, metavar="FILE.json",
                         help="write what was done: model, checksum of its weights, and all settings")
    enhance.add_argument("--recipe", type=Path, metavar="FILE.json",
                         help="do exactly what a recipe says; --model may name another place of the same weights")
    enhance.add_argument("--format", metavar="EXT", help="kind of file to write: jpg, png, webp, tiff, bmp "
                                                         "(default: the source's)")
    enhance.add_argument("--overwrite", action="store_true", help="replace results that exist")
    enhance.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")


def run(arguments: argparse.Namespace) -> int:
    """Enhance what was named.

    Raises:
        UsageError: something cannot be done; nothing was written.
    """
    from rlenhance.enhancer import plan_files
    from rlenhance.photo import EXTENSIONS
    from rlenhance.recipes import check_place, save_recipe
    from rlenhance.settings import set_up

    extension = f".{arguments.format.lower().lstrip('.')}" if arguments.format else None
    if extension is not None and extension not in EXTENSIONS:
        raise UsageError(f"--format is one of {' '.join(e.lstrip('.') for e in EXTENSIONS)}; got {arguments.format!r}")
    # names are checked before a model is loaded: a typo costs nothing
    plan = plan_files(arguments.photos, arguments.output, extension=extension, overwrite=arguments.overwrite)
    if arguments.save_recipe:
        check_place(arguments.save_recipe, arguments.overwrite, taken=[target for _, target in plan])
    enhancer, recipe = set_up(arguments)
    actions = None
    if recipe.together:
        median, actions = enhancer.decide_together([source for source, _ in plan])
        print(f"decided on {median}")
    outcomes = enhancer.enhance_files(arguments.photos, arguments.output, extension=extension,
                                      overwrite=arguments.overwrite, actions=actions, tell=_tell)
    failed = sum(outcome.error is not None for outcome in outcomes)
    if failed and len(outcomes) > 1:
        print(f"{failed} of {len(outcomes)} photographs failed; the others are written", file=sys.stderr)
    if arguments.save_recipe and failed < len(outcomes):
        print(f"recipe -> {save_recipe(recipe, arguments.save_recipe)}")
    return 2 if failed else 0


def _tell(outcome: Outcome) -> None:
    if outcome.error:
        print(f"failed: {outcome.error}", file=sys.stderr)
    else:
        print(f"{outcome.source} -> {outcome.written}")
