"""Masks and fills of tensors, for networks and their training; for those of photographs see `rlenhance.ops.masks`.

A mask is (N, 1, H, W), 1 where pixels are missing. A masked image is black there, so that no method can read what the
mask covers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.ops.image import area_means, resize
from rlenhance.ops import harmonic_fill as membrane

#: A fill of one photograph: (picture (H, W, 3) float32, mask (H, W) bool) -> picture.
PictureFill = Callable[[np.ndarray, np.ndarray], np.ndarray]


def composite(output: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """The output inside the mask and the image outside, bit for bit: (N, C, H, W).

    Args:
        output, image: (N, C, H, W).
        mask: (N, 1, H, W), 1 where the output counts.
    """
    return torch.where(mask > 0.5, output, image)


def mask_out(image: Tensor, mask: Tensor) -> Tensor:
    """The image (N, C, H, W) with 0 where the mask (N, 1, H, W) is 1."""
    return image.masked_fill(mask > 0.5, 0)


def check_mask(mask: Tensor | None, image: Tensor) -> Tensor:
    """The mask as 0 and 1 in the image's dtype, if it fits the image.

    Args:
        mask: (N, 1, H, W); values above 0.5 count as 1.
        image: (N, C, H, W).

    Raises:
        UsageError: no mask, another shape, or a mask that covers a whole image.
    """
    wanted = (image.shape[0], 1, *image.shape[-2:])
    if mask is None:
        raise UsageError(f"completing needs a mask {wanted}, 1 where pixels are missing; got none")
    if mask.shape != wanted:
        raise UsageError(f"mask must be {wanted}, 1 where pixels are missing; got {tuple(mask.shape)}")
    mask = (mask > 0.5).to(image)
    if bool((mask.amin(dim=(1, 2, 3)) > 0).any()):
        raise UsageError("the mask covers the whole picture: nothing is left to continue from")
    return mask


def downscale_masked(image: Tensor, mask: Tensor, size: tuple[int, int] | int) -> tuple[Tensor, Tensor]:
    """A masked image and its mask at a smaller size: an output pixel that the mask touches is masked.

    Args:
        image: (N, C, H, W).
        mask: (N, 1, H, W), 1 where pixels are missing.
        size: (height, width), or the side of a square, in pixels.

    Returns:
        The image (N, C, *size), black inside the mask, and the mask (N, 1, *size).
    """
    size = (size, size) if isinstance(size, int) else size
    if tuple(image.shape[-2:]) == tuple(size):
        return mask_out(image, mask), mask
    small = (area_means(mask, size) > 1e-4).to(image)
    return mask_out(resize(image, size), small), small


def mask_bbox(mask: Tensor) -> tuple[slice, slice]:
    """Bounding box of a mask with a margin of a third of its shorter side, at least 8 pixels.

    Args:
        mask: (1, 1, H, W), 1 somewhere.

    Returns:
        Rows and columns; they begin at multiples of 8.
    """
    places = (mask[0, 0] > 0.5).nonzero()
    (top, left), (bottom, right) = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
    margin = max(8, min(bottom - top, right - left) // 3)
    return (slice(max(0, top - margin) // 8 * 8, bottom + 1 + margin),
            slice(max(0, left - margin) // 8 * 8, right + 1 + margin))


def on_tensors(fill: PictureFill) -> Callable[[Tensor, Tensor], Tensor]:
    """A fill of photographs for batches: (image (N, C, H, W), mask (N, 1, H, W)) -> image; no gradient passes it.

    What it returns raises a UsageError for a mask of another shape, or one that covers a whole image.
    """
    return partial(_filled, fill)  # which can be pickled


def _filled(fill: PictureFill, image: Tensor, mask: Tensor) -> Tensor:
    holes = check_mask(mask, image)[:, 0].cpu().numpy() > 0.5
    pictures = image.detach().float().permute(0, 2, 3, 1).cpu().contiguous().numpy()
    results = np.stack([fill(*pair) for pair in zip(pictures, holes, strict=True)])
    return composite(torch.from_numpy(results).permute(0, 3, 1, 2).to(image), image, mask)


#: `rlenhance.ops.harmonic_fill.harmonic_fill` of tensors.
harmonic_fill = on_tensors(membrane.harmonic_fill)
