"""What a picture's exposure and colours are, in a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from rlenhance.images import brightness

#: The exposure level that is aimed at when nobody says otherwise (fitted on training scenes).
DEFAULT_EXPOSURE = 0.475


def exposure_of(image: Tensor) -> Tensor:
    """How bright a picture is, hardly moved by lamps and sky: (N, 3, H, W) -> (N, 1, 1, 1).

    Half the mean of the brightness, capped at 0.75, and half its median, scaled so that a uniformly grey picture
    between 0 and 0.7 scores about its own value (exactly 1/0.93 of it). The best of 25 statistics at telling the
    level of the better picture of an exposure stack.
    """
    level = brightness(image).flatten(1)
    capped = level.clamp(max=0.75).mean(dim=1)
    median = level.median(dim=1).values
    return ((0.5 * capped + 0.5 * median) / 0.93)[:, None, None, None]


def mean_brightness(image: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 1, 1, 1)."""
    return image.mean(dim=(1, 2, 3), keepdim=True)


def asked_exposure(image: Tensor, auto: Tensor | None = None) -> Tensor:
    """What is compared with the asked level: (N, 3, H, W) -> (N, 1, 1, 1).

    Args:
        auto: (N, 1, 1, 1), 1 where nobody named the level: there `exposure_of`, and the mean brightness where a
            user has asked for a number. None: `exposure_of` everywhere.
    """
    robust = exposure_of(image)
    return robust if auto is None else torch.lerp(mean_brightness(image), robust, auto)


def auto_exposure(image: Tensor) -> Tensor:
    """The level for a picture whose user names none: (N, 3, H, W) -> (N, 1, 1, 1), in units of `exposure_of`.

    Dark pictures (below 0.30) are brought to the default level, pictures between 0.42 and 0.60 are left where they
    are, brighter ones come down by three quarters of what they have above 0.60. Where much of a dark picture is black
    (below 1/255), there is nothing to bring back: the level falls by 0.55 times the share beyond 0.15. Of twenty dark
    frames of exposure stacks one has more; night photographs that are black but for lamps have 0.3 to 0.7.
    """
    level = exposure_of(image)
    black = (brightness(image) < 1 / 255).float().mean(dim=(1, 2, 3), keepdim=True)
    lifted = DEFAULT_EXPOSURE - 0.55 * (black - 0.15).clamp(min=0)
    lifted = lifted + (level - 0.30).clamp(min=0) * (0.42 - lifted) / 0.12
    return torch.where(level < 0.42, lifted, torch.where(level <= 0.60, level, 0.60 + (level - 0.60) / 4))


def soft_histogram(image: Tensor, bins: int = 10) -> Tensor:
    """Share of the pixels near each of `bins` brightness levels, with slopes: (N, 3, H, W) -> (N, bins), sums to 1.

    A pixel is shared by its two nearest levels in proportion to its distance, so that the gradient passes.
    """
    level = brightness(image).flatten(1).clamp(0, 1) * (bins - 1)
    below = level.detach().floor().clamp(max=bins - 2)
    share = level - below
    index = below.nan_to_num(0).long()  # a NaN has no bin; its share carries it on
    counts = level.new_zeros(level.shape[0], bins)
    counts = counts.scatter_add(1, index, 1 - share).scatter_add(1, index + 1, share)
    return counts / level.shape[1]


def picture_statistics(image: Tensor, level: Tensor, auto: Tensor | None = None) -> Tensor:
    """What a policy is told of the whole picture: (N, 3, H, W), asked level (N, 1, 1, 1) -> (N, STATISTICS).

    Histogram, mean, eight times the distance of the exposure from the asked level (the feedback that makes obeying
    easy), and the differences of the mean red and blue from the mean green.
    """
    red, green, blue = image.mean(dim=(2, 3)).unbind(dim=1)
    feedback = 8 * (asked_exposure(image, auto) - level).flatten()
    return torch.cat(
        [soft_histogram(image), torch.stack([(red + green + blue) / 3, feedback, red - green, blue - green], dim=1)],
        dim=1,
    )


#: Columns of `picture_statistics`.
STATISTICS = 14
