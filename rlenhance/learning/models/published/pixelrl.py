"""The published network of PixelRL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.filter_policy import BaseFilterPolicy
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.models.published.rellie import BRANCH, SHARED, layers, through
from rlenhance.learning.nn.backbones import ConvGRUCell
from rlenhance.learning.nn.distributions import JointDistribution, PixelCategorical
from rlenhance.learning.nn.preferences import Preferences


@MODELS.register("pixelrl")
class PixelRL(BaseFilterPolicy):
    """A filter policy on every pixel: dilated convolutions, an action branch with a convolutional GRU, a value branch.

    Four 3x3 convolutions (dilations 1, 2, 3, 4) are shared; each branch has two more (3, 2) and a last one, to the nine
    tools or the value. The GRU before the action branch's last one has no bias and starts at zero. ReLU after all but
    the last, zero padding. The only input is the picture.

    Args:
        width: channels inside.
        horizon: steps of an episode, T.
        channels: of the pictures, 1 or 3 (the released networks: 1).
        noise: see `BaseFilterPolicy`.

    Source: PixelRL (Furuta et al. 2019), figure 2, with the convolutional GRU of section 4.1. Its
    reward-map convolution, needed in training only, is left out.
    """

    def __init__(self, width: int = 64, horizon: int = 5, channels: int = 3, noise: Sequence[float] | None = None):
        super().__init__()
        if horizon < 1 or channels not in (1, 3):
            raise UsageError(f"an episode needs at least one step, and channels are 1 or 3; got {horizon} and "
                             f"{channels}")
        self.actions = ACTION_SETS.create("filters")  # type: ignore[assignment]
        self.preferences = Preferences()
        self.horizon, self.channels = horizon, channels
        self.noise = None if noise is None else (float(noise[0]), float(noise[1]))
        self.shared = layers(channels, width, SHARED)
        self.acting, self.judging = layers(width, width, BRANCH), layers(width, width, BRANCH)
        self.cell = ConvGRUCell(width, width, bias=False)
        self.heads = nn.Conv2d(width, self.actions.num_choices, 3, padding=1)
        self.value = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, observation: Observation, state: Any = None) -> tuple[JointDistribution, dict[str, Tensor], Any]:
        """Distribution over the tools of the pixels, (N, 1, 9, H, W), their value (N, 1, H, W), and the GRU's state."""
        features, state = self._features(observation, state)
        value = self.value(through(self.judging, features)).float()
        logits = self.heads(state).float().unsqueeze(1)
        return JointDistribution({"local": PixelCategorical(logits)}), {"local": value}, state

    def act(self, observation: Observation, state: Any = None) -> tuple[dict[str, Tensor], Any]:
        _, state = self._features(observation, state)
        return {"local": self.heads(state).argmax(dim=1, keepdim=True)}, state

    def _features(self, observation: Observation, state: Any) -> tuple[Tensor, Tensor]:
        """The shared features, and the next state."""
        features = through(self.shared, self.to_channels(observation["image"]))
        seen = through(self.acting, features)
        return features, self.cell(seen, torch.zeros_like(seen) if state is None else state)
