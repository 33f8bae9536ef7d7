"""Statistics of an image: exposure, noise and colours. Images are (N, 3, H, W) in [0, 1] if nothing else is said."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlenhance.learning.ops.guided_filter import log_luminance
from rlenhance.learning.ops.image import brightness, constants, max_channel
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE


def exposure_of(image: Tensor) -> Tensor:
    """Exposure of an image, robust to lamps and sky: (N, 3, H, W) -> (N, 1, 1, 1), about in [0, 1].

    Half the mean of the brightness, capped at 0.75, and half its median, scaled so that a uniformly grey image between
    0 and 0.7 scores about its own value (exactly 1/0.93 of it). Of 25 statistics this one best predicted the level of
    the better image of an exposure stack.
    """
    return _exposure(brightness(image).flatten(1))


def _exposure(level: Tensor) -> Tensor:
    """The exposure from the brightness of every pixel: (N, P) -> (N, 1, 1, 1)."""
    halves = level.clamp_max(0.75).mean(dim=1) + _median(level)
    return (halves / constants((2 * 0.93,), (), level)).view(-1, 1, 1, 1)


def _median(level: Tensor) -> Tensor:
    """The lower median of every row, as `Tensor.median`: (N, P) -> (N,)."""
    if level.device.type != "cpu" or level.dtype != torch.float32 or torch.is_grad_enabled():
        return level.median(dim=1).values
    middle = (level.shape[1] - 1) // 2  # the same number in a fifth of the time
    return torch.from_numpy(np.partition(level.numpy(), middle, axis=1)[:, middle])


def noise_deviation(image: Tensor) -> Tensor:
    """Standard deviation of the noise: (N, C, H, W) in [0, 1] -> (N, 1, 1, 1), on the same scale.

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
        return image.new_zeros(image.shape[0], 1, 1, 1)
    even, odd = image[..., 0:height:2, :width], image[..., 1:height:2, :width]
    detail = (even[..., 0::2] - even[..., 1::2] - odd[..., 0::2] + odd[..., 1::2]) / 2
    return (_median(detail.flatten(1).abs()) / 0.6745)[:, None, None, None]


def mean_brightness(image: Tensor) -> Tensor:
    """Mean of all pixels and channels: (N, 3, H, W) -> (N, 1, 1, 1)."""
    return image.mean(dim=(1, 2, 3), keepdim=True)


def measured_exposure(image: Tensor, auto: Tensor | None = None, light: Tensor | None = None) -> Tensor:
    """The exposure that is compared with the requested level: (N, 3, H, W) -> (N, 1, 1, 1).

    Args:
        image: (N, 3, H, W) in [0, 1].
        auto: (N, 1, 1, 1), 1 where the level is automatic: `exposure_of` counts there, and the mean brightness where
            the user named a level. None: `exposure_of` everywhere.
        light: (N, 1, H, W), the image's brightness where it is known already.
    """
    return _compared(image, _exposure((brightness(image) if light is None else light).flatten(1)), auto)


def _compared(image: Tensor, robust: Tensor, auto: Tensor | None) -> Tensor:
    return robust if auto is None else torch.lerp(mean_brightness(image), robust, auto)


def auto_exposure(image: Tensor) -> Tensor:
    """The automatic exposure level: (N, 3, H, W) -> (N, 1, 1, 1), in units of `exposure_of`.

    Dark images (below 0.30) get the default level, images between 0.42 and 0.60 keep theirs, brighter ones lose three
    quarters of their excess over 0.60. Where much of a dark image is black (below 1/255), nothing can be recovered: the
    level falls by 0.55 times the black share beyond 0.15. Of twenty dark frames of exposure stacks one has more; night
    photographs that are black except for lamps have 0.3 to 0.7. Beside lamps and fires (4 % of the image with a channel
    above 0.8) pixels below 3/255 count as black too: they hold the noise of the coding.
    """
    level = exposure_of(image)
    black, nearly = ((brightness(image) < limit / 255).float().mean(dim=(1, 2, 3), keepdim=True) for limit in (1, 3))
    burning = (max_channel(image) > 0.8).float().mean(dim=(1, 2, 3), keepdim=True)
    black = torch.lerp(black, nearly, (burning / 0.04).clamp(max=1))
    lifted = DEFAULT_EXPOSURE - 0.55 * (black - 0.15).clamp(min=0)
    lifted = lifted + (level - 0.30).clamp(min=0) * (0.42 - lifted) / 0.12
    return torch.where(level < 0.42, lifted, torch.where(level <= 0.60, level, 0.60 + (level - 0.60) / 4))


def soft_histogram(values: Tensor, bins: int = 10) -> Tensor:
    """Differentiable histogram of values in [0, 1]: (N, P) -> (N, bins), sums to 1.

    A value is shared by its two nearest bins in proportion to its distance.
    """
    level = values.clamp(0, 1) * (bins - 1)
    index = level.detach().long().clamp(0, bins - 2)  # a NaN has no bin; its share propagates it
    share = level - index
    counts = level.new_zeros(level.shape[0], bins)
    counts = counts.scatter_add(1, index, 1 - share).scatter_add(1, index + 1, share)
    return counts / level.shape[1]


def picture_statistics(image: Tensor, level: Tensor, auto: Tensor | None = None, log_bins: int = 0) -> Tensor:
    """Global features of a policy: (N, 3, H, W) -> (N, STATISTICS + log_bins).

    Histogram of the brightness; histogram of the maximum channel, which shows what is about to clip; mean; eight times
    the distance of the exposure from the requested level; and the differences of the mean red and blue from the mean
    green.

    Args:
        image: (N, 3, H, W) in [0, 1].
        level: (N, 1, 1, 1), the requested exposure level.
        auto: see `measured_exposure`.
        log_bins: of a histogram of the log-luminance, which distinguishes how dark the dark parts are; 0: none.
    """
    red, green, blue = image.mean(dim=(2, 3)).unbind(dim=1)
    pixels = brightness(image).flatten(1)
    feedback = 8 * (_compared(image, _exposure(pixels), auto) - level).flatten()
    colors = torch.stack([(red + green + blue) / 3, feedback, red - green, blue - green], dim=1)
    parts = [soft_histogram(pixels), soft_histogram(max_channel(image).flatten(1)), colors]
    if log_bins:
        parts.append(soft_histogram(log_luminance(image).flatten(1), log_bins))
    return torch.cat(parts, dim=1)
