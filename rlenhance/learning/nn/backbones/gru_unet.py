"""A small recurrent U-Net: the dense per-pixel policy that a CPU can train."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES, block_stack, unet_forward
from rlenhance.learning.nn.backbones.recurrent import RecurrentBackbone


@BACKBONES.register("gru_unet")
class GruUNet(RecurrentBackbone):
    """A U-Net with residual blocks on the image at half its size, and a convolutional GRU: features
    (N, widths[0], ceil(H/2), ceil(W/2)). Level i works at 1/2^(i+1) of the size, with zero padding.

    Args:
        channels, context, memory: see `RecurrentBackbone`.
        widths: channels of the levels.
        blocks: residual blocks of each level of the encoder; the decoder has the same but for the last.

    Source: U-Net (Ronneberger et al. 2015); FFDNet (Zhang et al. 2018) for the pixel-unshuffled input.
    """

    def __init__(self, channels: int = 3, context: int = 0, widths: Sequence[int] = (32, 64, 64),
                 blocks: Sequence[int] = (1, 2, 1), memory: str = "first"):
        super().__init__(channels, context, widths[0], 2, memory, size_multiple=2 ** len(widths))
        pairs = list(pairwise(widths))
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(block_stack(*level) for level in zip(widths, blocks, strict=True))
        self.downsample = nn.ModuleList(nn.Conv2d(wide, narrow, 2, stride=2) for wide, narrow in pairs)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(narrow, wide, 2, stride=2) for wide, narrow in pairs)
        self.decoder = nn.ModuleList(block_stack(*level) for level in zip(widths[:-1], blocks[:-1], strict=True))

    def encode_image(self, planes: Tensor) -> Tensor:
        return unet_forward(self, self.stem(planes), self.encoder[-1])
