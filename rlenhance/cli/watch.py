"""`rlenhance watch`: enhances, or repairs, what arrives in a folder."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.enhance import add_enhancer, check_recipe, make_enhancer
from rlenhance.cli.photo_command import (
    add_places,
    add_running,
    add_settings,
    decode_seconds_of,
    encoder_of,
    limit_of,
    naming_of,
    note_clips,
    notes_stream,
    read_settings,
)
from rlenhance.cli.reports import Reporter
from rlenhance.cli.series_options import refuse_series
from rlenhance.core.errors import UsageError, describe_failure, printable
from rlenhance.pipelines.options import EnhanceSettings, RestoreSettings, flags_of

if TYPE_CHECKING:
    from rlenhance.io import BatchPlan, OutputNaming
    from rlenhance.io.watcher import FolderWatcher
    from rlenhance.pipelines.base import ImagePipeline

_SHARED = ("strength", "steps")  # settings of enhancement that repair has too


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    watch = commands.add_parser(
        "watch", help="enhance or repair what arrives in a folder",
        description="Enhance photographs (or repair them, with --repair) that arrive in a folder, and those in it "
                    "without a result, until Ctrl-C. A photograph is taken once it is completely written; a bad one is "
                    "named, and tried again when it changes. Results that exist stay.",
    )
    watch.everyday = ("--output", "--recursive", "--overwrite", "--once", "--repair", "--preset", "--look",
                      "--exposure", "--exposure-shift", "--denoise", "--white", "--strength")
    watch.add_argument("folder", type=Path, metavar="DIR", help="where photographs arrive")
    place = add_places(watch, "the folder that results go to (default: beside each photograph)")
    place.add_argument("--overwrite", action="store_true",
                       help="do a photograph again when it is newer than its result")
    add_enhancer(watch)
    repair = watch.add_argument_group("repair")
    repair.add_argument("--repair", action="store_true",
                        help="find out what is wrong with each photograph and repair it, as rlenhance restore does, "
                             "instead of brightening it")
    add_settings(repair, RestoreSettings, without=_SHARED)
    waiting = watch.add_argument_group("waiting")
    waiting.add_argument("--once", action="store_true", help="do what is there, once it is written, and stop")
    waiting.add_argument("--interval", type=float, default=1.0, metavar="SECONDS",
                         help="how often to look (default: 1)")
    waiting.add_argument("--stable-for", type=float, default=2.0, metavar="SECONDS",
                         help="for how long a file must not have changed (default: 2)")
    add_running(watch)
    refuse_series(watch, "a series is measured as a whole, and a watched folder never ends; use rlenhance enhance DIR")
    watch.set_defaults(shared_decision=None, save_recipe=None)


def run(arguments: argparse.Namespace) -> int:
    """Watch until Ctrl-C, or once."""
    naming = _checked(arguments)
    encoder, limit, seconds = encoder_of(arguments), limit_of(arguments), decode_seconds_of(arguments)
    from rlenhance.io import BatchPlan, encode, run_batch
    from rlenhance.io.files import remove_leftovers
    from rlenhance.io.watcher import FolderWatcher

    out = None if arguments.output is None else Path(arguments.output)
    with redirect_stdout(notes_stream(BatchPlan(()), arguments)):
        pipeline = _pipeline(arguments)
        if not arguments.once:
            print(f"watching {printable(arguments.folder)}; Ctrl-C stops")
    arrivals = FolderWatcher(arguments.folder, recursive=arguments.recursive, exclude=out,
                             settle=arguments.stable_for)
    away = False
    remove_leftovers(arguments.folder if out is None else out, arguments.recursive)
    with Reporter(None, sys.stdout, arguments.json, arguments.quiet) as reporter:
        while True:
            try:
                plan, away = _plan(arrivals, out, naming, arguments, reporter), False
            except UsageError as error:  # an unmounted disk may come back
                if arguments.once:
                    raise
                if not away:
                    print(f"waiting: {printable(error)}", file=sys.stderr)
                plan, away = BatchPlan(()), True
            for outcome in run_batch(plan, pipeline.process, max_in_flight=arguments.workers, copy=encoder is None,
                                     encode=encoder or encode, megapixels=limit, decode_seconds=seconds):
                reporter.report(outcome)
            if arguments.once and not arrivals.pending:
                return reporter.summary.status
            time.sleep(arguments.interval)


def _pipeline(arguments: argparse.Namespace) -> ImagePipeline[Any]:
    """What is done to each photograph."""
    if arguments.repair:
        from rlenhance.core.machine import check_device
        from rlenhance.pipelines.restore import PhotoRestorer

        return PhotoRestorer(arguments.model, read_settings(arguments, RestoreSettings),
                             device=check_device(arguments.device))
    enhancer, shared = make_enhancer(arguments)
    if shared:
        raise UsageError(f"{arguments.recipe}: was made with --shared-decision, which needs all photographs at once; "
                         f"use rlenhance enhance")
    return enhancer


def _check_settings(arguments: argparse.Namespace) -> None:
    """Refuse settings outside their range, and those of enhancement beside --repair or the other way round."""
    of_enhancement = {about.flag: about.name for about in flags_of(EnhanceSettings) if about.name not in _SHARED} | {
        "--preset": "preset", "--denoiser": "denoiser", "--reward": "reward", "--match-style": "match_style",
        "--look": "look", "--recipe": "recipe"}
    of_repair = {about.flag: about.name for about in flags_of(RestoreSettings) if about.name not in _SHARED}
    others = of_enhancement if arguments.repair else of_repair
    if given := [flag for flag, name in others.items() if getattr(arguments, name) is not None]:
        raise UsageError(f"{', '.join(given)}: {'not' if arguments.repair else 'only'} with --repair, which has "
                         f"{', '.join(of_repair)}, --steps and --strength; leave it out")
    if arguments.repair:
        read_settings(arguments, RestoreSettings)
    else:
        check_recipe(arguments)


def _checked(arguments: argparse.Namespace) -> OutputNaming:
    from rlenhance.io.output_plan import check_writable

    _check_settings(arguments)
    naming = naming_of(arguments, RestoreSettings.suffix if arguments.repair else EnhanceSettings.suffix,
                       arguments.preset)
    if not os.path.isdir(arguments.folder):
        raise UsageError(f"{arguments.folder}: no such folder")
    if "{number}" in (arguments.name or ""):
        raise UsageError("--name: what arrives one by one has no {number}; use {stem}")
    if arguments.interval <= 0 or arguments.stable_for < 0:
        raise UsageError(f"--interval is more than 0 seconds and --stable-for at least 0; got {arguments.interval} "
                         f"and {arguments.stable_for}")
    out = None if arguments.output is None else Path(arguments.output)
    if out is not None and os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"{out}: is a file; results need a folder")
    check_writable(arguments.folder if out is None else out)
    if out is not None and naming.template is None and os.path.realpath(out) == os.path.realpath(arguments.folder):
        raise UsageError(f"{out}: results would take the place of the photographs; name another folder, or leave out "
                         f"-o")
    return naming


def _plan(arrivals: FolderWatcher, out: Path | None, naming: OutputNaming, arguments: argparse.Namespace,
          reporter: Reporter) -> BatchPlan:
    """The plan of new photographs; one that cannot be planned is reported at once."""
    from rlenhance.io import BatchPlan, Outcome, make_plan

    jobs = []
    ready = arrivals.poll()
    note_clips(arrivals.clips(), arguments)
    made = naming.results(arrivals.all, beside=out is None) if ready else set()
    sources = [path for path in arrivals.all if path not in made]
    for path in ready:
        if path in made:
            continue
        place = None if out is None else f"{out / path.parent.relative_to(arrivals.folder)}/"
        try:
            (job,) = make_plan([path], place, naming=naming, overwrite=True, inputs=sources).jobs
            there = os.path.exists(job.target)
            if not there or (arguments.overwrite and job.target.stat().st_mtime < path.stat().st_mtime):
                jobs.append(job)
        except Exception as error:  # one photograph never stops the others
            reporter.report(Outcome(path, error=describe_failure(error, path)))
    return BatchPlan(tuple(jobs), overwrite=arguments.overwrite, skip_existing=True)
