"""State terms that need no reference. Each gives a cost, lower is better; `Reward` rewards its decrease."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.image import area_means, brightness
from rlenhance.metrics.full_reference import highlight_protection, relative_color, relative_contrast
from rlenhance.ops.image_statistics import asked_exposure, mean_brightness
from rlenhance.rewards.base import Transition, state_term

_EPS = 0.02  # five of 255 levels: below it a ratio of two dark values is noise
REGIONS = 4  # large regions along each side of a picture
CELLS = 16  # small regions along each side


def _cells(image: Tensor, count: int) -> Tensor:
    """Means over count x count regions of a picture, whatever its size."""
    return area_means(image, (min(count, image.shape[-2]), min(count, image.shape[-1])))


@state_term("exposure", default=4.0)
def exposure(image: Tensor, transition: Transition) -> Tensor:
    """Distance of the picture's exposure from the asked level: (N, 1, 1, 1), in units of brightness.

    Where a user has named the level, the exposure is the mean brightness; else it is the robust `exposure_of`.
    """
    reached = asked_exposure(image, transition.levels.get("exposure_level_auto"))
    return (reached - transition.levels["exposure_level"]).abs()


@state_term("local_exposure", default=0.5)
def local_exposure(image: Tensor, transition: Transition) -> Tensor:
    """How far large regions lie from the asked level beyond a margin of 0.25: (N, 1, 4, 4).

    Only regions that are far off count: judged on small windows and without a margin, exposure rewards flattening.
    """
    regions = _cells(brightness(image), REGIONS)
    return ((regions - transition.levels["exposure_level"]).abs() - 0.25).clamp(min=0)


def _clipped(image: Tensor) -> Tensor:
    top = image.amax(dim=1, keepdim=True)
    burnt = ((top - 0.95) / 0.05).clamp(0, 1)
    crushed = ((_EPS - top) / _EPS).clamp(0, 1)
    return burnt + crushed


@state_term("clipping", default=0.3)
def clipping(image: Tensor, transition: Transition) -> Tensor:
    """Newly burnt highlights and crushed shadows: (N, 1, H, W), 1 where a pixel is wholly lost that was not before."""
    return (_clipped(image) - _clipped(transition.origin)).clamp(min=0)


def _steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Log-ratios of neighbouring cells, to the right and down, each (N, 1, cells, cells) (zero at the far border)."""
    level = torch.log(_cells(brightness(image), CELLS) + _EPS)
    right = F.pad(level[..., :, 1:] - level[..., :, :-1], (0, 1))
    down = F.pad(level[..., 1:, :] - level[..., :-1, :], (0, 0, 0, 1))
    return right, down


@state_term("contrast", default=0.5)
def contrast(image: Tensor, transition: Transition) -> Tensor:
    """Neighbouring cells keep their order and at least half of their log-contrast: (N, 1, 16, 16)."""
    return torch.stack([
        (0.5 * was.abs() - was.sign() * now).clamp(min=0)
        for now, was in zip(_steps(image), _steps(transition.origin), strict=True)
    ]).sum(dim=0)


@state_term("color")
def color(image: Tensor, transition: Transition) -> Tensor:
    """Grey world: squared differences of the channel means, (N, 1, 1, 1). Source: Zero-DCE, equation 6."""
    red, green, blue = image.mean(dim=(2, 3), keepdim=True).split(1, dim=1)
    return (red - green) ** 2 + (green - blue) ** 2 + (blue - red) ** 2


def _chromaticity(image: Tensor) -> Tensor:
    cells = _cells(image, 2 * CELLS)
    return cells / (cells.sum(dim=1, keepdim=True) + 3 * _EPS)


@state_term("chromaticity")
def chromaticity(image: Tensor, transition: Transition) -> Tensor:
    """Drift of the colours' shares from those of the picture at the start: (N, 1, 32, 32)."""
    return (_chromaticity(image) - _chromaticity(transition.origin)).abs().sum(dim=1, keepdim=True)


@state_term("asked_contrast", default=6.0, knob="contrast", unasked=0.0)
def asked_contrast(image: Tensor, transition: Transition) -> Tensor:
    """Minus the relative contrast, deviation of the cells' brightness over their mean: (N, 1, 1, 1).

    Counts as the user asks: more contrast is rewarded where `contrast` is positive, less where it is negative.
    """
    return -relative_contrast(image)[:, None, None, None]


@state_term("asked_color", default=20.0, knob="color", unasked=0.0)
def asked_color(image: Tensor, transition: Transition) -> Tensor:
    """Minus the relative colourfulness, mean of (largest - smallest channel) over the mean brightness: (N, 1, 1, 1).

    Counts as the user asks: more colour is rewarded where `color` is positive, less where it is negative.
    """
    return -relative_color(image)[:, None, None, None]


@state_term("highlights", default=6.0, knob="highlights", unasked=0.0)
def highlights(image: Tensor, transition: Transition) -> Tensor:
    """Brightness of the brightest 5 % of the pixels above the mean: (N, 1, 1, 1).

    Counts as much as the user asks to protect them.
    """
    return -highlight_protection(image)[:, None, None, None] - mean_brightness(image)


def _roughness(image: Tensor) -> Tensor:
    """Standard deviation of what a 3x3 mean takes away, over 4x4 pixels: (N, 1, ceil(H/4), ceil(W/4))."""
    level = brightness(image)
    detail = level - F.avg_pool2d(F.pad(level, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.sqrt(F.avg_pool2d(detail**2, 4, ceil_mode=True) + 1e-8)


@state_term("noise")
def noise(image: Tensor, transition: Transition) -> Tensor:
    """Amplified fine structure, noise among it: deviation beyond that at the start, (N, 1, ceil(H/4), ceil(W/4))."""
    return (_roughness(image) - _roughness(transition.origin)).clamp(min=0)
