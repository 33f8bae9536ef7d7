"""Terms of the action itself. Learners take them on the policy's mean action, where they carry no sampling noise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rlenhance.rewards.base import action_term


@action_term("smoothness", default=5.0)
def smoothness(strength: Tensor, previous: Tensor) -> Tensor:
    """Total variation of the agents' strengths: (N, 1, h, w), differences to the right and down, summed over heads."""
    right = F.pad((strength[..., :, 1:] - strength[..., :, :-1]).abs(), (0, 1))
    down = F.pad((strength[..., 1:, :] - strength[..., :-1, :]).abs(), (0, 0, 0, 1))
    return (right + down).sum(dim=1, keepdim=True)


@action_term("effort", default=0.1)
def effort(strength: Tensor, previous: Tensor) -> Tensor:
    """Square of the agents' strengths, summed over heads: (N, 1, h, w).

    Breaks the tie when nothing else asks for a change.
    """
    return (strength**2).sum(dim=1, keepdim=True)


@action_term("steadiness", default=3.0)
def steadiness(strength: Tensor, previous: Tensor) -> Tensor:
    """Squared change of the agents' strengths from one step to the next, summed over heads: (N, 1, h, w).

    Rewards that telescope do not care about the way to the end, and a learner that explores drifts to the ways on
    which its own noise does least harm (all at the first steps, or all at the last). Even steps make the better curve.
    """
    return ((strength - previous) ** 2).sum(dim=1, keepdim=True)
