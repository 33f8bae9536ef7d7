"""The part that the commands with a contact sheet share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rlenhance.cli.parser import add_written_file
from rlenhance.core.errors import UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlenhance.io.contact_sheet import Cell


def add_sheet(parser: argparse.ArgumentParser, place: str) -> None:
    """Where a sheet goes and how it is laid out.

    Args:
        place: where it goes by default, for the help.
    """
    add_written_file(parser, "-o", "--output", kind="sheet", metavar="FILE",
                     help=f"write the sheet there (default: {place})")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists; a photograph never")
    parser.add_argument("--columns", type=int, metavar="N", help="pictures side by side (default: what comes near 3:2)")
    parser.add_argument("--size", type=int, default=480, metavar="PIXELS",
                        help="longer side of each picture on the sheet (default: 480)")


def check_sheet(arguments: argparse.Namespace) -> None:
    """Refuse an invalid layout."""
    if arguments.columns is not None and arguments.columns < 1:
        raise UsageError(f"--columns must be at least 1; got {arguments.columns}")
    if not 16 <= arguments.size <= 4096:
        raise UsageError(f"--size must lie between 16 and 4096 pixels; got {arguments.size}")


def save_sheet(cells: Sequence[Cell], target: Path, arguments: argparse.Namespace) -> None:
    """Lay the cells out and write the sheet."""
    from rlenhance.io.contact_sheet import make_sheet
    from rlenhance.io.own_files import write_sheet

    write_sheet(make_sheet(cells, arguments.columns, arguments.size), target)
    print(f"{len(cells)} picture{'s' if len(cells) > 1 else ''} -> {printable(target)}")
