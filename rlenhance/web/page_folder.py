"""The temporary folder of a page, and the removal of those that killed pages left."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rlenhance.core.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows, where a killed page's folder stays
    fcntl = None  # type: ignore[assignment]

PREFIX = "rlenhance-page-"
#: Held by the page as long as its process lives, however that ends.
_LOCK = "page.lock"
_BEGINNING = 3600.0  # seconds for which a folder without a lock may be that of a page that begins


@contextmanager
def page_folder() -> Iterator[Path]:
    """A folder for one page, removed at the end; those of pages that were killed are removed now.

    Raises:
        UsageError: there is no place for it.
    """
    remove_dead()
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise UsageError(f"no temporary folder can be made ({error.strerror}); name another place in TMPDIR") from error
    with lock:
        _holds(lock)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_dead() -> None:
    """Remove the folders of this user's pages whose processes are gone."""
    if fcntl is None:
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another page removes it, or it is not ours
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue
            if not (folder / _LOCK).exists():
                if about.st_mtime < time.time() - _BEGINNING:
                    folder.rmdir()  # where it is empty
                continue
            with (folder / _LOCK).open("r+") as lock:
                if _holds(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def _holds(lock: IO[str]) -> bool:
    """Whether this process has taken a lock that no other process holds."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
