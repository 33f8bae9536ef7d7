"""MRPNet's compact encoder-decoder."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.learning.ops.image import pad_to_multiple


@BACKBONES.register("mrpnet")
class MRPNet(Backbone):
    """Convolution, convolution with stride 2, transposed convolution back: features (N, width, H, W) of any size.

    The published network ends in a convolution 64 -> 3; here the model that uses the features has that head. The
    transposed convolution gives features of period 2.

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels inside.

    Source: MRPNet, the restoration network of the super-resolution and denoising project. We depart in
    replicated padding, in sizes that need not be even, and in FiLM at each layer.
    """

    feature_period = 2

    def __init__(self, channels: int = 3, context: int = 0, width: int = 64):
        super().__init__()
        self.width, self.stride = width, 1
        self.stem = nn.Conv2d(channels, width, 3, padding=1, padding_mode="replicate")
        self.down = nn.Conv2d(width, width, 3, stride=2, padding=1, padding_mode="replicate")
        self.up = nn.ConvTranspose2d(width, width, 4, stride=2, padding=3)  # of features padded by one
        self.films = nn.ModuleList(FiLM(context, width) for _ in range(3))

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        height, width = image.shape[-2:]
        features = F.relu(self.films[0](self.stem(pad_to_multiple(image, 2)), context))
        features = F.relu(self.films[1](self.down(features), context))
        features = F.relu(self.films[2](self.up(F.pad(features, (1, 1, 1, 1), mode="replicate")), context))
        return features[..., :height, :width], state
