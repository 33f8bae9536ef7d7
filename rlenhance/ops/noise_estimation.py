"""Noise estimation: a sensor model from the flat blocks of a photograph, and its noise map after a tone curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import Any, Protocol

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import bands, linear_from_srgb, resize_planes, srgb_from_linear, to_planes
from rlenhance.ops.noise_pyramid import reduced_picture

_SIDE = 16  # pixels along a block whose noise is measured
_ENOUGH = 2_000_000  # pixels that are read, in bands spread over the image
_BINS, _FEWEST = 12, 8  # parts of the range of light, and blocks that each needs
_CLIPPED = 0.03  # share of a block's pixels that may be at the ends of the range
_BLANK = 0.1  # share of constant 3x3 surroundings in a block above which it counts as painted
_AROUND = np.ones((3, 3), np.uint8)
_SPREAD = 0.17  # deviation of a flat block's measured variance, over its mean: 256 pixels with correlated residuals
_STEP = 1 / 512  # of the finite difference
#: Standard deviation of the noise that coding and smoothing may have hidden, on the scale of [0, 1].
NOISE_FLOOR = 1 / 255
#: The strongest noise that networks are trained for: a standard deviation on the scale of [0, 1].
LARGEST_NOISE = 75 / 255
#: Second differences along both sides, so scaled that noise which is the same everywhere keeps its variance.
_SECOND = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6


class NoiseByValue(Protocol):
    """A noise model: `NoiseModel`, or `rlenhance.ops.camera_noise.CameraNoise`."""

    def deviation(self, picture: np.ndarray) -> np.ndarray:
        """Standard deviation at every value of (H, W, 3) in [0, 1], sRGB, of the same shape, float32."""


@dataclass(frozen=True)
class NoiseModel:
    """Noise model of a photograph: at the linear light L the variance is shot L + read^2, in units of full scale;
    after the sRGB encoding, even^2 is added.

    `rlenhance.learning.data.Darken` generates noise by the first part, that of a sensor.

    Attributes:
        shot: variance per unit of light.
        read: standard deviation without light.
        even: standard deviation that is the same at every encoded value.
        steps: values of a channel in the file, 255 or 65535; rounding to them adds noise.

    Example:
        >>> round(255 * NoiseModel(shot=2e-3, read=2e-3).deviation(np.array([0.5])).item(), 2)
        5.73
    """

    shot: float
    read: float
    even: float = 0.0
    steps: int = 255

    def deviation(self, picture: np.ndarray) -> np.ndarray:
        """Standard deviation at every value of an sRGB image in [0, 1], of the same shape, float32: that of the linear
        light times the slope of the sRGB encoding, the even part, and the rounding."""
        variance = (self.shot * linear_from_srgb(picture) + self.read**2) * _slope(picture) ** 2
        found: np.ndarray = np.sqrt(variance + self.even**2 + _rounding(self.steps)).astype(np.float32)
        return found


def _slope(encoded: np.ndarray) -> np.ndarray:
    """Derivative of the sRGB encoding by the light, at an encoded value."""
    bent = 1.055 / 2.4 * ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** -1.4
    return np.where(encoded <= 0.04045, 12.92, bent).astype(np.float32)


def _rounding(steps: int) -> float:
    """Variance of the rounding error."""
    return 1 / (12 * steps**2)


def estimate_noise(picture: np.ndarray) -> NoiseModel:
    """Estimate the noise of a photograph from its flattest blocks.

    The image is made linear, and second differences along both axes remove smooth content. Of blocks of 16 pixels with
    about the same light, the flattest are taken: those whose variance is that of pure noise. A line through the
    variances over the light is the model, with a part that is even after the encoding. Noise that the camera has
    smoothed away, or that lies in clipped places, is not found.

    Args:
        picture: (H, W, 3) or (H, W), uint8, uint16 or float in [0, 1], sRGB; all channels count alike.

    Raises:
        UsageError: another shape or dtype, or values that are not finite.

    Source: the filter, Immerkaer 1996; flat blocks by cutting again and again, Liu, Tanaka and Okutomi 2013, with the
    filter's variance in the place of their gradient.
    """
    steps = _steps(picture)
    light, variance = _flat_blocks(picture, linear=True)
    if not len(light):
        return NoiseModel(0.0, 0.0, 0.0, steps)
    levels, variances, counts = _bins(light, variance)
    if len(levels) < 3:  # too small to separate light from dark
        return NoiseModel(0.0, 0.0, max(0.0, estimate_sigma(picture) ** 2 - _rounding(steps)) ** 0.5, steps)
    encoded = _slope(srgb_from_linear(levels)).astype(np.float64) ** -2
    parts = np.stack([levels, np.ones_like(levels), encoded], axis=1)
    shot, read, even = _fit(parts, np.maximum(variances - _rounding(steps) * encoded, 0.0), counts)
    return NoiseModel(shot, read**0.5, even**0.5, steps)


def estimate_sigma(picture: np.ndarray) -> float:
    """Standard deviation of noise that is the same everywhere, on the scale of [0, 1].

    The method, arguments and errors are those of `estimate_noise`, without making the image linear.
    """
    _steps(picture)
    _, variance = _flat_blocks(picture, linear=False)
    return float(np.sqrt(_flattest(variance)[0])) if len(variance) else 0.0


def noise_map(picture: np.ndarray, model: NoiseByValue, curve: Callable[[np.ndarray], np.ndarray] | None = None,
              reduced: int = 4, noise_floor: float = 0.0) -> np.ndarray:
    """Noise map after a tone curve: the variances times the squared derivatives of the curve.

    Where a curve mixes the channels, the derivatives of every channel by every other count. The map is computed on a
    downscaled image, whose noise is averaged out.

    Args:
        picture: (H, W, 3) uint8, uint16 or float in [0, 1], sRGB, before the curve.
        model: noise model of the picture.
        curve: (h, w, 3) float32 -> the same, pixel by pixel, for an image of any size; None is the identity.
        reduced: pixels along each side that share a value of the map.
        noise_floor: standard deviation in [0, 1] that is assumed before the curve in addition to the model.

    Returns:
        Standard deviation after the curve, root mean square over the channels: (1, 1, ceil(H/reduced),
        ceil(W/reduced)), float32.
    """
    if reduced & (reduced - 1) == 0 and picture.dtype in (np.uint8, np.uint16):
        small = reduced_picture(picture, reduced.bit_length() - 1)
    else:
        width = picture.shape[1]
        small = np.concatenate([
            _reduced(picture[rows], (-(-(rows.stop - rows.start) // reduced), -(-width // reduced)))
            for rows in bands(len(picture), 64 * reduced)])
    variance = model.deviation(small) ** 2 + np.float32(noise_floor**2)
    if curve is not None:
        variance = _bent(small, variance, curve)
    found: np.ndarray = np.sqrt(variance.mean(axis=2))[None, None].astype(np.float32)
    return found


def noise_map_from_image(picture: np.ndarray, curve: Callable[[np.ndarray], np.ndarray] | None = None,
                         noise_floor: float = 0.0, reduced: int = 4) -> np.ndarray:
    """`noise_map` with the noise model that `estimate_noise` finds in the picture."""
    return noise_map(picture, estimate_noise(picture), curve, reduced, noise_floor)


def upsample_map(noise: np.ndarray, size: Sequence[int], place: tuple[slice, slice] | None = None) -> np.ndarray:
    """Bilinear upsampling of a map to the size of the image, or to that of a part of it.

    Args:
        noise: (1, 1, h, w) float32.
        size: (height, width) of the whole image in pixels.
        place: rows and columns of the part; None: the whole.

    Returns:
        (1, 1, height, width) of the part; a part equals the same part of the whole.
    """
    found = noise
    for axis, (length, span) in enumerate(zip(size, place or (slice(None), slice(None)), strict=True), start=2):
        few = noise.shape[axis]
        at = np.clip((np.arange(length, dtype=np.float32)[span] + 0.5) * few / length - 0.5, 0, few - 1)
        before = at.astype(np.int64)
        low, high = (found.take(index, axis) for index in (before, np.minimum(before + 1, few - 1)))
        share = (at - before).astype(np.float32)
        found = low + (high - low) * (share[:, None] if axis == 2 else share)
    return found


def _bent(small: np.ndarray, variance: np.ndarray, curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Variances after a curve, from central differences in each channel."""
    total = np.zeros_like(variance)
    for channel in range(small.shape[2]):
        ends = []
        for step in (-_STEP, _STEP):
            moved = small.copy()
            moved[:, :, channel] = np.clip(moved[:, :, channel] + step, 0, 1)
            ends.append((moved[:, :, channel], curve(moved)))
        (low, before), (high, after) = ends
        total += ((after - before) / (high - low)[:, :, None]) ** 2 * variance[:, :, channel : channel + 1]
    return total


