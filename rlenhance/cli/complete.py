"""`rlenhance complete`: photographs with holes in, whole ones out."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.photo_command import (
    add_no_mark,
    add_photo_command,
    plan_photos,
    print_plan,
    read_settings,
    reader_of,
    run_plan,
)
from rlenhance.core.errors import UsageError
from rlenhance.pipelines.options import CompleteSettings

if TYPE_CHECKING:
    from rlenhance.io import BatchPlan, Photo
    from rlenhance.pipelines.base import PipelineResult


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    complete = add_photo_command(
        commands, "complete", CompleteSettings, summary="fill holes in photographs",
        description="Fill holes in photographs, at full resolution; outside the hole no pixel changes (a JPEG is "
                    "coded anew, which moves pixels a little).",
        models="laplace (smooth), telea, navier-stokes, patches (pieces of the photograph), a shipped network or "
               "your own run (default: the shipped network completer; where none is shipped, laplace); patches "
               "follow what a network fills in", everyday=("--mask", "--auto-mask"))
    add_no_mark(complete)
    where = complete.add_mutually_exclusive_group()
    where.add_argument("--mask", type=Path, metavar="FILE|DIR",
                       help="a picture of the photograph's size, white where it is to be filled; or a folder of them, "
                            "called like the photographs")
    where.add_argument("--auto-mask", action="store_true",
                       help="find black rectangles that were painted into each photograph, and say where; dark "
                            "photographs are refused")


def run(arguments: argparse.Namespace) -> int:
    """Complete what was named."""
    if arguments.mask is None and not arguments.auto_mask:
        raise UsageError("say what is to be filled: --mask FILE (white is filled), or --auto-mask, which finds "
                         "black rectangles that were painted in")
    settings, plan = read_settings(arguments, CompleteSettings), plan_photos(arguments, CompleteSettings.suffix)
    masks = _masks(arguments.mask, plan)
    if arguments.dry_run:
        return print_plan(plan, arguments)
    from rlenhance.core.machine import check_device
    from rlenhance.io.files import read_mask
    from rlenhance.pipelines.complete import AUTO, Completer

    open_photo = reader_of(arguments)
    completer = Completer(arguments.model, settings, device=check_device(arguments.device))
    completer.mark = arguments.mark

    def process(photo: Photo) -> PipelineResult:
        if masks is None:
            return completer.process(photo, mask=AUTO)
        place = masks.get(Path(photo.name).stem) or masks[""]
        return completer.process(photo, mask=read_mask(place, photo.pixels.shape[:2], open_photo))

    return run_plan(plan, process, arguments).status


def _masks(place: Path | None, plan: BatchPlan) -> dict[str, Path] | None:
    """Stem of the photograph -> its mask; "" is the one of all.

    Raises:
        UsageError: there is none, or a photograph has none in the folder.
    """
    from rlenhance.io.discovery import iter_photos

    if place is None:
        return None
    if os.path.isfile(place):
        _check_apart({"": place}, plan)
        return {"": place}
    if not os.path.isdir(place):
        raise UsageError(f"--mask {place}: no such file or folder")
    found: dict[str, Path] = {}
    for path in iter_photos(place, recursive=False, exclude=None):
        found.setdefault(path.stem, path)
    lacking = [job.source for job in plan.jobs if job.source.stem not in found]
    if lacking:
        raise UsageError(f"--mask {place}: holds no mask for {', '.join(map(str, lacking[:3]))}"
                         f"{' and others' if len(lacking) > 3 else ''}; masks are called like their photographs, as in "
                         f"{place / lacking[0].stem}.png")
    _check_apart(found, plan)
    return found


def _check_apart(masks: Mapping[str, Path], plan: BatchPlan) -> None:
    """No photograph is its own mask, and no result takes a mask's place."""
    places = {os.path.realpath(mask) for mask in masks.values()}
    for job in plan.jobs:
        mask = masks.get("") or masks[job.source.stem]
        if os.path.realpath(mask) == os.path.realpath(job.source):
            raise UsageError(f"--mask: {mask} is the photograph itself; name a picture that is white where it is to be "
                             f"filled")
        if os.path.realpath(job.target) in places:
            raise UsageError(f"{job.target}: is a mask, and the result would overwrite it; name another place with -o")
