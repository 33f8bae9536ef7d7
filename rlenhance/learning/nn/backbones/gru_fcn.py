"""PixelRL's dilated network with its convolutional GRU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES
from rlenhance.learning.nn.backbones.recurrent import RecurrentBackbone


@BACKBONES.register("gru_fcn")
class GruFCN(RecurrentBackbone):
    """Dilated 3x3 convolutions and a convolutional GRU: features (N, width, ceil(H/stride), ceil(W/stride)).

    The padding is zero, as published.

    Source: PixelRL (Furuta et al. 2019), section 4.1. We depart in sharing all layers between policy and value, in
    residual connections, and in a state that starts with the features of the first image.

    Args:
        channels, context, width, stride, memory: see `RecurrentBackbone`.
        dilations: one convolution each.
    """

    def __init__(self, channels: int = 3, context: int = 0, width: int = 64, stride: int = 1,
                 dilations: tuple[int, ...] = (1, 2, 3, 4, 3, 2), memory: str = "every"):
        super().__init__(channels, context, width, stride, memory, size_multiple=stride)
        inputs = [channels * stride**2] + [width] * (len(dilations) - 1)
        self.layers = nn.ModuleList(nn.Conv2d(i, width, 3, padding=d, dilation=d)
                                    for i, d in zip(inputs, dilations, strict=True))

    def encode_image(self, planes: Tensor) -> Tensor:
        features = F.relu(self.layers[0](planes))
        for layer in self.layers[1:]:
            features = features + F.relu(layer(features))
        return features
