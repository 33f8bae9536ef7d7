"""Errors of usage: one line that names the value and the way out, without a traceback."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input. Its text names the value seen and the way out; the commands print it and end with status 2."""


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


class UnknownName(UsageError, KeyError):
    """A name that is not registered; the text lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        self.text = f"unknown {kind} {name!r}: {hint}known are {', '.join(known) or 'none'}"
        super().__init__(self.text)

    def __str__(self) -> str:  # KeyError would quote it
        return self.text
