"""The supervised baseline on a policy's backbone, and the per-pixel heads that models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.engine.filters import NOISE_SCALE
from rlenhance.learning.models.base import MODELS, FeedForwardModel
from rlenhance.learning.nn.backbones import BACKBONES, Backbone
from rlenhance.learning.nn.backbones.base import zero_init
from rlenhance.learning.ops.image import NOISE_MARGIN
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE, STATISTICS, noise_deviation, picture_statistics


@MODELS.register("restorer")
class Restorer(FeedForwardModel):
    """Backbone and residual head: output = clip(image + residual). Begins as the identity.

    Args:
        backbone: spec of a backbone, without `channels` and `context`.
        num_passes: passes of a recurrent backbone; with one pass its recurrent part would get no gradient.
        channels: of the images, 1 (grey) or 3 (RGB).
        statistics: whether the backbone is conditioned on `picture_statistics`; without, a pixel depends on its
            surroundings alone.
        range_margin: how far values may lie outside [0, 1], see `check_image`.
        noise_conditioned: whether the estimated noise (`measured_noise`) is an input, and the unit of the residual.

    Raises:
        UsageError: a number outside its range.
    """

    def __init__(self, backbone: Mapping[str, Any], num_passes: int = 3, channels: int = 3, statistics: bool = True,
                 range_margin: float = 0.0, noise_conditioned: bool = False):
        super().__init__()
        if num_passes < 1 or channels not in (1, 3) or (statistics and channels == 1):
            raise UsageError(f"num_passes must be at least 1, channels 3, or 1 without statistics; got {num_passes} "
                             f"and {channels}")
        if not 0 <= range_margin <= NOISE_MARGIN:
            raise UsageError(f"range_margin lies between 0 and {NOISE_MARGIN:g}; got {range_margin}")
        self.num_passes, self.channels = num_passes, channels
        self.statistics, self.range_margin = statistics, range_margin
        self.purpose = "enhance" if statistics else "denoise"
        self.noise_conditioned = noise_conditioned
        self.backbone: Backbone = BACKBONES.rebuild(
            {**backbone, "channels": channels + noise_conditioned, "context": STATISTICS if statistics else 0})
        self.head = residual_head(self.backbone, channels)

    def residual(self, image: Tensor) -> Tensor:
        """The residual that is added to the image: (N, channels, H, W)."""
        statistics, state = None, None
        if self.statistics:
            statistics = picture_statistics(image, image.new_tensor(DEFAULT_EXPOSURE))
        noise = measured_noise(image) if self.noise_conditioned else None
        for _ in range(self.num_passes if self.backbone.recurrent else 1):
            features, state = self.backbone(concat_noise(image, noise), statistics, state)
        residual = pixel_shuffle_to(self.head(features), self.backbone.stride, image.shape[-2:]).float()
        return residual if noise is None else noise * residual

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        return image + self.residual(image)


def measured_noise(image: Tensor) -> Tensor:
    """The estimated noise on which networks are conditioned: (N, C, H, W) -> (N, 1, 1, 1), at least 1/255."""
    return noise_deviation(image).clamp(min=1 / 255)


def concat_noise(image: Tensor, noise: Tensor | None) -> Tensor:
    """The image with its noise as one more plane, times `NOISE_SCALE`; without noise the image alone."""
    if noise is None:
        return image
    return torch.cat([image, (NOISE_SCALE * noise).expand(-1, -1, *image.shape[-2:])], dim=1)


def residual_head(backbone: Backbone, planes: int, each: int = 0) -> nn.Conv2d:
    """A 3x3 convolution from features to per-pixel planes (see `pixel_shuffle_to`), set to zero, with the backbone's
    padding.

    Args:
        backbone: gives the features.
        planes: per pixel.
        each: outputs per plane and feature; 0: one for each pixel.
    """
    padding: Literal["zeros", "replicate"] = "zeros" if backbone.zero_padded else "replicate"
    return zero_init(nn.Conv2d(backbone.width, planes * (each or backbone.stride**2), 3, padding=1,
                               padding_mode=padding))


def pixel_shuffle_to(numbers: Tensor, stride: int, size: Sequence[int]) -> Tensor:
    """Outputs per feature as planes of pixels: (N, C stride^2, h, w) -> (N, C, *size)."""
    return F.pixel_shuffle(numbers, stride)[..., : size[0], : size[1]]
