"""Blocking: differences across the seams of patches, compared with the differences elsewhere."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError


def blocking_map(image: Tensor, stride: int, overlap: int) -> Tensor:
    """Contribution of every pixel to `blocking_excess`, which is the mean of this map.

    The absolute difference of two neighbours, mean of the channels, is split between the two. Patches meet at the
    multiples of the stride, and begin and end half an overlap before and behind them: differences across these lines
    count positively, the others negatively, each kind with weights that sum to one.

    Args:
        image: (N, C, H, W) in [0, 1].
        stride, overlap: of the patches in pixels, see `rlenhance.learning.ops.patch_grid.PatchGrid`.

    Returns:
        (N, 1, H, W); 0 along an axis that no seam crosses.

    Raises:
        UsageError: a stride or an overlap that no patches have.
    """
    _check(stride, overlap)
    height, width = image.shape[-2:]
    across = (image[..., :, 1:] - image[..., :, :-1]).abs().mean(dim=1, keepdim=True)
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean(dim=1, keepdim=True)
    across = across * (width / 4 * _weights(width, stride, overlap)).to(image)
    down = down * (height / 4 * _weights(height, stride, overlap)).to(image)[:, None]
    return F.pad(across, (0, 1)) + F.pad(across, (1, 0)) + F.pad(down, (0, 0, 0, 1)) + F.pad(down, (0, 0, 1, 0))


def blocking_excess(image: Tensor, stride: int, overlap: int) -> Tensor:
    """Mean difference across the seams minus the mean difference elsewhere: (N,), on the scale of the image.

    The mean of both directions; about 0 for an image that was not made of patches. Arguments and errors are those of
    `blocking_map`.

    Example:
        >>> ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
        >>> shelves = ramp + (torch.arange(32) // 8 % 2) * 0.1  # steps at the multiples of 8
        >>> bool(blocking_excess(ramp, 8, 0).abs() < 1e-6), bool(blocking_excess(shelves, 8, 0) > 0.03)
        (True, True)
    """
    return blocking_map(image, stride, overlap).mean(dim=(1, 2, 3))


def blocking_ratio(image: Tensor, stride: int, overlap: int) -> Tensor:
    """Mean difference across the seams over the mean difference elsewhere: (N,); 1 where no seam is visible.

    Arguments and errors are those of `blocking_map`.
    """
    _check(stride, overlap)
    sums = []
    for axis in (3, 2):
        weights = _weights(image.shape[axis], stride, overlap).to(image)
        jumps = image.diff(dim=axis).abs().mean(dim=1).mean(dim=4 - axis)  # (N, lines), over the other side
        sums.append(torch.stack([jumps @ weights.clamp(min=0), jumps @ (-weights).clamp(min=0)]))
    seams, elsewhere = torch.stack(sums).sum(dim=0)
    return torch.where(elsewhere > 1e-7, seams / elsewhere.clamp(min=1e-7), torch.where(seams > 1e-7, torch.inf, 1.0))


def _check(stride: int, overlap: int) -> None:
    if stride < 1 or not 0 <= overlap <= stride or overlap % 2:
        raise UsageError(f"patches have a stride of at least 1 pixel and an even overlap of at most that; got stride "
                         f"{stride} and overlap {overlap}")


@lru_cache(maxsize=64)
def _weights(side: int, stride: int, overlap: int) -> Tensor:
    """(side - 1,): seams share 1, the other lines between neighbours share -1; all 0 where one kind is missing."""
    with torch.inference_mode(False):  # a cached tensor must serve every mode
        place, half = torch.arange(1, side), overlap // 2
        seams = torch.isin(place % stride, torch.tensor([0, half, stride - half]))
        last = (side - 1) // stride * stride  # where the last patch meets the one before it
        seams &= (place >= stride - half) & (place <= last + half)  # nothing meets the first from before
        count = int(seams.sum())
        if count in (0, side - 1):
            return torch.zeros(side - 1)
        return torch.where(seams, 1 / count, -1 / (side - 1 - count))
