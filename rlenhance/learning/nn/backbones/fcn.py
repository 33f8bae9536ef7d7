"""PixelRL's dilated network."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES, Backbone, FiLM


@BACKBONES.register("fcn")
class FCN(Backbone):
    """Dilated 3x3 convolutions at full resolution: features (N, width, H, W), receptive field 31 pixels.

    Source: PixelRL (Furuta et al. 2019), figure 2. We depart in sharing all six layers between policy and value,
    in replicated instead of zero padding (a constant picture gets constant features), and in FiLM at each layer.

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels inside.
        dilations: one convolution each.
    """

    def __init__(self, channels: int = 3, context: int = 0, width: int = 64,
                 dilations: tuple[int, ...] = (1, 2, 3, 4, 3, 2)):
        super().__init__()
        self.width, self.stride = width, 1
        inputs = [channels] + [width] * (len(dilations) - 1)
        self.layers = nn.ModuleList(nn.Conv2d(i, width, 3, padding=d, dilation=d, padding_mode="replicate")
                                    for i, d in zip(inputs, dilations, strict=True))
        self.films = nn.ModuleList(FiLM(context, width) for _ in dilations)

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        features = image
        for layer, film in zip(self.layers, self.films, strict=True):
            features = F.relu(film(layer(features), context))
        return features, state
