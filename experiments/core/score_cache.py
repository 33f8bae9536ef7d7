"""Scores that a comparison made before: what was broken off, or gets one more row, goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.io.files import write_atomically


class ScoreCache:
    """What was scored in a folder before, on the same pictures.

    Args:
        folder: where scores.json is kept; it is made.
        pictures: tells them from others.

    Raises:
        UsageError: a scores.json that cannot be read.
    """

    def __init__(self, folder: Path, pictures: str):
        self._path, self._prefix = folder / "scores.json", f"{pictures} "
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._found: dict[str, Any] = json.loads(self._path.read_text()) if self._path.is_file() else {}
        except ValueError as error:
            raise UsageError(f"{self._path}: damaged ({error}); remove it, and everything is scored again") from error

    def get_or_compute(self, key: str, make: Callable[[], Any]) -> Any:
        """What JSON can hold under a key, made and written if it is not there."""
        key = self._prefix + key
        if key not in self._found:
            self._found[key] = make()
            write_atomically(self._path, json.dumps(self._found).encode())
        return self._found[key]
