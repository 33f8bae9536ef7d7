"""Errors of usage: one line that names the value and the way out, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input. Its text names the value seen and the way out; the commands print it and end with status 2."""


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
