"""Run cases in a forked child that is watched from outside: CPU and wall seconds, memory, signals, tracebacks."""

import contextlib
import ctypes
import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError
from tests.stress.registry import Broken, Case, Found, Property

_POLL = 0.05  # seconds
_TICK = os.sysconf("SC_CLK_TCK")
_SUBREAPER = 36  # prctl: orphans of a killed case become ours, so that they are found and killed


@dataclass(frozen=True)
class Result:
    """How one case ended.

    Attributes:
        case: the case, or the one that it found.
        outcome: one of OUTCOMES.
        text: the refusal, or what went wrong.
        seconds: of CPU.
        mib: by which the memory grew.
        counts: inputs by outcome.
    """

    case: Case
    outcome: str
    text: str = ""
    seconds: float = 0.0
    mib: float = 0.0
    counts: Mapping[str, int] | None = None


def run(law: Property, cases: Sequence[Case], tell: Callable[[Result], None], until: float = float("inf")) -> None:
    """Try cases, a block in a child; a case that its block died of is tried once more alone.

    Args:
        tell: is called with each result.
        until: time.monotonic() after which no case begins.
    """
    todo = list(cases)
    while todo and time.monotonic() < until:
        ended = _block(law, todo, tell, until)
        todo = todo[ended.done :]
        if ended.outcome:
            suspect, todo = todo[0], todo[1:]
            again: list[Result] = []
            alone = _block(law, [suspect], again.append, float("inf"))
            if alone.outcome:
                tell(Result(suspect, alone.outcome, alone.text, alone.seconds, alone.mib))
            elif ended.outcome == "crashed" and again[0].outcome in ("whole", "refused"):
                tell(Result(suspect, "crashed", f"{ended.text}, but not alone: after {ended.done} cases of its block"))
            else:  # the machine was busy, or memory of the cases before it
                tell(again[0])


@dataclass
class _Ended:
    """How a block ended: cases done, and how the case after them failed, or ""."""

    done: int = 0
    outcome: str = ""
    text: str = ""
    seconds: float = 0.0
    mib: float = 0.0


def _block(law: Property, cases: Sequence[Case], tell: Callable[[Result], None], until: float) -> _Ended:
    place = Path(tempfile.mkdtemp(prefix="stress-"))
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    others = set(_tree(os.getpid()))
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.close(reading)
            os.setsid()
            _in_child(law, cases, writing, place, until)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    try:
        ended, running = _watch(law, cases, child, reading, tell)
    finally:
        os.close(reading)
        status = _kill(child, others)
        log = _tail(place / "stderr")
        shutil.rmtree(place, ignore_errors=True)
    if not ended.outcome and (running or status):
        if not running:
            raise RuntimeError(f"{law.name}: the child ended with status {status} between two cases")
        ended.outcome = "crashed"
        ended.text = f"killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
        ended.text = f"{log}\n{ended.text}".strip()
    return ended


def _tail(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 3000))
        return log.read().decode(errors="replace")


def _kill(child: int, others: set[int]) -> int:
    """Kill a child that may have ended, its descendants and orphans; -> its exit status, a negative signal.

    The child is waited for first: from then on each descendant is ours, or belongs to one of ours that we see. A scan
    while processes end and change parents can miss some, so that two empty scans in a row end the search.
    """
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    empty = 0
    while empty < 2:
        left = [each for each in _tree(os.getpid()) if each not in others]
        empty = 0 if left else empty + 1
        for each in left:
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
        for each in left:
            with contextlib.suppress(OSError):  # not ours yet: its parent ends first
                os.waitpid(each, os.WNOHANG)
        time.sleep(0.002)
    return status


