"""Run a function on untrusted data in a child process with limits of time and memory.

A decoder that crashes, loops or fills the memory ends its child alone, and the caller gets a `UsageError`. The child
imports no torch, is used again (a call costs milliseconds), and is replaced after an overrun. Arrays come back through
shared memory, without a copy in the caller. It is a limit of resources, no sandbox: the child has the rights of its
user. POSIX systems alone; macOS does not enforce the limit of memory.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import math
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from rlenhance.core.errors import UsageError
from rlenhance.io.limits import MOST_MEMORY, MOST_SECONDS, PhotoWarning
from rlenhance.io.shared_values import named, receive_value, send_value

try:
    import fcntl
    import resource
except ImportError:  # Windows
    AVAILABLE = False
else:
    AVAILABLE = True
#: Whether this system has child processes with limits.

R = TypeVar("R")


_MOST_WORKERS = max(2, os.cpu_count() or 1)
_WAITS = 4  # seconds of the clock per second of the limit: other processes may have the cores
_GROWTH = 512 << 20  # bytes by which an idle worker may grow before it is replaced
_CHILD = "import sys; sys.path[:] = {path!r}; from rlenhance.io.isolate import _serve; _serve({socket})"


def run_isolated(function: Callable[..., R], *arguments: Any, name: Path | str, seconds: float, memory: float,
                 **options: Any) -> R:
    """`function(*arguments, **options)` in a child process. Threads may call it at the same time.

    Args:
        function: a function of a module; a child imports that module before the limits hold.
        arguments, options: of the function: what JSON holds, tuples, bytes, paths, arrays of numbers, and dataclasses
            of this package with such fields; its result too.
        name: the file or value that is worked on, for errors.
        seconds: processor time; four times as much may pass on the clock.
        memory: MiB of address space beside what the idle child has.

    Returns:
        The result; its arrays lie in memory that was shared, and may be written to.

    Warns:
        PhotoWarning: as the function did.

    Raises:
        UsageError: raised by the function; a limit was exceeded, or the child crashed; or this is Windows.
        Exception: any other that the function raised, a RuntimeError where it is not one of Python's own.

    Example:
        >>> run_isolated(divmod, 7, 2, name="7", seconds=1, memory=100)
        (3, 1)
    """
    if not AVAILABLE:
        raise UsageError("a limit of seconds needs a POSIX system (Linux, macOS); leave seconds out here")
    if not (0 < seconds <= MOST_SECONDS and 0 < memory <= MOST_MEMORY):
        raise UsageError(f"seconds must be above 0 and at most {MOST_SECONDS:g}, memory above 0 and at most "
                         f"{MOST_MEMORY:g} MiB; got {seconds:g} and {memory:g}")
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was removed
        folder = "/"
    job = f"{function.__module__}:{function.__qualname__}", folder, arguments, options, seconds, memory
    return cast(R, _POOL.run(job, str(name), seconds, memory))


def run_in_child(function: Callable[..., R], *arguments: Any, name: Path | str, seconds: float, memory: float) -> R:
    """`run_isolated`; on a system without such children the function runs here, without limits."""
    if not AVAILABLE:
        return function(*arguments)
    return run_isolated(function, *arguments, name=name, seconds=seconds, memory=memory)


class _Worker:
    """A child process that carries out one call after another."""

    def __init__(self) -> None:
        self.socket, other = socket.socketpair()
        # It ends when its standard input does: when this process ends, however that happens.
        with other:
            code = _CHILD.format(path=[str(Path(part).absolute()) for part in sys.path], socket=other.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, pass_fds=[other.fileno()], start_new_session=True,
                env={"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **os.environ})
        try:
            self._receive_ready()
        except BaseException:
            self.close()
            raise

    def _receive_ready(self) -> None:
        self.socket.settimeout(60)
        try:
            receive_value(self.socket)
        except (EOFError, TimeoutError) as error:
            raise UsageError(f"the child process for decoding does not start (status {self.process.poll()}); "
                             f"free some memory, or decode without a limit of time") from error

    def call(self, job: tuple[Any, ...], seconds: float) -> Any:
        """The reply (see `_carry_out`).

        Raises:
            TimeoutError, EOFError: none comes.
        """
        self.socket.settimeout(60 + _WAITS * seconds)  # imports may be slow
        send_value(self.socket, job)
        receive_value(self.socket)  # it has begun
        self.socket.settimeout(_WAITS * seconds)
        return receive_value(self.socket)

    def close(self, grace: float = 0.0) -> int:
        """End it after `grace` seconds; its exit status, which is minus the signal that ended it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        self.process.kill()
        self.socket.close()
        if self.process.stdin:
            self.process.stdin.close()
        return self.process.wait()


