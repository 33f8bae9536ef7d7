"""Which frames of a bracket are enough: all sets of few frames are tried, since the frames are there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.ops.exposure_fusion import FusionsOfSets, fuse_exposures

_SIDE = 128  # pixels of the longer side on which sets are tried
_CANDIDATES = 10  # frames of which sets are made: 385 of up to four


class ChosenFrames(NamedTuple):
    """A set of frames of a bracket.

    Attributes:
        numbers: of the frames, each the one that adds most to those before it.
        psnr: of their fusion to the fusion of all, in dB; infinite where nothing is lost.
    """

    numbers: tuple[int, ...]
    psnr: float


def best_frames(frames: Sequence[np.ndarray], most: int) -> list[ChosenFrames]:
    """The best set of each size, from one frame to `most`.

    Sets are compared with sides of 128 pixels; what is lost is measured on the frames as they are. Of more than ten
    frames, ten evenly spread ones are tried.

    Args:
        frames: (H, W, 3) RGB each, of one size and type, laid over each other, from dark to light.
        most: frames in a set, at least 1.

    Raises:
        UsageError: no frame, or `most` below 1.
    """
    if not frames or most < 1:
        raise UsageError(f"a choice takes a frame, and at least 1 in a set; got {len(frames)} frames and {most}")
    factor = min(1.0, _SIDE / max(frames[0].shape[:2]))
    size = max(1, round(frames[0].shape[1] * factor)), max(1, round(frames[0].shape[0] * factor))
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    whole, fusions = fuse_exposures(frames), FusionsOfSets(small)
    whole_small = fusions.of(range(len(small)))
    tried = np.unique(np.linspace(0, len(frames) - 1, min(_CANDIDATES, len(frames))).round().astype(int)).tolist()
    found = []
    for count in range(1, min(most, len(frames)) + 1):
        sets: dict[tuple[int, ...], float] = {numbers: _psnr(fusions.of(numbers), whole_small)
                for numbers in (combinations(tried, count) if count < len(frames) else [tuple(range(len(frames)))])}
        numbers = _ordered(max(sets.items(), key=lambda one: one[1])[0], fusions, whole_small)
        found.append(ChosenFrames(numbers, _psnr(fuse_exposures([frames[i] for i in sorted(numbers)]), whole)))
    return found


def _ordered(numbers: Sequence[int], fusions: FusionsOfSets, whole: np.ndarray) -> tuple[int, ...]:
    """Frames of a set so that each adds the most to those before it."""
    order: list[int] = []
    while len(order) < len(numbers):
        left = [number for number in numbers if number not in order]
        order.append(max(left, key=lambda number: _psnr(fusions.of(sorted([*order, number])), whole)))
    return tuple(order)


def _psnr(picture: np.ndarray, whole: np.ndarray) -> float:
    error = float(np.square(picture - whole).mean())
    return float("inf") if error == 0 else float(-10 * np.log10(error))
