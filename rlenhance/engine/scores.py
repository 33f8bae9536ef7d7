"""What `rlenhance score` computes, without torch: SSIM, and the costs of the reward terms that need no reference.

The functions are those of `rlenhance.learning.metrics.full_reference` and `rlenhance.learning.rewards.terms`; tests
hold both equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from rlenhance.core.pixels import area_means
from rlenhance.ops.plane_statistics import exposure_of

#: Radius in pixels of SSIM's window.
SSIM_RADIUS = 5
_SIGMA = 1.5  # of SSIM's window
_EPS = 0.02  # as in the reward terms: below it a ratio of two dark values is noise
_REGIONS, _CELLS = 4, 16  # large and small regions along each side of a picture


def ssim_map(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Structural similarity at every pixel and channel, borders reflected.

    Args:
        picture, reference: (H, W, 3) float32 in [0, 1].

    Returns:
        (H, W, 3) float32.

    Source: Wang et al. 2004, equation 13: Gaussian window of 11 pixels, deviation 1.5, K1 = 0.01, K2 = 0.03.
    """
    mean_x, mean_y = _windowed(picture), _windowed(reference)
    squares, product = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
    variances = _windowed(picture * picture + reference * reference) - squares
    covariance = _windowed(picture * reference) - product
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def _windowed(maps: np.ndarray) -> np.ndarray:
    """SSIM's Gaussian window over (H, W, 3)."""
    line = np.exp(-0.5 * (np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) / _SIGMA) ** 2)
    line, one = (line / line.sum()).astype(np.float32), np.ones(1, np.float32)
    down, across = (cv2.BORDER_REFLECT_101 if side > SSIM_RADIUS else cv2.BORDER_REPLICATE for side in maps.shape[:2])
    return cv2.sepFilter2D(cv2.sepFilter2D(maps, -1, line, one, borderType=across), -1, one, line, borderType=down)


@dataclass(frozen=True)
class Scored:
    """A picture whose costs are computed.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1].
        initial: the picture that it was made of, of the same shape.
        level: that the exposure terms aim at.
        light: (H, W), the brightness.
    """

    pixels: np.ndarray
    initial: np.ndarray
    level: float
    light: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "light", self.pixels.mean(axis=2))


#: Costs of a picture by the name of the reward term, lower is better.
COSTS: dict[str, Callable[[Scored], Any]] = {}
#: Names of the terms that compare with the picture's initial state.
RELATIVE = ("revealed_noise", "clipping", "contrast", "chromaticity", "noise")


def costs(scored: Scored, relative: bool) -> Mapping[str, float]:
    """The cost of each term, those that compare with the initial picture only where `relative`."""
    return {name: float(np.mean(cost(scored))) for name, cost in COSTS.items() if relative or name not in RELATIVE}


def _cost(function: Callable[[Scored], Any]) -> Callable[[Scored], Any]:
    COSTS[function.__name__] = function
    return function


@_cost
def seam(scored: Scored) -> float:
    """0: of the border of a completed region, which a photograph has not."""
    return 0.0


@_cost
def texture(scored: Scored) -> float:
    """0, likewise."""
    return 0.0


@_cost
def exposure(scored: Scored) -> float:
    """Distance of the exposure from the level."""
    return abs(exposure_of(scored.pixels.transpose(2, 0, 1)).item() - scored.level)


@_cost
def revealed_noise(scored: Scored) -> np.ndarray:
    """Noise and coding steps that the change reveals, beyond ten 255ths."""
    step = np.float32(1 / 255)
    return np.maximum(step * (scored.light + step) / (scored.initial.mean(axis=2) + step) - 10 * step, 0)


@_cost
def local_exposure(scored: Scored) -> np.ndarray:
    """Distance of large regions from the level beyond a margin of 0.25."""
    return np.maximum(np.abs(_cells(scored.light, _REGIONS) - np.float32(scored.level)) - 0.25, 0)


