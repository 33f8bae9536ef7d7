"""Decisions for the frames of a clip, smoothed over time within each scene.

Independent decisions follow the noise of each frame, and the clip flickers. Here the decision of a frame is the mean of
the decisions around it in the same scene, weighted by their distance in time. A cut, or a light that is switched on,
ends a scene; a flash, after which the picture is as before, does not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from rlenhance.core import ArrayAction
from rlenhance.pipelines.decision import Decision, White

Frame = TypeVar("Frame")

#: Seconds after which a decision counts 1/e of what it counted.
MEMORY = 0.25
#: Seconds after which a frame is decided on again, where nothing has happened.
EVERY = 0.1
#: Frames that are seen before the first of them is given back.
AHEAD = 8
_JUMP = 0.15  # of `difference`: less than that is smoothed over
_RARE = 3.0  # times what is usual around it: a moving camera or lamp changes every frame, a cut one
_FLASH = 3  # frames: what lasts longer is a new scene
_DARK = 2 / 255  # differences of less are noise


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """How much two views differ, beside how bright they are: 0 (equal) to 1 (one of them is black).

    Args:
        one, other: the same frame size reduced to a few pixels, brightness in [0, 1].

    Example:
        >>> difference(np.full((4, 4), 0.2), np.full((4, 4), 0.2))
        0.0
    """
    return float(np.abs(one - other).mean() / (np.maximum(one, other).mean() + _DARK))


@dataclass
class _Seen(Generic[Frame]):
    frame: Frame
    time: float
    view: np.ndarray
    change: float  # from the frame before
    decision: np.ndarray | None = None


class _Form:
    """A decision as one row of numbers, so that a mean is a mean: logarithms of the gains of the white balance, then
    the actions; choices become the shares of a mixture."""

    def __init__(self, first: Decision, choices: int | None):
        self.first, self.choices = first, choices
        self.entries = [{level: entry.shape if choices is None else self._shares(entry).shape
                         for level, entry in action.items()} for action in first.actions or ()]

    def row(self, decision: Decision) -> np.ndarray:
        parts = [(entry if self.choices is None else self._shares(entry)).ravel()
                 for action in decision.actions or () for entry in action.values()]
        return np.concatenate([np.log(decision.white.gains), *parts]).astype(np.float64)

    def decision(self, row: np.ndarray) -> Decision:
        numbers, start = row.astype(np.float32), 3
        actions: list[ArrayAction] = []
        for shapes in self.entries:
            action = {}
            for level, shape in shapes.items():
                count = math.prod(shape)
                action[level] = numbers[start : start + count].reshape(shape)
                start += count
            actions.append(action)
        white = White(np.exp(row[:3]), self.first.white.named)
        return replace(self.first, white=white.rounded, actions=actions)

    def _shares(self, entry: np.ndarray) -> np.ndarray:
        if np.issubdtype(entry.dtype, np.floating):
            return entry
        assert self.choices is not None
        return np.moveaxis(np.eye(self.choices, dtype=np.float32)[entry], -1, 2)  # (N, C, K, h, w)


class TemporalSmoother(Generic[Frame]):
    """Yields the frames of an iterable, each with its decision.

    Args:
        look: gives the time of a frame in seconds, and a view of it: see `difference`.
        decide: gives the decision on a frame; it is called for some of them only.
        choices: number of values of a categorical head; None where heads are continuous.
        memory, every, ahead: see `MEMORY`, `EVERY` and `AHEAD`. A memory of 0 takes every frame's own decision.

    Attributes:
        scenes: number of scenes so far.
        decided: number of frames that were decided on.
    """

    def __init__(self, look: Callable[[Frame], tuple[float, np.ndarray]],
                 decide: Callable[[Frame], Decision], *,
                 choices: int | None = None, memory: float = MEMORY, every: float = EVERY, ahead: int = AHEAD):
        self._look, self._decide, self._choices = look, decide, choices
        self.memory, self.every, self.ahead = memory, every, ahead
        self.scenes = self.decided = 0
        self._waiting: deque[_Seen[Frame]] = deque()
        self._usual: deque[float] = deque(maxlen=AHEAD)  # changes of the frames that were given back last
        self._form: _Form | None = None
        self._decided_at = -math.inf
        self._last: np.ndarray | None = None  # view of the scene's last frame
        self._flash = 0  # frames of one that are still to be given back
        self._past, self._weight, self._time = np.zeros(0), 0.0, 0.0  # mean of the scene's decisions so far

    def __call__(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Decision]]:
        """Frames in their order, each with its decision; at most `ahead` of them are held back."""
        for frame in frames:
            self._see(frame)
            while len(self._waiting) > self.ahead:
                yield self._give()
        while self._waiting:
            yield self._give()

    def _see(self, frame: Frame) -> None:
        time, view = self._look(frame)
        before = self._waiting[-1].view if self._waiting else self._last
        seen = _Seen(frame, time, view, 0.0 if before is None else difference(before, view))
        if seen.change > _JUMP or not 0 <= time - self._decided_at < self.every - 1e-6:
            self._settle(seen)
        self._waiting.append(seen)

    def _settle(self, seen: _Seen[Frame]) -> np.ndarray:
        decision = self._decide(seen.frame)
        self._form = self._form or _Form(decision, self._choices)
        seen.decision, self._decided_at = self._form.row(decision), seen.time
        self.decided += 1
        return seen.decision

    def _give(self) -> tuple[Frame, Decision]:
        first = self._waiting[0]
        if self._last is None:
            self._begin(first)
        elif not self._flash and self._jumps(0, self._last):
            self._flash = self._flash_from(0, self._last)
            if not self._flash:
                self._begin(first)
        shown = 0 if self._flash else 1
        self._weight *= self._fade(first.time - self._time)
        self._time = first.time
        if shown:
            self._last = first.view
            if first.decision is not None:
                self._weight += 1
                self._past = first.decision if self._weight == 1 else \
                    self._past + (first.decision - self._past) / self._weight
        decision = self._mean(first, self._scene_from(shown or self._flash))
        self._flash = max(0, self._flash - 1)
        self._usual.append(first.change)
        self._waiting.popleft()
        assert self._form is not None
        return first.frame, self._form.decision(decision)

    def _begin(self, first: _Seen[Frame]) -> None:
        self.scenes += 1
        self._past, self._weight, self._time = np.zeros(0), 0.0, first.time

    def _fade(self, seconds: float) -> float:
        return math.exp(-abs(seconds) / self.memory) if self.memory else float(seconds == 0)

    def _mean(self, first: _Seen[Frame], later: Iterable[_Seen[Frame]]) -> np.ndarray:
        weights, rows = [self._weight] if self._weight else [], [self._past] if self._weight else []
        for seen in later:
            weight = 0.0 if seen.decision is None else self._fade(seen.time - first.time)
            if weight and seen.decision is not None:
                weights.append(weight)
                rows.append(seen.decision)
        if not weights:  # nothing around it was decided on
            return self._settle(first)
        return rows[0] if len(rows) == 1 else np.average(rows, axis=0, weights=weights)

    def _scene_from(self, index: int) -> Iterator[_Seen[Frame]]:
        """The waiting frames of the scene, as far as is known; a flash is skipped."""
        last = self._last
        while index < len(self._waiting) and last is not None:
            if self._jumps(index, last):
                length = self._flash_from(index, last)
                if not length:
                    return
                index += length
                continue
            yield self._waiting[index]
            last = self._waiting[index].view
            index += 1

    def _jumps(self, index: int, last: np.ndarray) -> bool:
        """Whether a waiting frame differs from the last one of the scene, and more than is usual here."""
        change = difference(last, self._waiting[index].view)
        if change <= _JUMP:
            return False
        others = [seen.change for number, seen in enumerate(self._waiting) if number != index]
        others += self._usual
        return change > _RARE * float(np.quantile(others, 0.75)) if others else True

    def _flash_from(self, index: int, last: np.ndarray) -> int:
        """The number of frames until the picture is as before; 0: it is not, or this is not known yet."""
        change = difference(last, self._waiting[index].view)
        for length in range(1, min(_FLASH, len(self._waiting) - index - 1) + 1):
            if difference(last, self._waiting[index + length].view) < change / 3:
                return length
        return 0
