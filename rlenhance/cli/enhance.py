"""`rlenhance enhance`: photographs in, better photographs out."""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import add_written_file
from rlenhance.cli.photo_command import (
    add_model,
    add_photos,
    add_region,
    add_settings,
    decode_seconds_of,
    given_settings,
    notes_stream,
    photo_path,
    plan_photos,
    print_plan,
    read_settings,
    reader_of,
    run_plan,
)
from rlenhance.core.errors import UsageError, printable
from rlenhance.pipelines.options import AUTO, PREFERENCE_FLAGS, EnhanceSettings, flags_of, from_json
from rlenhance.pipelines.preference_text import check_preferences, format_preferences, preferences_as_flags

if TYPE_CHECKING:
    from rlenhance.io import BatchPlan
    from rlenhance.io.batch import Process
    from rlenhance.pipelines.enhance import Enhancer


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    enhance = commands.add_parser(
        "enhance", help="brighten dark photographs and clips",
        description="Brighten dark photographs and clips (clips need the extra video). night.jpg becomes "
                    "night_enhanced.jpg beside it; a source is never overwritten. "
                    "Exit status: 0, or 2 where something was refused or a photograph failed.",
    )
    enhance.everyday = ("--output", "--recursive", "--overwrite", "--preset", "--exposure", "--exposure-shift",
                        "--contrast", "--color", "--highlights", "--denoise", "--white", "--strength")
    add_photos(enhance, verb="brighten", nargs="*")
    add_enhancer(enhance)
    enhance.add_argument("--shared-decision", action="store_true", default=None,
                         help="a burst or time-lapse: one decision for all, made on the one of median exposure")
    series = enhance.add_argument_group("series")
    series.add_argument("--match-series", nargs="?", const="", type=_reference, metavar="REFERENCE",
                        help="bring the results of all photographs to one brightness and white: what is usual among "
                             "them, or that of REFERENCE, a photograph that need not be one of them; behind the "
                             "photographs, or as --match-series=REFERENCE")
    series.add_argument("--smooth-time", type=_smooth, metavar="N|auto",
                        help="with --match-series, of a time-lapse: no flicker, and a slow change stays; each is "
                             "brought to a line through N before and N after it")
    add_region(enhance)
    enhance.add_argument("--mark", action="store_true", help="note in the XMP of results that an algorithm changed "
                                                             "them (IPTC's Digital Source Type)")
    add_written_file(enhance, "--explain", kind="sheet", metavar="FILE.png",
                     help="of one photograph: write a sheet with the actions of each step, the gain, the histogram and "
                          "the curve")
    add_written_file(enhance, "--cube", kind="colour table", metavar="FILE.cube",
                     help="of one photograph: write its look as a 3D table that other editors read; without what "
                          "differs from place to place")
    add_written_file(enhance, "--sidecar", kind="sidecar", metavar="FILE.xmp",
                     help="of one photograph: write brightness and contrast of the result, and the light that --white "
                          "names, as settings that raw developers read; approximate")
    edit = enhance.add_argument_group("as the external editor of another program")
    edit.add_argument("--edit", type=photo_path, metavar="FILE",
                      help="enhance one photograph in its place; what it was is kept as FILE~. With --output it stays, "
                           "and the result goes there, replacing a file")
    edit.add_argument("--no-backup", action="store_true", help="with --edit in place: keep no FILE~")
    add_written_file(enhance, "--save-recipe", kind="recipe", metavar="FILE.json",
                     help="write what was done: model, checksum of its weights, and all settings")


def _reference(word: str) -> Path | str:
    return Path(word) if word else ""


def _smooth(word: str) -> int | str:
    if word == AUTO:
        return AUTO
    if not re.fullmatch("[0-9]{1,5}", word) or not 1 <= int(word) <= 10_000:
        raise argparse.ArgumentTypeError(f"a number of photographs, 1 to 10000, as in 8, or auto; got {word!r:.40}")
    return int(word)


def add_enhancer(parser: argparse.ArgumentParser) -> None:
    """The model, and every flag on what it does."""
    add_model(parser, "a shipped model (`rlenhance models` lists them), or your own run (default: the shipped "
                      "default; where none is shipped, the newest run in runs/lol)")
    parser.add_argument("--preset", metavar="NAME|FILE.json",
                        help="a named look (`rlenhance presets` lists them), or your own file; explicit options "
                             "have precedence")
    parser.add_argument("--match-style", type=Path, metavar="REFERENCE",
                        help="take the preferences from a picture with the wanted look; explicit ones have precedence")
    parser.add_argument("--look", type=Path, metavar="FILE.json",
                        help="your own look (rlenhance learn and rlenhance taste write one), which chooses the "
                             "settings anew for each photograph; explicit options have precedence")
    add_settings(parser, EnhanceSettings)
    parser.add_argument("--reward", nargs="+", metavar="TERM=WEIGHT",
                        help="weigh the reward of a policy that takes preferences (exposure=1.2 color=0.5), as shares "
                             "of its training's weights; what each becomes is printed")
    parser.add_argument("--denoiser", metavar="NAME|RUN",
                        help="remove the noise afterwards with this denoiser, a shipped one or a run (also imported "
                             "weights); all of it unless --denoise gives a share")
    parser.add_argument("--recipe", type=Path, metavar="FILE.json",
                        help="repeat a recipe exactly; --model may name another place of the same weights")


