"""Many photographs through one function: read, processed and written concurrently, reported in order.

`rlenhance.io.output_plan` decides which result goes where; `run_batch` carries the plan out.

    plan = make_plan(["photos"], "out", naming=OutputNaming(suffix="_denoised"))
    for outcome in run_batch(plan, process):
        print(outcome.source, outcome.error or outcome.written)

`process` takes a `Photo` and returns a `Photo` (the same object where nothing changes) and what it decided. It runs in
the calling thread, one photograph after the other, so it need not be thread-safe and may use every core; other threads
read and write files meanwhile. With `at_once` above 1, it runs in several threads, each with a small photograph.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError, describe_failure
from rlenhance.io.containers import CONTAINERS, is_clip, result_extension
from rlenhance.io.discovery import STDIO
from rlenhance.io.files import FileAppeared, Photo, decode_within, encode, read_bounded, remove_leftovers, write_bytes
from rlenhance.io.files import read as read_file
from rlenhance.io.limits import MEGAPIXELS
from rlenhance.io.output_plan import BatchPlan, Job, check_name

#: Processes a photograph: the result (the same object where nothing changed), and what was decided, for the report.
Process = Callable[[Photo], tuple[Photo, Mapping[str, Any]]]
#: Processes a clip, from file to file: width and height of its frames, what was decided, and notes.
ClipProcess = Callable[[Path, Path], tuple[tuple[int, int], Mapping[str, Any], Sequence[str]]]
#: Default number of photographs in memory: one per core and two waiting, at most eight.
MAX_IN_FLIGHT = min(8, (os.cpu_count() or 1) + 2)
_LARGE = 6_000_000  # pixels from which one photograph at a time is processed, on all cores


@dataclass(frozen=True)
class Outcome:
    """The result of one photograph.

    Attributes:
        source: the photograph.
        written: the file of the result, or None.
        error: why there is none, or None.
        skipped: the result of an earlier run was kept.
        seconds: spent on reading, processing and writing it, possibly concurrently with others.
        size: width and height in pixels, upright; None where it could not be read.
        decision: what `process` returned with the result.
        warnings: notes on the file, and metadata that could not be kept.
    """

    source: Path
    written: Path | None = None
    error: str | None = None
    skipped: bool = False
    seconds: float = 0.0
    size: tuple[int, int] | None = None
    decision: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def megapixels(self) -> float | None:
        """Size of the photograph in megapixels; None where it could not be read."""
        return self.size and self.size[0] * self.size[1] / 1e6

    @property
    def words(self) -> list[str]:
        """What the decision says in words."""
        return decision_words(self.decision)


@dataclass
class _Work:
    """The state of one photograph between the stages."""

    job: Job
    photo: Photo | None = None
    data: bytes | None = None  # of standard input
    error: str | None = None
    seconds: float = 0.0
    size: tuple[int, int] | None = None
    decision: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    unchanged: bool = False
    skipped: bool = False

    def outcome(self) -> Outcome:
        return Outcome(self.job.source, None if self.error else self.job.target, self.error, self.skipped, self.seconds,
                       self.size, self.decision, tuple(dict.fromkeys(self.warnings)))


def run_batch(plan: BatchPlan, process: Process, *, max_in_flight: int | None = None,
              read: Callable[[Path], Photo] | None = None, encode: Callable[[Photo, str], bytes] = encode,
              extension: str | None = None, copy: bool = False, megapixels: float = MEGAPIXELS,
              decode_seconds: float | None = None, process_clip: ClipProcess | None = None,
              at_once: int = 1, spare: bool = False) -> Iterator[Outcome]:
    """Carry a plan out; a photograph that fails, by whatever error, is reported and the rest goes on.

    Several processes may carry out the same plan: without `overwrite`, each result is written once. Temporary files of
    killed runs are removed from the folders of the results, see `rlenhance.io.files.remove_leftovers`. Closing the
    iterator (as Ctrl-C does) stops the batch: files being written are finished, nothing else is started.

    Args:
        plan: see `make_plan`.
        process: see `Process`.
        max_in_flight: photographs in memory at a time; 1 processes one after the other.
        read: reads a photograph from a path; None: `rlenhance.io.read`.
        encode: encodes a photograph for a file extension (".png").
        extension: extension for standard output; None: the source's.
        process_clip: processes a clip, in the calling thread; None: clips are refused.
        copy: copy the file byte by byte where `process` returns the same photograph and the extension stays.
        megapixels: larger photographs are refused by their header.
        decode_seconds: decode each photograph in a child process with this limit, see `rlenhance.io.read`; None:
            without.
        at_once: photographs that are processed at a time, in threads; above 1, `process` is thread-safe. Large ones
            and those of a plan with clips are processed one after the other.
        spare: `process` may write results over the pixels that it is given, see `Photo.spare`.

    Yields:
        An outcome per photograph, in the order of the plan, the skipped ones first.

    Raises:
        UsageError: `max_in_flight` below 1.
    """
    max_in_flight = MAX_IN_FLIGHT if max_in_flight is None else max_in_flight
    if max_in_flight < 1:
        raise UsageError(f"max_in_flight must be at least 1; got {max_in_flight}")
    stages = _Stages(read or partial(read_file, megapixels=megapixels, seconds=decode_seconds), encode, extension, copy,
                     partial(decode_within, megapixels=megapixels, seconds=decode_seconds), process_clip, plan, spare,
                     megapixels)
    for folder in {job.target.parent for job in (*plan.skipped, *plan.jobs) if job.target != STDIO}:
        remove_leftovers(folder)
    yield from (Outcome(job.source, job.target, skipped=True) for job in plan.skipped)
    waiting = deque(plan.jobs)
    reading: deque[Future[_Work]] = deque()
    writing: deque[Future[_Work]] = deque()
    pool = ThreadPoolExecutor(max_in_flight, thread_name_prefix="photo")
    clips = process_clip is not None and any(is_clip(job.source) for job in plan.jobs)
    room = threading.Semaphore(at_once) if min(at_once, len(plan.jobs)) > 1 and not clips else None
    with _route_warnings():
        try:
            while waiting or reading or writing:
                while waiting and len(reading) + len(writing) < max_in_flight:
                    if room is not None:
                        writing.append(pool.submit(stages.whole, _Work(waiting.popleft()), process, room))
                        continue
                    reading.append(pool.submit(stages.read, _Work(waiting.popleft())))
                if writing and (writing[0].done() or not reading):
                    yield writing.popleft().result().outcome()
                elif reading:
                    work = stages.change(reading.popleft().result(), process)
                    writing.append(pool.submit(stages.write, work))
        finally:
            stages.stopped.set()
            pool.shutdown(cancel_futures=True)


class _Stages:
    """Reading, processing and writing of a photograph."""

    def __init__(self, read: Callable[[Path], Photo], encode: Callable[[Photo, str], bytes], extension: str | None,
                 copy: bool, decode: Callable[[bytes, str], Photo], process_clip: ClipProcess | None, plan: BatchPlan,
                 spare: bool, megapixels: float):
        self._megapixels = megapixels
        self._plan, self._spare = plan, spare
        self._read, self._encode, self._extension, self._copy = read, encode, extension, copy
        self._decode, self._process_clip = decode, process_clip
        self.stopped, self._large = threading.Event(), threading.Lock()

    def whole(self, work: _Work, process: Process, room: threading.Semaphore) -> _Work:
        """All stages, in one thread of several; `room` is for those that process at a time."""
        work = self.read(work)
        large = work.size is not None and work.size[0] * work.size[1] > _LARGE
        with room, self._large if large else nullcontext():
            work = work if self.stopped.is_set() else self.change(work, process)
        return self.write(work)

    def read(self, work: _Work) -> _Work:
        """Decode a photograph; a clip passes."""
        with _stage(work, self._plan.skip_existing):
            if work.job.target != STDIO:
                check_name(work.job.target)
                if not self._plan.overwrite and os.path.isfile(work.job.target):
                    raise FileAppeared(f"{work.job.target}: exists by now; replace it (overwrite), or keep it "
                                       f"(skip_existing)")
            if self._process_clip and is_clip(work.job.source):
                return work
            if work.job.source == STDIO:
                work.data = read_bounded(sys.stdin.buffer, "standard input", self._megapixels)
                work.photo = self._decode(work.data, "standard input")
            else:
                work.photo = self._read(work.job.source)
            height, width = work.photo.pixels.shape[:2]
            work.size = width, height
        return work

    def change(self, work: _Work, process: Process) -> _Work:
        """Process the pixels, or the clip."""
        if work.skipped or work.error:
            return work
        with _stage(work, self._plan.skip_existing):
            if self._process_clip and is_clip(work.job.source):
                work.size, work.decision, notes = self._process_clip(work.job.source, work.job.target)
                work.warnings += [f"{work.job.source}: {note}" for note in notes]
            elif work.photo is not None:
                given = replace(work.photo, spare=True) if self._spare else work.photo
                work.photo = None  # its memory is for the result
                work.photo, work.decision = process(given)
                work.unchanged = work.photo is given
        return work

    def write(self, work: _Work) -> _Work:
        """Write the result."""
        with _stage(work, self._plan.skip_existing):
            if work.photo is None or self.stopped.is_set():
                return work
            source, target = work.job.source, work.job.target
            kind = target.suffix if target != STDIO else self._extension or _kind(work)
            if self._copy and work.unchanged and source != STDIO and kind.lower() == source.suffix.lower():
                data = source.read_bytes()
            else:
                data = self._encode(work.photo, kind)
            if target == STDIO:
                _write_stdout(data)
            else:
                write_bytes(data, target, replace=self._plan.overwrite)
            work.photo = work.data = None
        return work


def _write_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise UsageError(f"standard output: cannot be written ({error.strerror})") from error


def _kind(work: _Work) -> str:
    """The extension of the source; that of its container where it came from standard input."""
    if work.data is None or work.photo is None or work.photo.encoding is None:
        return result_extension(work.job.source.suffix)
    return result_extension(CONTAINERS[work.photo.encoding.container].extensions[0])


@contextmanager
def _stage(work: _Work, skip_existing: bool) -> Iterator[None]:
    """Measure the time of a stage and collect its warnings and its error; one photograph never stops the others."""
    start = time.perf_counter()
    _CURRENT.by = work.warnings
    source = "standard input" if work.job.source == STDIO else work.job.source
    try:
        yield
    except FileAppeared as error:
        work.skipped, work.error = skip_existing, None if skip_existing else f"{source}: {error}"
    except Exception as error:
        work.error = describe_failure(error, source, work.job.target)
    finally:
        _CURRENT.by = None
        work.seconds += time.perf_counter() - start
        if work.error or work.skipped:
            work.photo = work.data = None


def decision_words(decision: Mapping[str, Any]) -> list[str]:
    """What a decision says in words, for the user."""
    return [decision[name] for name in ("shadows", "missed", "white") if decision.get(name)]


def mean_level(photo: Photo) -> float:
    """Mean value of a photograph in [0, 1], from a grid of pixels, accurate to a few thousandths."""
    pixels = photo.pixels[:: max(1, photo.pixels.shape[0] // 256), :: max(1, photo.pixels.shape[1] // 256)]
    return round(float(pixels.mean()) / (256**pixels.dtype.itemsize - 1), 4)


_CURRENT = threading.local()
_ROUTING, _routes = threading.Lock(), list[ExitStack]()  # the redirected warnings, once more for each running batch


@contextmanager
def _route_warnings() -> Iterator[None]:
    """Warnings of a thread are collected by the photograph that it works on, in all batches that go on at a time."""
    with _ROUTING:
        if not _routes:
            _routes.append(ExitStack())
            _routes[0].enter_context(_heard_warnings())
        _routes.append(_routes[0])
    try:
        yield
    finally:
        with _ROUTING:
            _routes.pop()
            if len(_routes) == 1:
                _routes.pop().close()


@contextmanager
def _heard_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.simplefilter("always", UserWarning)

        def hear(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            by = getattr(_CURRENT, "by", None)
            if by is None:
                shown(message, category, *place, **more)
            else:
                by.append(str(message))

        warnings.showwarning = hear
        yield