def _reduced(band: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(resize_planes(to_planes(band), size)[0].transpose(1, 2, 0))


def _steps(picture: np.ndarray) -> int:
    """Number of steps of a channel; checks the picture."""
    if not isinstance(picture, np.ndarray) or picture.ndim not in (2, 3) or 0 in picture.shape:
        raise UsageError(f"a picture must be an array (H, W, 3) or (H, W); got {getattr(picture, 'shape', picture)}")
    if picture.dtype in (np.uint8, np.uint16):
        return int(np.iinfo(picture.dtype).max)
    if not np.issubdtype(picture.dtype, np.floating) or not np.isfinite(picture).all():
        raise UsageError(f"a picture must be uint8, uint16 or finite float in [0, 1]; got {picture.dtype}")
    return 65535


def _flat_blocks(picture: np.ndarray, linear: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and noise variance of every usable block of all channels together: (B,) each."""
    height, width = picture.shape[:2]
    steps, every = _steps(picture), -(-height * width // _ENOUGH)
    means, variances, blanks = [], [], []
    for rows in bands(height, 4 * _SIDE, every):
        band = picture[rows]
        if len(band) < min(_SIDE, height):
            continue
        for given in cv2.split(np.ascontiguousarray(band)):
            plane: Any = given.astype(np.float32)
            plane = plane if np.issubdtype(picture.dtype, np.floating) else plane / steps
            ends = ((plane <= 0) | (plane >= 1)).astype(np.float32)
            if linear and picture.dtype == np.uint8:
                level = cv2.LUT(given, _light_of_bytes())
            else:
                level = linear_from_srgb(np.maximum(plane, 0)) if linear else plane
            residual = cv2.filter2D(level, -1, _SECOND, borderType=cv2.BORDER_REFLECT)
            even = (cv2.erode(plane, _AROUND) == cv2.dilate(plane, _AROUND)).astype(np.float32)
            mean, variance, clipped, blank = (_block_means(part) for part in (level, residual**2, ends, even))
            means.append(mean[clipped <= _CLIPPED])
            variances.append(variance[clipped <= _CLIPPED])
            blanks.append(blank[clipped <= _CLIPPED])
    light, noise = np.concatenate(means).astype(np.float64), np.concatenate(variances).astype(np.float64)
    kept = np.concatenate(blanks) <= _BLANK  # a border or a caption in one colour holds no noise
    return (light[kept], noise[kept]) if 4 * kept.sum() >= len(kept) else (light, noise)


def _block_means(plane: np.ndarray) -> np.ndarray:
    height, width = (min(_SIDE, length) for length in plane.shape)
    rows, columns = plane.shape[0] // height, plane.shape[1] // width
    whole = plane[: rows * height, : columns * width]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).ravel()


@lru_cache(maxsize=1)
def _light_of_bytes() -> np.ndarray:
    """(1, 256) float32: the linear light of each value of 8 bits."""
    return linear_from_srgb(np.arange(256, dtype=np.float32)[None] / 255)


def _bins(light: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For blocks of about the same light: mean light, noise variance of the flattest, and the number of those."""
    bins = max(1, min(_BINS, len(light) // (4 * _FEWEST)))
    found = np.array([(light[part].mean(), *_flattest(variance[part]))
                      for part in np.array_split(np.argsort(light), bins)])
    return found[:, 0], found[:, 1], found[:, 2]


def _flattest(variance: np.ndarray) -> tuple[float, int]:
    """Mean variance of the blocks that hold only noise, and their number: starting from the flattest tenth, all
    blocks within three deviations of the mean are included until the set is stable."""
    ordered = np.sort(variance)
    count = least = min(len(ordered), max(_FEWEST, len(ordered) // 10))
    for _ in range(50):
        limit = ordered[:count].mean() * (1 + 3 * _SPREAD)
        new = max(least, int(np.searchsorted(ordered, limit, side="right")))
        if new == count:
            break
        count = new
    return float(ordered[:count].mean()), count


def _fit(parts: np.ndarray, variance: np.ndarray, count: np.ndarray) -> list[float]:
    """Non-negative coefficients of the parts (B, P) that explain the variance, by relative least squares: P numbers.

    Bins of pure texture lie above the rest: the higher they lie, the less they weigh.
    """
    weight, scale = count, np.maximum(variance, 1e-12)
    shares = np.zeros(parts.shape[1])
    for _ in range(20):
        root = np.sqrt(weight) / scale
        shares = _nonnegative(parts * root[:, None], variance * root)
        fitted = np.maximum(parts @ shares, 1e-12)
        weight = count / (1 + np.maximum(0.0, variance / fitted - 1) / 0.2) ** 2
        scale = fitted
    return [float(share) for share in shares]


def _nonnegative(parts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Non-negative least squares for few columns: the best of the plain solutions with some of them that has no
    negative coefficient is the solution. (B, P) and (B,) -> (P,)."""
    columns, best, error = parts.shape[1], np.zeros(parts.shape[1]), float(wanted @ wanted)
    scale = np.maximum(np.linalg.norm(parts, axis=0), 1e-300)
    for used in chain.from_iterable(combinations(range(columns), count) for count in range(1, columns + 1)):
        chosen = list(used)
        found = np.linalg.lstsq(parts[:, chosen] / scale[chosen], wanted, rcond=None)[0] / scale[chosen]
        left = parts[:, chosen] @ found - wanted
        if (found >= 0).all() and left @ left < error:
            best, error = np.zeros(columns), float(left @ left)
            best[chosen] = found
    return best
