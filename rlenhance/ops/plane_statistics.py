"""Statistics of a picture: exposure, noise and colours, and the guide of edge-aware tone curves.

One text for arrays of one picture (3, H, W) and tensors of several (N, 3, H, W), in [0, 1]. A number of a picture is
(..., 1, 1, 1): of an array float64, of a tensor of its dtype.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from rlenhance.core.arrays import Array, brightness, lerp, max_channel, multiply_add, namespace_of
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
_ALL = (-3, -2, -1)


def exposure_of(image: Array) -> Array:
    """Exposure of an image, robust to lamps and sky: (..., 3, H, W) -> (..., 1, 1, 1), about in [0, 1].

    Half the mean of the brightness, capped at 0.75, and half its median, scaled so that a uniformly grey image between
    0 and 0.7 scores about its own value (exactly 1/0.93 of it). Of 25 statistics this one best predicted the level of
    the better image of an exposure stack.
    """
    return _exposure(_flat(brightness(image)))


def _exposure(level: Array) -> Array:
    """The exposure from the brightness of every pixel: (..., P) -> (..., 1, 1, 1)."""
    return _of_picture((level.clip(max=0.75).mean(axis=-1) + _median(level)) / (2 * 0.93))


def _flat(maps: Array) -> Array:
    """(..., C, H, W) -> (..., C H W)."""
    return maps.reshape(*maps.shape[:-3], -1)


def _of_picture(numbers: Any) -> Any:
    """A number of each picture: (...) -> (..., 1, 1, 1)."""
    numbers = numbers[..., None, None, None]
    return numbers.astype(np.float64) if isinstance(numbers, np.ndarray) else numbers


def _median(level: Any) -> Any:
    """The lower median, as `Tensor.median`: (..., P) -> (...)."""
    middle = (level.shape[-1] - 1) // 2
    if isinstance(level, np.ndarray):
        return np.partition(level, middle, axis=-1)[..., middle]
    if level.device.type != "cpu" or level.requires_grad or level.dtype.itemsize < 4:  # NumPy has no bfloat16
        return level.median(dim=-1).values
    return namespace_of(level).asarray(_median(level.numpy()))  # the same number in a fifth of the time


def noise_deviation(image: Array) -> Array:
    """Standard deviation of the noise: (..., C, H, W) in [0, 1] -> (..., 1, 1, 1), on the same scale.

    The median magnitude of the diagonal details of 2x2 pixels, over 0.6745. Fine texture counts as noise, slightly
    blurred noise is missed; an image less than two pixels wide or high has none.

    Restorers use this number, and filter policies for small images; for large ones those use
    `noise_estimation.estimate_sigma`, which needs flat and unclipped blocks. On whole photographs that one is better
    (20 of BSD with noise of 25/255: 25.2 +- 0.4, this one 26.1 +- 0.9); on training crops of 64 pixels it is useless
    (22.5 +- 7.6, this one 25.9 +- 1.3).

    Source: Donoho and Johnstone 1994, section 6.1.1 (the finest Haar coefficients).
    """
    height, width = (side - side % 2 for side in image.shape[-2:])
    if not (height and width):
        return _of_picture(namespace_of(image).zeros_like(image[..., 0, 0, 0]))
    even, odd = image[..., 0:height:2, :width], image[..., 1:height:2, :width]
    detail = (even[..., 0::2] - even[..., 1::2] - odd[..., 0::2] + odd[..., 1::2]) / 2
    return _of_picture(_median(abs(_flat(detail))) / 0.6745)


def mean_brightness(image: Array) -> Array:
    """Mean of all pixels and channels: (..., 3, H, W) -> (..., 1, 1, 1)."""
    return _of_picture(image.mean(axis=_ALL))


def measured_exposure(image: Array, auto: Any = None, light: Array | None = None) -> Array:
    """The exposure that is compared with the requested level: (..., 3, H, W) -> (..., 1, 1, 1).

    Args:
        image: (..., 3, H, W) in [0, 1].
        auto: whether the level is automatic, a bool or (N, 1, 1, 1) in 0 and 1: then `exposure_of` counts, and where
            the user named a level the mean brightness. None: `exposure_of` everywhere.
        light: (..., 1, H, W), the image's brightness where it is known already.
    """
    robust = _exposure(_flat(brightness(image) if light is None else light))
    if auto is None or auto is True:
        return robust
    return mean_brightness(image) if auto is False else lerp(mean_brightness(image), robust, auto)


def auto_exposure(image: Array) -> Array:
    """The automatic exposure level: (..., 3, H, W) -> (..., 1, 1, 1), in units of `exposure_of`.

    Dark images (below 0.30) get the default level, images between 0.42 and 0.60 keep theirs, brighter ones lose three
    quarters of their excess over 0.60. Where much of a dark image is black (below 1/255), nothing can be recovered: the
    level falls by 0.55 times the black share beyond 0.15. Of twenty dark frames of exposure stacks one has more; night
    photographs that are black except for lamps have 0.3 to 0.7. Beside lamps and fires (4 % of the image with a channel
    above 0.8) pixels below 3/255 count as black too: they hold the noise of the coding.
    """
    xp, level, light = namespace_of(image), exposure_of(image), brightness(image)
    black, nearly, burning = (xp.astype(chosen, level.dtype).mean(axis=_ALL, keepdims=True)
                              for chosen in (light < 1 / 255, light < 3 / 255, max_channel(image) > 0.8))
    black = lerp(black, nearly, (burning / 0.04).clip(max=1))
    lifted = DEFAULT_EXPOSURE - 0.55 * (black - 0.15).clip(min=0)
    lifted = lifted + (level - 0.30).clip(min=0) * (0.42 - lifted) / 0.12
    return xp.where(level < 0.42, lifted, xp.where(level <= 0.60, level, 0.60 + (level - 0.60) / 4))


def soft_histogram(values: Array, bins: int = 10) -> Array:
    """Differentiable histogram of values in [0, 1]: an array (P,) or a tensor (N, P) -> (..., bins), sums to 1.

    A value is shared by its two nearest bins in proportion to its distance.
    """
    xp = namespace_of(values)
    level = values.clip(0, 1) * (bins - 1)
    index = xp.astype(level, xp.int64).clip(0, bins - 2)  # a NaN has no bin; its share propagates it
    share = level - index
    if isinstance(values, np.ndarray):
        counts = np.bincount(index, 1 - share, bins) + np.bincount(index + 1, share, bins)
    else:
        counts = share.new_zeros(*share.shape[:-1], bins)
        counts = counts.scatter_add(-1, index, 1 - share).scatter_add(-1, index + 1, share)
    return xp.astype(counts / level.shape[-1], values.dtype, copy=False)


def picture_statistics(image: Array, level: Any, auto: Any = None, log_bins: int = 0) -> Array:
    """Global features of a policy: (..., 3, H, W) -> (..., STATISTICS + log_bins).

    Histogram of the brightness; histogram of the maximum channel, which shows what is about to clip; mean; eight times
    the distance of the exposure from the requested level; and the differences of the mean red and blue from the mean
    green.

    Args:
        image: (..., 3, H, W) in [0, 1].
        level: the requested exposure level, a number or (N, 1, 1, 1).
        auto: see `measured_exposure`.
        log_bins: of a histogram of the log-luminance, which distinguishes how dark the dark parts are; 0: none.
    """
    xp = namespace_of(image)
    red, green, blue = xp.unstack(image.mean(axis=(-2, -1)), axis=image.ndim - 3)
    light = brightness(image)
    feedback = 8 * (measured_exposure(image, auto, light) - level).reshape(red.shape)
    colors = [(red + green + blue) / 3, xp.astype(feedback, image.dtype, copy=False), red - green, blue - green]
    parts = [soft_histogram(_flat(light)), soft_histogram(_flat(max_channel(image))), xp.stack(colors, axis=-1)]
    if log_bins:
        parts.append(soft_histogram(_flat(log_luminance(image)), log_bins))
    return xp.concat(parts, axis=-1)


def log_luminance(image: Array) -> Array:
    """log2(1 + 255 v) / 8 of v, the middle of the largest channel and the mean channel: (..., 3, H, W) -> (..., 1, H,
    W). 0 is black, 1 is white, and an eighth is a stop but near black."""
    value = (max_channel(image) + brightness(image)) / 2
    return namespace_of(image).log2(1 + 255 * value) * 0.125


def guide_coefficients(small: Array) -> tuple[Array, Array]:
    """Slope and offset of `luminance_guide`, for a picture of `GUIDE_SIDE`: (..., 3, h, w) -> (..., 1, h, w) each.

    They are computed in float64, where the device has it: variances are small differences.
    """
    xp, level = namespace_of(small), log_luminance(small)
    exact = level if "mps" in str(level.device) else xp.astype(level, xp.float64)
    down, across = (box_matrix(side) if isinstance(level, np.ndarray) else exact.new_tensor(box_matrix(side))
                    for side in map(int, level.shape[-2:]))
    mean = down @ exact @ across.T
    variance = down @ exact**2 @ across.T - mean**2
    slope = variance / (variance + GUIDE_EPSILON)
    found = (down @ part @ across.T for part in (slope, mean - slope * mean))
    return xp.astype(next(found), level.dtype), xp.astype(next(found), level.dtype)


@lru_cache(maxsize=8)
def box_matrix(side: int) -> np.ndarray:
    """The mean over the window of the guide along a side, borders repeated: (side, side) float64."""
    matrix, places = np.zeros((side, side)), np.arange(side)
    for reach in range(-GUIDE_RADIUS, GUIDE_RADIUS + 1):
        np.add.at(matrix, (places, (places + reach).clip(0, side - 1)), 1 / (2 * GUIDE_RADIUS + 1))
    matrix.flags.writeable = False
    return matrix


def base_layer(image: Array, slope: Array, offset: Array) -> Array:
    """The log-luminance (..., 1, H, W) in [0, 1] without fine detail and with its edges, by coefficients of its size.

    Source: guided filter, He, Sun and Tang 2010; of a reduced picture, interpolated, He and Sun 2015.
    """
    return multiply_add(offset, slope, log_luminance(image)).clip(0, 1)


def luminance_guide(planes: np.ndarray) -> np.ndarray:
    """The `base_layer` of a picture (3, H, W), see `rlenhance.learning.actions.bilateral.luminance_guide` for tensors,
    where the interpolation is another: (1, H, W)."""
    parts = guide_coefficients(resize_planes(planes[None], GUIDE_SIDE)[0])
    if parts[0].shape[1:] != planes.shape[1:]:
        parts = tuple(cv2.resize(part[0], planes.shape[:0:-1], interpolation=cv2.INTER_LINEAR)[None] for part in parts)
    return np.asarray(base_layer(planes, *parts))
