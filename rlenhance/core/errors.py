"""Errors of usage: one line that names the value and the way out, without a traceback."""

from __future__ import annotations

import difflib
import numbers
import operator
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: Environment variable; where it is set, `describe_failure` prints the traceback of a fault of the program.
TRACEBACK = "RLENHANCE_TRACEBACK"
_DRIVING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class UsageError(ValueError):
    """Bad input. Its text names the value seen and the way out; the commands print it and end with status 2."""


def describe_failure(error: Exception, name: object, *others: object) -> str:
    """One line on what failed with one of many files, so that the others go on.

    Bad input, lack of memory and what the system refuses are reported as they are. Everything else is a fault of the
    program and is called so.

    Args:
        error: what was raised.
        name: the file, which the line begins with where the error does not name it.
        others: names that may stand for it, as that of its result.

    Example:
        >>> describe_failure(UsageError("not a picture"), "a.jpg")
        'a.jpg: not a picture'
        >>> describe_failure(KeyError("tone"), "a.jpg")
        "a.jpg: fault of the program (KeyError: 'tone'), please report it; RLENHANCE_TRACEBACK=1 shows where"
    """
    if isinstance(error, UsageError):
        text = str(error)
        return text if any(str(known) in text for known in (name, *others)) else f"{name}: {text}"
    if isinstance(error, MemoryError):
        return f"{name}: not enough memory for it; process fewer at once, or reduce it first"
    if isinstance(error, OSError):
        return f"{name}: {error.strerror or error}"
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error, file=sys.stderr)
    told = " ".join("".join(traceback.format_exception_only(error)).split())  # its text may fail itself
    return f"{name}: fault of the program ({told[:200]}), please report it; {TRACEBACK}=1 shows where"


@contextmanager
def refuse_os_errors() -> Iterator[None]:
    """Turn what the system says about a path into a UsageError that names the path."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


def check_ranges(config: object, interval: str, *names: str) -> None:
    """Refuse settings outside their range.

    Args:
        config: has the settings as attributes: numbers, or tuples of numbers.
        interval: the range, as in "[0, 1)" or "(0, inf)".
        names: the settings.

    Raises:
        UsageError: names the first setting that is outside, or NaN.
    """
    low, high = map(float, interval[1:-1].split(","))
    above = operator.ge if interval[0] == "[" else operator.gt
    below = operator.le if interval[-1] == "]" else operator.lt
    for name in names:
        value = getattr(config, name)
        if not all(above(number, low) and below(number, high)
                   for number in (value if isinstance(value, tuple) else (value,))):
            raise UsageError(f"{name} must lie in {interval}; got {value}")


def check_counts(**counts: tuple[object, int]) -> None:
    """Refuse all but whole numbers from 1 to a largest one.

    Args:
        counts: value and largest value, by name.

    Raises:
        UsageError: names the first that is none.
    """
    for name, (value, most) in counts.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= int(value) <= most:
            raise UsageError(f"{name} must be a whole number from 1 to {most}; got {value!r:.60}")


def one_line(text: object, most: int = 300) -> str:
    """The text of a library's exception or of a file as one line: without control characters, `most` at most.

    Example:
        >>> one_line("Unexpected end of file:\\n\\x1b[2J at 3\\n")
        'Unexpected end of file: [2J at 3'
    """
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())[:most]


def printable(text: object) -> str:
    r"""Text whose names drive no terminal: control characters, and those that turn lines around, as escapes.

    Example:
        >>> printable("one" + chr(10) + "two" + chr(27) + "[31m.png")
        'one\\ntwo\\x1b[31m.png'
    """
    return _DRIVING.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


class UnknownName(UsageError, KeyError):
    """A name that is not registered; the text lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = difflib.get_close_matches(name[:100], known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        self.text = f"unknown {kind} {name!r:.80}: {hint}known are {', '.join(known) or 'none'}"
        super().__init__(self.text)

    def __str__(self) -> str:  # KeyError would quote it
        return self.text
