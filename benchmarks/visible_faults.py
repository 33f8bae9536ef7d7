"""Faults that the eye finds in enhanced photographs, measured without a reference."""

from __future__ import annotations

import cv2
import numpy as np

from rlenhance.core.pixels import largest_channel
from rlenhance.ops.noise_estimation import estimate_sigma

_DARK = 8  # of 255: the largest channel of a pixel in the photograph that belongs to its darkest parts
_BLOCK = 8  # pixels of a side of JPEG's blocks
_JUMP = 4  # of 255: the smallest step between two flat runs that counts


def banding(image: np.ndarray) -> float:
    """Share of the places where two flat runs meet in a step: posterised shadows, blocks of coding.

    A place counts where the brightness jumps by 4 of 255 or more between two pixels, and each equals its other
    neighbour along that line. Photographs with noise or texture have hardly any.

    Args:
        image: (H, W, 3) uint8.
    """
    level = image.astype(np.int32).sum(axis=2)
    shares = []
    for lines in (level, level.T):
        steps = np.abs(np.diff(lines, axis=1))
        if steps.shape[1] >= 3:
            shares.append(((steps[:, 1:-1] >= 3 * _JUMP) & (steps[:, :-2] == 0) & (steps[:, 2:] == 0)).mean())
    return float(np.mean(shares)) if shares else 0.0


def visible_noise(image: np.ndarray) -> float:
    """Standard deviation of the noise in the flattest blocks, in 255ths: (H, W, 3) uint8.

    Source: see `rlenhance.ops.noise_estimation.estimate_sigma`.
    """
    return 255 * estimate_sigma(image)


def block_energy(image: np.ndarray, initial: np.ndarray) -> float:
    """Blocks of JPEG that show in the darkest parts: how much larger the steps of the brightness are between the blocks
    of 8x8 pixels than within them, in 255ths.

    Args:
        image, initial: (H, W, 3) uint8, the result and the photograph, which was coded from its first pixel on.
    """
    level, dark = image.astype(np.float32).mean(axis=2), largest_channel(initial) <= _DARK
    found = []
    for lines, part in ((level, dark), (level.T, dark.T)):
        steps, counts = np.abs(np.diff(lines, axis=1)), part[:, 1:] & part[:, :-1]
        between = np.arange(steps.shape[1]) % _BLOCK == _BLOCK - 1
        if counts[:, between].any() and counts[:, ~between].any():
            found.append(steps[:, between][counts[:, between]].mean() - steps[:, ~between][counts[:, ~between]].mean())
    return max(0.0, float(np.mean(found))) if found else 0.0


def color_mottle(image: np.ndarray, initial: np.ndarray) -> float:
    """Blotches of colour in the darkest parts: deviation of Cb and Cr at 8 to 40 pixels, in 255ths.

    Args:
        image, initial: (H, W, 3) uint8, the result and the photograph.
    """
    dark = largest_channel(initial) <= _DARK
    if not dark.any():
        return 0.0
    color = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2YCrCb)[..., 1:]
    blotches = cv2.GaussianBlur(color, (0, 0), 4) - cv2.GaussianBlur(color, (0, 0), 20)
    return float(np.sqrt((blotches[dark] ** 2).mean()))
