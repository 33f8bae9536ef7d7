"""Zero-DCE: curve maps in one pass, learned without references."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS, FeedForwardModel


@MODELS.register("zero_dce")
class ZeroDCE(FeedForwardModel):
    """Seven 3x3 convolutions predict every pixel's curves from the dark image; the curves are applied in order.

    The fifth to seventh convolution also take the output of the third, second and first. ReLU between them, tanh at the
    end, zero padding. The output is `curves` maps of three channels (RGB), A in [-1, 1] each.

    Args:
        width: channels inside.
        curves: number of curves.

    Source: Zero-DCE (Guo et al. 2020), equation 4 and figure 2. As in the released network, whose weights fit, the last
    convolution gives r = -A: c + r (c^2 - c) is c + A c (1 - c).
    """

    def __init__(self, width: int = 32, curves: int = 8):
        super().__init__()
        if curves < 1:
            raise UsageError(f"curves must be at least 1; got {curves}")
        inputs, outputs = [3, width, width, width, *[2 * width] * 3], [width] * 6 + [3 * curves]
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, outputs, strict=True))

    def strengths(self, image: Tensor) -> list[Tensor]:
        """A of every pixel, curve by curve: (N, 3, H, W) -> `curves` times (N, 3, H, W) in [-1, 1]."""
        features, kept = image, []
        for layer in self.layers[:4]:
            features = F.relu(layer(features))
            kept.append(features)
        for layer, skipped in zip(self.layers[4:6], (kept[2], kept[1]), strict=True):
            features = F.relu(layer(torch.cat([skipped, features], dim=1)))
        maps = torch.tanh(self.layers[6](torch.cat([kept[0], features], dim=1)))
        return list((-maps).split(3, dim=1))

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        out = image
        for strength in self.strengths(image):
            out = out + strength * out * (1 - out)
        return out
