"""The reward terms. Each gives a cost, lower is better; `Reward` rewards its decrease.

State terms take (image, transition); those that compare with a reference are refused where there is none. Terms of a
mask or of patches are 0 without one. Action terms take (magnitude, previous); learners evaluate them on the policy's
mean action, where they carry no sampling noise.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.arrays import brightness, constants
from rlenhance.learning.metrics.blocking import blocking_map
from rlenhance.learning.metrics.completion import boundary_discontinuity_map, texture_difference_map
from rlenhance.learning.metrics.full_reference import highlight_protection, relative_color, relative_contrast, ssim_map
from rlenhance.learning.ops.image import area_means
from rlenhance.learning.rewards.base import Transition, action_term, state_term
from rlenhance.ops.plane_statistics import mean_brightness, measured_exposure

_EPS = 0.02  # five of 255 levels: below it a ratio of two dark values is noise
REGIONS = 4  # large regions along each side of an image
CELLS = 16  # small regions along each side


@action_term("smoothness", default=5.0)
def smoothness(magnitude: Tensor, previous: Tensor) -> Tensor:
    """Total variation of the agents' magnitudes: (N, 1, h, w), differences to the right and down, summed over heads."""
    return _over_heads(_differences(magnitude).abs().sum(dim=2))


def _over_heads(maps: Tensor) -> Tensor:
    """The sum over the heads: (N, C, h, w) -> (N, 1, h, w)."""
    return maps if maps.shape[1] == 1 else maps.sum(dim=1, keepdim=True)


def _differences(maps: Tensor) -> Tensor:
    """Differences to the right and down, zero at the far border: (N, C, h, w) -> (N, C, 2, h, w)."""
    height, width = maps.shape[-2:]
    flat = maps.flatten(2)
    following = flat.index_select(2, _neighbours(height, width, maps.device)).view(*flat.shape[:2], 2, height * width)
    return (following - flat[:, :, None]).view(*flat.shape[:2], 2, height, width)


@lru_cache(maxsize=64)
def _neighbours(height: int, width: int, device: torch.device) -> Tensor:
    """Places in a flat map of what is to the right of every place, then below it; at the far border itself."""
    with torch.inference_mode(False):  # a cached tensor must serve every mode
        place = torch.arange(height * width, device=device).reshape(height, width)
        right, below = place + 1, place + width
        right[:, -1], below[-1] = place[:, -1], place[-1]
        return torch.cat([right.flatten(), below.flatten()])


@action_term("effort", default=0.1)
def effort(magnitude: Tensor, previous: Tensor) -> Tensor:
    """Square of the agents' magnitudes, summed over heads: (N, 1, h, w).

    Breaks the tie when nothing else asks for a change.
    """
    return _over_heads(magnitude.square())


@action_term("steadiness", default=3.0)
def steadiness(magnitude: Tensor, previous: Tensor) -> Tensor:
    """Squared change of the agents' magnitudes from one step to the next, summed over heads: (N, 1, h, w).

    Rewards that telescope do not depend on the path, and a learner that explores drifts to the paths on which its own
    noise does least harm (all at the first steps, or all at the last). Even steps make the better curve.
    """
    return _over_heads((magnitude - previous).square())


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
    auto = transition.preferences.get("exposure_level_auto")
    reached = measured_exposure(image, auto, transition.shared(brightness, image))
    return (reached - transition.preferences["exposure_level"]).abs()


@state_term("revealed_noise", preference="exposure_level_auto")
def revealed_noise(image: Tensor, transition: Transition) -> Tensor:
    """Noise and coding steps that the change reveals, beyond a budget of ten 255ths: (N, 1, H, W), in brightness.

    The initial image is taken to hold noise of one 255th, which is that of rounding and coding; a curve multiplies it
    by about the ratio of the brightness after and before. Places where little more than zero was recorded thus cost
    much where they are raised; denoising takes care of what is within the budget. Where the user names an exposure, the
    term does not count.
    """
    step = constants((1 / 255,), (), image)
    light, before = transition.shared(brightness, image), transition.shared(brightness, transition.initial)
    return (step * (light + step) / (before + step) - 10 * step).clamp_min(0)


