"""Metrics of a completed region, with and without the original.

Images are (N, 3, H, W) in [0, 1]; masks are (N, 1, H, W), 1 where pixels were missing. Every function raises a
UsageError for a mask of another shape.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.arrays import brightness
from rlenhance.core.errors import UsageError
from rlenhance.learning.ops.filters import box

_RING = 6  # pixels around the mask whose texture is compared with that inside
#: Distances in pixels over which texture is measured.
LAGS = (1, 2, 4)
_LEAST = 1 / 255  # added to mean differences, so that flat regions compare as equal


def _check(image: Tensor, mask: Tensor) -> None:
    if mask.shape != (image.shape[0], 1, *image.shape[2:]):
        raise UsageError(f"mask must be {(image.shape[0], 1, *image.shape[2:])}, 1 where pixels were missing; got "
                         f"{tuple(mask.shape)}")


def erode_to_center(mask: Tensor) -> Tensor:
    """The centre of each mask, (N, 1, H, W): pixels at least half as far from its border as the farthest one."""
    parts = []
    for hole in (mask[:, 0] > 0.5).to("cpu", torch.uint8).numpy():
        away = cv2.distanceTransform(np.pad(hole, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        parts.append(torch.from_numpy((away >= 0.5 * away.max()) & (hole > 0)))
    return torch.stack(parts)[:, None].to(mask)


def masked_error(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over the pixels where the mask is 1 and all channels: (N,), on the scale of [0, 1]."""
    _check(image, mask)
    count = (image.shape[1] * mask.sum(dim=(1, 2, 3))).clamp(min=1)
    return ((image - target).abs() * mask).sum(dim=(1, 2, 3)) / count


def boundary_discontinuity_map(image: Tensor, mask: Tensor) -> Tensor:
    """Second difference across the border of the mask: (N, 1, H, W), 0 except at the outermost pixels of the mask.

    With p the outermost pixel of the mask, q its neighbour outside and r the one behind that, |(p - q) - (q - r)|, the
    mean of the channels and the sum over the sides.
    """
    _check(image, mask)
    total = torch.zeros_like(image[:, :1])
    for axis in (2, 3):
        for step in (1, -1):
            beside, behind = torch.roll(image, step, axis), torch.roll(image, 2 * step, axis)
            known = (torch.roll(mask, step, axis) < 0.5) & (torch.roll(mask, 2 * step, axis) < 0.5) & (mask > 0.5)
            known = known & _inside(image, axis, step)
            total = total + (image - 2 * beside + behind).abs().mean(dim=1, keepdim=True) * known
    return total


def _inside(image: Tensor, axis: int, step: int) -> Tensor:
    """Where two pixels in a direction exist, so that `torch.roll` has not wrapped around."""
    there = torch.ones_like(image[:1, :1], dtype=torch.bool)
    size = image.shape[axis]
    there.narrow(axis, 0 if step > 0 else max(0, size - 2), min(2, size)).fill_(False)
    return there


def boundary_discontinuity(image: Tensor, mask: Tensor) -> Tensor:
    """Mean of `boundary_discontinuity_map` over the outermost pixels of the mask: (N,); 0 is a linear continuation."""
    values = boundary_discontinuity_map(image, mask)
    edge = mask * (F.max_pool2d(1 - mask, 3, 1, 1) > 0.5)
    return values.sum(dim=(1, 2, 3)) / edge.sum(dim=(1, 2, 3)).clamp(min=1)


def texture_difference(image: Tensor, mask: Tensor) -> Tensor:
    """Difference of the roughness inside the mask and around it: (N,), 0 is equal.

    The absolute logarithm of the mean difference between pixels 1, 2 and 4 apart inside, over that in a ring of 6
    pixels around; mean of the three. With the nearest pixels alone, a chequerboard would pass for texture.
    """
    _check(image, mask)
    light, ring = brightness(image), _ring_of(mask)
    gaps = [((_roughness(light, mask, lag) + _LEAST) / (_roughness(light, ring, lag) + _LEAST)).log().abs()
            for lag in LAGS]
    return torch.stack(gaps).mean(dim=0)


def texture_difference_map(image: Tensor, mask: Tensor) -> Tensor:
    """`texture_difference` pixel by pixel: (N, 1, H, W), 0 outside the mask.

    The roughness of 7x7 pixels is compared with that of the ring around the mask.
    """
    _check(image, mask)
    light, ring = brightness(image), _ring_of(mask)
    height, width = light.shape[-2:]
    total = torch.zeros_like(mask)
    for lag in LAGS:
        padded = F.pad(light, (0, lag, 0, lag), mode="replicate")
        here = ((padded[..., :height, lag:] - light).abs() + (padded[..., lag:, :width] - light).abs()) / 2
        around = _roughness(light, ring, lag)[:, None, None, None]
        total = total + ((box(here, 7) + _LEAST) / (around + _LEAST)).log().abs()
    return mask * total / len(LAGS)


def _ring_of(mask: Tensor) -> Tensor:
    return (F.max_pool2d(mask, 2 * _RING + 1, 1, _RING) > 0.5).to(mask) * (1 - mask)


def _roughness(light: Tensor, part: Tensor, lag: int) -> Tensor:
    """Mean absolute difference between pixels at a distance of `lag` that both lie in `part`: (N,)."""
    sums, counts = light.new_zeros(len(light)), light.new_zeros(len(light))
    for axis in (2, 3):
        length = light.shape[axis] - lag
        if length < 1:
            continue
        both = part.narrow(axis, lag, length) * part.narrow(axis, 0, length)
        change = (light.narrow(axis, lag, length) - light.narrow(axis, 0, length)).abs()
        sums = sums + (change * both).sum(dim=(1, 2, 3))
        counts = counts + both.sum(dim=(1, 2, 3))
    return sums / counts.clamp(min=1)
