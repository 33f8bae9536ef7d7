"""One worker and a bounded line before it: one photograph is done at a time, and whoever comes too many is told."""

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
    """Too many are waiting; nothing was begun."""


class JobQueue:
    """Work is done one piece after the other, in one thread, so that memory stays where it is.

    Args:
        places: pieces of work that may be in the line, the one that is worked on among them.
        patience: seconds that a caller waits for a result.

    Raises:
        UsageError: no place, or no patience.
    """

    def __init__(self, places: int = 8, patience: float = 300.0):
        if places < 1 or not patience > 0:
            raise UsageError(f"--queue: at least one picture is in work at a time; got {places}")
        self.places, self.patience = places, patience
        self._inside, self._lock = 0, threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="line")

    @property
    def inside(self) -> int:
        """How many are in the line now."""
        return self._inside

    def run(self, work: Callable[P, T], *words: P.args, **named: P.kwargs) -> T:
        """Do it when its turn comes, and give back its result; what it raises is raised here.

        Raises:
            Busy: the line is full, or its turn or its end did not come in time.
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
            if future.done() and not future.cancelled():  # the work's own
                raise
            begun = not future.cancel()
            raise QueueFull(f"busy: {'it took' if begun else 'its turn did not come in'} more than {self.patience:g} "
                       f"seconds; {'reduce the picture' if begun else 'try again later'}") from error

    def run_when_free(self, work: Callable[P, T], *words: P.args, **named: P.kwargs) -> T:
        """The same for one picture of many: where the line is full, it waits for a place as long as for a result."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return self.run(work, *words, **named)
            except QueueFull:
                if time.monotonic() > end or self._inside < self.places:
                    raise
                time.sleep(0.25)

    def close(self) -> None:
        """Finish what is in work, and nothing else."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self, _: object) -> None:
        with self._lock:
            self._inside -= 1
