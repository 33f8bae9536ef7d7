"""What can be said of a filled hole, with and without the original: (N, 3, H, W) and the mask (N, 1, H, W)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.image import brightness
from rlenhance.ops.filters import box

_RING = 6  # pixels around the hole whose texture the hole's is compared with
#: Distances in pixels over which texture is measured.
LAGS = (1, 2, 4)
_LEAST = 1 / 255  # mean difference between neighbours that counts as none


def erode_to_center(mask: Tensor) -> Tensor:
    """The middle of each hole: pixels at least half as far from its border as the farthest one."""
    parts = []
    for hole in (mask[:, 0] > 0.5).to("cpu", torch.uint8).numpy():
        away = cv2.distanceTransform(np.pad(hole, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        parts.append(torch.from_numpy((away >= 0.5 * away.max()) & (hole > 0)))
    return torch.stack(parts)[:, None].to(mask)


def hole_error(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference over the pixels where the mask is 1, of all channels: (N,), on the scale of [0, 1]."""
    count = (image.shape[1] * mask.sum(dim=(1, 2, 3))).clamp(min=1)
    return ((image - target).abs() * mask).sum(dim=(1, 2, 3)) / count


def boundary_discontinuity_map(image: Tensor, mask: Tensor) -> Tensor:
    """How abruptly the hole begins: (N, 1, H, W), 0 but for the hole's outermost pixels.

    With p the outermost pixel of the hole, q its neighbour outside and r the one behind that, |(p - q) - (q - r)|: what
    the step into the hole differs from the step before it; mean of the channels, sum over the sides.
    """
    total = torch.zeros_like(image[:, :1])
    for axis in (2, 3):
        for step in (1, -1):
            beside, behind = torch.roll(image, step, axis), torch.roll(image, 2 * step, axis)
            known = (torch.roll(mask, step, axis) < 0.5) & (torch.roll(mask, 2 * step, axis) < 0.5) & (mask > 0.5)
            known = known & _inside(image, axis, step)
            total = total + (image - 2 * beside + behind).abs().mean(dim=1, keepdim=True) * known
    return total


def _inside(image: Tensor, axis: int, step: int) -> Tensor:
    """Where two pixels in a direction are there: what is rolled round is not."""
    there = torch.ones_like(image[:1, :1], dtype=torch.bool)
    border = there.narrow(axis, 0, min(2, image.shape[axis])) if step > 0 else \
        there.narrow(axis, max(0, image.shape[axis] - 2), min(2, image.shape[axis]))
    border.fill_(False)
    return there


def boundary_discontinuity(image: Tensor, mask: Tensor) -> Tensor:
    """Mean of `boundary_discontinuity_map` over the outermost pixels: (N,); 0 is as smooth as a straight line."""
    values = boundary_discontinuity_map(image, mask)
    edge = mask * (F.max_pool2d(1 - mask, 3, 1, 1) > 0.5)
    return values.sum(dim=(1, 2, 3)) / edge.sum(dim=(1, 2, 3)).clamp(min=1)


def texture_difference(image: Tensor, mask: Tensor) -> Tensor:
    """How much smoother or rougher the hole is than what surrounds it: (N,), 0 is alike.

    The absolute logarithm of the mean difference between pixels 1, 2 and 4 apart inside, over that in a ring of 6
    pixels around; mean of the three: with the nearest pixels alone, a chequerboard would do for texture.
    """
    light, ring = brightness(image), _ring_of(mask)
    gaps = [((_roughness(light, mask, lag) + _LEAST) / (_roughness(light, ring, lag) + _LEAST)).log().abs()
            for lag in LAGS]
    return torch.stack(gaps).mean(dim=0)


def texture_difference_map(image: Tensor, mask: Tensor) -> Tensor:
    """The same place by place: (N, 1, H, W), 0 outside the hole; the roughness of 7x7 pixels, over that of the ring."""
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
    """Mean difference between pixels so far apart that both lie in a part of the picture."""
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