def _exited(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _in_child(law: Property, cases: Sequence[Case], writing: int, place: Path, until: float) -> None:
    """Try the cases one after the other and report each through a pipe; never returns to the caller's code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    log = os.open(place / "stderr", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", 1, closefd=False) for stream in (1, 2))  # not a test's capture
    faulthandler.enable()
    idle = _memory(os.getpid(), "VmRSS")

    def send(**said: object) -> None:
        os.write(writing, (json.dumps(said) + "\n").encode())

    for number, case in enumerate(cases):
        if time.monotonic() > until:
            return
        folder = place / "case"
        folder.mkdir()
        os.chdir(folder)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins at what is used now
        told = os.fstat(log).st_size
        start = _own_seconds()
        send(start=number, idle=idle, cpu=start)
        outcome, text, more = _try(law, case, folder)
        sys.stdout.flush()
        sys.stderr.flush()
        written = os.pread(log, 1 << 20, told)
        if outcome in ("whole", "refused") and b"Traceback (most recent call last)" in written:
            outcome, text = "crashed", "a traceback on stderr\n" + written.decode(errors="replace")[-4000:]
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        peak = max(_memory(os.getpid(), "VmHWM"), children) - idle
        os.chdir(place)
        shutil.rmtree(folder, ignore_errors=True)
        send(end=number, outcome=outcome, text=text[-6000:], seconds=_own_seconds() - start, mib=max(0.0, peak), **more)


def _try(law: Property, case: Case, folder: Path) -> tuple[str, str, dict[str, object]]:
    """Outcome, text, and what a search found."""
    try:
        return "whole", "", {"counts": law.check(case, folder)}
    except UsageError as error:
        text = str(error)
        if not text.strip() or "\n" in text or len(text) > 1000:
            return "wrong", f"the refusal is not one line: {text[:2000]!r}", {}
        if law.names and case.name not in text:
            return "wrong", f"the refusal does not name {case.name!r}: {text}", {}
        return "refused", text, {}
    except Broken as error:
        return "wrong", str(error), {}
    except Found as found:
        inner = found.case
        return found.outcome, str(found), {"found": [inner.name, inner.data.hex(), dict(inner.options)]}
    except BaseException:
        return "crashed", traceback.format_exc(), {}


def _watch(law: Property, cases: Sequence[Case], child: int, reading: int,
           tell: Callable[[Result], None]) -> tuple[_Ended, bool]:
    """Follow a child until it ends or must be killed; whether a case was running."""
    ended, running, idle, start, began, buffer = _Ended(), False, 0.0, 0.0, 0.0, b""
    while True:
        gone = _exited(child)
        ready, _, _ = select.select([reading], [], [], 0 if gone else _POLL)
        news = os.read(reading, 1 << 16) if ready else b""
        buffer += news
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "start" in said:
                running, idle, start, began = True, said["idle"], said["cpu"], time.monotonic()
                continue
            running, case = False, cases[said["end"]]
            outcome, text = said["outcome"], said["text"]
            allowed = law.limits(case)[2]
            if outcome in ("whole", "refused") and said["mib"] > allowed:  # tried once more, alone
                ended.outcome, ended.mib, ended.seconds = "fat", said["mib"], said["seconds"]
                ended.text = f"{said['mib']:.0f} MiB above the idle process, {allowed:.0f} are allowed"
                return ended, False
            if "found" in said:
                name, data, options = said["found"]
                case = Case(name, bytes.fromhex(data), options)
            ended.done += 1
            tell(Result(case, outcome, text, said["seconds"], said["mib"], said.get("counts")))
        if not news and (ready or gone):
            return ended, running
        if running:
            seconds, wall, mib = law.limits(cases[ended.done])
            tree = _tree(child)
            used, took = sum(map(_seconds, tree)) - start, time.monotonic() - began
            grown = _memory(child, "VmRSS") - idle + sum(_memory(each, "RssAnon") for each in tree[1:])
            ended.seconds, ended.mib = used, max(ended.mib, grown)
            if used > seconds or took > wall:
                ended.outcome = "hung"
                ended.text = f"stopped after {used:.1f} s of CPU, {took:.1f} s; {seconds:g} and {wall:g} are allowed"
            elif grown > mib + 512:  # before the machine's memory is in danger; the exact bound is asked at the end
                ended.outcome, ended.text = "fat", f"stopped with {grown:.0f} MiB more, {mib:.0f} are allowed"
            if ended.outcome:
                return ended, running


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):
                found += map(int, Path(f"/proc/{each}/task/{task}/children").read_text().split())
    return found


def _own_seconds() -> float:
    return sum(os.times()[:4])


def _seconds(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


def _memory(pid: int, what: str) -> float:
    """MiB of a process: VmRSS, VmHWM (its peak), RssAnon."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(what)), 0.0)
