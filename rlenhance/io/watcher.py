"""Watch a folder for new photographs; each is returned once it is completely written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import CLIP_EXTENSIONS
from rlenhance.io.discovery import iter_photos

#: Size in bytes and modification time in nanoseconds; another stamp is another file.
Stamp = tuple[int, int]


@dataclass
class _Seen:
    stamp: Stamp
    since: float
    returned: bool = False


class FolderWatcher:
    """Polls a folder for complete new photographs.

    A file is complete when its size and modification time have not changed for `settle` seconds, an empty one for ten
    times as long. A file that changes after it was returned is returned again.

    Args:
        folder: the folder.
        recursive: include the folders below.
        exclude: a folder in it that is left out: the one of the results.
        settle: seconds without a change.
        clock: monotonic time in seconds.
    """

    def __init__(self, folder: Path, *, recursive: bool = False, exclude: Path | None = None, settle: float = 2.0,
                 clock: Callable[[], float] = time.monotonic):
        self.folder, self._recursive, self._exclude = folder, recursive, exclude
        self._settle, self._clock = settle, clock
        self._seen: dict[Path, _Seen] = {}
        self._clips: set[Path] = set()

    def poll(self) -> list[Path]:
        """The photographs that are complete and were not returned before, sorted by name.

        Raises:
            UsageError: the folder does not exist, or cannot be listed.
        """
        if not os.path.isdir(self.folder):
            raise UsageError(f"{self.folder}: no such folder")
        now, found = self._clock(), {}
        for path in iter_photos(self.folder, self._recursive, self._exclude):
            try:
                stat = path.stat()
            except OSError:  # it was removed meanwhile
                continue
            stamp = stat.st_size, stat.st_mtime_ns
            seen = self._seen.get(path)
            found[path] = seen if seen is not None and seen.stamp == stamp else _Seen(stamp, now)
        self._seen = found
        ready = [path for path, seen in found.items()
                 if not seen.returned and now - seen.since >= self._settle * (1 if seen.stamp[0] else 10)]
        for path in ready:
            found[path].returned = True
        return ready

    def clips(self) -> list[Path]:
        """The clips that were not returned before."""
        found = set(iter_photos(self.folder, self._recursive, self._exclude, CLIP_EXTENSIONS)) - self._clips
        self._clips |= found
        return sorted(found)

    @property
    def all(self) -> list[Path]:
        """The files of the last poll."""
        return list(self._seen)

    @property
    def pending(self) -> int:
        """Number of files that were incomplete at the last poll."""
        return sum(not seen.returned for seen in self._seen.values())
