"""Exposure fusion: of several exposures each place from those that show it best, without a tone curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError

_SPREAD = 0.2  # standard deviation around 0.5 of a value that is well exposed
_BAND = 1 << 18  # pixels that are weighed at a time
_LEAST = 1e-12  # of a weight: where no frame shows anything, all count alike


def fuse_exposures(frames: Sequence[np.ndarray], dtype: Any = np.float32) -> np.ndarray:
    """Exposure fusion of frames that lie over each other, by contrast, saturation and well-exposedness.

    What OpenCV's `MergeMertens` gives, in any depth and with the memory of one picture: beside the frames some 40 bytes
    a pixel. Equal frames give that frame.

    Args:
        frames: (H, W, 3) RGB each, one or more, all of one shape and type: uint8, uint16 or float in [0, 1].
        dtype: of the result: uint8, uint16 or a float.

    Returns:
        (H, W, 3), in [0, 1] where it is a float.

    Raises:
        UsageError: no frame, or frames of different shapes or types.

    Example:
        >>> fuse_exposures([np.full((8, 8, 3), 51, np.uint8)])[0, 0].round(3)
        array([0.2, 0.2, 0.2], dtype=float32)

    Source: Mertens, Kautz and Van Reeth 2007, Exposure fusion.
    """
    kinds = {(np.shape(frame), getattr(frame, "dtype", None)) for frame in frames}
    if len(kinds) != 1 or len(frames[0].shape) != 3 or frames[0].shape[2] != 3:
        raise UsageError(f"frames are arrays (H, W, 3) of one size and type; got "
                         f"{', '.join(f'{shape} {kind}' for shape, kind in sorted(kinds, key=str)) or 'none'}")
    height, width = frames[0].shape[:2]
    levels = int(np.log2(min(height, width)))
    total = np.zeros((height, width), np.float32)
    for frame in frames:
        total += _weight(frame)
    sums: list[list[np.ndarray]] = [[], [], []]
    for frame in frames:
        weights = [_weight(frame)]
        weights[0] /= total
        for _ in range(levels):
            weights.append(cv2.pyrDown(weights[-1]))
        for channel, pyramid in enumerate(sums):
            _add(pyramid, _scaled(frame[..., channel]), weights)
    del total, weights
    result = np.empty(frames[0].shape, dtype)
    whole = np.iinfo(result.dtype).max if np.issubdtype(result.dtype, np.integer) else 1
    for channel in range(3):
        values = _collapsed(sums[channel]).clip(0, 1)
        sums[channel] = []
        result[..., channel] = np.rint(values * np.float32(whole)) if whole > 1 else values
    return result


class FusionsOfSets:
    """Fusions of many sets of the same small frames, as `fuse_exposures` makes them: what a set shares with others is
    computed once, so that a set of four frames of 128x128 pixels takes half a millisecond.

    Args:
        frames: see `fuse_exposures`; some 50 bytes of memory for each pixel of each frame.
    """

    def __init__(self, frames: Sequence[np.ndarray]):
        self._levels = int(np.log2(min(frames[0].shape[:2])))
        self._weights = [_weight(frame) for frame in frames]
        self._details = [_laplacian(_scaled(frame), self._levels) for frame in frames]

    def of(self, numbers: Sequence[int]) -> np.ndarray:
        """The fusion of the frames of these numbers, at least one: (H, W, 3) float32 in [0, 1]."""
        total = np.sum([self._weights[number] for number in numbers], axis=0)
        sums: list[np.ndarray] = []
        for number in numbers:
            weight = self._weights[number] / total
            for level, detail in enumerate(self._details[number]):
                part = detail * weight[..., None]
                if level == len(sums):
                    sums.append(part)
                else:
                    sums[level] += part
                weight = cv2.pyrDown(weight) if level < self._levels else weight
        return _collapsed(sums).clip(0, 1)


def _laplacian(picture: np.ndarray, levels: int) -> list[np.ndarray]:
    """The pyramid of a picture (H, W, C): details, and last the smallest picture."""
    details = []
    for _ in range(levels):
        smaller = cv2.pyrDown(picture)
        details.append(picture - cv2.pyrUp(smaller, dstsize=picture.shape[1::-1]))
        picture = smaller
    return [*details, picture]


def _scaled(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1], float32."""
    if np.issubdtype(values.dtype, np.integer):
        return np.asarray(values * np.float32(1 / np.iinfo(values.dtype).max), np.float32)
    return values.astype(np.float32)


def _weight(frame: np.ndarray) -> np.ndarray:
    """How well a frame shows each place: (H, W, 3) -> (H, W) float32, above 0; a band of rows at a time."""
    height, width = frame.shape[:2]
    weight = np.empty((height, width), np.float32)
    step = max(16, _BAND // width)
    for top in range(0, height, step):
        first, last = max(0, top - 1), min(height, top + step + 1)  # contrast needs the rows beside
        band = _scaled(frame[first:last])
        found = np.exp(np.square(band - np.float32(0.5)).sum(axis=2) * np.float32(-0.5 / _SPREAD**2))
        found *= np.sqrt(np.square(band - band.mean(axis=2, keepdims=True)).sum(axis=2))
        found *= np.abs(cv2.Laplacian(cv2.cvtColor(band, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
        weight[top : top + step] = found[top - first : top - first + step]
    weight += np.float32(_LEAST)
    return weight


def _add(sums: list[np.ndarray], plane: np.ndarray, weights: Sequence[np.ndarray]) -> None:
    """Add the Laplacian pyramid of a plane (H, W), level by level as its weights have it, to the sums."""
    for level, weight in enumerate(weights):
        if level + 1 < len(weights):
            smaller = cv2.pyrDown(plane)
            plane -= cv2.pyrUp(smaller, dstsize=plane.shape[::-1])
        plane *= weight
        if level == len(sums):
            sums.append(plane)
        else:
            sums[level] += plane
        plane = smaller


def _collapsed(pyramid: Sequence[np.ndarray]) -> np.ndarray:
    """The plane (H, W) or picture (H, W, C) that a Laplacian pyramid is of."""
    plane = pyramid[-1]
    for detail in reversed(pyramid[:-1]):
        plane = cv2.pyrUp(plane, dstsize=detail.shape[1::-1])
        plane += detail
    return plane
