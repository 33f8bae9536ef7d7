"""The eight rotations and reflections of a square (the group D4) on patches and codes."""

from __future__ import annotations

import torch
from torch import Tensor

from rlenhance.core.arrays import NUM_D4, d4_inverse, d4_products, d4_transform


def d4_orbit(patches: Tensor) -> Tensor:
    """Every patch in all eight orientations: (M, C, b, b) -> (M, 8, C, b, b)."""
    return torch.stack([d4_transform(patches, way) for way in range(NUM_D4)], dim=1)


def d4_average(patches: Tensor) -> Tensor:
    """The mean over the orientations, each undone: (M, 8, C, b, b) -> (M, C, b, b)."""
    return torch.stack([d4_inverse(patches[:, way], way) for way in range(NUM_D4)]).mean(dim=0)


def permute_code(code: Tensor, way: int) -> Tensor:
    """The code of a patch after `d4_transform(patch, way)`: (M, C, 8) -> (M, C, 8).

    A code has one entry per channel and element of D4 (the regular representation): it is permuted with the patch.
    """
    return code[..., d4_products()[way]]
