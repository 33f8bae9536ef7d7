"""The small, fast one that shipped policies use."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.images import pad_to_multiple


@BACKBONES.register("compact")
class Compact(Backbone):
    """Pixel-unshuffle, a 1x1 convolution, residual 3x3 convolutions with FiLM. About 40 thousand parameters.

    All the work is done at 1/stride of the size: features (N, width, ceil(H/stride), ceil(W/stride)).

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels inside.
        stride: of the unshuffling.
        dilations: one residual convolution each.
    """

    def __init__(self, channels: int = 3, context: int = 0, width: int = 32, stride: int = 8,
                 dilations: tuple[int, ...] = (1, 2, 1)):
        super().__init__()
        self.width, self.stride = width, stride
        self.enter = nn.Conv2d(channels * stride**2, width, 1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=d, dilation=d, padding_mode="replicate") for d in dilations
        )
        self.films = nn.ModuleList(FiLM(context, width) for _ in dilations)

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        features = self.enter(F.pixel_unshuffle(pad_to_multiple(image, self.stride), self.stride))
        for block, film in zip(self.blocks, self.films, strict=True):
            features = features + F.relu(film(block(features), context))
        return features, state
