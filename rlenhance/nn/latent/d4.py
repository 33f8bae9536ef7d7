"""The eight ways to turn and mirror a square (the group D4), and what they do to codes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from rlenhance.core.image import NUM_D4, d4_inverse, d4_transform


def d4_orbit(patches: Tensor) -> Tensor:
    """Every patch in all ways: (M, C, b, b) -> (M, 8, C, b, b)."""
    return torch.stack([d4_transform(patches, way) for way in range(NUM_D4)], dim=1)


def d4_average(patches: Tensor) -> Tensor:
    """The mean over the ways, each turned back: (M, 8, C, b, b) -> (M, C, b, b)."""
    return torch.stack([d4_inverse(patches[:, way], way) for way in range(NUM_D4)]).mean(dim=0)


def permute_code(code: Tensor, way: int) -> Tensor:
    """The code of a patch after `d4_transform(patch, way)`: (M, C, 8) -> (M, C, 8).

    A code has one entry per way and channel (the regular representation of D4): turning the patch moves the entries.
    """
    return code[..., list(_table()[way])]


@lru_cache(maxsize=1)
def _table() -> tuple[tuple[int, ...], ...]:
    """Entry [way][later]: the one way that equals `way` and then `later`."""
    mark = torch.arange(9).reshape(3, 3)
    names = {tuple(d4_transform(mark, way).flatten().tolist()): way for way in range(NUM_D4)}
    return tuple(tuple(names[tuple(d4_transform(d4_transform(mark, way), later).flatten().tolist())]
                       for later in range(NUM_D4))
                 for way in range(NUM_D4))
