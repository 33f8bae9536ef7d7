"""How noisy a photograph is: a sensor's model from its flat places, and what a tone curve makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.color import linear_from_srgb, srgb_from_linear
from rlenhance.core.errors import UsageError
from rlenhance.core.image import area_means, to_tensor
from rlenhance.core.tiling import bands

_SIDE = 16  # pixels along a block whose noise is measured
_ENOUGH = 2_000_000  # pixels that are looked at, in bands spread over the picture
_BINS, _FEWEST = 12, 8  # parts of the range of light, and blocks that each needs
_CLIPPED = 0.03  # share of a block's pixels that may be at the ends of the range
_BLANK = 0.1  # share of a block whose surroundings have one value, above which a painted block is assumed
_AROUND = np.ones((3, 3), np.uint8)
_SPREAD = 0.17  # deviation of a flat block's measured variance, over its mean: 256 pixels whose residuals hang together
_STEP = 1 / 512  # of the finite difference
#: What coding and smoothing may have hidden of a photograph's noise: a deviation that is the same at every value.
NOISE_FLOOR = 1 / 255
#: The strongest noise that networks are trained for: a standard deviation, on the scale of pictures in [0, 1].
LARGEST_NOISE = 75 / 255
#: Second differences along both sides, so scaled that noise which is the same everywhere keeps its variance.
_SECOND = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6


@dataclass(frozen=True)
class NoiseModel:
    """The noise of a photograph: at the linear light L its variance is shot L + read^2, in units of full scale, and
    even^2 is added where the light has been encoded.

    `rlenhance.data.Darken` makes noise by the first part, that of a sensor.

    Attributes:
        shot: variance per unit of light.
        read: standard deviation without light.
        even: standard deviation that is the same at every encoded value.
        steps: values of a channel in the file, 255 or 65535: rounding to them adds noise of its own.

    Example:
        >>> round(255 * NoiseModel(shot=2e-3, read=2e-3).deviation(torch.tensor([0.5])).item(), 2)
        5.73
    """

    shot: float
    read: float
    even: float = 0.0
    steps: int = 255

    def deviation(self, picture: Tensor) -> Tensor:
        """The standard deviation at every value of an sRGB picture in [0, 1], of the same shape: that of the linear
        light times the slope of the sRGB encoding, what is even, and the rounding."""
        values = picture.detach().cpu().numpy()
        variance = (self.shot * linear_from_srgb(values) + self.read**2) * _slope(values) ** 2
        return torch.from_numpy(np.sqrt(variance + self.even**2 + _rounding(self.steps))).to(picture)


def _slope(encoded: np.ndarray) -> np.ndarray:
    """How steep the sRGB encoding is where it gives this value: its derivative by the light."""
    bent = 1.055 / 2.4 * ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** -1.4
    return np.where(encoded <= 0.04045, 12.92, bent).astype(np.float32)


def _rounding(steps: int) -> float:
    """The variance that rounding adds."""
    return 1 / (12 * steps**2)


def estimate_noise(picture: np.ndarray) -> NoiseModel:
    """A photograph's noise from its flattest places.

    The picture is made linear, and second differences along both sides take away what is smooth. Of blocks of 16
    pixels with about the same light the flattest are taken: those whose variance lies where that of pure noise would.
    A line through the variances over the light is the model, with a part that the encoding bends. Noise that the
    camera has smoothed away is not seen, and neither is that in clipped places.

    Args:
        picture: (H, W, 3) or (H, W), uint8, uint16 or float in [0, 1], sRGB; all channels count alike.

    Raises:
        UsageError: another shape or kind of number, or one that is not finite.

    Source: the filter, Immerkaer 1996; flat blocks by cutting again and again, Liu, Tanaka and Okutomi 2013, with the
    filter's variance in the place of their gradient.
    """
    steps = _steps(picture)
    light, variance = _flat_blocks(picture, linear=True)
    if not len(light):
        return NoiseModel(0.0, 0.0, 0.0, steps)
    levels, variances, counts = _bins(light, variance)
    if len(levels) < 3:  # too small to tell light from dark
        return NoiseModel(0.0, 0.0, max(0.0, estimate_sigma(picture) ** 2 - _rounding(steps)) ** 0.5, steps)
    encoded = _slope(srgb_from_linear(levels)).astype(np.float64) ** -2
    parts = np.stack([levels, np.ones_like(levels), encoded], axis=1)
    shot, read, even = _fit(parts, np.maximum(variances - _rounding(steps) * encoded, 0.0), counts)
    return NoiseModel(shot, read**0.5, even**0.5, steps)


def estimate_sigma(picture: np.ndarray) -> float:
    """One number for noise that is the same everywhere: its standard deviation, on the scale of [0, 1].

    As `estimate_noise`, without making the picture linear.
    """
    _steps(picture)
    _, variance = _flat_blocks(picture, linear=False)
    return float(np.sqrt(_flattest(variance)[0])) if len(variance) else 0.0


def noise_map(picture: np.ndarray, model: NoiseModel, curve: Callable[[np.ndarray], np.ndarray] | None = None,
              reduced: int = 4, noise_floor: float = 0.0) -> Tensor:
    """Where a picture is how noisy after a tone curve: its variances times the squares of the curve's derivatives.

    Where a curve mixes the channels, the derivatives of every channel by every other count. It is worked out on a
    reduced picture, whose noise is averaged out.

    Args:
        picture: (H, W, 3) uint8, uint16 or float in [0, 1], sRGB, before the curve.
        model: its noise.
        curve: (h, w, 3) float32 -> the same, pixel by pixel, for a picture of any size; None leaves the picture as it
            is.
        reduced: pixels along each side that share a value of the map.
        unseen: a deviation that is assumed before the curve beside what was measured.

    Returns:
        The standard deviation after the curve, root mean square over the channels: (1, 1, ceil(H/reduced),
        ceil(W/reduced)).
    """
    width = picture.shape[1]
    small = np.concatenate([_reduced(picture[rows], (-(-(rows.stop - rows.start) // reduced), -(-width // reduced)))
                            for rows in bands(len(picture), 64 * reduced)])
    variance = model.deviation(torch.from_numpy(small)).numpy() ** 2 + np.float32(noise_floor**2)
    if curve is not None:
        variance = _bent(small, variance, curve)
    return torch.from_numpy(np.sqrt(variance.mean(axis=2)))[None, None].float()


def noise_map_from_image(picture: np.ndarray, curve: Callable[[np.ndarray], np.ndarray] | None = None,
               noise_floor: float = 0.0) -> Tensor:
    """The map of a photograph's noise from what it shows, and what is assumed beside: see `noise_map`."""
    return noise_map(picture, estimate_noise(picture), curve, noise_floor=noise_floor)


