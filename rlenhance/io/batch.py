"""Many photographs through one function: read, changed and written at the same time, told in their order.

What a command over photographs needs is here and in `rlenhance.io.output_plan`: the plan says what goes where,
`run_batch` does it.

    plan = make_plan(["photos"], "out", naming=OutputNaming(suffix="_denoised"))
    for outcome in run_batch(plan, process):
        print(outcome.source, outcome.error or outcome.written)

`process` takes a `Photo` and gives a `Photo` (the same one where nothing changes) and what it decided. It runs in the
calling thread, one photograph after the other, so that it need not be thread-safe and may use every core itself; files
are read and written by other threads meanwhile.
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
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import CONTAINERS, result_extension
from rlenhance.io.discovery import STDIO
from rlenhance.io.files import Photo, decode, encode, write_bytes
from rlenhance.io.files import read as read_file
from rlenhance.io.limits import MEGAPIXELS
from rlenhance.io.output_plan import BatchPlan, Job
from rlenhance.io.video_formats import is_clip

#: What is done to a photograph: the result (the same object: nothing changed), and what was decided, for the report.
Process = Callable[[Photo], tuple[Photo, Mapping[str, Any]]]
#: What is done to a clip, from file to file: width and height of its frames, what was decided, what is worth a note.
ClipProcess = Callable[[Path, Path], tuple[tuple[int, int], Mapping[str, Any], Sequence[str]]]
#: How many photographs may be in memory at once where nobody says: one per core and two waiting, eight at most.
AT_ONCE = min(8, (os.cpu_count() or 1) + 2)


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph.

    Attributes:
        source: the photograph.
        written: its result, or None.
        error: why there is none, or None.
        skipped: the result of an earlier run stays.
        seconds: spent on reading, changing and writing it; other photographs may have shared them.
        size: width and height in pixels, upright; None where it could not be read.
        decision: what `process` told.
        warnings: what was lost or odd.
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
        """Of the photograph; None where it could not be read."""
        return self.size and self.size[0] * self.size[1] / 1e6


@dataclass
class _Work:
    """One photograph on its way; each stage fills in its part."""

    job: Job
    photo: Photo | None = None
    data: bytes | None = None  # of the source, where it has no name
    error: str | None = None
    seconds: float = 0.0
    size: tuple[int, int] | None = None
    decision: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    unchanged: bool = False

    def outcome(self) -> Outcome:
        return Outcome(self.job.source, None if self.error else self.job.target, self.error, False, self.seconds,
                       self.size, self.decision, tuple(dict.fromkeys(self.warnings)))


def run_batch(plan: BatchPlan, process: Process, *, at_once: int | None = None,
              read: Callable[[Path], Photo] | None = None, encode: Callable[[Photo, str], bytes] = encode,
              extension: str | None = None, copy: bool = False, megapixels: float = MEGAPIXELS,
              film: ClipProcess | None = None) -> Iterator[Outcome]:
    """Do what is planned; a photograph that fails is told and the rest goes on.

    Close the iterator (or let Ctrl-C do it) to stop: what is being written is finished, nothing else is begun.

    Args:
        plan: see `make_plan`.
        process: see `Process`. What it raises beside UsageError and MemoryError ends the run.
        at_once: photographs in memory at a time, which bounds the memory; 1 does one after the other.
        read: from a path to a photograph; None: `rlenhance.io.read`.
        encode: from a photograph and an ending (".png") to the bytes of a file.
        extension: the kind of file for standard output; None: the source's own.
        film: does a whole clip, in its turn, in the calling thread; None: a clip is no photograph.
        copy: where `process` gives back the same photograph and the kind of file stays, copy the file byte by byte.
        megapixels: larger photographs are refused by their header.

    Yields:
        An outcome per photograph, in the order of the plan; those skipped come first.
    """
    at_once = AT_ONCE if at_once is None else at_once
    if at_once < 1:
        raise UsageError(f"at least one photograph must be in work at a time; got {at_once}")
    stages = _Stages(read or partial(read_file, megapixels=megapixels), encode, extension, copy, megapixels, film)
    yield from (Outcome(job.source, job.target, skipped=True) for job in plan.skipped)
    waiting = deque(plan.jobs)
    reading: deque[Future[_Work]] = deque()
    writing: deque[Future[_Work]] = deque()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="photo")
    with _heard_warnings():
        try:
            while waiting or reading or writing:
                while waiting and len(reading) + len(writing) < at_once:
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
    """What happens to a photograph on its way, and how each stage fails."""

    def __init__(self, read: Callable[[Path], Photo], encode: Callable[[Photo, str], bytes], extension: str | None,
                 copy: bool, megapixels: float, film: ClipProcess | None):
        self._read, self._encode, self._extension, self._copy = read, encode, extension, copy
        self._megapixels, self._film = megapixels, film
        self.stopped = threading.Event()

    def read(self, work: _Work) -> _Work:
        """The file of a photograph becomes pixels; a clip waits for its turn."""
        if self._film and is_clip(work.job.source):
            return work
        with _stage(work):
            if work.job.source == STDIO:
                work.data = sys.stdin.buffer.read()
                work.photo = decode(work.data, "standard input", megapixels=self._megapixels)
            else:
                work.photo = self._read(work.job.source)
            height, width = work.photo.pixels.shape[:2]
            work.size = width, height
        return work

    def change(self, work: _Work, process: Process) -> _Work:
        """The pixels change."""
        with _stage(work):
            if self._film and is_clip(work.job.source):
                work.size, work.decision, notes = self._film(work.job.source, work.job.target)
                work.warnings += [f"{work.job.source}: {note}" for note in notes]
            elif work.photo is not None:
                photo, work.decision = process(work.photo)
                work.photo, work.unchanged = photo, photo is work.photo
        return work

    def write(self, work: _Work) -> _Work:
        """The result becomes a file."""
        with _stage(work):
            if work.photo is None or self.stopped.is_set():
                return work
            source, target = work.job.source, work.job.target
            kind = target.suffix if target != STDIO else self._extension or _kind(work)
            if self._copy and work.unchanged and source != STDIO and kind.lower() == source.suffix.lower():
                data = source.read_bytes()
            else:
                data = self._encode(work.photo, kind)
            if target == STDIO:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                write_bytes(data, target)
            work.photo = work.data = None
        return work


def _kind(work: _Work) -> str:
    """The ending of the source; without a name its bytes have told."""
    if work.data is None or work.photo is None or work.photo.encoding is None:
        return result_extension(work.job.source.suffix)
    return result_extension(CONTAINERS[work.photo.encoding.container].endings[0])


@contextmanager
def _stage(work: _Work) -> Iterator[None]:
    """Time it, and keep its warnings and its failure with the photograph."""
    start = time.perf_counter()
    _HEARD.by = work.warnings
    try:
        yield
    except UsageError as error:
        named = any(str(path) in str(error) for path in (work.job.source, work.job.target))
        source = "standard input" if work.job.source == STDIO else work.job.source
        work.error = str(error) if named or str(source) in str(error) else f"{source}: {error}"
    except MemoryError:
        work.error = f"{work.job.source}: not enough memory for it; take fewer at once, or reduce it first"
    except OSError as error:
        work.error = f"{work.job.source}: {error}"
    finally:
        _HEARD.by = None
        work.seconds += time.perf_counter() - start
        if work.error:
            work.photo = work.data = None


def mean_level(photo: Photo) -> float:
    """Mean of a photograph's values, in [0, 1], for a report: from a grid of pixels, good to a few thousandths."""
    pixels = photo.pixels[:: max(1, photo.pixels.shape[0] // 512), :: max(1, photo.pixels.shape[1] // 512)]
    return round(float(pixels.mean()) / (256**pixels.dtype.itemsize - 1), 4)


_HEARD = threading.local()


@contextmanager
def _heard_warnings() -> Iterator[None]:
    """Warnings of a thread go to the photograph that it works on."""
    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.simplefilter("always", UserWarning)

        def hear(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            by = getattr(_HEARD, "by", None)
            if by is None:
                shown(message, category, *place, **more)
            else:
                by.append(str(message))

        warnings.showwarning = hear
        yield
