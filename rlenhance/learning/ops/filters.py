"""Filters with reflected borders: (N, C, H, W) -> (N, C, H, W), each in two implementations of one result.

OpenCV computes float32 images on a CPU without a gradient (10 to 600 times faster there); torch computes all others.
Both reflect the image at its border pixels without repeating them (OpenCV's REFLECT_101, SciPy's "mirror"), down to
images of one pixel. Values may have any range, dtype and device are those of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.ops.filters_batched import (
    TiledFilter,
    apply_all,
    bilateral_tiled,
    box_tiled,
    filter_radius,
    gaussian_tiled,
    gaussian_weights,
    median_tiled,
    reflect_indices,
    shift_tiled,
)


def gaussian(image: Tensor, sigma: float, size: int = 5) -> Tensor:
    """Gaussian blur over size x size pixels.

    Args:
        image: (N, C, H, W) float.
        sigma: standard deviation in pixels, above 0.
        size: side of the window in pixels, odd.

    Returns:
        (N, C, H, W).

    Raises:
        UsageError: an even size, a sigma of 0 or less, or an image of another shape.

    Example:
        >>> gaussian(torch.full((1, 1, 4, 4), 0.5), 1.5).mean().item()
        0.5
    """
    form = gaussian_tiled(sigma, size)
    if _opencv(image):
        return _by_planes(image, form)
    return _separable(image, torch.from_numpy(gaussian_weights(sigma, form.radius)), form.radius)


def box(image: Tensor, size: int = 5) -> Tensor:
    """Mean over size x size pixels. Arguments and errors are those of `gaussian`."""
    form = box_tiled(size)
    if _opencv(image):
        return _by_planes(image, form)
    return _separable(image, torch.full((size,), 1 / size), form.radius)


def median(image: Tensor, size: int = 5) -> Tensor:
    """Median over size x size pixels of each channel. Arguments and errors are those of `gaussian`.

    The gradient goes to the pixel that is the median.
    """
    radius, form = filter_radius(size), median_tiled(size)
    if _opencv(image) and form is not None:
        return _by_planes(image, form)
    height, width = image.shape[-2:]
    padded = reflect(image, radius)
    parts = [padded[..., i : i + height, j : j + width] for i in range(size) for j in range(size)]
    return torch.stack(parts).median(dim=0).values


def bilateral(image: Tensor, sigma_color: float, sigma_space: float = 5.0, size: int = 5) -> Tensor:
    """Bilateral filter over a disc of diameter `size`.

    The weight of a neighbour at distance r (pixels) whose channels differ by d on average (absolute) is
    exp(-r^2 / (2 sigma_space^2)) exp(-d^2 / (2 sigma_color^2)). Three equal channels give the result of one channel.

    Args:
        image: (N, C, H, W) float.
        sigma_color: on the scale of the image, where white is 1, above 0.
        sigma_space: in pixels, above 0.
        size: see `gaussian`.

    Returns:
        (N, C, H, W).

    Raises:
        UsageError: a sigma of 0 or less, and as `gaussian`.

    Source: Tomasi and Manduchi 1998; the disc and the sum over channels are OpenCV's, whose `sigmaColor` for three
    channels is three times ours.
    """
    form = bilateral_tiled(sigma_color, sigma_space, size)
    if _opencv(image) and image.shape[1] in (1, 3):
        return _run(image, form)
    radius = form.radius
    height, width = image.shape[-2:]
    padded = reflect(image, radius)
    total, weight_sum = torch.zeros_like(image), torch.zeros_like(image[:, :1])
    for i in range(-radius, radius + 1):
        for j in range(-radius, radius + 1):
            if i * i + j * j > radius * radius:
                continue
            part = padded[..., radius + i : radius + i + height, radius + j : radius + j + width]
            distance = (part - image).abs().mean(dim=1, keepdim=True)
            weight = torch.exp(-0.5 * (i * i + j * j) / sigma_space**2 - 0.5 * (distance / sigma_color) ** 2)
            total, weight_sum = total + weight * part, weight_sum + weight
    return total / weight_sum


def shift(image: Tensor, amount: float) -> Tensor:
    """Add a number to every value without crossing 0 or 1; values beyond them are not changed.

    Args:
        image: a float tensor of any shape.
        amount: positive or negative.

    Example:
        >>> shift(torch.tensor([[[[0.5, 0.75, 1.5]]]]), 0.5)
        tensor([[[[1.0000, 1.0000, 1.5000]]]])
    """
    if amount >= 0:
        return torch.maximum(image, (image + amount).clamp(max=1.0))
    return torch.minimum(image, (image + amount).clamp(min=0.0))


def reflect(image: Tensor, radius: int) -> Tensor:
    """Pad (N, C, H, W) by `radius` pixels at each border, reflected at its border pixels, also if it is smaller.

    Example:
        >>> reflect(torch.tensor([[[[1.0, 2.0]]]]), 1)[0, 0, 0]
        tensor([2., 1., 2., 1.])
    """
    height, width = image.shape[-2:]
    if min(height, width) > radius:
        return F.pad(image, (radius,) * 4, mode="reflect")
    down, across = (torch.from_numpy(reflect_indices(length, radius)) for length in (height, width))
    return image[..., down, :][..., across]


def _opencv(image: Tensor) -> bool:
    """Whether OpenCV computes the result; checks the image."""
    if image.ndim != 4 or 0 in image.shape or not image.is_floating_point():
        raise UsageError(f"a filter takes pictures (N, C, H, W) of floats; got {tuple(image.shape)} {image.dtype}")
    gradient = torch.is_grad_enabled() and image.requires_grad
    return image.device.type == "cpu" and image.dtype == torch.float32 and not gradient


def find_tiled_filter(tool: Callable[..., Any]) -> TiledFilter | None:
    """The OpenCV form of a filter of this file, or of a `partial` of one; None for any other callable."""
    function, arguments, named = (tool.func, tool.args, tool.keywords) if isinstance(tool, partial) else (tool, (), {})
    make = _TILED.get(function) if isinstance(function, FunctionType) else None
    return None if make is None or arguments else make(**named)


#: The OpenCV form of each filter, from the same arguments.
_TILED: dict[Any, Callable[..., TiledFilter | None]] = {
    gaussian: gaussian_tiled, box: box_tiled, median: median_tiled, bilateral: bilateral_tiled, shift: shift_tiled}


def _run(image: Tensor, form: TiledFilter) -> Tensor:
    return torch.from_numpy(apply_all(image.detach().numpy(), [form]))[:, :, 0]


def _by_planes(image: Tensor, form: TiledFilter) -> Tensor:
    """Filter each channel by itself."""
    return _run(image.reshape(-1, 1, *image.shape[2:]), form).view(image.shape)


def _separable(image: Tensor, weights: Tensor, radius: int) -> Tensor:
    """The same weights along both axes, as two depthwise convolutions."""
    channels, kernel = image.shape[1], weights.to(image)
    padded = reflect(image, radius)
    padded = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
