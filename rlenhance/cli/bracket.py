"""`rlenhance bracket`: which frames of a bracket are enough, and which exposure to take next."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.next_shot import add_next_shot, run_next_shot
from rlenhance.cli.photo_command import add_limits, reader_of
from rlenhance.cli.reports import name_flags
from rlenhance.core.errors import UsageError, describe_failure, printable

if TYPE_CHECKING:
    from rlenhance.io import Photo
    from rlenhance.io.discovery import FoundBracket

_ENOUGH = 40.0  # dB
_SIDE = 512  # pixels of the longer side on which frames are compared


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    bracket = commands.add_parser(
        "bracket", help="choose the frames of a bracket: of those that exist, or the next to take",
        description="Of the frames of a bracket: which few are enough, and what their fusion lacks of the fusion of "
                    "all (PSNR in dB; 40 dB is not visible). With --next: which exposure the camera takes after the "
                    "shots so far, by a planner that learned it. Exit status: 0, or 2 where something was refused or "
                    "a bracket failed.")
    bracket.add_argument("photos", nargs="*", type=Path, metavar="PHOTO|DIR",
                         help="the frames of one bracket, in any order; or folders, each with the frames of one")
    bracket.add_argument("-r", "--recursive", action="store_true", help="folders with all folders below them")
    bracket.add_argument("--frames", type=int, default=4, metavar="N",
                         help="the most frames that are kept, or taken in all (default: 4)")
    bracket.add_argument("--enough", type=float, default=_ENOUGH, metavar="DB",
                         help=f"fewer frames are enough where they reach this (default: {_ENOUGH:g})")
    add_next_shot(bracket)
    add_limits(bracket)
    bracket.add_argument("--json", action="store_true", help="a JSON object per bracket, or of the next shot")
    bracket.add_argument("-q", "--quiet", action="store_true",
                         help="print the names of the frames alone, or the step alone")


def run(arguments: argparse.Namespace) -> int:
    """Choose among what was named."""
    if arguments.frames < 1:
        raise UsageError(f"--frames must be at least 1; got {arguments.frames}")
    if not arguments.enough > 0:
        raise UsageError(f"--enough must be above 0 dB; got {arguments.enough:g}")
    if arguments.shots is not None:
        return run_next_shot(arguments)
    if not arguments.photos:
        raise UsageError("no frames are named; name a folder with a bracket, or the shots so far with --next")
    from rlenhance.io.discovery import find_brackets

    failed = 0
    for bracket in find_brackets(arguments.photos, recursive=arguments.recursive):
        try:
            _choose(bracket, arguments)
        except Exception as error:  # one bracket never stops the others
            failed += 1
            print(f"failed: {name_flags(describe_failure(error, bracket.source.stem))}", file=sys.stderr)
    return 2 if failed else 0


def _choose(bracket: FoundBracket, arguments: argparse.Namespace) -> None:
    """Print which frames of one bracket are enough."""
    from rlenhance.io.contact_sheet import downscale
    from rlenhance.pipelines.bracket_choice import best_frames
    from rlenhance.pipelines.fuse import align, check_sizes

    bracket.check()
    open_photo, sizes = reader_of(arguments), []
    photos: list[Photo] = []
    for path in bracket.frames:
        photo = open_photo(path)
        sizes.append((str(path), photo.pixels.shape[1::-1]))
        photos.append(replace(photo, pixels=downscale(photo.visible_pixels, _SIDE), alpha=None, wide_gamut=None))
    check_sizes(sizes)
    laid = align(photos)
    names = [laid.photos[number].name for number in laid.used]
    sets = best_frames([laid.frames[number] for number in laid.used], arguments.frames)
    chosen = next((one for one in sets if one.psnr >= arguments.enough), sets[-1])
    kept = [names[number] for number in chosen.numbers]
    lost = None if math.isinf(chosen.psnr) else round(chosen.psnr, 2)
    left_out = [one.name for one in laid.about if one.left_out]
    if arguments.json:
        print(json.dumps({"bracket": bracket.source.stem, "frames": len(bracket.frames), "kept": kept, "psnr": lost,
                          "sets": [{"kept": [names[number] for number in one.numbers],
                                    "psnr": None if math.isinf(one.psnr) else round(one.psnr, 2)} for one in sets],
                          "left_out": left_out}))
        return
    if not arguments.quiet:
        quality = "nothing is lost" if lost is None else f"{lost:.1f} dB to the fusion of all"
        print(printable(f"{bracket.source.stem}: {len(kept)} of {len(bracket.frames)} frames, {quality}"))
        for name in left_out:
            print(printable(f"note: {name} does not show the scene and is left out"), file=sys.stderr)
    for name in kept:
        print(printable(name if arguments.quiet else f"  {Path(name).name}"))
