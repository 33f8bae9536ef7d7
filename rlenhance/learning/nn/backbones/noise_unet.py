"""The small U-Net of the denoisers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import block_stack, unet_forward, zero_init


class NoiseUNet(nn.Module):
    """A small U-Net on the pixel-unshuffled image and its noise map; level i works at 1/2^(i+1) of the size.

    Args:
        channels: of the input images.
        widths, down, up: see `rlenhance.learning.models.DenoisingUNet`.
        outputs: channels of the predicted noise; None: `channels`.
    """

    def __init__(self, channels: int, widths: Sequence[int], down: Sequence[int], up: Sequence[int],
                 outputs: int | None = None):
        super().__init__()
        steps = list(pairwise(widths))
        self.stem = nn.Conv2d(4 * channels + 4, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(block_stack(*level) for level in zip(widths, down, strict=True))
        self.downsample = nn.ModuleList(nn.Conv2d(wide, narrow, 2, stride=2) for wide, narrow in steps)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(narrow, wide, 2, stride=2) for wide, narrow in steps)
        self.decoder = nn.ModuleList(block_stack(*level) for level in zip(widths, up, strict=False))
        self.head = zero_init(nn.Conv2d(widths[0], 4 * (outputs or channels), 3, padding=1))

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        """The predicted noise over its standard deviation: (N, C, H, W) and (N, 1, H, W) -> (N, outputs, H, W); both
        sides are multiples of 2^levels."""
        together = torch.cat([F.pixel_unshuffle(image, 2), F.pixel_unshuffle(noise, 2)], dim=1)
        return F.pixel_shuffle(self.on_cells(together.contiguous(memory_format=torch.channels_last)), 2)

    def on_cells(self, cells: Tensor) -> Tensor:
        """The same with 2 x 2 pixels as channels: (N, 4 C + 4, h, w) -> (N, 4 outputs, h, w)."""
        features: Tensor = self.head(unet_forward(self, self.stem(cells), self.encoder[-1]))
        return features
