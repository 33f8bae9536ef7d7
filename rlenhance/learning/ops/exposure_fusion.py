"""Pictures at a level, and the fusion of several exposures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rlenhance.learning.ops.image import to_array, to_tensor
from rlenhance.ops.exposure_fusion import fuse_exposures

_FRAMES = (0.2, 0.42, 0.62)  # means of the synthesised exposures of one frame


def brighten(image: Tensor, level: float) -> Tensor:
    """The picture at a mean of `level`, by c' = k c / (1 + (k - 1) c) with one k for each picture.

    That is the limit of many small curve steps c + A c (1 - c): k is the exponential of the sum of their A.

    Args:
        image: (N, 3, H, W) in [0, 1].
        level: mean brightness, in (0, 1).

    Returns:
        (N, 3, H, W) in [0, 1].

    Example:
        >>> round(brighten(torch.full((1, 3, 4, 4), 0.1), 0.4).mean().item(), 3)
        0.4
    """
    low, high = image.new_full((len(image), 1, 1, 1), -3.0), image.new_full((len(image), 1, 1, 1), 9.0)
    for _ in range(20):
        middle = (low + high) / 2
        dark = _lifted(image, middle).mean(dim=(1, 2, 3), keepdim=True) < level
        low, high = torch.where(dark, middle, low), torch.where(dark, high, middle)
    return _lifted(image, (low + high) / 2)


def _lifted(image: Tensor, logarithm: Tensor) -> Tensor:
    factor = torch.exp(logarithm)
    return factor * image / (1 + (factor - 1) * image)


def fuse(frames: Sequence[Tensor]) -> Tensor:
    """Exposure fusion of aligned frames by contrast, saturation and well-exposedness.

    Args:
        frames: (1, 3, H, W) in [0, 1] each; they are rounded to 8 bits.

    Returns:
        (1, 3, H, W) in [0, 1].

    Source: Mertens et al. 2007, see `rlenhance.ops.exposure_fusion.fuse_exposures`.
    """
    return to_tensor(fuse_exposures([to_array(frame, np.uint8) for frame in frames]))


def pseudo_fusion(image: Tensor) -> Tensor:
    """Exposure fusion of a frame's own brightened versions: (N, 3, H, W) -> the same.

    Source: Mertens et al. 2007; Hessel 2020.
    """
    return torch.cat([fuse([brighten(one, level) for level in _FRAMES]) for one in image.split(1)])