def upsample_map(noise: Tensor, size: Sequence[int], place: tuple[slice, slice] | None = None) -> Tensor:
    """A map made on a reduced picture at the size of the whole, or of a part of it.

    Args:
        noise: (1, 1, h, w).
        size: (height, width) of the whole picture.
        place: rows and columns of the part; None: all.

    Returns:
        (1, 1, height, width) of the part, bilinear between the centres of the map's values, the same for a part as for
        the whole.
    """
    axes = []
    for length, few, span in zip(size, noise.shape[-2:], place or (slice(None), slice(None)), strict=True):
        at = ((torch.arange(length)[span] + 0.5) * few / length - 0.5).clamp(0, few - 1)
        before = at.long()
        axes.append((before, (before + 1).clamp(max=few - 1), (at - before).to(noise)))
    (above, below, down), (left, right, across) = axes
    rows = torch.lerp(noise[:, :, above], noise[:, :, below], down[:, None])
    return torch.lerp(rows[..., left], rows[..., right], across)


def _bent(small: np.ndarray, variance: np.ndarray, curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Variances after a curve, by central differences in each channel."""
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
    return area_means(to_tensor(band), size)[0].permute(1, 2, 0).numpy()


def _steps(picture: np.ndarray) -> int:
    """Steps of a channel; refuses what is no picture."""
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
        for channel in range(np.atleast_3d(band).shape[2]):
            plane: Any = np.ascontiguousarray(np.atleast_3d(band)[:, :, channel]).astype(np.float32)
            plane = plane if np.issubdtype(picture.dtype, np.floating) else plane / steps
            ends = ((plane <= 0) | (plane >= 1)).astype(np.float32)
            level = linear_from_srgb(np.maximum(plane, 0)) if linear else plane
            residual = cv2.filter2D(level, -1, _SECOND, borderType=cv2.BORDER_REFLECT)
            even = (cv2.erode(plane, _AROUND) == cv2.dilate(plane, _AROUND)).astype(np.float32)
            mean, variance, clipped, blank = (_block_means(part) for part in (level, residual**2, ends, even))
            means.append(mean[clipped <= _CLIPPED])
            variances.append(variance[clipped <= _CLIPPED])
            blanks.append(blank[clipped <= _CLIPPED])
    light, noise = np.concatenate(means).astype(np.float64), np.concatenate(variances).astype(np.float64)
    told = np.concatenate(blanks) <= _BLANK  # a border or a caption in one colour says nothing of the noise elsewhere
    return (light[told], noise[told]) if 4 * told.sum() >= len(told) else (light, noise)


def _block_means(plane: np.ndarray) -> np.ndarray:
    height, width = (min(_SIDE, length) for length in plane.shape)
    rows, columns = plane.shape[0] // height, plane.shape[1] // width
    blocks = plane[: rows * height, : columns * width].reshape(rows, height, columns, width)
    return np.asarray(blocks.mean(axis=(1, 3))).ravel()


def _bins(light: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks of about the same light: their mean light, the noise variance of the flattest, and how many those are."""
    bins = max(1, min(_BINS, len(light) // (4 * _FEWEST)))
    found = np.array([(light[part].mean(), *_flattest(variance[part]))
                      for part in np.array_split(np.argsort(light), bins)])
    return found[:, 0], found[:, 1], found[:, 2]


def _flattest(variance: np.ndarray) -> tuple[float, int]:
    """The mean variance of the blocks that hold nothing but noise, and their number: beginning with the flattest
    tenth, all within three deviations of the mean are taken in until nothing changes."""
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
    """How much of each part, none negative, makes up the variance, by relative least squares: (B, P) -> P numbers.

    Bins that are all texture lie above the rest: they are weighed less, the higher they lie.
    """
    from scipy.optimize import nnls  # here: it costs start-up time

    weight, scale = count, np.maximum(variance, 1e-12)
    shares = np.zeros(parts.shape[1])
    for _ in range(20):
        root = np.sqrt(weight) / scale
        shares, _ = nnls(parts * root[:, None], variance * root)
        fitted = np.maximum(parts @ shares, 1e-12)
        weight = count / (1 + np.maximum(0.0, variance / fitted - 1) / 0.2) ** 2
        scale = fitted
    return [float(share) for share in shares]
