"""How far a clip is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlenhance.pipelines.video import Progress

_SECONDS = 10.0  # between lines


class FrameBar:
    """Tells frames per second and the time left, on standard error; results are told elsewhere.

    Args:
        source: what is worked on. quiet: say nothing.
    """

    def __init__(self, source: Path, quiet: bool = False):
        self._source, self._quiet, self._next = source, quiet, _SECONDS
        self._bar: Any = None

    def __enter__(self) -> FrameBar:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, progress: Progress) -> None:
        """How far it is now."""
        if self._quiet:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=progress.total, desc=self._source.name, unit=" frames", file=sys.stderr,
                                 dynamic_ncols=True, leave=False)
            self._bar.update(progress.frames - self._bar.n)
        elif progress.seconds >= self._next:
            self._next = progress.seconds + _SECONDS
            of = f" of {progress.total}" if progress.total else ""
            left = f", {progress.left:.0f} s left" if progress.left is not None else ""
            print(f"{self._source}: {progress.frames}{of} frames, {progress.rate:.1f} per second{left}",
                  file=sys.stderr, flush=True)
