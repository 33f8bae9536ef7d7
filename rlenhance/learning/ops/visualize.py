"""Images of action maps, and images side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.pixels import magnitude_colors
from rlenhance.learning.ops.image import resize


def action_colors(magnitude: Tensor, size: tuple[int, int], limit: float = 1.0) -> Tensor:
    """Action magnitudes as colours, one block per agent: (N, C, h, w) -> (N, 3, *size) in [0, 1].

    See `rlenhance.core.pixels.magnitude_colors`.
    """
    colors = np.stack([magnitude_colors(part, size, limit) for part in magnitude.detach().float().cpu().numpy()])
    return torch.from_numpy(colors).movedim(-1, 1).to(magnitude.device)


def side_by_side(images: Sequence[Tensor], gap: int = 2) -> Tensor:
    """Images of one height in a row, `gap` white pixels apart: (N, 3, H, W) each -> (N, 3, H, sum of W)."""
    row: list[Tensor] = []
    for image in images:
        row += [image.new_ones(*image.shape[:-1], gap), image] if row else [image]
    return torch.cat(row, dim=-1)


def grid(rows: Sequence[Sequence[Tensor]], side: int, gap: int = 2) -> Tensor:
    """Rows of images (1, 3, H, W), each resized to side x side, as one image (1, 3, H', W')."""
    lines = [side_by_side([_fit(image, side) for image in row], gap) for row in rows]
    width = max(line.shape[-1] for line in lines)
    lines = [F.pad(line, (0, width - line.shape[-1], 0, gap), value=1.0) for line in lines]
    return torch.cat(lines, dim=-2)


def _fit(image: Tensor, side: int) -> Tensor:
    image = image.detach().cpu().float()
    if max(image.shape[-2:]) < side:
        return F.interpolate(image, (side, side), mode="nearest")
    return resize(image, side)
