"""Files that a page holds for a while: what came in, and results until they are fetched; all of them are removed."""

from __future__ import annotations

import json
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
from rlenhance.io.containers import EXTENSIONS

#: What tokens look like: nobody guesses one, and none is a path.
TOKEN = re.compile(r"[0-9a-f]{32}")
_LONGEST = 120  # letters of a name


@dataclass(frozen=True)
class StoredFile:
    """One file.

    Attributes:
        token: what clients call it.
        path: where it lies; made of the token and a known ending, of nothing that a client sent.
        name: what its owner calls it, to be shown and to name results after.
        created: when it was given its place, in seconds created 1970.
    """

    token: str
    path: Path
    name: str
    created: float


class FileStore:
    """A folder of files under random tokens, with a bound on its size and on their age.

    Args:
        folder: it is made, and removed by `close`.
        megabytes: that all files together may take.
        minutes: after which a file that nobody uses is removed.
        clock: seconds created 1970, for tests.
    """

    def __init__(self, folder: Path, megabytes: float = 4000, minutes: float = 60,
                 clock: Callable[[], float] = time.time):
        self.folder, self.megabytes, self.minutes = folder, megabytes, minutes
        self._clock, self._names, self._lock = clock, dict[str, StoredFile](), threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self, name: str, ending: str | None = None) -> StoredFile:
        """A place for a file.

        Args:
            name: what its owner calls it, whatever that is; see `clean_name`.
            ending: of the file (".zip"); None: the name's own, where it is one of a picture.

        Raises:
            UsageError: the shelf is full.
        """
        self.remove_expired()
        if self.size() > self.megabytes * 1e6:
            raise UsageError(f"the room for files is full ({self.megabytes:g} MB); what is old is removed after "
                             f"{self.minutes:g} minutes: try again later")
        name, token = clean_name(name), secrets.token_hex(16)
        own = Path(name).suffix.lower()
        ending = ending if ending is not None else own if own in EXTENSIONS else ""
        stored = StoredFile(token, self.folder / f"{token}{ending}", name, self._clock())
        with self._lock:
            self._names[token] = stored
        return stored

    def get(self, token: object) -> StoredFile:
        """The file of a token, whose age begins anew.

        Raises:
            UsageError: no token, or its file is gone.
        """
        stored = self._names.get(token) if isinstance(token, str) and TOKEN.fullmatch(token) else None
        if stored is None or not stored.path.is_file():
            raise UsageError(f"the file is no longer here: files are kept for {self.minutes:g} minutes; "
                             f"choose it again")
        os.utime(stored.path, (self._clock(), self._clock()))
        return stored

    def rename(self, stored: StoredFile, name: str) -> StoredFile:
        """Call a file otherwise; what its name says of its kind, its place says too."""
        path = stored.path.with_suffix(Path(name).suffix.lower())
        os.replace(stored.path, path)
        stored = replace(stored, name=name, path=path)
        with self._lock:
            self._names[stored.token] = stored
        return stored

    def remove(self, token: str) -> None:
        """Remove one."""
        with self._lock:
            stored = self._names.pop(token, None)
        if stored:
            stored.path.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes that all of them take."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    def remove_expired(self) -> None:
        """Remove what is too old."""
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

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def clean_name(name: object) -> str:
    """A client's name of a file as one line that can be shown: no folders, no control letters, not too long.

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
    if len(text) > _LONGEST:
        stem, dot, ending = text.rpartition(".")
        keep = dot + ending if stem and len(ending) < 8 else ""
        text = text[: _LONGEST - len(keep)] + keep
    return text or "picture"


def parse_tokens(text: object) -> list[str]:
    """What the page's upload gives: a JSON list of tokens.

    Raises:
        UsageError: something else.
    """
    try:
        found = json.loads(text) if isinstance(text, str) and text else []
    except ValueError as error:
        raise UsageError("no list of files; choose them again") from error
    if not isinstance(found, list) or not all(isinstance(token, str) for token in found):
        raise UsageError("no list of files; choose them again")
    return found


def unique_names(names: list[str]) -> list[str]:
    """The same names, the second of a name with a number behind it.

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
