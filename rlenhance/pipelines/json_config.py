"""JSON files written by users: unknown and repeated keys are errors, and every message names the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UnknownName, UsageError


def read_object(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """A JSON object whose keys are all among `keys`.

    Raises:
        UsageError: the file cannot be read, is not JSON, not an object, or has a key twice or one that is unknown.
    """
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"{path}: {twice!r} is given twice; keep one")
        return found

    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=pairs)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}: must hold an object, {{...}}; got {found!r:.60}")
    known = list(keys)
    for key in found:
        if key not in known:
            raise UsageError(f"{path}: {UnknownName('key', key, known)}")
    return found


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of the file before the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def text(key: str, value: Any) -> str:
    """Check that a value is a string; else a UsageError names key and value."""
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a text in quotes; got {value!r:.60}")
    return value
