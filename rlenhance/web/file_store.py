"""Temporary files of the page: uploads and results under random tokens, removed after a time."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import parse_json
from rlenhance.io.containers import EXTENSIONS

#: Form of tokens: random, and never a path.
TOKEN = re.compile(r"[0-9a-f]{32}")
_MAX_NAME = 120  # characters


@dataclass(frozen=True)
class StoredFile:
    """One stored file.

    Attributes:
        token: its identifier for clients.
        path: the file; made of the token and a known extension, never of a client's data.
        name: the client's name, for display and for the names of results.
        created: in seconds since 1970.
    """

    token: str
    path: Path
    name: str
    created: float


class FileStore:
    """A folder of files under random tokens, with limits of its size and of their age.

    Room is claimed before bytes are written, so that the limit of all files holds whatever arrives at once.

    Args:
        folder: created, and removed by `close`.
        megabytes: limit of all files together.
        minutes: unused files are removed after this time.
        clock: seconds since 1970, for tests.
    """

    def __init__(self, folder: Path, megabytes: float = 4000, minutes: float = 60,
                 clock: Callable[[], float] = time.time):
        self.folder, self.megabytes, self.minutes = folder, megabytes, minutes
        self._clock, self._names, self._lock = clock, dict[str, StoredFile](), threading.Lock()
        self._claimed: dict[str, int] = {}  # bytes by token
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self, name: str, extension: str | None = None) -> StoredFile:
        """A path for a file, which is written within what is claimed for it (`claim`).

        Args:
            name: the client's name, see `clean_name`.
            extension: of the file (".zip"); None: that of the name, if it is one of an image.

        Raises:
            UsageError: the store is full.
        """
        self.remove_expired()
        if self.size() > self.megabytes * 1e6:
            raise self._full()
        name, token = clean_name(name), secrets.token_hex(16)
        own = Path(name).suffix.lower()
        extension = extension if extension is not None else own if own in EXTENSIONS else ""
        stored = StoredFile(token, self.folder / f"{token}{extension}", name, self._clock())
        with self._lock:
            self._names[token] = stored
        return stored

    def claim(self, token: str, size: int) -> None:
        """Make sure that a file may have `size` bytes, before they are written; a smaller size gives room back.

        Raises:
            UsageError: the store would hold more than its limit, or the file was removed.
        """
        with self._lock:
            if token not in self._names:
                raise UsageError("the file was removed while it was written; send it again")
            if sum(self._claimed.values()) - self._claimed.get(token, 0) + size > self.megabytes * 1e6:
                raise self._full()
            self._claimed[token] = size

    def get(self, token: object) -> StoredFile:
        """The file of a token; its age restarts."""
        stored = self._names.get(token) if isinstance(token, str) and TOKEN.fullmatch(token) else None
        if stored is None:
            raise self._gone()
        self.size_of(stored)
        return stored

    def size_of(self, stored: StoredFile) -> int:
        """Size of a file in bytes; its age restarts.

        Raises:
            UsageError: it was removed.
        """
        try:
            os.utime(stored.path, (self._clock(), self._clock()))
            return stored.path.stat().st_size
        except FileNotFoundError as error:
            raise self._gone() from error

    def _gone(self) -> UsageError:
        return UsageError(f"the file is no longer here: files are kept for {self.minutes:g} minutes; choose it again")

    def rename(self, stored: StoredFile, name: str) -> StoredFile:
        """Change the client's name of a file, and the extension of its path with it."""
        path = stored.path.with_suffix(Path(name).suffix.lower())
        os.replace(stored.path, path)
        stored = replace(stored, name=name, path=path)
        with self._lock:
            self._names[stored.token] = stored
        return stored

    def remove(self, token: str) -> None:
        """Remove a file."""
        with self._lock:
            stored = self._names.pop(token, None)
            self._claimed.pop(token, None)
        if stored:
            stored.path.unlink(missing_ok=True)

    def size(self) -> int:
        """Size of all files in bytes; others may be removed meanwhile."""
        total = 0
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
        return total

    def remove_expired(self) -> None:
        """Remove the files that are too old."""
        oldest = self._clock() - 60 * self.minutes
        for path in list(self.folder.iterdir()):
            try:
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except FileNotFoundError:
                continue
        with self._lock:
            self._names = {token: stored for token, stored in self._names.items()
                           if stored.created >= oldest or stored.path.exists()}
            self._claimed = {token: size for token, size in self._claimed.items() if token in self._names}

    def _full(self) -> UsageError:
        return UsageError(f"the room for files is full ({self.megabytes:g} MB); what is old is removed after "
                          f"{self.minutes:g} minutes: try again later")

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def clean_name(name: object) -> str:
    """A client's file name made safe for display: no folders, no control characters, at most 120 characters.

    Example:
        >>> clean_name("../../etc/night.jpg")
        'night.jpg'
        >>> clean_name("C:\\\\photos\\\\night.jpg")
        'night.jpg'
        >>> clean_name("..")
        'picture'
    """
    text = str(name).replace("\\", "/").rsplit("/", 1)[-1]
    text = "".join(letter for letter in text if letter.isprintable()).strip().lstrip(".")
    if len(text) > _MAX_NAME:
        stem, dot, ending = text.rpartition(".")
        keep = dot + ending if stem and len(ending) < 8 else ""
        text = text[: _MAX_NAME - len(keep)] + keep
    return text or "picture"


def parse_tokens(text: object) -> list[str]:
    """Parse the JSON list of tokens of the page's upload."""
    try:
        found = parse_json(text, "tokens") if isinstance(text, str) and text else []
    except UsageError as error:
        raise UsageError("no list of files; choose them again") from error
    if not isinstance(found, list) or not all(isinstance(token, str) for token in found):
        raise UsageError("no list of files; choose them again")
    return found


def unique_names(names: list[str]) -> list[str]:
    """The same names, repeated ones with a number appended.

    Example:
        >>> unique_names(["a.jpg", "a.jpg", "b.jpg"])
        ['a.jpg', 'a-2.jpg', 'b.jpg']
    """
    found: list[str] = []
    for name in names:
        path, number, free = Path(name), 1, name
        while free.casefold() in {other.casefold() for other in found}:
            number += 1
            free = f"{path.stem}-{number}{path.suffix}"
        found.append(free)
    return found
