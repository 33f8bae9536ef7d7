"""What a command prints: lines, a progress bar, JSON; on streams that may be closed, full, or unable to show a name."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rlenhance.core.errors import UsageError, printable

if TYPE_CHECKING:
    from rlenhance.io import Outcome
    from rlenhance.pipelines.video import Progress

_INTERVAL = 10.0  # seconds between lines about a clip
_FLAGS = {"out": "-o", "overwrite": "--overwrite", "skip_existing": "--skip-existing", "recursive": "-r",
          "template": "--name", "shard": "--shard", "ledger": "--ledger", "address": "--address",
          "on": "--on", "workers": "--workers", "failures": "--failures", "max_failure_rate": "--max-failure-rate",
          "extension": "--format", "megapixels": "--max-megapixels",
          "memory": "--max-megapixels", "seconds": "--decode-timeout",
          "Command.seconds": "--tool-timeout", "Command.memory": "--tool-memory", "tools": "--tool",
          "tool_weights": "--tool-weights"}


def name_flags(message: str) -> str:
    """An error of the library with its parameters in parentheses replaced by flags of the command line.

    Example:
        >>> name_flags("a.png: exists; replace it (overwrite)")
        'a.png: exists; replace it (--overwrite)'
    """
    return printable(re.sub(r"\(([\w.]+)\)", lambda match: f"({_FLAGS.get(match[1], match[1])})", message))


@dataclass
class Summary:
    """Numbers of photographs by their outcome."""

    written: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def status(self) -> int:
        """The exit status: 0, or 2 where a photograph failed."""
        return 2 if self.failed else 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.written + self.skipped + self.failed


class Reporter:
    """Reports outcomes: a progress bar on a terminal, a line per photograph in a pipe.

    Args:
        total: number of photographs; None where it is unknown.
        out: for results; failures go to standard error.
        json_lines: a JSON object per photograph, and one of the whole run.
        quiet: failures only.
        goes_on: what the same command needs to go on where it was interrupted.
    """

    def __init__(self, total: int | None, out: TextIO, json_lines: bool, quiet: bool,
                 goes_on: str = "with --skip-existing "):
        self._goes_on = goes_on
        self._out, self._json, self._quiet, self._total = out, json_lines, quiet, total
        self._start, self._megapixels = time.perf_counter(), 0.0
        self.summary = Summary()
        self._failures: list[str] = []
        self._bar: Any = None
        if total is not None and total > 1 and not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=" photographs", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self._end(interrupted=kind is not None)

    def report(self, outcome: Outcome) -> None:
        """Report one outcome."""
        status = "failed" if outcome.error else "skipped" if outcome.skipped else "written"
        setattr(self.summary, status, getattr(self.summary, status) + 1)
        self._megapixels += outcome.megapixels or 0 if status == "written" else 0
        if outcome.error:
            self._failures.append(name_flags(outcome.error))
            self._print(f"failed: {self._failures[-1]}", sys.stderr)
        if self._json:
            self._print(as_json(source=outcome.source, target=outcome.written, status=status,
                              seconds=round(outcome.seconds, 4), megapixels=outcome.megapixels, size=outcome.size,
                              warnings=outcome.warnings, decision=outcome.decision,
                              error=outcome.error and name_flags(outcome.error)), self._out)
        elif not self._quiet:
            said = [f"{outcome.source}: {words}" for words in outcome.words]
            for warning in (*outcome.warnings, *said):
                self._print(f"note: {warning}", sys.stderr)
            if self._bar is None or not self._out.isatty():
                self._line(outcome, status)
        if self._bar is not None and status != "skipped":
            self._bar.update()

    def _line(self, outcome: Outcome, status: str) -> None:
        if status == "written" and str(outcome.written) != "-":
            words = f": {outcome.decision['words']}" if "words" in outcome.decision else ""
            self._print(f"{outcome.source} -> {outcome.written}{words}", self._out)
        elif status == "skipped":
            self._print(f"{outcome.source}: skipped, {outcome.written} exists", self._out)

    def _print(self, text: str, stream: TextIO) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(text if self._json and stream is self._out else printable(text), file=stream, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def _end(self, interrupted: bool) -> None:
        seconds = time.perf_counter() - self._start
        written, planned = self.summary.written, (self._total or 0) + self.summary.skipped
        if self._json:
            whole = {**asdict(self.summary), "interrupted": interrupted, "seconds": round(seconds, 3),
                     "megapixels": round(self._megapixels, 3)}
            print(json.dumps({"summary": whole}), file=self._out, flush=True)
        elif planned > 1 and not self._quiet and not interrupted:
            counts = ", ".join(f"{count} {status}" for status, count in asdict(self.summary).items() if count)
            print(f"{counts} in {seconds:.1f} s ({written / max(seconds, 1e-9):.2g} per second)",
                  file=self._out, flush=True)
        if interrupted and self._total is None:
            print(f"stopped: {written} written, {self.summary.failed} failed", file=sys.stderr)
        elif interrupted:
            print(f"stopped: {written} written, {planned - self.summary.total} left; the same command "
                  f"{self._goes_on}goes on from there", file=sys.stderr)
        elif self._failures and planned > 1:
            print(f"{len(self._failures)} of {planned} photographs failed; the others are written:", *self._failures,
                  sep="\n  ", file=sys.stderr)


class FrameBar:
    """Frames per second and the time left of a clip on standard error: a bar, or a line every ten seconds."""

    def __init__(self, source: Path, quiet: bool = False):
        self._source, self._quiet, self._next = source, quiet, _INTERVAL
        self._bar: Any = None

    def __enter__(self) -> FrameBar:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, progress: Progress) -> None:
        """Show how far the clip is."""
        if self._quiet:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=progress.total, desc=printable(self._source.name), unit=" frames",
                                 file=sys.stderr, dynamic_ncols=True, leave=False)
            self._bar.update(progress.frames - self._bar.n)
        elif progress.seconds >= self._next:
            self._next = progress.seconds + _INTERVAL
            of = f" of {progress.total}" if progress.total else ""
            left = f", {progress.left:.0f} s left" if progress.left is not None else ""
            print(f"{printable(self._source)}: {progress.frames}{of} frames, {progress.rate:.1f} per second{left}",
                  file=sys.stderr, flush=True)


def as_json(**values: Any) -> str:
    r"""One line; paths become text.

    Example:
        >>> as_json(source=Path("night.jpg"), size=(3, 2))
        '{"source": "night.jpg", "size": [3, 2]}'
    """
    return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in values.items()},
                      default=str)


class OutputStream:
    """A text stream whose failure is remembered and stops nothing: the work goes on, its lines are lost.

    Args:
        stream: the text stream.
        raises: a reader that went away, as `head` does, is a BrokenPipeError.

    Attributes:
        error: why it could not be written to; "" where it could.
    """

    def __init__(self, stream: Any, raises: bool):
        self._stream, self._raises, self.error = stream, raises, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, or lose it."""
        with self._guarded():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or lose it."""
        with self._guarded():
            self._stream.flush()

    def lost(self) -> bool:
        """Whether lines were lost, which is reported."""
        self.flush()
        if self.error:
            print(f"error: standard output: cannot be written ({self.error}); its lines are lost", file=sys.stderr)
        return bool(self.error)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError, ValueError, AttributeError):  # or what is buffered fails again at Python's end
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            if self._raises and isinstance(error, BrokenPipeError):
                raise
            self.error = self.error or error.strerror or str(error)


def check_words(words: Sequence[str]) -> None:
    """Refuse a NUL byte on a command line; no system call takes one."""
    for word in words:
        if "\0" in word:
            raise UsageError(f"{word!r}: no name and no value holds a NUL byte; leave it out")


@contextmanager
def guarded_streams() -> Iterator[OutputStream]:
    """Standard streams that stop no command, given standard output.

    A closed one is opened on the null device, for reading where it is standard output: what is written to it fails,
    and no file that is opened later takes its place. Names that are no text are shown with backslashes.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    output = OutputStream(sys.stdout, raises=True)
    sys.stdout, sys.stderr = output, OutputStream(sys.stderr, raises=False)  # type: ignore[assignment]
    try:
        yield output
    finally:
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = before
