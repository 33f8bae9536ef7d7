"""Temporary folders in which untrusted programs work, and their removal, whatever was done to them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FD_FOLDER = "/proc/self/fd"  # shows where an open folder is now; elsewhere one that was moved away is emptied alone


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder that is gone at the end: also where it was moved away, replaced by a link, nested deeply, or closed to
    its owner.

    Args:
        prefix: of its name.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        try:
            empty_folder(place)
            now = folder if _is_same(folder, place) else _place_of(place)
        finally:
            os.close(place)
        with suppress(OSError):
            if folder.is_symlink():
                folder.unlink()
        if now is not None:
            with suppress(OSError):
                now.rmdir()


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it; links are not followed. What cannot be removed stays."""
    with suppress(OSError):
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            empty_folder(place)
        finally:
            os.close(place)
        os.rmdir(folder)


def empty_folder(place: int) -> None:
    """Remove what is in an open folder, without following links and without recursion: folders below are moved up
    first, so that no depth is too deep.

    Args:
        place: its descriptor.
    """
    number = 0
    with suppress(OSError):
        os.fchmod(place, 0o700)
    while folders := _without_files(place, place, 0)[0]:
        before = number
        for name in folders:
            with suppress(OSError):
                os.chmod(name, 0o700, dir_fd=place, follow_symlinks=False) if os.chmod in os.supports_follow_symlinks \
                    else os.chmod(name, 0o700, dir_fd=place)
            with suppress(OSError):
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
                try:
                    _, number = _without_files(inner, place, number)
                finally:
                    os.close(inner)
            with suppress(OSError):
                os.rmdir(name, dir_fd=place)
                number += 1
        if number == before:
            return  # nothing can be removed any more


def _without_files(folder: int, top: int, number: int) -> tuple[list[str], int]:
    """Remove the files of a folder and move its folders into `top`; those that are there, and how many were moved."""
    folders = []
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in names:
        with suppress(OSError):
            if not is_folder:
                os.unlink(name, dir_fd=folder)
            elif folder == top:
                folders.append(name)
            else:
                os.rename(name, f".{os.urandom(8).hex()}", src_dir_fd=folder, dst_dir_fd=top)
                number += 1
    return folders, number


def _is_same(folder: Path, place: int) -> bool:
    """Whether a path still is an open folder."""
    try:
        about, own = folder.lstat(), os.fstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and (about.st_dev, about.st_ino) == (own.st_dev, own.st_ino)


def _place_of(place: int) -> Path | None:
    """Where an open folder is now, if the system shows it."""
    with suppress(OSError):
        return Path(os.readlink(f"{_FD_FOLDER}/{place}"))
    return None
