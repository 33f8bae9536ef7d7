"""The ledger of a run: a line for each photograph that is done, so that the same command goes on where it stopped.

A line is a JSON object. The first one says what makes the results; each of the others holds a source and its result
with their hashes. Lines are appended by one process. What a kill cuts is cut off when the ledger is opened again, and
its photographs are done again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError, printable
from rlenhance.hub import shipped

try:
    import fcntl
except ImportError:  # Windows: nothing keeps a second run from the ledger there
    fcntl = None  # type: ignore[assignment]

KIND, FORMAT = "rlenhance ledger", 1
_SYNC = 5.0  # seconds between lines that are flushed to disk


def installation() -> dict[str, str]:
    """What the results of an installation depend on: its version, and the digest of the shipped weights."""
    sums = "".join(f"{name} {digest}\n" for name, digest in sorted(shipped.read_sums(shipped.FOLDER).items()))
    return {"version": __version__, "shipped weights": hashlib.sha256(sums.encode()).hexdigest()[:16]}


class Finished(NamedTuple):
    """A photograph that is done.

    Attributes:
        source: its place.
        stamp: size and time of the source, see `rlenhance.many.places.stamp_of`.
        sha256: of the source.
        result_stamp: of the result.
        result_sha256: of the result.
    """

    source: str
    stamp: str
    sha256: str
    result_stamp: str
    result_sha256: str


class Ledger:
    """An open ledger; other processes are kept out of it.

    Args:
        path: the file, which is made where there is none.
        made_by: what makes the results: command, settings and weights, by names as the user knows them.
        anew: begin again where the ledger is of something else.

    Attributes:
        finished: place of each result -> what is known of it.
        damaged: number of lines that could not be read.

    Raises:
        UsageError: the file is no ledger, one of something else, in use by another run, or cannot be written.
    """

    def __init__(self, path: Path, made_by: Mapping[str, str], *, anew: bool = False):
        self.path, self.finished, self.damaged = path, dict[str, Finished](), 0
        self._made_by, self._synced = dict(made_by), 0.0
        if os.path.exists(path) and not os.path.isfile(path):
            raise UsageError(f"{path}: is a folder, a device or a pipe, and no ledger; name another file (ledger)")
        with self._named():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._lock()
            last = self._read(path.read_bytes())
            if last is not None and last != self._made_by and not anew:
                raise UsageError(f"{path}: is the ledger of other results ({_differences(last, self._made_by)}); name "
                                 f"another one (ledger) and another folder, or replace the results (overwrite)")
            if last != self._made_by:
                self.append({"kind": KIND, "format": FORMAT, "made_by": self._made_by})
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        with self._named():
            os.fsync(self._file)
        os.close(self._file)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line.

        Raises:
            UsageError: it cannot be written, as on a full disk.
        """
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self._named():
            while line:
                line = line[os.write(self._file, line):]
            if time.monotonic() - self._synced > _SYNC:
                os.fsync(self._file)
                self._synced = time.monotonic()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{self.path}: another run writes this ledger; wait for it, or name another one "
                             f"(ledger)") from error

    def _read(self, data: bytes) -> dict[str, str] | None:
        """Cut off what a kill has left, and read the rest; what the last part was made by, or None."""
        whole = data[: data.rfind(b"\n") + 1]
        if not (_made_by(whole[: whole.find(b"\n")], self.path) is not None if whole else _is_begun(data)):
            raise UsageError(f"{self.path}: is no ledger; name another file (ledger)")
        if len(whole) < len(data):
            self.damaged += 1
            with self._named():
                os.ftruncate(self._file, len(whole))
        current: dict[str, str] | None = None
        for line in whole.splitlines():
            made_by = _made_by(line, self.path)
            if made_by is not None:
                current = made_by
                continue
            try:
                entry = json.loads(line)
                done = Finished(*(str(entry[name]) for name in Finished._fields)) if (
                    entry["status"] == "written") else None
                target = str(entry["target"])
            except (ValueError, KeyError, TypeError, RecursionError):
                self.damaged += 1
                continue
            if current == self._made_by and done is not None:
                self.finished[target] = done
        return current

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"{self.path}: the ledger cannot be written ({error.strerror}); results stay, and the "
                             f"same command goes on from there") from error


def _is_begun(data: bytes) -> bool:
    """Whether it is the beginning of a first line."""
    head = f'{{"kind":"{KIND}"'.encode()
    return data[: len(head)] == head[: len(data)]


def _made_by(line: bytes, path: Path) -> dict[str, str] | None:
    """The settings of the results that follow a line; None: a line of another kind.

    Raises:
        UsageError: it is of a later version.
    """
    if not line.startswith(f'{{"kind":"{KIND}"'.encode()):
        return None
    try:
        head = json.loads(line)
        made_by = {str(name): str(value) for name, value in head["made_by"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    if head.get("format") != FORMAT:
        raise UsageError(f"{path}: a ledger of format {head.get('format')!r:.20}, and this version of rlenhance reads "
                         f"{FORMAT}: name another one (ledger)")
    return made_by


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs, in words."""
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    show: Callable[[str | None], str] = lambda value: "none" if value is None else printable(value)[:24]  # noqa: E731
    return ", ".join(f"{name}: {show(then.get(name))} then, {show(now.get(name))} now" for name in names[:4])
