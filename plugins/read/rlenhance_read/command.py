"""`rlenhance read`: photographs in, their text out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import add_written_file, refuse_stranger
from rlenhance.cli.reports import as_json, name_flags
from rlenhance.core.errors import UsageError, describe_failure, printable

if TYPE_CHECKING:
    from rlenhance_read.reader import ReadResult


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    read = commands.add_parser(
        "read", help="read the text in photographs, dark and uneven ones too",
        description="Read the text in photographs with an OCR engine. Each photograph is prepared; where the reading "
                    "is not sure, another way is tried, until two agree. The text goes to standard output, "
                    "of one photograph alone; notes go to standard error. Exit status: 0; 1 where no photograph "
                    "has text; 2 where one could not be read.")
    read.add_argument("photos", nargs="+", metavar="PHOTO|DIR", help="photographs, folders of them, patterns, or - for "
                                                                     "standard input")
    read.add_argument("-r", "--recursive", action="store_true", help="folders with all folders below them")
    read.add_argument("--engine", metavar="NAME", help="tesseract or rapidocr (default: rapidocr where it is "
                                                       "installed)")
    read.add_argument("--tools", action="append", default=[], metavar="\"TOOL TOOL ...\"",
                      help="a way to read: filters and tools in order, behind a comma the layout (block, sparse or "
                      "auto); again for the next way, which is tried where the one before does not convince "
                      "(default: the rule's own six ways)")
    read.add_argument("--doubtful", action="store_true", help="print what was read where it looks like no text, too")
    read.add_argument("--best", action="store_true", help="read every way there is, and take what the readings support "
                                                          "best: slow")
    read.add_argument("--reads", type=int, default=6, metavar="N", help="read a photograph at most so often "
                                                                        "(default: 6)")
    read.add_argument("--price", type=float, metavar="SHARE", help="let the trained policy choose, which reads less: "
                      "what a further read must gain, as a share of the text (0 to 0.06; it was trained for 0.01)")
    read.add_argument("--json", action="store_true", help="a JSON object per photograph: text, confidence, words with "
                      "their boxes, the filters, and what the engine reads without them")
    add_written_file(read, "--save-picture", kind="sheet", folder=True, metavar="FILE.png|DIR",
                      help="write the picture that was read, of several into a folder")
    read.add_argument("--overwrite", action="store_true", help="replace pictures of --save-picture that exist")
    read.add_argument("--explain", action="store_true", help="tell every attempt, and what the engine reads without "
                                                             "filters")


def run(arguments: argparse.Namespace) -> int:
    """Read what was named."""
    from rlenhance.io.discovery import find_photos
    from rlenhance_read.reader import PhotoReader

    found = find_photos(arguments.photos, recursive=arguments.recursive)
    place: Path | None = arguments.save_picture
    if place is not None and len(found) > 1 and (place.suffix or place.is_file()):
        raise UsageError(f"--save-picture {place}: a folder, for {len(found)} photographs; name one without an ending")
    reader = PhotoReader(arguments.engine, most=arguments.reads, price=arguments.price, best=arguments.best,
                         plain=arguments.json or arguments.explain, tools=arguments.tools,
                         gate=False if arguments.doubtful else None)
    failed = texts = 0
    for photo in found:
        name = photo.path
        try:
            result = reader(_pixels(name))
            if place is not None:
                _save(result, place, name, photo.relative_dir, arguments.overwrite)
        except Exception as error:  # one photograph never stops the others
            failed += 1
            _fail(arguments, name, describe_failure(error, name))
            continue
        texts += result.found
        _tell(arguments, name, result, several=len(found) > 1)
    return 2 if failed else 0 if texts else 1


def _pixels(path: Path) -> Any:
    from rlenhance.io import STDIO, decode, read
    from rlenhance.io.files import read_bounded

    return (decode(read_bounded(sys.stdin.buffer, "-"), "-") if path == STDIO else read(path)).visible_pixels


def _save(result: ReadResult, place: Path, name: Path, below: Path, overwrite: bool) -> None:
    import numpy as np

    from rlenhance.io import STDIO
    from rlenhance.io.own_files import write_sheet

    alone = bool(place.suffix)
    stem = "standard-input" if name == STDIO else name.stem
    target = place if alone else place / below / f"{stem}_read.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    refuse_stranger(target, "sheet", "--save-picture", overwrite)
    write_sheet(np.repeat(result.prepared[:, :, None], 3, axis=2), target)


def _fail(arguments: argparse.Namespace, name: Path, error: str) -> None:
    print(f"failed: {name_flags(error)}", file=sys.stderr)
    if arguments.json:
        print(as_json(photograph=name, error=error), flush=True)


def _tell(arguments: argparse.Namespace, name: Path, result: ReadResult, several: bool) -> None:
    note: Callable[[str], None] = lambda line: print(line, file=sys.stderr)  # noqa: E731
    shown = printable(str(name))
    if arguments.json:
        print(as_json(photograph=name, **result.to_json()), flush=True)
    else:
        if several:
            print(f"==> {shown} <==")
        if result.found:
            print(result.text, flush=True)
    if arguments.explain:
        for chain, reading in result.attempts:
            taken = "  <- taken" if chain == result.chain else ""
            note(f"{shown}: {chain}: confidence {reading.confidence:.2f}, "
                 f"{printable(' / '.join(reading.text.splitlines()))[:100] or 'nothing'}{taken}")
    count = len(result.attempts)
    reads = f"{count} read{'s' * (count != 1)}"
    if result.found:
        note(f"{shown}: read after {result.chain}, confidence {result.reading.confidence:.2f}, {reads}")
    elif result.doubtful is None:
        note(f"{shown}: no text found, {reads}")
    else:
        sign = printable(" / ".join(result.doubtful.text.splitlines()))
        note(f"{shown}: no text found, {reads}; {sign[:40]!r} is taken for none (--doubtful prints it)")
