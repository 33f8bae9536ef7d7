"""Statistics of one picture, and the guide of its edge-aware tone curves, in NumPy.

The functions are those of `image_statistics` and `guided_filter` for planes (3, H, W) float32 in [0, 1]; tests hold
both equal. Nothing here imports torch.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from rlenhance.core.pixels import resize_planes

#: The default exposure level (fitted on training scenes).
DEFAULT_EXPOSURE = 0.475
#: Columns of `picture_statistics` without the histogram of the log-luminance.
STATISTICS = 24
#: Side in pixels of the reduced square picture from which the coefficients of a luminance guide are computed.
GUIDE_SIDE = 64
#: Of the guide's window, in its pixels.
GUIDE_RADIUS = 3
#: Variance of the log-luminance (on [0, 1]) that counts as flat: a deviation of a quarter of a stop.
GUIDE_EPSILON = 1e-3


def exposure_of(planes: np.ndarray) -> float:
    """See `image_statistics.exposure_of`."""
    return _exposure(planes.mean(axis=0).ravel())


def _exposure(level: np.ndarray) -> float:
    middle = (level.size - 1) // 2  # the lower median
    return float((np.minimum(level, 0.75).mean() + np.partition(level, middle)[middle]) / np.float32(2 * 0.93))


def noise_deviation(planes: np.ndarray) -> float:
    """See `image_statistics.noise_deviation`: (C, H, W) -> the standard deviation of the noise."""
    height, width = (side - side % 2 for side in planes.shape[-2:])
    if not (height and width):
        return 0.0
    even, odd = planes[:, 0:height:2, :width], planes[:, 1:height:2, :width]
    detail = np.abs((even[..., 0::2] - even[..., 1::2] - odd[..., 0::2] + odd[..., 1::2]) / 2).ravel()
    middle = (detail.size - 1) // 2
    return float(np.partition(detail, middle)[middle] / 0.6745)


def auto_exposure(planes: np.ndarray) -> float:
    """The automatic exposure level, see `image_statistics.auto_exposure`."""
    level, light = exposure_of(planes), planes.mean(axis=0)
    black, nearly = (float((light < limit / 255).mean()) for limit in (1, 3))
    burning = float((planes.max(axis=0) > 0.8).mean())
    black += min(burning / 0.04, 1.0) * (nearly - black)
    if level >= 0.42:
        return level if level <= 0.60 else 0.60 + (level - 0.60) / 4
    lifted = DEFAULT_EXPOSURE - 0.55 * max(black - 0.15, 0.0)
    return lifted + max(level - 0.30, 0.0) * (0.42 - lifted) / 0.12


def soft_histogram(values: np.ndarray, bins: int = 10) -> np.ndarray:
    """See `image_statistics.soft_histogram`: (P,) in [0, 1] -> (bins,)."""
    level = values.clip(0, 1) * np.float32(bins - 1)
    index = np.minimum(level.astype(np.int64), bins - 2)
    share = level - index
    counts = np.bincount(index, 1 - share, bins)[:bins] + np.bincount(index + 1, share, bins)[:bins]
    return (counts / level.size).astype(np.float32)


def picture_statistics(planes: np.ndarray, level: float, auto: bool | None = None, log_bins: int = 0) -> np.ndarray:
    """The global features of a policy, see `image_statistics.picture_statistics`: (STATISTICS + log_bins,) float32.

    Args:
        planes: (3, H, W).
        level: the requested exposure level.
        auto: whether the level is automatic; None: the policy has no automatic level.
        log_bins: see there.
    """
    red, green, blue = planes.mean(axis=(1, 2))
    light = planes.mean(axis=0).ravel()
    exposure = _exposure(light) if auto or auto is None else float(planes.mean())
    colors = np.array([(red + green + blue) / 3, 8 * (exposure - level), red - green, blue - green], np.float32)
    parts = [soft_histogram(light), soft_histogram(planes.max(axis=0).ravel()), colors]
    if log_bins:
        parts.append(soft_histogram(log_luminance(planes).ravel(), log_bins))
    return np.concatenate(parts)


def log_luminance(planes: np.ndarray) -> np.ndarray:
    """See `guided_filter.log_luminance`: (3, H, W) -> (H, W)."""
    value = (planes.max(axis=0) + planes.mean(axis=0)) / 2
    return np.asarray(np.log2(1 + 255 * value) * np.float32(0.125))


def guide_coefficients(small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset of the luminance guide, for a picture of `GUIDE_SIDE`: (3, h, w) -> (h, w) each.

    They are computed in float64: variances are small differences.
    """
    level = log_luminance(small).astype(np.float64)
    down, across = (box_matrix(side) for side in level.shape)
    mean = down @ level @ across.T
    variance = down @ level**2 @ across.T - mean**2
    slope = variance / (variance + GUIDE_EPSILON)
    found = (down @ part @ across.T for part in (slope, mean - slope * mean))
    return next(found).astype(np.float32), next(found).astype(np.float32)


@lru_cache(maxsize=8)
def box_matrix(side: int) -> np.ndarray:
    """The mean over the window of the guide along a side, borders repeated: (side, side) float64."""
    matrix, places = np.zeros((side, side)), np.arange(side)
    for reach in range(-GUIDE_RADIUS, GUIDE_RADIUS + 1):
        np.add.at(matrix, (places, (places + reach).clip(0, side - 1)), 1 / (2 * GUIDE_RADIUS + 1))
    matrix.flags.writeable = False
    return matrix


def luminance_guide(planes: np.ndarray) -> np.ndarray:
    """The base layer of the log-luminance, see `guided_filter.luminance_guide`: (3, H, W) -> (H, W) in [0, 1]."""
    slope, offset = guide_coefficients(resize_planes(planes[None], GUIDE_SIDE)[0])
    size = planes.shape[2], planes.shape[1]
    if slope.shape != planes.shape[1:]:
        slope, offset = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in (slope, offset))
    return np.asarray((slope * log_luminance(planes) + offset).clip(0, 1))