@state_term("local_exposure", default=0.5)
def local_exposure(image: Tensor, transition: Transition) -> Tensor:
    """Distance of large regions from the requested level beyond a margin of 0.25: (N, 1, 4, 4).

    Only regions that are far off count: on small windows and without a margin, the term rewards flat images.
    """
    regions = _cells(transition.shared(brightness, image), REGIONS)
    return ((regions - transition.preferences["exposure_level"]).abs() - constants((0.25,), (), image)).clamp_min(0)


def _clipped(image: Tensor) -> Tensor:
    top = image.amax(dim=1, keepdim=True)
    high, slope, low = (constants((number,), (), image) for number in (0.95, 0.05, _EPS))
    burnt = ((top - high) / slope).clamp(0, 1)
    crushed = ((low - top) / low).clamp(0, 1)
    return burnt + crushed


@state_term("clipping", default=0.3)
def clipping(image: Tensor, transition: Transition) -> Tensor:
    """Newly clipped highlights and crushed shadows: (N, 1, H, W), 1 where a pixel is lost that was not before."""
    return (transition.shared(_clipped, image) - transition.shared(_clipped, transition.initial)).clamp_min(0)


def _steps(light: Tensor) -> Tensor:
    """Log-ratios of neighbouring cells, to the right and down, (N, 2, cells, cells), of the brightness."""
    return _differences(torch.log(_cells(light, CELLS) + constants((_EPS,), (), light)))[:, 0]


def _initial_steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sign and half the size of `_steps`."""
    steps = _steps(brightness(image))
    return steps.sign(), 0.5 * steps.abs()


@state_term("contrast", default=0.5)
def contrast(image: Tensor, transition: Transition) -> Tensor:
    """Loss of order, or of more than half of the log-contrast, between neighbouring cells: (N, 1, 16, 16)."""
    sign, half = transition.shared(_initial_steps, transition.initial)
    now = _steps(transition.shared(brightness, image))
    return (half - sign * now).clamp_min(0).sum(dim=1, keepdim=True)


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
    drift = _chromaticity(image) - transition.shared(_chromaticity, transition.initial)
    return drift.abs().sum(dim=1, keepdim=True)


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
    return (_roughness(image) - transition.shared(_roughness, transition.initial)).clamp_min(0)


@state_term("blocking")
def blocking(image: Tensor, transition: Transition) -> Tensor:
    """Visible seams of the patches: (N, 1, H, W), see `rlenhance.learning.metrics.blocking.blocking_map`."""
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


@state_term("reference_exposure", reference=True)
def reference_exposure(image: Tensor, transition: Transition) -> Tensor:
    """Distance of the mean brightness from the reference's, or from the level that the user named: (N, 1, 1, 1)."""
    level = mean_brightness(_target(transition))
    auto = transition.preferences.get("exposure_level_auto")
    if auto is not None:
        level = torch.lerp(transition.preferences["exposure_level"].expand_as(level), level, auto)
    return (mean_brightness(image) - level).abs()


@state_term("reference_color", reference=True)
def reference_color(image: Tensor, transition: Transition) -> Tensor:
    """Distance of the relative colourfulness from the reference's, see `color_preference`: (N, 1, 1, 1).

    A policy that learns from squared differences alone makes colours paler than the reference's, as it does not know
    them for certain. It counts the less, the further the preference `color` is from 0.
    """
    distance = (relative_color(image) - relative_color(_target(transition))).abs()[:, None, None, None]
    wish = transition.preferences.get("color")
    return distance if wish is None else distance * (1 - wish.abs())


@state_term("shape_psnr", reference=True)
def shape_psnr(image: Tensor, transition: Transition) -> Tensor:
    """Minus the PSNR to the reference after the image was scaled to its mean: (N, 1, 1, 1), in dB."""
    target = _target(transition)
    gain = target.mean(dim=(1, 2, 3), keepdim=True) / image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    error = ((image * gain - target) ** 2).mean(dim=(1, 2, 3), keepdim=True)
    return 10 * (error + 1e-4).log10()


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
