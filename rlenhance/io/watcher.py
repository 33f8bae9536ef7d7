"""Photographs that arrive in a folder, each given once it is completely written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.io.discovery import walk
from rlenhance.io.video_formats import ENDINGS

#: Size in bytes and time of the last change, in nanoseconds: another one is another file.
Stamp = tuple[int, int]


@dataclass
class _Seen:
    stamp: Stamp
    since: float
    given: bool = False


class FolderWatcher:
    """Looks at a folder again and again.

    A file counts as written when its size and its time have stayed the same for `settle` seconds, an empty one ten
    times as long. One that changes after it was given is given again: what was half a picture gets another chance.

    Args:
        folder: where they arrive.
        recursive: in its folders too.
        but: a folder in it that is left out: the one that results go to.
        settle: seconds without a change.
        clock: seconds that only grow.
    """

    def __init__(self, folder: Path, *, recursive: bool = False, but: Path | None = None, settle: float = 2.0,
                 clock: Callable[[], float] = time.monotonic):
        self.folder, self._recursive, self._but = folder, recursive, but and but.resolve()
        self._settle, self._clock = settle, clock
        self._seen: dict[Path, _Seen] = {}
        self._clips: set[Path] = set()

    def poll(self) -> list[Path]:
        """Those that are complete now and were not given before, in the order of their names.

        Raises:
            UsageError: the folder is not there, or cannot be listed.
        """
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder}: no such folder")
        now, found = self._clock(), {}
        for path in walk(self.folder, self._recursive, self._but):
            try:
                stat = path.stat()
            except OSError:  # it went away meanwhile
                continue
            stamp = stat.st_size, stat.st_mtime_ns
            seen = self._seen.get(path)
            found[path] = seen if seen is not None and seen.stamp == stamp else _Seen(stamp, now)
        self._seen = found
        ready = [path for path, seen in found.items()
                 if not seen.given and now - seen.since >= self._settle * (1 if seen.stamp[0] else 10)]
        for path in ready:
            found[path].given = True
        return ready

    def clips(self) -> list[Path]:
        """The clips that lie there and were not given before."""
        found = [path for path in walk(self.folder, self._recursive, self._but, ENDINGS) if path not in self._clips]
        self._clips.update(found)
        return found

    @property
    def all(self) -> list[Path]:
        """What lay there at the last look."""
        return list(self._seen)

    @property
    def pending(self) -> int:
        """How many were still being written at the last look."""
        return sum(not seen.given for seen in self._seen.values())
