"""The reward terms. Each gives a cost, lower is better; `Reward` rewards its decrease.

State terms take (image, transition); those that compare with a reference are refused where there is none. Terms of a
mask or of patches are 0 without one. Action terms take (magnitude, previous); learners evaluate them on the policy's
mean action, where they carry no sampling noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.image import area_means, brightness
from rlenhance.metrics.blocking import blocking_map
from rlenhance.metrics.completion import boundary_discontinuity_map, texture_difference_map
from rlenhance.metrics.full_reference import highlight_protection, relative_color, relative_contrast, ssim_map
from rlenhance.ops.image_statistics import mean_brightness, measured_exposure
from rlenhance.rewards.base import Transition, action_term, state_term

_EPS = 0.02  # five of 255 levels: below it a ratio of two dark values is noise
REGIONS = 4  # large regions along each side of an image
CELLS = 16  # small regions along each side


@action_term("smoothness", default=5.0)
def smoothness(magnitude: Tensor, previous: Tensor) -> Tensor:
    """Total variation of the agents' magnitudes: (N, 1, h, w), differences to the right and down, summed over heads."""
    right, down = _differences(magnitude)
    return (right.abs() + down.abs()).sum(dim=1, keepdim=True)


def _differences(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right and down, each of the shape of the maps (zero at the far border)."""
    # slices, not `diff`: their gradients add up in another order, and stored runs repeat bit for bit
    right, down = maps[..., :, 1:] - maps[..., :, :-1], maps[..., 1:, :] - maps[..., :-1, :]
    return F.pad(right, (0, 1)), F.pad(down, (0, 0, 0, 1))


@action_term("effort", default=0.1)
def effort(magnitude: Tensor, previous: Tensor) -> Tensor:
    """Square of the agents' magnitudes, summed over heads: (N, 1, h, w).

    Breaks the tie when nothing else asks for a change.
    """
    return (magnitude**2).sum(dim=1, keepdim=True)


@action_term("steadiness", default=3.0)
def steadiness(magnitude: Tensor, previous: Tensor) -> Tensor:
    """Squared change of the agents' magnitudes from one step to the next, summed over heads: (N, 1, h, w).

    Rewards that telescope do not depend on the path, and a learner that explores drifts to the paths on which its own
    noise does least harm (all at the first steps, or all at the last). Even steps make the better curve.
    """
    return ((magnitude - previous) ** 2).sum(dim=1, keepdim=True)


@state_term("seam")
def seam(image: Tensor, transition: Transition) -> Tensor:
    """How abruptly a completed region begins at its border: (N, 1, H, W), see `boundary_discontinuity_map`."""
    return 0 * image[:, :1] if transition.mask is None else boundary_discontinuity_map(image, transition.mask)


@state_term("texture", radius=5)
def texture(image: Tensor, transition: Transition) -> Tensor:
    """How much smoother or rougher a completed region is than its surroundings: (N, 1, H, W)."""
    return 0 * image[:, :1] if transition.mask is None else texture_difference_map(image, transition.mask)


def _cells(image: Tensor, count: int) -> Tensor:
    """Means over count x count regions, whatever the size of the image."""
    return area_means(image, (min(count, image.shape[-2]), min(count, image.shape[-1])))


@state_term("exposure", default=4.0)
def exposure(image: Tensor, transition: Transition) -> Tensor:
    """Distance of the exposure from the requested level: (N, 1, 1, 1), in units of brightness.

    Where a user has named the level, the exposure is the mean brightness; else it is the robust `exposure_of`.
    """
    reached = measured_exposure(image, transition.preferences.get("exposure_level_auto"))
    return (reached - transition.preferences["exposure_level"]).abs()


@state_term("local_exposure", default=0.5)
def local_exposure(image: Tensor, transition: Transition) -> Tensor:
    """Distance of large regions from the requested level beyond a margin of 0.25: (N, 1, 4, 4).

    Only regions that are far off count: on small windows and without a margin, the term rewards flat images.
    """
    regions = _cells(brightness(image), REGIONS)
    return ((regions - transition.preferences["exposure_level"]).abs() - 0.25).clamp(min=0)


def _clipped(image: Tensor) -> Tensor:
    top = image.amax(dim=1, keepdim=True)
    burnt = ((top - 0.95) / 0.05).clamp(0, 1)
    crushed = ((_EPS - top) / _EPS).clamp(0, 1)
    return burnt + crushed


@state_term("clipping", default=0.3)
def clipping(image: Tensor, transition: Transition) -> Tensor:
    """Newly clipped highlights and crushed shadows: (N, 1, H, W), 1 where a pixel is lost that was not before."""
    return (_clipped(image) - _clipped(transition.initial)).clamp(min=0)


def _steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Log-ratios of neighbouring cells, to the right and down, each (N, 1, cells, cells)."""
    return _differences(torch.log(_cells(brightness(image), CELLS) + _EPS))


@state_term("contrast", default=0.5)
def contrast(image: Tensor, transition: Transition) -> Tensor:
    """Loss of order, or of more than half of the log-contrast, between neighbouring cells: (N, 1, 16, 16)."""
    return torch.stack([
        (0.5 * was.abs() - was.sign() * now).clamp(min=0)
        for now, was in zip(_steps(image), _steps(transition.initial), strict=True)
    ]).sum(dim=0)


@state_term("color")
def color(image: Tensor, transition: Transition) -> Tensor:
    """Grey world: squared differences of the channel means, (N, 1, 1, 1). Source: Zero-DCE, equation 6."""
    red, green, blue = image.mean(dim=(2, 3), keepdim=True).expand(-1, 3, -1, -1).chunk(3, dim=1)  # grey: all equal
    return (red - green) ** 2 + (green - blue) ** 2 + (blue - red) ** 2


def _chromaticity(image: Tensor) -> Tensor:
    cells = _cells(image, 2 * CELLS)
    return cells / (cells.sum(dim=1, keepdim=True) + 3 * _EPS)


@state_term("chromaticity")
def chromaticity(image: Tensor, transition: Transition) -> Tensor:
    """Drift of the chromaticity from that of the initial image: (N, 1, 32, 32)."""
    return (_chromaticity(image) - _chromaticity(transition.initial)).abs().sum(dim=1, keepdim=True)


@state_term("contrast_preference", default=6.0, preference="contrast", default_factor=0.0)
def contrast_preference(image: Tensor, transition: Transition) -> Tensor:
    """Minus the relative contrast, deviation of the cells' brightness over their mean: (N, 1, 1, 1).

    More contrast is rewarded where the preference `contrast` is positive, less where it is negative.
    """
    return -relative_contrast(image)[:, None, None, None]


@state_term("color_preference", default=20.0, preference="color", default_factor=0.0)
def color_preference(image: Tensor, transition: Transition) -> Tensor:
    """Minus the relative colourfulness, mean of (largest - smallest channel) over the mean brightness: (N, 1, 1, 1).

    More colour is rewarded where the preference `color` is positive, less where it is negative.
    """
    return -relative_color(image)[:, None, None, None]


@state_term("highlights", default=6.0, preference="highlights", default_factor=0.0)
def highlights(image: Tensor, transition: Transition) -> Tensor:
    """Brightness of the brightest 5 % of the pixels above the mean: (N, 1, 1, 1)."""
    return -highlight_protection(image)[:, None, None, None] - mean_brightness(image)


def _roughness(image: Tensor) -> Tensor:
    """Standard deviation of what a 3x3 mean removes, over 4x4 pixels: (N, 1, ceil(H/4), ceil(W/4))."""
    level = brightness(image)
    detail = level - F.avg_pool2d(F.pad(level, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.sqrt(F.avg_pool2d(detail**2, 4, ceil_mode=True) + 1e-8)


@state_term("noise")
def noise(image: Tensor, transition: Transition) -> Tensor:
    """Amplified fine structure and noise: deviation beyond the initial one, (N, 1, ceil(H/4), ceil(W/4))."""
    return (_roughness(image) - _roughness(transition.initial)).clamp(min=0)


@state_term("blocking")
def blocking(image: Tensor, transition: Transition) -> Tensor:
    """Visible seams of the patches: (N, 1, H, W), see `rlenhance.metrics.blocking.blocking_map`."""
    grid = transition.patch_grid
    return 0 * image[:, :1] if grid is None else blocking_map(image, grid.stride, grid.overlap)


def _target(transition: Transition) -> Tensor:
    assert transition.target is not None  # `Reward` has refused such terms before
    return transition.target


@state_term("squared_error", reference=True)
def squared_error(image: Tensor, transition: Transition) -> Tensor:
    """Squared difference to the reference, mean of the channels: (N, 1, H, W)."""
    error = F.mse_loss(image, _target(transition), reduction="none")
    return error if error.shape[1] == 1 else error.mean(dim=1, keepdim=True)


@state_term("shape", reference=True)
def shape(image: Tensor, transition: Transition) -> Tensor:
    """Difference to the reference after the image was scaled to its mean: (N, 1, H, W), its mean is the RMS.

    The level is removed: the light of one place beside another counts, contrast and colours.
    """
    target = _target(transition)
    gain = target.mean(dim=(1, 2, 3), keepdim=True) / image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    error = ((image * gain - target) ** 2).mean(dim=1, keepdim=True)
    return error / (error.mean(dim=(2, 3), keepdim=True) + 1e-6).sqrt()


@state_term("l1", reference=True)
def l1(image: Tensor, transition: Transition) -> Tensor:
    """Absolute difference to the reference, mean of the channels: (N, 1, H, W)."""
    return (image - _target(transition)).abs().mean(dim=1, keepdim=True)


@state_term("ssim", reference=True, radius=3)  # of the window's weights 0.96 lie so near
def ssim(image: Tensor, transition: Transition) -> Tensor:
    """1 - SSIM to the reference, mean of the channels: (N, 1, H, W). Source: Wang et al. 2004."""
    return 1 - ssim_map(image, _target(transition)).mean(dim=1, keepdim=True)


@state_term("psnr", reference=True)
def psnr(image: Tensor, transition: Transition) -> Tensor:
    """Minus the PSNR to the reference: (N, 1, 1, 1), in dB, so that the reward is the gain in dB."""
    error = ((image - _target(transition)) ** 2).mean(dim=(1, 2, 3), keepdim=True)
    return 10 * (error + 1e-10).log10()
