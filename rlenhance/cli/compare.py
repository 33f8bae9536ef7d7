"""`rlenhance compare`: photographs beside each other on one labelled sheet."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import refuse_stranger
from rlenhance.cli.reports import name_flags
from rlenhance.cli.sheet_options import add_sheet, check_sheet, save_sheet
from rlenhance.core.errors import UsageError, describe_failure

if TYPE_CHECKING:
    from rlenhance.io import Photo
    from rlenhance.io.contact_sheet import Cell


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    compare = commands.add_parser(
        "compare", help="put photographs beside each other on a sheet",
        description="Put photographs beside each other on one labelled sheet: before and after, several settings, a "
                    "folder at a glance. Labels give the name, the size and the mean brightness. Exit status: 0, "
                    "or 2 where a photograph could not be read; the others are on the sheet.",
    )
    compare.add_argument("photos", nargs="+", metavar="PHOTO|DIR", help="photographs, folders of them, patterns")
    compare.add_argument("-r", "--recursive", action="store_true", help="folders with all folders below them")
    compare.add_argument("--crop", type=int, nargs=4, metavar=("X", "Y", "WIDTH", "HEIGHT"),
                         help="this part of each alone, in pixels from the upper left corner")
    add_sheet(compare, "compare.jpg")


def run(arguments: argparse.Namespace) -> int:
    """Make the sheet."""
    from rlenhance.io import STDIO, read
    from rlenhance.io.discovery import find_photos
    from rlenhance.io.output_plan import check_output

    check_sheet(arguments)
    target = arguments.output or Path("compare.jpg")
    paths = [found.path for found in find_photos(arguments.photos, recursive=arguments.recursive)]
    if STDIO in paths:
        raise UsageError("-: a photograph from standard input has no name for its label; name files")
    check_output(target, paths, arguments.overwrite)
    refuse_stranger(target, "sheet", "-o", arguments.overwrite)
    cells, failures = [], 0
    for path, name in zip(paths, apart(paths), strict=True):
        try:
            cells.append(_cell(read(path), path, name, arguments.crop, arguments.size))
        except Exception as error:  # one photograph never stops the others
            failures += 1
            print(f"failed: {name_flags(describe_failure(error, path))}", file=sys.stderr)
    if not cells:
        raise UsageError("none of the photographs can be shown")
    save_sheet(cells, target, arguments)
    return 2 if failures else 0


def apart(paths: list[Path]) -> list[str]:
    """The shortest distinct names of paths: without the folders that all of them share.

    Example:
        >>> apart([Path("in/a.jpg"), Path("out/a.jpg")])
        ['in/a.jpg', 'out/a.jpg']
        >>> apart([Path("all/in/a.jpg"), Path("all/in/b.jpg")])
        ['a.jpg', 'b.jpg']
    """
    whole = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [os.path.relpath(path, shared) for path in whole]


def _cell(photo: Photo, path: Path, name: str, crop: list[int] | None, side: int) -> Cell:
    from rlenhance.io.batch import mean_level
    from rlenhance.io.contact_sheet import Cell, thumbnail

    height, width = photo.pixels.shape[:2]
    label = f"{width} x {height}, mean {mean_level(photo):.2f}"
    if crop:
        x, y, across, down = crop
        if min(x, y) < 0 or min(across, down) < 1 or x + across > width or y + down > height:
            raise UsageError(f"{path}: --crop {x} {y} {across} {down} lies outside its {width} x {height} pixels")
        photo = photo.with_pixels(photo.pixels[y : y + down, x : x + across])
    return Cell(thumbnail(photo.pixels, side), (name, label))
