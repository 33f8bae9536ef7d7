"""A U-Net with self-attention at its narrowest level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES, Backbone, FiLM, block_stack, unet_forward, zero_init
from rlenhance.learning.ops.image import pad_to_multiple

_GRID = 8  # side of the learned position embedding; it is interpolated to grids of other sizes


class Attention(nn.Module):
    """Residual multi-head self-attention over all places, with a learned position embedding; begins as the identity.

    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(1, width)
        self.places = nn.Parameter(0.02 * torch.randn(1, width, _GRID, _GRID))
        self.ask = nn.Conv2d(width, 3 * width, 1)
        self.give = zero_init(nn.Conv2d(width, width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(N, width, h, w) -> the same."""
        count, width, height, across = features.shape
        places = F.interpolate(self.places, (height, across), mode="bilinear", align_corners=False)
        asked = self.ask(self.norm(features) + places).reshape(count, 3, self.heads, width // self.heads, -1)
        query, key, value = asked.transpose(-1, -2).unbind(1)
        taken = F.scaled_dot_product_attention(query, key, value)
        return features + self.give(taken.transpose(-1, -2).reshape(count, width, height, across))


class SmoothBlock(nn.Module):
    """Features plus two 3x3 convolutions with a SiLU between; begins as the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        zero_init(self.second)

    def forward(self, features: Tensor) -> Tensor:
        """(N, width, h, w) -> the same."""
        return features + self.second(F.silu(self.first(features)))


@BACKBONES.register("pyramid")
class Pyramid(Backbone):
    """A U-Net on the pixel-unshuffled image with self-attention at its narrowest level: features
    (N, widths[0], ceil(H/stride), ceil(W/stride)). Level i works at 1/(stride 2^i) of the size, with zero padding.

    Every feature depends on the whole image.

    Args:
        channels: of the input.
        context: length of the context vector.
        widths: channels of the levels.
        blocks: residual blocks of each level of the encoder; the decoder has the same but for the last.
        stride: of the unshuffling.

    Source: U-Net (Ronneberger et al. 2015).
    """

    zero_padded = True

    def __init__(self, channels: int = 3, context: int = 0, widths: Sequence[int] = (48, 64, 96),
                 blocks: Sequence[int] = (1, 2, 2), stride: int = 4):
        super().__init__()
        pairs = list(pairwise(widths))
        self.width, self.stride, self.size_multiple = widths[0], stride, stride * 2 ** len(pairs)
        self.stem = nn.Conv2d(channels * stride**2, widths[0], 3, padding=1)
        self.film = FiLM(context, widths[0])
        levels = [(*level, SmoothBlock) for level in zip(widths[:-1], blocks[:-1], strict=True)]
        self.encoder = nn.ModuleList(block_stack(*level) for level in levels)
        self.downsample = nn.ModuleList(nn.Conv2d(wide, narrow, 2, stride=2) for wide, narrow in pairs)
        self.middle = nn.Sequential(*(layer for _ in range(blocks[-1])
                                      for layer in (SmoothBlock(widths[-1]), Attention(widths[-1]))))
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(narrow, wide, 2, stride=2) for wide, narrow in pairs)
        self.decoder = nn.ModuleList(block_stack(*level) for level in levels)

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        height, width = (-(-side // self.stride) for side in image.shape[-2:])
        planes = F.pixel_unshuffle(pad_to_multiple(image, self.size_multiple), self.stride)
        features = self.film(self.stem(planes.contiguous(memory_format=torch.channels_last)), context)
        return unet_forward(self, features, self.middle)[..., :height, :width], state
