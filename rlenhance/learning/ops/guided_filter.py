"""Guided filter: edge-following means, and the smoothed log-luminance by which edge-aware tone curves are chosen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.learning.ops.image import constants, max_channel, resize
from rlenhance.ops.plane_statistics import GUIDE_EPSILON, GUIDE_SIDE, box_matrix


def box_mean(value: Tensor, radius: int) -> Tensor:
    """Mean of a square window, borders repeated: (N, C, H, W)."""
    return F.avg_pool2d(F.pad(value, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)


def guided_coefficients(guide: Tensor, value: Tensor, radius: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Slope and offset of the guided filter: the edge-following mean of the value is slope * guide + offset.

    Args:
        guide, value: (N, 1, H, W).
        radius: of the windows, in pixels.
        epsilon: variance of the guide below which a window counts as flat.

    Source: He, Sun and Tang 2010, equations 5 to 8.
    """
    mean, average = box_mean(guide, radius), box_mean(value, radius)
    slope = (box_mean(guide * value, radius) - mean * average) / (box_mean(guide**2, radius) - mean**2 + epsilon)
    return box_mean(slope, radius), box_mean(average - slope * mean, radius)


def guided_filter(guide: Tensor, value: Tensor, radius: int = 8, epsilon: float = 0.01) -> Tensor:
    """An edge-following mean of the value: (N, 1, H, W). Source: He, Sun and Tang 2010."""
    slope, offset = guided_coefficients(guide, value, radius, epsilon)
    return slope * guide + offset


def log_luminance(image: Tensor) -> Tensor:
    """log2(1 + 255 v) / 8 of v, the middle of the largest channel and the mean channel: (N, 3, H, W) -> (N, 1, H, W).

    0 is black, 1 is white, and an eighth is a stop but near black.
    """
    value = (max_channel(image) + image.mean(dim=1, keepdim=True)) / 2
    scale, eighth = constants((255.0,), (), value), constants((0.125,), (), value)
    return torch.log2(1 + scale * value) * eighth


def guide_coefficients(small: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and offset of `luminance_guide`, for a picture of `GUIDE_SIDE`: (N, 3, h, w) -> (N, 1, h, w) each.

    They are computed in float64, where the device has it: variances are small differences.
    """
    level = log_luminance(small)
    exact = level if level.device.type == "mps" else level.double()
    down, across = (torch.tensor(box_matrix(side)).to(exact) for side in map(int, level.shape[-2:]))
    mean = down @ exact @ across.T
    variance = down @ exact**2 @ across.T - mean**2
    slope = variance / (variance + GUIDE_EPSILON)
    return (down @ slope @ across.T).to(level), (down @ (mean - slope * mean) @ across.T).to(level)


def luminance_guide(image: Tensor, small: Tensor | None = None) -> Tensor:
    """The base layer of the log-luminance, without fine detail and with its edges: (N, 3, H, W) -> (N, 1, H, W) in
    [0, 1].

    Args:
        image: (N, 3, H, W).
        small: the same at `GUIDE_SIDE`, where it is known already.

    Source: coefficients of a reduced picture, interpolated, He and Sun 2015 (fast guided filter).
    """
    slope, offset = guide_coefficients(resize(image, GUIDE_SIDE) if small is None else small)
    if slope.shape[-2:] != image.shape[-2:]:
        slope, offset = (F.interpolate(part, list(image.shape[-2:]), mode="bilinear", align_corners=False)
                         for part in (slope, offset))
    return torch.addcmul(offset, slope, log_luminance(image)).clamp(0, 1)
