"""`rlenhance fuse`: frames of a scene at several exposures in, one picture out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.photo_command import (
    add_places,
    decode_seconds_of,
    encoder_of,
    extension_of,
    limit_of,
    naming_of,
    print_plan,
    reader_of,
)
from rlenhance.cli.reports import Reporter
from rlenhance.core.errors import UsageError

if TYPE_CHECKING:
    from rlenhance.io import BatchPlan, Photo
    from rlenhance.io.discovery import FoundBracket

SUFFIX = "_fused"


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    fuse = commands.add_parser(
        "fuse", help="fuse the exposures of a bracket into one picture",
        description="Fuse frames of one scene at several exposures into one picture (exposure fusion: each place from "
                    "the frames that show it best). Frames held by hand are laid over the one that is exposed best; "
                    "what moved between them is taken from one frame, and reported. a.jpg b.jpg c.jpg become "
                    "a_fused.jpg; a folder becomes FOLDER_fused.jpg beside it. Exit status: 0, or 2 where something "
                    "was refused or a bracket failed.")
    fuse.everyday = ("--output", "--recursive", "--overwrite", "--skip-existing", "--format", "--quality", "--dry-run")
    fuse.add_argument("photos", nargs="+", type=Path, metavar="PHOTO|DIR",
                      help="the frames of one bracket, in any order; or folders, each with the frames of one")
    places = add_places(fuse, "write there: a file, a folder, or - for standard output")
    existing = places.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist; a frame never")
    existing.add_argument("--skip-existing", action="store_true", help="leave out brackets that have a result already")
    places.add_argument("--dry-run", action="store_true", help="print what would be written where, and stop")
    running = fuse.add_argument_group("running")
    running.add_argument("--json", action="store_true", help="a JSON object per bracket, and one of the whole run")
    running.add_argument("-q", "--quiet", action="store_true", help="print failures only")
    fuse.set_defaults(workers=None, shard=None)


def run(arguments: argparse.Namespace) -> int:
    """Fuse what was named."""
    from rlenhance.io import STDIO, encode, run_batch
    from rlenhance.io.output_plan import check_streams

    encoder, open_photo = encoder_of(arguments), reader_of(arguments)
    brackets = _brackets(arguments)
    plan = _plan(brackets, arguments)
    if arguments.dry_run:
        return print_plan(plan, arguments)
    check_streams(plan)
    by_first = {str(bracket.frames[0]): bracket for bracket in brackets}

    def fuse(photo: Photo) -> tuple[Photo, Mapping[str, Any]]:
        from rlenhance.pipelines.fuse import fuse_photos

        bracket = by_first[photo.name]
        bracket.check()
        return fuse_photos([photo, *map(open_photo, bracket.frames[1:])])

    out = sys.stderr if any(job.target == STDIO for job in plan.jobs) else sys.stdout
    with Reporter(len(plan.jobs), out, arguments.json, arguments.quiet) as reporter, closing(
            run_batch(plan, fuse, max_in_flight=1, encode=encoder or encode, extension=extension_of(arguments),
                      megapixels=limit_of(arguments), decode_seconds=decode_seconds_of(arguments))) as outcomes:  # type: ignore[type-var]
        for outcome in outcomes:
            reporter.report(outcome)
    return reporter.summary.status


def _brackets(arguments: argparse.Namespace) -> list[FoundBracket]:
    """What was named, without results of earlier runs."""
    from rlenhance.io.discovery import find_brackets

    place = arguments.output
    found = find_brackets(arguments.photos, recursive=arguments.recursive,
                          exclude=Path(place) if place is not None and os.path.isdir(place) else None)
    if not any(map(os.path.isdir, arguments.photos)):
        return found
    naming = naming_of(arguments, SUFFIX, None)
    made = naming.results([path for bracket in found for path in bracket.frames], beside=True)
    left = [replace(bracket, frames=tuple(path for path in bracket.frames if path not in made)) for bracket in found]
    left = [bracket for bracket in left if bracket.frames]
    if not left:
        raise UsageError(f"{arguments.photos[0]}: holds nothing but results (*{SUFFIX}.*)")
    return left


def _plan(brackets: list[FoundBracket], arguments: argparse.Namespace) -> BatchPlan:
    """Where the results go; every conflict is refused."""
    from rlenhance.io import STDIO, BatchPlan, Job
    from rlenhance.io.containers import check_kind
    from rlenhance.io.output_plan import check_name, check_targets, check_writable

    naming, word = naming_of(arguments, SUFFIX, None), arguments.output
    place = None if word is None else Path(word)
    folder = place is not None and place != STDIO and (
        os.path.isdir(place) or word.endswith(("/", os.sep)) or arguments.recursive or len(brackets) > 1)
    if place == STDIO and len(brackets) > 1:
        raise UsageError(f"-: standard output takes one picture, and there are {len(brackets)} brackets; name a folder")
    if place is not None and place != STDIO:
        if folder and os.path.isfile(place):
            raise UsageError(f"{place}: several brackets need a folder, and this is a file")
        check_name(place)
        check_writable(place if folder else place.parent, place)
        if not folder:
            check_kind(place)
    if place is not None and not folder and naming.template:
        raise UsageError(f"{place} (out) and a name (template) both name the result; leave one out, or name a folder")
    jobs = []
    for number, bracket in enumerate(brackets, start=1):
        name = naming.name(bracket.source, f"{number:0{len(str(len(brackets)))}}", beside=place is None)
        target = bracket.source.with_name(name) if place is None else \
            place / bracket.relative_dir / name if folder else place
        jobs.append(Job(bracket.frames[0], target))
    there = check_targets(jobs, jobs, arguments.overwrite or arguments.skip_existing,
                          [path for bracket in brackets for path in bracket.frames])
    kept = there if arguments.skip_existing else set()
    return BatchPlan(tuple(job for job in jobs if job not in kept), tuple(job for job in jobs if job in kept),
                     overwrite=arguments.overwrite, skip_existing=arguments.skip_existing)
