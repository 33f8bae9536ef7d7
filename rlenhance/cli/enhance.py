"""`rlenhance enhance`: photographs in, better photographs out."""

from __future__ import annotations

import argparse
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.explain_options import add_insight, check_insight, make_insight
from rlenhance.cli.photo_command import add_photos, carry_out, plan_photos, remarks, tell_plan
from rlenhance.core.errors import UsageError
from rlenhance.pipelines.options import add_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlenhance.actions import Action
    from rlenhance.io import BatchPlan, Photo
    from rlenhance.io.batch import Process
    from rlenhance.pipelines.enhance import Enhancer

SUFFIX = "_enhanced"


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    enhance = commands.add_parser(
        "enhance", help="brighten dark photographs and clips",
        description="Brighten dark photographs and clips (clips need the extra video). night.jpg becomes "
                    "night_enhanced.jpg beside it; a source is never overwritten. "
                    "Exit status: 0, or 2 where something was refused or a photograph failed.",
    )
    add_photos(enhance, verb="brighten")
    add_look(enhance)
    enhance.add_argument("--together", action="store_true", default=None,
                         help="a burst or time-lapse: one decision for all, made on the one of median exposure")
    add_insight(enhance)
    enhance.add_argument("--save-recipe", type=Path, metavar="FILE.json",
                         help="write what was done: model, checksum of its weights, and all settings")


def add_look(parser: argparse.ArgumentParser) -> None:
    """The model, and every option on what it does."""
    parser.add_argument("-m", "--model", metavar="NAME|RUN/best",
                        help="a shipped model (`rlenhance models` lists them), or a run of your own (default: the "
                             "shipped default; where none is shipped, the newest run in runs/lol)")
    parser.add_argument("--preset", metavar="NAME|FILE.json",
                        help="a look with a name (`rlenhance presets` lists them), or one of your own; options beside "
                             "it win over it")
    parser.add_argument("--match", type=Path, metavar="REFERENCE",
                        help="take the knobs from a picture that looks as wanted; knobs beside it win over it")
    add_options(parser)
    parser.add_argument("--strength", type=float, metavar="S",
                        help="how much of the change is made: 0 (none, the same pixels) to 1 (default)")
    parser.add_argument("--denoise", type=float, metavar="D",
                        help="how much of the noise that brightening shows is taken: 0 (none, default) to 1")
    parser.add_argument("--steps", type=int, metavar="N", help="stop the policy after N of its steps")
    parser.add_argument("--recipe", type=Path, metavar="FILE.json",
                        help="do exactly what a recipe says; --model may name another place of the same weights")
    parser.add_argument("--device", default="cpu",
                        help="cpu, cuda, mps, or auto: the best that is there (default: cpu)")


def run(arguments: argparse.Namespace) -> int:
    """Enhance what was named.

    Raises:
        UsageError: something cannot be done; nothing was written.
    """
    # names are checked before a model is loaded: a typo costs nothing
    plan = plan_photos(arguments, SUFFIX, arguments.preset, clips=True)
    if arguments.save_recipe:
        from rlenhance.pipelines.recipes import check_place

        check_place(arguments.save_recipe, arguments.overwrite, taken=[
            *(job.target for job in plan.jobs), *filter(None, (arguments.explain, arguments.cube))])
    if arguments.strip or arguments.quality is not None:
        _check_no_clips(plan, "--strip and --quality are for photographs")
    check_insight(arguments, [job.target for job in plan.jobs], [job.source for job in (*plan.jobs, *plan.skipped)])
    if arguments.dry_run:
        return tell_plan(plan, arguments)
    from rlenhance.pipelines.configure import set_up
    from rlenhance.pipelines.recipes import save_recipe

    with redirect_stdout(remarks(plan, arguments)):
        enhancer, recipe = set_up(arguments)
        actions = None
        if recipe.together:
            _check_no_clips(plan, "the frames of a clip share their decisions as it is: --together is for photographs")
        if recipe.together and plan.jobs:
            median, actions = enhancer.decide_together([job.source for job in (*plan.jobs, *plan.skipped)])
            print(f"decided on {median}")
        insight = make_insight(arguments, enhancer, [job.source for job in (*plan.jobs, *plan.skipped)], actions)

    def film(source: Path, target: Path) -> Any:
        from rlenhance.cli.progress import FrameBar
        from rlenhance.pipelines.video import enhance_clip

        with FrameBar(source, quiet=arguments.quiet) as bar:
            return enhance_clip(enhancer, source, target, tell=bar.tell).told()

    tally = carry_out(plan, process_of(enhancer, actions), arguments, film=film)
    for write in () if tally.failed else insight:
        print(write(), file=remarks(plan, arguments))
    if arguments.save_recipe and tally.written:
        print(f"recipe -> {save_recipe(recipe, arguments.save_recipe)}", file=remarks(plan, arguments))
    return tally.status


def _check_no_clips(plan: BatchPlan, why: str) -> None:
    from rlenhance.io.video_formats import is_clip

    clip = next((job.source for job in (*plan.jobs, *plan.skipped) if is_clip(job.source)), None)
    if clip is not None:
        raise UsageError(f"{clip}: {why}; leave it out, or the clip")


def process_of(enhancer: Enhancer, actions: Sequence[Action] | None = None) -> Process:
    """What `run_batch` does to each photograph, and the mean brightness that is told of it.

    Args:
        actions: decided for all of them; None: each is decided on by itself.
    """
    from rlenhance.io.batch import mean_level

    def process(photo: Photo) -> tuple[Photo, dict[str, float]]:
        result = enhancer.enhance_photo(photo, actions)
        return result, {"exposure_before": mean_level(photo), "exposure": mean_level(result)}

    return process
