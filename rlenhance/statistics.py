"""What a picture's exposure and colours are, in a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from rlenhance.images import brightness


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


def picture_statistics(image: Tensor, level: Tensor) -> Tensor:
    """What a policy is told of the whole picture: (N, 3, H, W), asked level (N, 1, 1, 1) -> (N, STATISTICS).

    Histogram, mean, eight times the distance of the exposure from the asked level (the feedback that makes obeying
    easy), and the differences of the mean red and blue from the mean green.
    """
    red, green, blue = image.mean(dim=(2, 3)).unbind(dim=1)
    feedback = 8 * (exposure_of(image) - level).flatten()
    return torch.cat(
        [soft_histogram(image), torch.stack([(red + green + blue) / 3, feedback, red - green, blue - green], dim=1)],
        dim=1,
    )


#: Columns of `picture_statistics`.
STATISTICS = 14
