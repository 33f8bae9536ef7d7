"""A bounded job queue: one job computes at a time, and those that wait for a child process stand aside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar

from rlenhance.core.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


class QueueFull(UsageError):
    """The queue is full; nothing was started."""


class JobQueue:
    """Runs jobs one after the other; while one stands aside, the next one goes on.

    Args:
        places: largest number of jobs, the running one included.
        patience: seconds that a caller waits for a result.
        lanes: jobs that have begun: one computes, the others stand aside.
        discard: takes the results that come when nobody waits for them any more.

    Raises:
        UsageError: `places` below 1, or `patience` not above 0.
    """

    def __init__(self, places: int = 8, patience: float = 300.0, lanes: int = 2,
                 discard: Callable[[Any], None] = lambda _: None):
        if places < 1 or not patience > 0:
            raise UsageError(f"places must be at least 1, and patience above 0; got {places} and {patience:g}")
        self.places, self.patience, self._discard = places, patience, discard
        self._inside, self._lock = 0, threading.Lock()
        self._turn, self._thread = threading.Lock(), threading.local()
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="jobs")

    @property
    def inside(self) -> int:
        """Number of jobs in the queue."""
        return self._inside

    def run(self, work: Callable[P, T], *words: P.args, **named: P.kwargs) -> T:
        """Run a job when its turn comes and return its result; its errors are raised here.

        Raises:
            QueueFull: the queue is full, or the job did not start or end in time.
        """
        with self._lock:
            if self._inside >= self.places:
                raise QueueFull(f"busy: {self._inside} pictures are in work or waiting; try again in a moment")
            self._inside += 1
        begun, gone = threading.Event(), threading.Event()

        def job() -> T:
            with self._turn:
                if gone.is_set():
                    raise QueueFull("nobody waits for it any more")
                begun.set()
                self._thread.computes = True
                try:
                    return work(*words, **named)
                finally:
                    self._thread.computes = False

        future = self._pool.submit(job)
        future.add_done_callback(self._leave)
        try:
            return future.result(self.patience)
        except TimeoutError as error:
            if future.done() and not future.cancelled():  # raised by the job
                raise
            gone.set()
            started = begun.is_set()
            if not future.cancel():
                future.add_done_callback(self._discarded)
            raise QueueFull(f"busy: {'it took' if started else 'its turn did not come in'} more than {self.patience:g} "
                       f"seconds; {'reduce the picture' if started else 'try again later'}") from error

    def run_when_free(self, work: Callable[P, T], *words: P.args, **named: P.kwargs) -> T:
        """The same for one job of many: where the queue is full, wait up to `patience` for a place."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return self.run(work, *words, **named)
            except QueueFull:
                if time.monotonic() > end or self._inside < self.places:
                    raise
                time.sleep(0.25)

    def aside(self) -> AbstractContextManager[None]:
        """Called by a job: a context in which it waits for a child process, and another job may compute.

        Any thread that works for the job may enter it. Elsewhere it does nothing.
        """
        return self._stand_aside() if getattr(self._thread, "computes", False) else nullcontext()

    @contextmanager
    def _stand_aside(self) -> Iterator[None]:
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()

    def _discarded(self, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._discard(future.result())

    def close(self) -> None:
        """Finish the jobs that have begun and cancel the others."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self, _: object) -> None:
        with self._lock:
            self._inside -= 1