class _Pool:
    """The workers: as many as calls at a time, at most one per core (at least two)."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin without workers, as after a fork: they are those of the parent."""
        self._room = threading.Semaphore(_MOST_WORKERS)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    def run(self, job: tuple[Any, ...], name: str, seconds: float, memory: float) -> Any:
        with self._room:
            worker = self._idle_worker() or _Worker()
            again = False
            try:
                kind, result, warned, again = worker.call(job, seconds)
            except TimeoutError as error:
                raise _too_slow(name, seconds) from error
            except EOFError as error:
                raise _ended(worker.close(grace=5), name, seconds, memory) from error
            finally:
                if again:
                    with self._lock:
                        self._idle.append(worker)
                else:
                    worker.close()
        for text in warned:
            warnings.warn(text, PhotoWarning, stacklevel=3)
        if kind == "result":
            return result
        if kind == "MemoryError":
            raise _too_large(name, memory)
        error_type = UsageError if kind == "UsageError" else getattr(builtins, kind, None)
        if isinstance(error_type, type) and issubclass(error_type, Exception):
            raise error_type(result)
        raise RuntimeError(f"{name}: {kind}: {result}")

    def _idle_worker(self) -> _Worker | None:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.process.poll() is None:
                    return worker
                worker.close()
        return None

    def close(self) -> None:
        """End the idle workers."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


def _too_slow(name: str, seconds: float) -> UsageError:
    return UsageError(f"{name}: takes more than {seconds:g} seconds to read; raise the limit (seconds), or save it "
                      f"anew with an image editor")


def _too_large(name: str, memory: float) -> UsageError:
    return UsageError(f"{name}: needs more than {memory:.0f} MiB of memory to read; raise the limit (memory), or "
                      f"reduce it first")


def _ended(status: int, name: str, seconds: float, memory: float) -> UsageError:
    """The error for a child that ended without a reply."""
    if status == -signal.SIGXCPU:
        return _too_slow(name, seconds)
    if status == -signal.SIGKILL:
        return UsageError(f"{name}: its reader was killed, as happens where memory runs out; free some, or reduce it "
                          f"first")
    why = signal.Signals(-status).name if status < 0 else f"status {status}"
    return UsageError(f"{name}: damaged (its reader crashed with {why}, within {memory:.0f} MiB); save it anew with "
                      f"an image editor")


def _serve(number: int) -> None:
    """The child: carry out the calls that come through a socket, one after another.

    An error other than UsageError is sent too, and ends the child.

    Args:
        number: of the socket's file.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)  # the standard input was closed: the parent is gone
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    other = socket.socket(fileno=number)
    from imagecodecs import jpeg8_decode  # noqa: F401  (the libraries, before the limits hold)

    import rlenhance.io.decoder
    import rlenhance.io.exif
    import rlenhance.io.openers
    import rlenhance.io.png
    import rlenhance.io.profiles
    import rlenhance.io.tiff  # noqa: F401

    send_value(other, None)
    idle = _address_space()
    while True:
        try:
            function, folder, *call = receive_value(other)
        except EOFError:
            return
        try:
            work = named(function)
            send_value(other, None)
            with contextlib.suppress(OSError):
                os.chdir(folder)  # that of the caller now, for names that are relative
            kind, result, warned = _carry_out(work, *call)
            send_value(other, (kind, result, warned, _address_space() < idle + _GROWTH))
            del call, result
        except Exception as error:
            send_value(other, (type(error).__name__, str(error), [], False))
            raise


def _carry_out(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], seconds: float,
               memory: float) -> tuple[str, Any, list[str]]:
    """("result" or "UsageError", the result or the error's text, the warnings)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + seconds))
    if _address_space():
        _limit(resource.RLIMIT_AS, _address_space() + round(memory * 2**20))
    kind, result = "result", None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", PhotoWarning)
        try:
            result = function(*arguments, **options)
        except UsageError as error:
            kind, result = "UsageError", str(error)
        finally:
            for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
                _limit(limit, resource.RLIM_INFINITY)
    return kind, result, [str(each.message) for each in warned if issubclass(each.category, PhotoWarning)]


def _limit(kind: int, value: int) -> None:
    """Set a limit of this process; the hard one stays, so that the next call may have more.

    A hard limit from outside (`ulimit -v`) is kept where it is the smaller one. No limit is the number -1.
    """
    hard = resource.getrlimit(kind)[1]
    bounds = [each for each in (value, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(bounds, default=resource.RLIM_INFINITY), hard))


def _address_space() -> int:
    """Bytes of address space of this process; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0


_POOL = _Pool()
atexit.register(_POOL.close)
os.register_at_fork(after_in_child=_POOL.forget)
