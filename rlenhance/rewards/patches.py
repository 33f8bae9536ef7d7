"""The state term of pictures that are worked on patch by patch; where they are not, it is 0."""

from __future__ import annotations

from torch import Tensor

from rlenhance.metrics.blocking import blocking_map
from rlenhance.rewards.base import Transition, state_term


@state_term("blocking")
def blocking(image: Tensor, transition: Transition) -> Tensor:
    """How much the seams of the patches show: (N, 1, H, W), see `rlenhance.metrics.blocking.blocking_map`."""
    blocks = transition.blocks
    return 0 * image[:, :1] if blocks is None else blocking_map(image, blocks.stride, blocks.overlap)