def run(arguments: argparse.Namespace) -> int:
    """Enhance what was named."""
    # names are checked before a model is loaded: a typo costs nothing
    plan = _plan(arguments)
    jobs = (*plan.jobs, *plan.skipped)
    if arguments.strip or arguments.quality is not None:
        _check_no_clips(plan, "--strip and --quality are for photographs")
    explained = any(place is not None for place in (arguments.explain, arguments.cube, arguments.sidecar))
    if explained:
        from rlenhance.cli.explain_options import check_explain_options, make_explanations

        check_explain_options(arguments, plan)
    check_recipe(arguments)
    if arguments.look and arguments.save_recipe and len(jobs) != 1 and not arguments.shared_decision:
        raise UsageError("--save-recipe: a look chooses settings for each photograph, and a recipe holds those of one; "
                         f"got {len(jobs)}: name one photograph, or leave out --save-recipe")
    if any(value is not None for value in (arguments.match_series, arguments.smooth_time, arguments.shared_decision)):
        from rlenhance.cli.series_options import check_series_options, match_plan

        check_series_options(arguments, plan)
    if arguments.match_series is not None:
        _check_no_clips(plan, "--match-series is for photographs")
    if arguments.dry_run:
        return print_plan(plan, arguments)

    with redirect_stdout(notes_stream(plan, arguments)):
        enhancer, shared = make_enhancer(arguments)
        if shared:
            _check_no_clips(plan, "the frames of a clip share their decisions as it is: --shared-decision is for "
                                  "photographs")
        if shared and plan.jobs:
            median, decision = enhancer.decide_for_group([job.source for job in jobs], reader_of(arguments))
            print(f"decided on {printable(median)}")
            enhancer = _settled(enhancer, median, arguments).with_decision(decision)
        elif arguments.save_recipe or explained:
            enhancer = _settled(enhancer, jobs[0].source, arguments)
        enhancer.mark = arguments.mark
        if arguments.region:
            from rlenhance.io.files import read_region
            from rlenhance.ops.region import region_weights

            enhancer.region = region_weights(read_region(arguments.region, reader_of(arguments)))
            if arguments.save_recipe:
                print("note: a recipe does not hold the region; give --region beside --recipe")
        explanations = make_explanations(arguments, enhancer, jobs[0].source) if explained else ()
        process = enhancer.process if arguments.match_series is None else match_plan(arguments, plan, enhancer)

    def process_clip(source: Path, target: Path) -> Any:
        from rlenhance.cli.reports import FrameBar
        from rlenhance.io.limits import CLIP_MEGAPIXELS
        from rlenhance.pipelines.video import enhance_clip

        with FrameBar(source, quiet=arguments.quiet) as bar:
            return enhance_clip(enhancer, source, target, replace=arguments.overwrite,
                                megapixels=arguments.max_megapixels or CLIP_MEGAPIXELS,
                                seconds=decode_seconds_of(arguments),
                                on_progress=bar.update).as_outcome()

    from rlenhance.core.machine import thread_count

    kept: AbstractContextManager[Process] = nullcontext(process)
    replaces = False
    if arguments.edit is not None:
        from rlenhance.cli.edit_option import in_place, kept_original

        if replaces := in_place(arguments):
            kept = kept_original(process, arguments, plan)
    with kept as process:
        summary = run_plan(plan, process, arguments, process_clip=process_clip,
                           at_once=thread_count() if arguments.device == "cpu" else 1,
                           spare=not replaces and arguments.match_series is None)
    for write in () if summary.failed else explanations:
        print(printable(write()), file=notes_stream(plan, arguments))
    if arguments.save_recipe and summary.written:
        from rlenhance.hub.shipped import resolve_model
        from rlenhance.pipelines.looks import save_look
        from rlenhance.pipelines.recipes import make_recipe

        recipe = make_recipe(enhancer, resolve_model(arguments.model), shared)
        print(f"recipe -> {printable(save_look(recipe, arguments.save_recipe))}",
              file=notes_stream(plan, arguments))
    return summary.status


def _plan(arguments: argparse.Namespace) -> BatchPlan:
    if arguments.edit is not None:
        from rlenhance.cli.edit_option import plan_edit

        return plan_edit(arguments, EnhanceSettings.suffix)
    if not arguments.photos:
        raise UsageError("name photographs or folders, as in rlenhance enhance night.jpg; or --edit FILE")
    return plan_photos(arguments, EnhanceSettings.suffix, arguments.preset, clips=True)


