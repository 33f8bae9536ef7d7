"""What the commands over photographs have in common: where results go, how many at once, and what is told.

    add_photos(parser, verb="brighten")
    ...
    plan = plan_photos(arguments, suffix="_enhanced")
    if arguments.dry_run:
        return tell_plan(plan, arguments)
    return carry_out(plan, process, arguments)
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rlenhance.errors import UsageError

if TYPE_CHECKING:
    from rlenhance.photo import Outcome, Photo, Plan
    from rlenhance.photo.batch import Process


def add_photos(parser: argparse.ArgumentParser, verb: str) -> None:
    """The photographs, and every option on what is done with their files.

    Args:
        verb: what the command does to them, for the help ("brighten").
    """
    parser.add_argument("photos", nargs="+", type=photo_path, metavar="PHOTO|DIR|-",
                        help=f"photographs to {verb}, folders of them, patterns ('2024-*/*.jpg'), or - for standard "
                             f"input")
    places = parser.add_argument_group("files")
    places.add_argument("-o", "--output", metavar="FILE|DIR|-",
                        help="write there: a file, a folder (which keeps the names), or - for standard output")
    places.add_argument("-r", "--recursive", action="store_true",
                        help="folders with all folders below them; the results mirror them")
    places.add_argument("--name", metavar="TEMPLATE",
                        help="how results are called, as in '{stem}_{preset}{ext}'; also {kind} (the source's ending) "
                             "and {number}")
    places.add_argument("--format", metavar="EXT", help="kind of file to write: jpg, png, webp, tiff, bmp "
                                                        "(default: the source's)")
    existing = places.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist; a source never")
    existing.add_argument("--skip-existing", action="store_true",
                          help="leave out what has a result already: an interrupted run goes on")
    places.add_argument("--dry-run", action="store_true", help="tell what would be written where, and stop")
    telling = parser.add_argument_group("running")
    telling.add_argument("--jobs", type=int, metavar="N",
                         help="photographs in memory at a time (default: by the cores, 8 at most)")
    telling.add_argument("--json", action="store_true", help="a JSON object per photograph, and one of the whole run")
    telling.add_argument("-q", "--quiet", action="store_true", help="tell failures alone")


def photo_path(word: str) -> Path:
    """A path from a command line; "./-" stays apart from "-"."""
    path = Path(word)
    return path.absolute() if str(path) == "-" != word else path


def extension_of(arguments: argparse.Namespace) -> str | None:
    """The ending that --format asks for, with its dot, or None.

    Raises:
        UsageError: nothing that can be written.
    """
    from rlenhance.photo import EXTENSIONS

    extension = f".{arguments.format.lower().lstrip('.')}" if arguments.format else None
    if extension is not None and extension not in EXTENSIONS:
        raise UsageError(f"--format is one of {' '.join(e.lstrip('.') for e in EXTENSIONS)}; got {arguments.format!r}")
    return extension


def plan_photos(arguments: argparse.Namespace, suffix: str, preset: str | None = None) -> Plan:
    """What goes where; no model is needed for it, so a typo in a name costs nothing.

    Args:
        arguments: those of `add_photos`.
        suffix: behind the name of a result that stands beside its source ("_enhanced").
        preset: for names that hold one.

    Raises:
        UsageError: see `make_plan`.
    """
    from rlenhance.photo import Naming, make_plan
    from rlenhance.photo.plan import check_streams
    from rlenhance.presets import FOLDER

    if arguments.jobs is not None and arguments.jobs < 1:
        raise UsageError(f"--jobs: at least one photograph is in work at a time; got {arguments.jobs}")
    preset = Path(preset).stem if preset is not None else None
    naming = Naming(suffix, arguments.name, extension_of(arguments), preset,
                    {path.stem for path in FOLDER.glob("*.json")} | ({preset} if preset else set()))
    plan = make_plan(arguments.photos, arguments.output, naming=naming, recursive=arguments.recursive,
                     overwrite=arguments.overwrite, skip_existing=arguments.skip_existing)
    if not arguments.dry_run:
        check_streams(plan)
    return plan


def tell_plan(plan: Plan, arguments: argparse.Namespace) -> int:
    """Print a plan instead of doing it."""
    for job in plan.jobs:
        print(_json(source=job.source, target=job.target, status="planned") if arguments.json
              else f"{job.source} -> {job.target}")
    for job in plan.skipped:
        print(_json(source=job.source, target=job.target, status="skipped") if arguments.json
              else f"{job.source}: skipped, {job.target} exists")
    counts = {"planned": len(plan.jobs), "skipped": len(plan.skipped), "passed_over": len(plan.passed_over)}
    if arguments.json:
        print(json.dumps({"summary": counts}))
    elif not arguments.quiet:
        over = f", {counts['passed_over']} results of earlier runs passed over" if plan.passed_over else ""
        print(f"{counts['planned']} to do, {counts['skipped']} skipped{over}; nothing was written")
    return 0


def remarks(plan: Plan, arguments: argparse.Namespace) -> TextIO:
    """Where a command says what else is worth knowing: never into a picture or between JSON objects."""
    from rlenhance.photo import STANDARD

    if arguments.quiet:
        return io.StringIO()
    return sys.stderr if arguments.json or any(job.target == STANDARD for job in plan.jobs) else sys.stdout


def carry_out(plan: Plan, process: Process, arguments: argparse.Namespace, *, copy: bool = True,
              encode: Callable[[Photo, str], bytes] | None = None) -> Tally:
    """Do what is planned and tell it.

    Args:
        plan: see `plan_photos`.
        process: see `rlenhance.photo.batch.Process`.
        arguments: those of `add_photos`.
        copy: a photograph that stays as it is may be copied byte by byte.
        encode: see `run_batch`; None: as it does.

    Returns:
        How many came to which end, and with it the exit status.
    """
    from rlenhance.photo import STANDARD, run_batch

    out = sys.stderr if any(job.target == STANDARD for job in plan.jobs) else sys.stdout
    options: dict[str, Any] = {"encode": encode} if encode else {}
    with _Report(len(plan.jobs), out, arguments.json, arguments.quiet) as report, closing(
            run_batch(plan, process, at_once=arguments.jobs, extension=extension_of(arguments), copy=copy,
                      **options)) as outcomes:  # type: ignore[type-var]
        for outcome in outcomes:
            report.tell(outcome)
    return report.tally


@dataclass
class Tally:
    """How many photographs came to which end."""

    written: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def status(self) -> int:
        """The exit status: 0, or 2 where a photograph failed."""
        return 2 if self.failed else 0

    @property
    def told(self) -> int:
        """All of them."""
        return self.written + self.skipped + self.failed


class _Report:
    """Lines, one bar or JSON objects.

    A terminal gets one bar for several photographs, with photographs per second and the time left; a pipe gets a line
    per photograph.
    """

    def __init__(self, total: int, out: TextIO, as_json: bool, quiet: bool):
        self._out, self._json, self._quiet, self._total = out, as_json, quiet, total
        self._start, self._megapixels = time.perf_counter(), 0.0
        self.tally = Tally()
        self._failures: list[str] = []
        self._bar: Any = None
        if total > 1 and not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=" photographs", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None or kind is KeyboardInterrupt:
            self._end(interrupted=kind is KeyboardInterrupt)

    def tell(self, outcome: Outcome) -> None:
        """What became of one of them."""
        status = "failed" if outcome.error else "skipped" if outcome.skipped else "written"
        setattr(self.tally, status, getattr(self.tally, status) + 1)
        self._megapixels += outcome.megapixels or 0 if status == "written" else 0
        if outcome.error:
            self._failures.append(outcome.error)
            self._print(f"failed: {outcome.error}", sys.stderr)
        if self._json:
            self._print(_json(source=outcome.source, target=outcome.written, status=status,
                              seconds=round(outcome.seconds, 4), megapixels=outcome.megapixels, size=outcome.size,
                              warnings=outcome.warnings, decision=outcome.decision, error=outcome.error), self._out)
        elif not self._quiet:
            for warning in outcome.warnings:
                self._print(f"note: {warning}", sys.stderr)
            if self._bar is None or not self._out.isatty():
                self._line(outcome, status)
        if self._bar is not None and status != "skipped":
            self._bar.update()

    def _line(self, outcome: Outcome, status: str) -> None:
        if status == "written":
            self._print(f"{outcome.source} -> {outcome.written}", self._out)
        elif status == "skipped":
            self._print(f"{outcome.source}: skipped, {outcome.written} exists", self._out)

    def _print(self, text: str, stream: TextIO) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(text, file=stream, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def _end(self, interrupted: bool) -> None:
        seconds = time.perf_counter() - self._start
        written, planned = self.tally.written, self._total + self.tally.skipped
        if self._json:
            whole = {**asdict(self.tally), "interrupted": interrupted, "seconds": round(seconds, 3),
                     "megapixels": round(self._megapixels, 3)}
            print(json.dumps({"summary": whole}), file=self._out, flush=True)
        elif planned > 1 and not self._quiet and not interrupted:
            counts = ", ".join(f"{count} {status}" for status, count in asdict(self.tally).items() if count)
            print(f"{counts} in {seconds:.1f} s ({written / max(seconds, 1e-9):.2g} per second)",
                  file=self._out, flush=True)
        if interrupted:
            print(f"stopped: {written} written, {planned - self.tally.told} left; the same command with "
                  f"--skip-existing goes on from there", file=sys.stderr)
        elif self._failures and planned > 1:
            print(f"{len(self._failures)} of {planned} photographs failed; the others are written:", *self._failures,
                  sep="\n  ", file=sys.stderr)


def _json(**values: Any) -> str:
    return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in values.items()},
                      default=str)
