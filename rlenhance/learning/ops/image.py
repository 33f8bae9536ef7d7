"""The image convention: float32 tensor, RGB, sRGB-encoded, values in [0, 1], shape (N, 3, H, W).

Maps (reward, value, mask, log-probability) are (N, 1, H, W). A mask is 1 where pixels are missing or may change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import mean_matrix, resized_planes, to_pixels, to_planes

#: How far unrounded noise may lie outside [0, 1] where that is allowed; beyond, it is clipped.
NOISE_MARGIN = 1.0


def check_image(image: Tensor, finite: bool = True, *, margin: float = 0.0, channels: Sequence[int] = (3,)) -> Tensor:
    """The image, if it follows the convention.

    Args:
        image: (N, C, H, W) float in [0, 1].
        finite: whether NaN is refused too.
        margin: how far values may lie outside [0, 1], as noise that was not clipped does.
        channels: allowed values of C.

    Raises:
        UsageError: another rank, number of channels or dtype, size zero, or values outside [0, 1].
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[1] not in channels or \
            not image.is_floating_point():
        seen = f"{tuple(image.shape)} {image.dtype}" if hasattr(image, "shape") else repr(image)
        raise UsageError(f"image must be (N, {' or '.join(map(str, channels))}, H, W) float in [0, 1]; got {seen}: "
                         f"use rlenhance.learning.ops.image.to_tensor")
    if 0 in image.shape:
        raise UsageError(f"image is empty: shape {tuple(image.shape)}")
    low, high = image.detach().aminmax()
    nan = bool(torch.isnan(low))
    if (nan and finite) or low < -margin - 1e-4 or high > 1 + margin + 1e-4:
        beyond = f" (noise may reach {margin:g} beyond)" if margin else ""
        raise UsageError(f"image values must lie in [0, 1]{beyond}; got {low:.4g} to {high:.4g}: "
                         f"use rlenhance.learning.ops.image.to_tensor")
    return image


def convert_channels(image: Tensor, channels: int, margin: float = 0.0) -> Tensor:
    """The image with the number of channels that a network takes: one grey channel equals three equal channels.

    Args:
        image: (N, 3, H, W) or (N, 1, H, W) in [0, 1].
        channels: 1 or 3.
        margin: see `check_image`.

    Raises:
        UsageError: not an image, or a colour image for a network of grey images.
    """
    check_image(image, margin=margin, channels=(1, 3))
    if image.shape[1] == channels:
        return image
    if channels == 3:
        return image.expand(-1, 3, -1, -1)
    if bool((image[:, 1:] != image[:, :1]).any()):
        raise UsageError("a picture with colours for a model of grey pictures: use a model for colour, make it grey "
                         "first, or hand its channels over one by one, each as a picture (N, 1, H, W)")
    return image[:, :1]


def to_tensor(picture: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """An array (H, W, 3), uint8, uint16 or float in [0, 1], as a tensor (1, 3, H, W) float32.

    Raises:
        UsageError: another shape or dtype.

    Example:
        >>> to_tensor(np.full((2, 2, 3), 255, np.uint8)).mean().item()
        1.0
    """
    return torch.from_numpy(to_planes(picture)).to(device)


def to_array(image: Tensor, dtype: type = np.uint8) -> np.ndarray:
    """A tensor (1, 3, H, W) or (3, H, W), clipped to [0, 1], as an array (H, W, 3) of uint8, uint16 or float32.

    Raises:
        UsageError: a batch of several images.
    """
    return to_pixels(image.detach().float().cpu().numpy(), dtype)


def resize(image: Tensor, size: tuple[int, int] | int) -> Tensor:
    """Area interpolation: (N, C, H, W) -> (N, C, *size).

    Training and inference both use it, so that a policy sees the same small image in both.

    Args:
        size: (height, width), or the side of a square, in pixels.
    """
    if isinstance(size, int):
        size = (size, size)
    return image if tuple(image.shape[-2:]) == tuple(size) else area_means(image, size)


def resized_tensor(picture: np.ndarray, size: int, device: torch.device | str = "cpu") -> Tensor:
    """`resize(to_tensor(picture), size)`, see `rlenhance.core.pixels.resized_planes`: (1, 3, size, size) float32."""
    return torch.from_numpy(resized_planes(picture, size)).to(device)


def area_means(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Means over size[0] x size[1] regions: (N, C, H, W) -> (N, C, *size); they overlap where sizes do not divide."""
    height, width = map(int, maps.shape[-2:])  # numbers, which an exported graph needs for its pooling
    size = (int(size[0]), int(size[1]))
    if height % size[0] == 0 and width % size[1] == 0:  # the same, several times faster
        return F.avg_pool2d(maps, (height // size[0], width // size[1]))
    if maps.device.type != "mps":
        return F.adaptive_avg_pool2d(maps, size)
    # MPS pools only sizes that divide: averaging as a product with matrices
    down, across = (torch.tensor(mean_matrix(a, b)).to(maps) for a, b in ((height, size[0]), (width, size[1])))
    return down @ maps @ across.T


def center_crop(image: Tensor, side: int) -> Tensor:
    """The middle of (N, C, H, W), at most `side` pixels high and wide."""
    top, left = (max(0, (length - side) // 2) for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def limit_side(image: Tensor, side: int) -> Tensor:
    """Downscale (N, C, H, W) so that the longer side is at most `side` pixels; smaller images are not changed."""
    height, width = image.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    return resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the right and bottom by replication, until both sides are multiples of `multiple`."""
    height, width = image.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    return image if not (right or bottom) else F.pad(image, (0, right, 0, bottom), mode="replicate")
