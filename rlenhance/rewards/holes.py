"""State terms of filled holes that need no original; without a mask they are 0."""

from __future__ import annotations

from torch import Tensor

from rlenhance.metrics.completion import boundary_discontinuity_map, texture_difference_map
from rlenhance.rewards.base import Transition, state_term


@state_term("seam")
def seam(image: Tensor, transition: Transition) -> Tensor:
    """How abruptly a completed region begins at its border: (N, 1, H, W), see `boundary_discontinuity_map`."""
    return 0 * image[:, :1] if transition.mask is None else boundary_discontinuity_map(image, transition.mask)


@state_term("texture", reach=5)
def texture(image: Tensor, transition: Transition) -> Tensor:
    """How much smoother or rougher a completed region is than its surroundings: (N, 1, H, W)."""
    return 0 * image[:, :1] if transition.mask is None else texture_difference_map(image, transition.mask)
