"""The supervised baseline on the same backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.models.base import MODELS, FeedForwardModel
from rlenhance.nn.backbones import BACKBONES, Backbone
from rlenhance.ops.image_statistics import DEFAULT_EXPOSURE, STATISTICS, noise_deviation, picture_statistics

#: How many times larger than in the picture the noise stands beside it.
NOISE_SCALE = 4.0


@MODELS.register("restorer")
class Restorer(FeedForwardModel):
    """Backbone and residual head: output = clip(image + residual). Begins as the identity.

    It sees the same statistics of the whole picture as a policy, and is trained with a reference.

    Args:
        backbone: spec of a backbone, without `channels` and `context`.
        num_passes: how often a recurrent backbone looks; with one pass its memory would get no gradient.
        channels: of its pictures; 1: it takes grey ones alone.
        statistics: it is told those of the whole picture; without, a pixel depends on its surroundings alone.
        range_margin: how far its pictures may leave [0, 1], see `check_image`.
        noise_conditioned: it is told how strong the noise seems to be (`noise_deviation`), and its residual is counted
            in that.
    """

    def __init__(self, backbone: Mapping[str, Any], num_passes: int = 3, channels: int = 3, statistics: bool = True,
                 range_margin: float = 0.0, noise_conditioned: bool = False):
        super().__init__()
        if num_passes < 1 or channels not in (1, 3) or (statistics and channels == 1):
            raise UsageError(f"num_passes must be at least 1, channels 3, or 1 without statistics; got {num_passes} "
                             f"and "
                             f"{channels}")
        self.num_passes, self.channels = num_passes, channels
        self.statistics, self.range_margin = statistics, range_margin
        self.purpose = "enhance" if statistics else "denoise"
        self.noise_conditioned = noise_conditioned
        self.backbone: Backbone = BACKBONES.rebuild(
            {**backbone, "channels": channels + noise_conditioned, "context": STATISTICS if statistics else 0})
        self.head = residual_head(self.backbone, channels)

    def residual(self, image: Tensor) -> Tensor:
        """What is added to the picture, before clipping: (N, channels, H, W)."""
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
    """The noise that a network is told of, and counts residuals in: (N, C, H, W) -> (N, 1, 1, 1), at least 1/255."""
    return noise_deviation(image).clamp(min=1 / 255)


def concat_noise(image: Tensor, noise: Tensor | None) -> Tensor:
    """A picture with its noise as one more plane, `NOISE_SCALE` times as large; without, as it is."""
    if noise is None:
        return image
    return torch.cat([image, (NOISE_SCALE * noise).expand(-1, -1, *image.shape[-2:])], dim=1)


def residual_head(backbone: Backbone, planes: int, each: int = 0) -> nn.Conv2d:
    """From features to numbers at the pixels, see `pixel_shuffle_to`; begins at zero. Beyond the border it sees what
    the backbone does: zeros, or the picture going on. `each`: numbers per plane and feature (0: one for each pixel)."""
    borders: Literal["zeros", "replicate"] = "zeros" if backbone.zero_padded else "replicate"
    head = nn.Conv2d(backbone.width, planes * (each or backbone.stride**2), 3, padding=1, padding_mode=borders)
    nn.init.zeros_(head.weight)
    assert head.bias is not None
    nn.init.zeros_(head.bias)
    return head


def pixel_shuffle_to(numbers: Tensor, stride: int, size: Sequence[int]) -> Tensor:
    """What features say of the pixels they stand for: (N, C stride^2, h, w) -> (N, C, *size)."""
    return F.pixel_shuffle(numbers, stride)[..., : size[0], : size[1]]
