"""A bounded job queue with one worker: one photograph is processed at a time, so that memory is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from rlenhance.core.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


class QueueFull(UsageError):
    """The queue is full; nothing was started."""


class JobQueue:
    """Runs jobs one after the other in one thread.

    Args:
        places: largest number of jobs, the running one included.
        patience: seconds that a caller waits for a result.

    Raises:
        UsageError: `places` below 1, or `patience` not above 0.
    """

    def __init__(self, places: int = 8, patience: float = 300.0):
        if places < 1 or not patience > 0:
            raise UsageError(f"places must be at least 1, and patience above 0; got {places} and {patience:g}")
        self.places, self.patience = places, patience
        self._inside, self._lock = 0, threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jobs")

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
        future = self._pool.submit(work, *words, **named)
        future.add_done_callback(self._leave)
        try:
            return future.result(self.patience)
        except TimeoutError as error:
            if future.done() and not future.cancelled():  # raised by the job
                raise
            started = not future.cancel()
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

    def close(self) -> None:
        """Finish the running job and cancel the others."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self, _: object) -> None:
        with self._lock:
            self._inside -= 1
