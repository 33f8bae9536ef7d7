"""Faults that the eye finds in enhanced photographs, measured without a reference."""

from __future__ import annotations

import numpy as np

from rlenhance.ops.noise_estimation import estimate_sigma

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
