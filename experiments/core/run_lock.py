"""One writer per run: a lock on the run folder while a training writes to it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlenhance.core.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

#: The file in a run folder that is locked; it holds the process and the host of the training.
LOCK = "run.lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Be the only training that writes to a run folder.

    The system holds the lock (`flock`) and gives it up with the process, however that ends: the file that a killed
    training leaves behind locks nothing, whatever process has its number now.

    Args:
        folder: of the run; it is made.

    Raises:
        UsageError: another process is training this run; names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
    if fcntl is None:
        yield
        return
    path, taken = folder / LOCK, False
    while not taken:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = _is_at(path, file)  # or else the other training has just ended, and removed the file
        except BlockingIOError as error:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            raise UsageError(f"{folder}: {holder} is training this run; wait for its end, or stop it (it saves, and "
                             f"--resume {folder} goes on)") from error
        except OSError:  # a file system without locks
            taken = True
        finally:
            if not taken:
                os.close(file)
    try:
        os.truncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        for left in folder.glob("**/*.part"):  # of a save that was killed
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False
