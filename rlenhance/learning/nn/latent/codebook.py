"""Codes of clean patches, their clusters, and the axes of a model's errors in each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlenhance.core.arrays import NUM_D4
from rlenhance.core.errors import UsageError
from rlenhance.learning.nn.latent.d4 import permute_code

_SEARCHED = 1 << 13  # patches per distance matrix


class Codebook(nn.Module):
    """Codes of clean patches, the centres of their clusters, and in each cluster the axes of a model's errors.

    All are buffers, saved with the weights: random until `set`.

    Args:
        channels: of a code (M, channels, 8).
        size: number of clean codes; with `equivariant`, each also stands for its patch in the eight orientations.
        groups: number of clusters.
        axes: per cluster.
        neighbours: number of nearest clean codes in `nearest_mean`.
        equivariant: whether codes permute with their patch (`permute_code`).
    """

    codes: Tensor
    centres: Tensor
    axes: Tensor

    def __init__(self, channels: int, size: int = 1024, groups: int = 8, axes: int = 8, neighbours: int = 8,
                 equivariant: bool = True):
        super().__init__()
        if not 1 <= neighbours <= size or groups < 1 or not 0 <= axes <= channels * NUM_D4:
            raise UsageError(f"a codebook needs 1 <= neighbours <= size, groups of at least 1 and axes of at most "
                             f"{channels * NUM_D4}; got size {size}, neighbours {neighbours}, groups {groups} and "
                             f"axes {axes}")
        self.neighbours, self.equivariant = neighbours, equivariant
        self.register_buffer("codes", torch.randn(size, channels, NUM_D4))
        self.register_buffer("centres", torch.randn(groups, channels, NUM_D4))
        self.register_buffer("axes", 0.1 * torch.randn(groups, axes, channels, NUM_D4))

    @torch.no_grad()
    def set(self, codes: Tensor, centres: Tensor, axes: Tensor) -> None:
        """Set the buffers; of more codes than fit, evenly spaced ones are kept.

        Raises:
            UsageError: too few codes.
        """
        if len(codes) < len(self.codes):
            raise UsageError(f"a codebook of {len(self.codes)} codes needs as many patches; got {len(codes)}: use more "
                             f"pictures, or a smaller codebook")
        chosen = torch.linspace(0, len(codes) - 1, len(self.codes)).round().long()
        for kept, value in ((self.codes, codes[chosen]), (self.centres, centres), (self.axes, axes)):
            kept.copy_(value)

    def assign_clusters(self, code: Tensor) -> Tensor:
        """The cluster of each code, by the nearest centre: (M, C, 8) -> (M,), int64."""
        return torch.cdist(code.flatten(1), self.centres.flatten(1)).argmin(dim=1)

    def nearest_mean(self, code: Tensor) -> Tensor:
        """The mean of the nearest clean codes: (M, C, 8) -> the same, without a gradient."""
        known = self.augmented()
        means = []
        for part in code.detach().flatten(1).split(_SEARCHED):
            nearest = torch.cdist(part, known).topk(self.neighbours, dim=1, largest=False).indices
            means.append(known[nearest].mean(dim=1))
        return torch.cat(means).view_as(code)

    def augmented(self) -> Tensor:
        """All clean codes in all eight orientations: (8 size, 8 C); (size, 8 C) if not equivariant."""
        if not self.equivariant:
            return self.codes.flatten(1)
        return torch.cat([permute_code(self.codes, way) for way in range(NUM_D4)]).flatten(1)
