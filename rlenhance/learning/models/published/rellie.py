"""The published network of ReLLIE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.models.base import MODELS, Policy
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.nn.distributions import JointDistribution, PixelCategorical
from rlenhance.learning.nn.preferences import Preferences

#: Dilations of the shared convolutions and of a branch, as in PixelRL.
SHARED, BRANCH = (1, 2, 3, 4), (3, 2)


@MODELS.register("rellie")
class ReLLIE(Policy):
    """A policy on every pixel: dilated convolutions, an action branch and a value branch.

    Four 3x3 convolutions (dilations 1, 2, 3, 4) are shared; each branch has two more (3, 2) and a last one, to the 27
    actions of each channel or the value. ReLU after all but the last, zero padding. The only input is the picture.

    The actions are the published ones: A = -0.3 + 0.05 k; blue has its own A, red and green 0.1 of their own plus 0.9
    of blue's; the momentum is 0.2.

    Args:
        width: channels inside.
        horizon: steps of an episode, T.

    Source: ReLLIE (Zhang et al. 2021), section 3, on the network of PixelRL (Furuta et al. 2019), figure 2. We depart
    in the order of the channels: RGB, not BGR.
    """

    def __init__(self, width: int = 64, horizon: int = 6):
        super().__init__()
        if horizon < 1:
            raise UsageError(f"an episode needs at least one step; got horizon {horizon}")
        self.actions = ACTION_SETS.create("curve", kind="categorical", agent_stride=1, global_agent=False,
                                          channels="coupled", coupling=0.1, lead_channel=2, momentum=0.2)
        self.preferences = Preferences()
        self.horizon, self.decision_size = horizon, None
        self.shared = layers(3, width, SHARED)
        self.acting, self.judging = layers(width, width, BRANCH), layers(width, width, BRANCH)
        assert self.actions.num_choices is not None
        self.heads = nn.Conv2d(width, self.actions.action_dim * self.actions.num_choices, 3, padding=1)
        self.value = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, observation: Observation, state: Any = None) -> tuple[JointDistribution, dict[str, Tensor], Any]:
        """Distribution over the actions of the pixels, (N, 3, 27, H, W), their value (N, 1, H, W), and no state."""
        features = through(self.shared, observation["image"])
        raw = self.heads(through(self.acting, features)).float()
        logits = raw.unflatten(1, (self.actions.action_dim, -1))
        value = self.value(through(self.judging, features)).float()
        return JointDistribution({"local": PixelCategorical(logits)}), {"local": value}, state


def layers(inputs: int, width: int, dilations: Sequence[int]) -> nn.ModuleList:
    """3x3 convolutions, one of each dilation, with zero padding."""
    enter = [inputs] + [width] * (len(dilations) - 1)
    return nn.ModuleList(nn.Conv2d(i, width, 3, padding=d, dilation=d) for i, d in zip(enter, dilations, strict=True))


def through(convolutions: nn.ModuleList, features: Tensor) -> Tensor:
    """Apply the convolutions, with a ReLU after each."""
    for layer in convolutions:
        features = F.relu(layer(features))
    return features
