"""What every backbone answers to."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.registry import Registry

#: Backbones by name. A maker takes `channels` (of the input) and `context` (length of the vector that describes the
#: whole picture, 0 for none) beside its own arguments.
BACKBONES: Registry[type[Backbone]] = Registry("backbone")


class Backbone(nn.Module):
    """Base class.

    Attributes:
        width: channels of the features.
        stride: pixels per feature along each side: h = ceil(H / stride).
        feature_period: features of a constant picture repeat after this many along each side.
        size_multiple: the image is padded to multiples of this many pixels.
        recurrent: it carries a state from step to step.
        sees_borders: its convolutions take what lies outside the picture for zero.
        later_parts: names of its parts that work from the second step on.
    """

    width: int
    stride: int
    feature_period: int = 1
    size_multiple: int = 1
    recurrent: bool = False
    zero_padded: bool = False
    recurrent_parts: tuple[str, ...] = ()
    spec: dict[str, Any]

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Features of a picture of any size.

        Args:
            image: (N, channels, H, W).
            context: (N, context), what is known of the whole picture.
            state: what the last step of the episode left (recurrent backbones), None at its start.

        Returns:
            features (N, width, h, w), and the state for the next step (None where there is none).
        """
        raise TypeError("a backbone defines forward")


class FiLM(nn.Module):
    """Scale and shift each channel by a linear function of the context; begins as the identity.

    Source: Perez et al. 2018, FiLM.
    """

    def __init__(self, context: int, width: int):
        super().__init__()
        self.linear = nn.Linear(context, 2 * width) if context else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, context: Tensor | None) -> Tensor:
        if self.linear is None:
            return features
        scale, shift = self.linear(context)[:, :, None, None].chunk(2, dim=1)
        return features * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """Features plus two 3x3 convolutions of them."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(F.relu(self.first(features)))