@_cost
def clipping(scored: Scored) -> np.ndarray:
    """Newly clipped highlights and crushed shadows."""
    return np.maximum(_clipped(scored.pixels) - _clipped(scored.initial), 0)


def _clipped(pixels: np.ndarray) -> np.ndarray:
    top = pixels.max(axis=2)
    return ((top - 0.95) / 0.05).clip(0, 1) + ((_EPS - top) / _EPS).clip(0, 1)


@_cost
def contrast(scored: Scored) -> np.ndarray:
    """Loss of order, or of more than half of the log-contrast, between neighbouring cells."""
    before, now = (_steps(_cells(light, _CELLS)) for light in (scored.initial.mean(axis=2), scored.light))
    return np.maximum(0.5 * np.abs(before) - np.sign(before) * now, 0).sum(axis=0)


def _steps(cells: np.ndarray) -> np.ndarray:
    """Log-ratios of neighbouring cells, to the right and down, 0 at the far border: (2, h, w)."""
    levels = np.log(cells + np.float32(_EPS))
    return np.stack([np.diff(levels, axis=axis, append=levels.take([-1], axis)) for axis in (1, 0)])


@_cost
def color(scored: Scored) -> float:
    """Grey world: squared differences of the channels' means."""
    red, green, blue = map(float, scored.pixels.mean(axis=(0, 1), dtype=np.float64))
    return (red - green) ** 2 + (green - blue) ** 2 + (blue - red) ** 2


@_cost
def chromaticity(scored: Scored) -> np.ndarray:
    """Drift of the chromaticity from that of the initial picture."""
    now, before = (cells / (cells.sum(axis=2, keepdims=True) + 3 * _EPS)
                   for cells in (_cells(pixels, 2 * _CELLS) for pixels in (scored.pixels, scored.initial)))
    return np.abs(now - before).sum(axis=2)


@_cost
def contrast_preference(scored: Scored) -> float:
    """Minus the deviation of the cells' brightness over their mean."""
    cells = area_means(scored.light, (_CELLS, _CELLS))
    return -float(cells.std()) / max(float(cells.mean()), 1e-6)


@_cost
def color_preference(scored: Scored) -> float:
    """Minus the mean of largest - smallest channel over the mean brightness."""
    spread = float((scored.pixels.max(axis=2) - scored.pixels.min(axis=2)).mean())
    return -spread / max(float(scored.pixels.mean()), 1e-6)


@_cost
def highlights(scored: Scored) -> float:
    """Brightness of the brightest 5 % of the pixels above the mean."""
    count = max(1, scored.light.size // 20)
    return float(np.partition(scored.light.ravel(), -count)[-count:].mean() - scored.pixels.mean())


@_cost
def noise(scored: Scored) -> np.ndarray:
    """Amplified fine structure and noise: deviation beyond the initial one."""
    return np.maximum(_roughness(scored.light) - _roughness(scored.initial.mean(axis=2)), 0)


def _roughness(light: np.ndarray) -> np.ndarray:
    """Standard deviation of what a 3x3 mean removes, over 4x4 pixels, fewer at the far borders."""
    squares = (light - cv2.blur(light, (3, 3), borderType=cv2.BORDER_REPLICATE)) ** 2
    rows, columns = (np.arange(0, side, 4) for side in light.shape)
    sums = np.add.reduceat(np.add.reduceat(squares, rows, axis=0), columns, axis=1)
    counts = [np.diff(starts, append=side) for starts, side in zip((rows, columns), light.shape, strict=True)]
    return np.sqrt(sums / np.outer(*counts) + 1e-8)


@_cost
def blocking(scored: Scored) -> float:
    """0: of the seams of patches, which a photograph has not."""
    return 0.0


def _cells(maps: np.ndarray, count: int) -> np.ndarray:
    """Means over count x count regions, fewer of a smaller picture."""
    return area_means(maps, (min(count, maps.shape[0]), min(count, maps.shape[1])))
