"""Kernels as actions: every pixel takes a convex mean of its neighbourhood, whose weights it chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.base import ACTION_SETS, ActionSet
from rlenhance.learning.ops.image import NOISE_MARGIN
from rlenhance.learning.types import Action

_LEAST = 1e-6  # weight of the pixel itself where all others are zero


@ACTION_SETS.register("kernels")
@dataclass(frozen=True)
class KernelActions(ActionSet):
    """Each pixel sets the weights of a filter: side^2 numbers a in [-1, 1], row by row.

    The weight of a neighbour is ((1 + a) / 2)^3 over the sum of all: never negative, and the sum is 1. So a flat
    surface stays as it is, and no result leaves the range of the neighbourhood, which beyond a border is its edge.
    All channels share the weights. Pictures may be grey, and unrounded noise may leave [0, 1] by 1 at most.

    Args:
        side: of the filters in pixels: 3, 5 or 7.

    Raises:
        UsageError: another side.

    Source: filters predicted per pixel, Bako et al. 2017 and Mildenhall et al. 2018; the cube, which reaches zero, is
    ours.
    """

    purpose: ClassVar[Purpose] = "denoise"
    range_margin: ClassVar[float] = NOISE_MARGIN
    image_channels: ClassVar[tuple[int, ...]] = (1, 3)
    side: int = 3

    def __post_init__(self) -> None:
        if self.side not in (3, 5, 7):
            raise UsageError(f"side is 3, 5 or 7; got {self.side}")

    @property
    def action_dim(self) -> int:
        return self.side**2

    @property
    def initial_action(self) -> tuple[float, ...]:
        return tuple(0.5 if place == self.side**2 // 2 else -0.5 for place in range(self.side**2))

    @property
    def receptive_radius(self) -> int:
        """Pixels along each side that a result depends on."""
        return self.side // 2

    def weights(self, action: Action) -> Tensor:
        """The weights of every pixel: (N, side^2, H, W), positive or 0, with the sum 1."""
        cubed = ((1 + action["local"].clamp(-1, 1)) / 2) ** 3
        middle = torch.zeros_like(cubed[:1, :, :1, :1])
        middle[:, self.side**2 // 2] = _LEAST
        cubed = cubed + middle
        return cubed / cubed.sum(dim=1, keepdim=True)

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None, initial_image: Tensor | None = None,
              step: int = 0) -> Tensor:
        return self._filtered(image, self.weights(action))

    def magnitude(self, action: Action) -> Tensor:
        """The weight of the neighbours: (N, 1, H, W) in [0, 1]."""
        return 1 - self._own(self.weights(action))

    def apply_and_measure(self, image: Tensor, action: Action, mask: Tensor | None = None,
                          initial_image: Tensor | None = None, step: int = 0) -> tuple[Tensor, Tensor]:
        weights = self.weights(action)
        return self._filtered(image, weights), 1 - self._own(weights)

    def noop(self, count: int, height: int, width: int) -> Action:
        """All weight on the pixel itself."""
        action = torch.full((count, self.action_dim, height, width), -1.0)
        action[:, self.side**2 // 2] = 1
        return {"local": action}

    def _own(self, weights: Tensor) -> Tensor:
        return weights[:, self.side**2 // 2 : self.side**2 // 2 + 1]

    def _filtered(self, image: Tensor, weights: Tensor) -> Tensor:
        count, channels, height, width = image.shape
        around = F.unfold(F.pad(image, (self.side // 2,) * 4, mode="replicate"), self.side)
        around = around.view(count, channels, self.side**2, height, width)
        # what differs from the pixel itself, so that a flat surface stays to the bit
        return image + (weights[:, None] * (around - image[:, :, None])).sum(dim=2)
