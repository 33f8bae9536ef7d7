"""The contract of backbones, and the blocks that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.registry import Registry

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

#: Backbones by name. Each takes `channels` (of the input) and `context` (length of the global features, 0 for none)
#: beside its own arguments.
BACKBONES: Registry[type[Backbone]] = Registry("backbone")


class Backbone(nn.Module):
    """Base class of the backbones.

    Attributes:
        width: channels of the features.
        stride: pixels per feature along each side: h = ceil(H / stride).
        feature_period: features of a constant picture repeat after this many along each side.
        size_multiple: the image is padded to multiples of this many pixels.
        recurrent: whether it carries a state from step to step.
        zero_padded: whether its convolutions pad with zeros.
        recurrent_parts: names of the submodules that are used from the second step on only.
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
            context: (N, context), global features.
            state: recurrent state after the last step; None at the start of an episode.

        Returns:
            Features (N, width, h, w), and the next state (None without one).
        """
        raise TypeError("a backbone defines forward")

    def folded(self) -> Backbone:
        """The same features without batch normalisation, in evaluation mode: here the backbone itself has none."""
        return self


class FiLM(nn.Module):
    """Scale and shift each channel by a linear function of the context; begins as the identity.

    Source: Perez et al. 2018, FiLM.
    """

    def __init__(self, context: int, width: int):
        super().__init__()
        self.linear = zero_init(nn.Linear(context, 2 * width)) if context else None

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


def block_stack(width: int, count: int, block: Callable[[int], nn.Module] = ResidualBlock) -> nn.Sequential:
    """`count` blocks of the same width, one after the other."""
    return nn.Sequential(*(block(width) for _ in range(count)))


def unet_forward(unet: Any, features: Tensor, middle: nn.Module) -> Tensor:
    """Run `encoder` and `downsample` of a U-Net, its narrowest level, then `upsample` and `decoder` with the skips."""
    skips = []
    for blocks, downsample in zip(unet.encoder, unet.downsample, strict=False):  # the encoder may end with `middle`
        skips.append(blocks(features))
        features = downsample(skips[-1])
    features = middle(features)
    for blocks, upsample in zip(reversed(unet.decoder), reversed(unet.upsample), strict=True):
        features = blocks(upsample(features) + skips.pop())
    return features


def zero_init(layer: Layer) -> Layer:
    """Set weight and bias of a layer to zero, in place; returns the layer."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
