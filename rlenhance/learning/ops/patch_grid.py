"""Overlapping patches of an image: extracted, and folded back without seams."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.engine.patches import PatchGeometry


class PatchGrid(PatchGeometry):
    """Patches of tensors; the image is reflected at its borders, so that it may have any size. Arguments and errors are
    those of `PatchGeometry`.

    Example:
        >>> grid = PatchGrid(24, 8)
        >>> image = torch.rand(2, 3, 50, 37)
        >>> patches = grid.extract(image)
        >>> patches.shape, grid.grid(50, 37)
        (torch.Size([24, 3, 24, 24]), (4, 3))
        >>> torch.allclose(grid.fold(patches, (50, 37)), image, atol=1e-6)
        True
    """

    def extract(self, image: Tensor) -> Tensor:
        """All patches of all images: (N, C, H, W) -> (N h w, C, patch_size, patch_size), row by row."""
        rows, columns = (_reflected(side, self.overlap // 2, count * self.stride - side + self.overlap // 2)
                         for side, count in zip(image.shape[-2:], self.grid(*image.shape[-2:]), strict=True))
        padded = image[:, :, rows.to(image.device)][..., columns.to(image.device)]
        patches = padded.unfold(2, self.patch_size, self.stride).unfold(3, self.patch_size, self.stride)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

    def fold(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """Images from their patches: the mean under a window that fades over the overlap.

        Args:
            patches: (N h w, C, patch_size, patch_size), as `extract` orders them.
            size: (height, width) of the images.

        Raises:
            UsageError: the number or the shape of the patches does not fit the size.
        """
        (rows, columns), side = self.grid(*size), (self.patch_size, self.patch_size)
        if patches.ndim != 4 or tuple(patches.shape[-2:]) != side or patches.shape[0] % (rows * columns):
            raise UsageError(f"{size[1]}x{size[0]} pixels have {rows * columns} patches of {side[1]}x{side[0]}; "
                             f"got {tuple(patches.shape)}")
        whole = tuple(count * self.stride + self.overlap for count in (rows, columns))
        window = self.window(patches.device, patches.dtype)
        flat = (patches * window).reshape(-1, rows * columns, window.numel() * patches.shape[1]).mT
        weight = window.flatten()[None, :, None].expand(1, -1, rows * columns)
        total, share = (F.fold(part, whole, side, stride=self.stride) for part in (flat, weight))
        start = self.overlap // 2
        return (total / share)[..., start : start + size[0], start : start + size[1]]

    def window(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """Weight of each pixel of a patch: (patch_size, patch_size), positive; overlapping windows sum to 1."""
        row = self.fade(torch.arange(self.patch_size, device=device, dtype=dtype) + 0.5)
        return row[:, None] * row


@lru_cache(maxsize=64)
def _reflected(side: int, before: int, after: int) -> Tensor:
    """Indices of a side and its reflections."""
    with torch.inference_mode(False):  # a cached tensor must serve every mode
        return torch.from_numpy(np.pad(np.arange(side), (before, after), mode="reflect"))
