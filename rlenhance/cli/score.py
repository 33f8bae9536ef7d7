"""`rlenhance score`: numbers on photographs, with references or without."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.photo_command import add_limits, reader_of
from rlenhance.cli.reports import as_json, name_flags
from rlenhance.core.errors import UsageError, describe_failure, printable

if TYPE_CHECKING:
    from rlenhance.io import Photo
    from rlenhance.pipelines.photo_faults import PhotoFaults


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    score = commands.add_parser(
        "score", help="score photographs, against references or without",
        description="Score photographs. With --reference: PSNR in dB, SSIM, and the PSNR at the reference's mean "
                    "brightness. Without: what is seen of each in words: brightness, what is burnt out or black, "
                    "noise, blocks of JPEG, a colour cast. --terms: the mean level, and the costs of the reward terms "
                    "that need no reference, where less is better (docs/reference/rewards.md); --source adds those "
                    "that compare with the original. The last line is the mean. "
                    "Exit status: 0, or 2 where a photograph could not be scored.",
    )
    score.add_argument("photos", nargs="+", metavar="PHOTO|DIR", help="photographs, folders of them, patterns")
    score.add_argument("--reference", type=Path, metavar="FILE|DIR",
                       help="what they should look like: one file for all, or a folder in which each photograph finds "
                            "the file of its name, whatever its ending; a result's own ending ('_enhanced') may be "
                            "missing there")
    score.add_argument("--source", type=Path, metavar="FILE|DIR", help="what they were made of, found likewise")
    score.add_argument("-r", "--recursive", action="store_true",
                       help="folders with all folders below them, those of references too")
    score.add_argument("--terms", action="store_true", help="the terms of rewards instead of words; --source and "
                                                            "--exposure ask for them too")
    score.add_argument("--exposure", type=float, metavar="LEVEL", help="the level that the exposure terms aim at")
    add_limits(score)
    score.add_argument("--json", action="store_true", help="a JSON object per photograph, and one with the means")


def run(arguments: argparse.Namespace) -> int:
    """Score what was named."""
    from rlenhance.io import STDIO
    from rlenhance.io.discovery import find_photos

    if arguments.exposure is not None and not 0 <= arguments.exposure <= 1:
        raise UsageError(f"--exposure must lie between 0 and 1; got {arguments.exposure}")
    found = find_photos(arguments.photos, recursive=arguments.recursive)
    if any(photo.path == STDIO for photo in found):
        raise UsageError("-: a photograph from standard input has no name to be found by; name files")
    others = {word: _Others(place, arguments.recursive) for word, place in
              (("reference", arguments.reference), ("source", arguments.source)) if place is not None}
    report, open_photo = _Report(arguments.json), reader_of(arguments)
    in_words = not (others or arguments.terms or arguments.exposure is not None)
    for photo in found:
        partners = None
        try:
            partners = {word: other.of(photo.relative_dir, photo.path) for word, other in others.items()}
            if in_words:
                report.add_words(photo.path, _faults(photo.path, open_photo))
            else:
                report.add(photo.path, _scores(photo.path, partners, arguments.exposure, open_photo), partners)
        except Exception as error:  # one photograph never stops the others
            report.fail(photo.path, describe_failure(error, photo.path, *(partners or {}).values()))
    return report.end()


def _faults(path: Path, open_photo: Callable[[Path], Photo]) -> PhotoFaults:
    from rlenhance.pipelines.photo_faults import see_faults

    photo = open_photo(path)
    return see_faults(photo.visible_pixels, coded=path.suffix.lower() in (".jpg", ".jpeg"))


def _scores(path: Path, partners: Mapping[str, Path], exposure: float | None,
            open_photo: Callable[[Path], Photo]) -> dict[str, float]:
    from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE
    from rlenhance.pipelines.score import with_reference, without_reference

    pixels = open_photo(path).visible_pixels
    try:
        scores = {} if "reference" not in partners else \
            with_reference(pixels, open_photo(partners["reference"]).visible_pixels)
        if not scores or "source" in partners:
            origin = open_photo(partners["source"]).visible_pixels if "source" in partners else None
            scores |= without_reference(pixels, origin, DEFAULT_EXPOSURE if exposure is None else exposure)
    except UsageError as error:
        raise error if str(error).startswith(tuple(map(str, partners.values()))) else UsageError(f"{path}: {error}") \
            from error
    return scores


class _Others:
    """Files that belong to photographs: one for all, or found by their names in a folder."""

    def __init__(self, place: Path, recursive: bool):
        from rlenhance.io.discovery import find_photos

        self._place, self._file = place, place if place.is_file() else None
        self._known: dict[tuple[Path, str], list[Path]] = {}
        for found in find_photos([place], recursive=recursive):
            self._known.setdefault((found.relative_dir, found.path.stem), []).append(found.path)

    def of(self, below: Path, path: Path) -> Path:
        """The reference or original that belongs to a photograph.

        Raises:
            UsageError: none does, or several do.
        """
        from rlenhance.io.output_plan import SUFFIXES

        if self._file is not None:
            return self._file
        stems = [path.stem, *(path.stem.removesuffix(suffix) for suffix in SUFFIXES if path.stem.endswith(suffix))]
        known = next((self._known[below, stem] for stem in stems if (below, stem) in self._known), [])
        same = [other for other in known if other.suffix.lower() == path.suffix.lower()]
        if len(known) == 1 or len(same) == 1:
            return (same or known)[0]
        raise UsageError(f"{path}: several files of its name in {self._place} ({', '.join(o.name for o in known)}); "
                         f"leave one there" if known else f"{path}: no file of its name in {self._place}")


class _Report:
    """A table that grows line by line, names last since they are of any length; or JSON."""

    def __init__(self, as_lines_of_json: bool):
        self._json, self._columns = as_lines_of_json, list[str]()
        self._rows: list[dict[str, float]] = []
        self._failed = 0

    def add(self, path: Path, scores: dict[str, float], partners: Mapping[str, Path]) -> None:
        self._rows.append(scores)
        if self._json:
            print(as_json(photograph=path, **partners, scores=scores), flush=True)
            return
        if not self._columns:
            self._columns = list(scores)
            print("".join(f"{name:>{_width(name)}}" for name in self._columns) + "  photograph")
        self._line(scores.values(), str(path))

    def add_words(self, path: Path, found: PhotoFaults) -> None:
        self._rows.append(found.scores)
        if self._json:
            print(as_json(photograph=path, words=found.words, cast=found.cast, scores=found.scores), flush=True)
        else:
            print(f"{printable(path)}: {found.words}", flush=True)

    def fail(self, path: Path, error: str) -> None:
        self._failed += 1
        print(f"failed: {name_flags(error)}", file=sys.stderr)
        if self._json:
            print(as_json(photograph=path, error=error), flush=True)

    def _line(self, values: Iterable[float], name: str) -> None:
        print("".join(f"{value:>{_width(column)}.4f}" for column, value in zip(self._columns, values, strict=True))
              + f"  {printable(name)}", flush=True)

    def end(self) -> int:
        count = len(self._rows)
        means = {name: sum(row[name] for row in self._rows) / count for name in self._rows[0]} if count else {}
        if self._json:
            print(json.dumps({"summary": {"scored": count, "failed": self._failed, "mean": means}}))
        elif count > 1 and self._columns:
            self._line(means.values(), f"mean of {count}")
        return 2 if self._failed else 0


def _width(name: str) -> int:
    return max(10, len(name) + 2)
