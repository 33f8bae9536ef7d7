"""Run one command with limits, and end all that it has started: `python supervise.py LIMITS PROGRAM ARGUMENT...`.

A program of its own, with the standard library alone. LIMITS are seconds on the clock, bytes of address space, bytes of
a file, seconds of processor time, and processes at a time, with colons between. The command ends, and what it has
started with it, when the time is over, when it ends itself, when it has too many processes, or when standard input
ends: when the process that has asked for it is gone. One line on standard output says how: "exit STATUS",
"signal NUMBER", "time", "processes", "parent", or "attacked": it stopped or killed the process that watches it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans become children of this process, and not of init
_PATIENCE = 10.0  # seconds in which killed processes end
_GLANCE = 0.05  # seconds between counts of the processes


def guard(limits: str, words: list[str]) -> None:
    """Run `main` in a child. Where the command stops it, kills it or makes it late, this process ends them all.

    A command has the rights of its user, and may send signals to its parent; that is not this process.
    """
    _adopt_orphans()
    supervisor = os.fork()
    if not supervisor:
        try:
            main(limits, words)
        finally:
            os._exit(0)
    late = time.monotonic() + float(limits.split(":")[0]) + 2 * _PATIENCE
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while time.monotonic() < late:
        found, status = os.waitpid(supervisor, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFEXITED(status):
            return
        if found:  # stopped or killed
            break
        time.sleep(_GLANCE / 5)
    _send(supervisor, signal.SIGKILL)
    _end_all(supervisor)
    with contextlib.suppress(OSError):
        os.write(1, b"attacked\n")


def _adopt_orphans() -> None:
    with contextlib.suppress(OSError, AttributeError):  # Linux alone; elsewhere a daemon escapes
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def main(limits: str, words: list[str]) -> str:
    """Run the command; how it ended."""
    seconds, memory, size, processor, most = (float(part) for part in limits.split(":"))
    _adopt_orphans()
    waiting, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(waking)
    report = os.dup(1)
    child = os.fork()
    if not child:
        _become(words, {resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: size, resource.RLIMIT_CPU: processor,
                        resource.RLIMIT_CORE: 0})
    try:
        ended = _wait(child, time.monotonic() + seconds, waiting, most)
    finally:
        _end_all(child)
    os.write(report, f"{ended}\n".encode())
    return ended


def _become(words: list[str], limits: dict[int, float]) -> None:
    """The child: its own group, nothing to read, and the limits."""
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)  # its lines go where its complaints go
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for kind, value in limits.items():
            hard = resource.getrlimit(kind)[1]
            least = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
            resource.setrlimit(kind, (least, least))
        os.execv(words[0], words)
    except (OSError, ValueError) as error:
        os.write(2, f"{error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def _wait(child: int, deadline: float, waiting: int, most: float) -> str:
    """How the child ended, or why it has to be ended."""
    while True:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == child:
                    code = os.waitstatus_to_exitcode(found[1])
                    return f"exit {code}" if code >= 0 else f"signal {-code}"
        left = deadline - time.monotonic()
        if left <= 0:
            return "time"
        if len(_descendants(most)) > most:
            return "processes"
        ready, _, _ = select.select([0, waiting], [], [], min(left, _GLANCE))
        if waiting in ready:
            os.read(waiting, 4096)
        if 0 in ready and not os.read(0, 4096):
            return "parent"


def _end_all(child: int) -> None:
    """End the child's group and every descendant. They are stopped first: what is stopped starts no others."""
    end, stopped = time.monotonic() + _PATIENCE, set[int]()
    while time.monotonic() < end and (new := set(_descendants()) - stopped):
        for each in new:
            _send(each, signal.SIGSTOP)
        stopped |= new
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    while time.monotonic() < end:
        for each in _descendants():
            _send(each, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _send(process: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(process, number)


def _descendants(most: float = float("inf")) -> list[int]:
    """Those of this process, where the system lists them; not many more than `most`."""
    found, at = _children(os.getpid()), 0
    while at < len(found) and len(found) <= most:
        found += _children(found[at])
        at += 1
    return found


def _children(process: int) -> list[int]:
    children = list[int]()
    with contextlib.suppress(OSError, ValueError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as file:
                children += [int(word) for word in file.read().split()]
    return children


if __name__ == "__main__":
    guard(sys.argv[1], sys.argv[2:])
