"""The network that PixelRL was published with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rlenhance.actions import ACTION_SETS
from rlenhance.core.errors import UsageError
from rlenhance.models.base import MODELS
from rlenhance.models.filter_policy import BaseFilterPolicy
from rlenhance.models.policy import Observation
from rlenhance.models.published.rellie import layers, through
from rlenhance.nn.backbones import ConvGRUCell
from rlenhance.nn.distributions import JointDistribution, PixelCategorical
from rlenhance.nn.preferences import Preferences

_SHARED, _BRANCH = (1, 2, 3, 4), (3, 2)  # dilations


@MODELS.register("pixelrl")
class PixelRL(BaseFilterPolicy):
    """A policy over filters on every pixel: dilated convolutions, a branch with a convolutional GRU for the actions and
    one for the value.

    Four 3x3 convolutions (dilations 1, 2, 3, 4) are shared; each branch has two more (3, 2). What the acting branch saw
    goes through the GRU, which begins at zero, and a last convolution to the nine tools; the other's last convolution
    gives the value. ReLU behind all but the last, borders are zero, no bias in the GRU. It sees the picture alone.

    Args:
        width: channels inside.
        horizon: steps of an episode, T.
        channels: of the pictures (the released networks: 1).
        noise: what it was trained for, see `BaseFilterPolicy`.

    Source: PixelRL (Furuta et al. 2019), figure 2, with the convolutional GRU of section 4.1. The kernel of its
    reward-map convolution is needed in training alone and is not part of this.
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
        self.shared = layers(channels, width, _SHARED)
        self.acting, self.judging = layers(width, width, _BRANCH), layers(width, width, _BRANCH)
        self.cell = ConvGRUCell(width, width, bias=False)
        self.heads = nn.Conv2d(width, self.actions.num_choices, 3, padding=1)
        self.value = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, observation: Observation,
                state: Any = None) -> tuple[JointDistribution, dict[str, Tensor], Any]:
        """Distribution over the tools of the pixels, (N, 1, 9, H, W), their value (N, 1, H, W), and the GRU's state."""
        features = through(self.shared, self.to_channels(observation["image"]))
        seen = through(self.acting, features)
        state = self.cell(seen, seen.new_zeros(seen.shape) if state is None else state)
        value = self.value(through(self.judging, features)).float()
        logits = self.heads(state).float().unsqueeze(1)
        return JointDistribution({"local": PixelCategorical(logits)}), {"local": value}, state

    def act(self, observation: Observation, state: Any = None) -> tuple[dict[str, Tensor], Any]:
        seen = through(self.acting, through(self.shared, self.to_channels(observation["image"])))
        state = self.cell(seen, seen.new_zeros(seen.shape) if state is None else state)
        return {"local": self.heads(state).argmax(dim=1, keepdim=True)}, state
