"""Standard streams that may be closed, full, or unable to show a name."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rlenhance.core.errors import UsageError


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
