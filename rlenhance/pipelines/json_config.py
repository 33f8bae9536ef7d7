"""JSON files that a user writes: nothing in them is passed over, and what is wrong is named with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.pipelines.options import AUTO


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
            raise UsageError(f"{path}: {twice!r} stands there twice; keep one")
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
        raise UsageError(f"{path}: must hold an object, {{...}}; got {_shown(found)}")
    known = list(keys)
    for key in found:
        if key not in known:
            raise UsageError(f"{path}: {UnknownName('key', key, known)}")
    return found


def number(path: Path, key: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number between `low` and `high`.

    Raises:
        UsageError: names file, key and value.
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not -1e300 < value < 1e300 or not low <= value <= high:  # also integers that no float can hold
        wanted = "a number" if math.isinf(low) else f"a number between {low:g} and {high:g}"
        raise UsageError(f"{path}: {key} must be {wanted}; got {_shown(value)}")
    return float(value)


def text(path: Path, key: str, value: Any) -> str:
    """A string.

    Raises:
        UsageError: names file, key and value.
    """
    if not isinstance(value, str):
        raise UsageError(f"{path}: {key} must be a text in quotes; got {_shown(value)}")
    return value


def preference(path: Path, value: Any) -> dict[str, float | None]:
    """Preference values by name, "auto" as None. Names and ranges are the model's to judge.

    Raises:
        UsageError: not an object of numbers and "auto".
    """
    if not isinstance(value, dict):
        raise UsageError(f'{path}: preference must be an object, as in {{"exposure_level": 0.5}}; got {_shown(value)}')
    return {name: None if entry == AUTO else number(path, f"preference {name}", entry)
            for name, entry in value.items()}


def _shown(value: Any) -> str:
    written = json.dumps(value)
    return written if len(written) <= 60 else f"{written[:57]}..."
