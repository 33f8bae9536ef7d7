"""FFDNet, the denoiser of ReLLIE's release."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.denoiser import NoiseConditionedModel


@MODELS.register("ffdnet")
class FFDNet(NoiseConditionedModel):
    """3x3 convolutions with ReLU and zero padding on the pixel-unshuffled image and its noise map predict the noise.

    The map has the image's channels, and is sampled at every second pixel. The published network's batch normalisation
    is folded into the convolutions.

    Args:
        channels: of the images, 3 (RGB) or 1 (grey).
        width: channels inside.
        layers: number of convolutions.

    Source: FFDNet (Zhang, Zuo and Zhang 2018), section 3.
    """

    size_multiple = 2

    def __init__(self, channels: int = 3, width: int = 96, layers: int = 12):
        super().__init__()
        if channels not in (1, 3) or layers < 2:
            raise UsageError(f"channels must be 1 or 3 and layers at least 2; got {channels} and {layers}")
        self.channels = self.noise_channels = channels
        self.receptive_radius = 2 * layers + 2
        inputs, outputs = [5 * channels, *[width] * (layers - 1)], [*[width] * (layers - 1), 4 * channels]
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, outputs, strict=True))

    def predict_noise(self, image: Tensor, noise: Tensor) -> Tensor:
        features = torch.cat([noise[..., ::2, ::2], F.pixel_unshuffle(image, 2)], dim=1)
        for layer in self.layers[:-1]:
            features = F.relu(layer(features))
        return F.pixel_shuffle(self.layers[-1](features), 2)


def gain_map(before: Tensor, after: Tensor) -> Tensor:
    """ReLLIE's noise map, from the relative gain of every value, stretched from 0 to twice the largest, in 255ths:
    (N, 3, H, W) twice -> (N, 3, H, W). It does not depend on the noise; for ReLLIE's own pipeline.

    Source: ReLLIE's released code.
    """
    low = before.clamp(min=3 / 255)
    gain = (after - low) / low
    least, most = (pick(gain.flatten(1), 1)[:, None, None, None] for pick in (torch.amin, torch.amax))
    return (2 * most * (gain - least) / (most - least).clamp(min=1e-6)).clamp(min=0) / 255