def _settled(enhancer: Enhancer, source: Path, arguments: argparse.Namespace) -> Enhancer:
    """With the settings that a look chooses for a photograph."""
    return enhancer if enhancer.look is None else enhancer.for_picture(reader_of(arguments)(source).visible_pixels)


def check_recipe(arguments: argparse.Namespace) -> None:
    """Refuse what a recipe or a look settles, and settings outside their range."""
    if not arguments.recipe:
        ways = {"--preset": "preset", "--reward": "reward", "--match-style": "match_style"}
        if arguments.look and (others := [flag for flag, name in ways.items() if getattr(arguments, name) is not None]):
            raise UsageError(f"--look and {', '.join(others)} both choose the settings; leave one out")
        read_settings(arguments, EnhanceSettings)
        return
    names = {**{about.flag: about.name for about in flags_of(EnhanceSettings)}, "--preset": "preset",
             "--denoiser": "denoiser", "--reward": "reward", "--match-style": "match_style", "--look": "look",
             "--shared-decision": "shared_decision", "--save-recipe": "save_recipe"}
    others = [flag for flag, name in names.items() if getattr(arguments, name) is not None]
    if others:
        raise UsageError(f"--recipe settles all that makes the result; leave out {', '.join(others)} (to change "
                         f"something, give the options without --recipe)")


def make_enhancer(arguments: argparse.Namespace) -> tuple[Enhancer, bool]:
    """The Enhancer that the flags ask for, and whether one decision is shared by all photographs."""
    from rlenhance.core.machine import check_device
    from rlenhance.hub.shipped import find_model, resolve_model

    def note(text: str) -> None:
        print(f"note: {printable(text)}", file=sys.stderr)

    if arguments.recipe:
        device = check_device(arguments.device)
        from rlenhance.pipelines.recipes import replay_recipe

        enhancer, recipe = replay_recipe(arguments.recipe, arguments.model, device=device, on_note=note)
        return enhancer, recipe.decision == "shared"
    look = None
    if arguments.preset is not None or arguments.look is not None:
        from rlenhance.pipelines.looks import load_look, load_preset

        look = load_look(arguments.look) if arguments.preset is None else load_preset(arguments.preset)
    given = given_settings(arguments, EnhanceSettings)
    model = look.model if look and look.model and arguments.model is None else resolve_model(arguments.model)
    try:
        _, info = find_model(model, "enhance")
        settings = from_json(EnhanceSettings, given)
        if info.preferences and settings.preference:  # refused before anything that computes is imported
            check_preferences(settings.preference, info.preferences, info.auto_preferences)
        reward = None if arguments.reward is None else _weights(arguments.reward)
        if look or reward or arguments.denoiser is not None or arguments.match_style is not None:
            from rlenhance.pipelines.configure import build_enhancer

            enhancer = build_enhancer(
                model, given, look=look, denoiser=arguments.denoiser, reward=reward,
                reference=arguments.match_style, open_photo=reader_of(arguments), device=check_device(arguments.device),
                on_note=note,
                on_measured=lambda found: print(f"{printable(arguments.match_style)}: {format_preferences(found)}"))
        else:
            from rlenhance.pipelines.enhance import Enhancer

            enhancer = Enhancer(model, settings, device=check_device(arguments.device))
    except UsageError as error:
        place = f"{arguments.look}: " if arguments.look and arguments.model is None else ""
        raise UsageError(place + preferences_as_flags(str(error))) from error
    for name in sorted(enhancer.settings.preference):
        if name in enhancer.without_effect:
            note(f"{PREFERENCE_FLAGS[name]} changes nothing that shows with {model}{_follow(name)}")
    if arguments.shared_decision:
        try:
            enhancer.require_shared_decision()
        except UsageError as error:
            raise UsageError(f"{error}, or leave out --shared-decision") from error
    return enhancer, bool(arguments.shared_decision)


def _follow(name: str) -> str:
    """The shipped models whose pictures a preference changes, as the end of a note."""
    from rlenhance.hub.shipped import list_models

    able = [model.name for model in list_models("enhance") if name in model.info.effective_preferences]
    return f"; with --model {' or '.join(able)} it does" if able else ""


def _weights(words: list[str]) -> dict[str, float]:
    from rlenhance.pipelines.reward_weights import parse_reward

    return parse_reward(words)


def _check_no_clips(plan: BatchPlan, why: str) -> None:
    from rlenhance.io.containers import is_clip

    clip = next((job.source for job in (*plan.jobs, *plan.skipped) if is_clip(job.source)), None)
    if clip is not None:
        raise UsageError(f"{clip}: {why}; leave it out, or the clip")
