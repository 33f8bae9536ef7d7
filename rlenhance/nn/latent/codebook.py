"""What is known of the codes of clean pictures: some of them, their groups, and where outputs differ from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.image import NUM_D4
from rlenhance.nn.latent.d4 import permute_code

_SEARCHED = 1 << 13  # patches whose distances are worked out at once


class Codebook(nn.Module):
    """Clean codes, the centres of their groups, and in each group the axes along which a model's own codes err.

    Buffers, so that they travel with the weights; `set` sets them, in the beginning they are random.

    Args:
        channels: of a code (M, channels, 8).
        size: clean codes to keep; each stands for its patch turned in all eight ways.
        groups: of codes.
        axes: per group.
        neighbours: clean codes whose mean is a code's prior.
        equivariant: codes can be turned (`permute_code`); otherwise each stands for itself alone.
    """

    codes: Tensor
    centres: Tensor
    axes: Tensor

    def __init__(self, channels: int, size: int = 1024, groups: int = 8, axes: int = 8, neighbours: int = 8,
                 equivariant: bool = True):
        super().__init__()
        if not 1 <= neighbours <= size or groups < 1 or not 0 <= axes <= channels * NUM_D4:
            raise UsageError(f"a bank keeps at least as many codes as it has neighbours, and one group; and "
                             f"at most {channels * NUM_D4} axes; got {size}, {neighbours}, {groups} and {axes}")
        self.neighbours, self.equivariant = neighbours, equivariant
        self.register_buffer("codes", torch.randn(size, channels, NUM_D4))
        self.register_buffer("centres", torch.randn(groups, channels, NUM_D4))
        self.register_buffer("axes", 0.1 * torch.randn(groups, axes, channels, NUM_D4))

    @torch.no_grad()
    def set(self, codes: Tensor, centres: Tensor, axes: Tensor) -> None:
        """Set what is known; shapes as the buffers', more codes than fit are thinned out evenly.

        Raises:
            UsageError: too few codes.
        """
        if len(codes) < len(self.codes):
            raise UsageError(f"a bank of {len(self.codes)} codes needs as many patches; got {len(codes)}: use more "
                             f"pictures, or a smaller bank")
        chosen = torch.linspace(0, len(codes) - 1, len(self.codes)).round().long()
        for kept, value in ((self.codes, codes[chosen]), (self.centres, centres), (self.axes, axes)):
            kept.copy_(value)

    def assign_clusters(self, code: Tensor) -> Tensor:
        """The group of each code, the one whose centre is nearest: (M, C, 8) -> (M,), int64."""
        return torch.cdist(code.flatten(1), self.centres.flatten(1)).argmin(dim=1)

    def nearest_mean(self, code: Tensor) -> Tensor:
        """The mean of the nearest clean codes: (M, C, 8) -> the same. No gradient passes through the choice."""
        known = self.augmented()
        means = []
        for part in code.detach().flatten(1).split(_SEARCHED):
            nearest = torch.cdist(part, known).topk(self.neighbours, dim=1, largest=False).indices
            means.append(known[nearest].mean(dim=1))
        return torch.cat(means).view_as(code)

    def augmented(self) -> Tensor:
        """All clean codes, turned in all ways: (8 size, 8 C)."""
        if not self.equivariant:
            return self.codes.flatten(1)
        return torch.cat([permute_code(self.codes, way) for way in range(NUM_D4)]).flatten(1)
