"""What a picture of text looks like, in a few numbers that a policy sees."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from rlenhance_read.ocr.filters import flatten, noise_of, otsu

#: Names of the numbers of `picture_statistics`.
PICTURE_STATISTICS = (
    "mean", "spread", "dark end", "median", "bright end", "noise", "noise in contrast", "uneven", "uneven across",
    "uneven down", "dark share", "fine edges", "middle edges", "coarse edges", "row contrast", "rows", "slant",
    "blocks", "size")
#: No number that a policy sees lies further from 0.
MOST = 8.0
_HEIGHT, _WIDTH = 96, 480  # pixels: pictures of other sizes are brought to as many
_LEAST = 24  # pixels: smaller pictures are continued by their borders
_EPSILON = 1e-3


def picture_statistics(grey: np.ndarray) -> np.ndarray:
    """Brightness, contrast, noise, evenness of the light, polarity, sharpness, rows of text, JPEG blocks: (19,)
    float32, about -2 to 2, and never beyond `MOST`.

    Args:
        grey: (H, W) uint8.
    """
    down, right = (max(0, _LEAST - side) for side in grey.shape)
    if down or right:
        grey = cv2.copyMakeBorder(grey, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = float(np.log(grey.shape[0] * grey.shape[1] / (_HEIGHT * _WIDTH)) / 5)
    scale = (_HEIGHT * _WIDTH / (grey.shape[0] * grey.shape[1])) ** 0.5
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 0.9 else grey
    level = small.astype(np.float32) / 255
    low, middle, high = np.percentile(level, (1, 50, 99)).tolist()
    contrast = high - low + 0.01
    noise = noise_of(grey) / 255
    even = flatten(small).astype(np.float32) / 255
    light = cv2.resize(level, (8, 4), interpolation=cv2.INTER_AREA)
    black = otsu(flatten(small)) == 0
    bands = [cv2.GaussianBlur(even, (0, 0), width) for width in (0.5, 1, 2, 4)]
    energies = [float(np.abs(one - other).mean()) for one, other in pairwise(bands)]
    rows = black.mean(axis=1)
    crossings = np.abs(np.diff((rows > rows.mean()).astype(int))).sum() / 2
    steps = np.abs(np.diff(grey.astype(np.float32), axis=1)).mean(axis=0)
    on_grid = steps[7::8].mean() if len(steps) > 16 else 0.0
    numbers = [
        np.log(level.mean() + 0.01), np.log(level.std() + 0.01), np.log(low + 0.01), np.log(middle + 0.01),
        np.log(high + 0.01), np.log(noise + _EPSILON), np.log(noise / contrast + 0.01),
        light.std() / (light.mean() + 0.01), light.mean(axis=0).std() / (light.mean() + 0.01),
        light.mean(axis=1).std() / (light.mean() + 0.01), black.mean() * 2, *(np.log(each + _EPSILON) / 2 + 2
                                                                              for each in energies),
        4 * rows.std(), crossings / 10, _slant(black), np.log((on_grid + 0.2) / (steps.mean() + 0.2)), size]
    return np.array(numbers, np.float32).clip(-MOST, MOST)


def _slant(black: np.ndarray) -> float:
    """How much the darkness of the rows of the left half differs from that of the right half."""
    left, right = (np.asarray(half.mean(axis=1), np.float64) for half in np.array_split(black, 2, axis=1))
    spread = left.std() * right.std()
    return float(1 - ((left - left.mean()) * (right - right.mean())).mean() / spread) if spread > 1e-6 else 1.0
