"""The small U-Net of the denoisers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.nn.backbones.base import ResidualBlock


class NoiseUNet(nn.Module):
    """A small U-Net on the pixel-unshuffled picture and its map of noise; level i works at 1/2^(i+1) of the size.

    Args:
        channels: of the pictures that come in. widths, down, up: see `rlenhance.models.DenoisingUNet`.
        outputs: channels of what is taken away; None: as many as come in.
    """

    def __init__(self, channels: int, widths: Sequence[int], down: Sequence[int], up: Sequence[int],
                 outputs: int | None = None):
        super().__init__()
        steps = list(pairwise(widths))
        self.stem = nn.Conv2d(4 * channels + 4, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(nn.Sequential(*(ResidualBlock(w) for _ in range(n)))
                                        for w, n in zip(widths, down, strict=True))
        self.downsample = nn.ModuleList(nn.Conv2d(wide, narrow, 2, stride=2) for wide, narrow in steps)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(narrow, wide, 2, stride=2) for wide, narrow in steps)
        self.decoder = nn.ModuleList(nn.Sequential(*(ResidualBlock(w) for _ in range(n)))
                                       for w, n in zip(widths, up, strict=False))
        self.head = nn.Conv2d(widths[0], 4 * (outputs or channels), 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        """What has to be taken away, in units of the noise: (N, C, H, W) and (N, 1, H, W) -> (N, outputs, H, W), where
        both sides are multiples of 2^levels."""
        together = torch.cat([F.pixel_unshuffle(image, 2), F.pixel_unshuffle(noise, 2)], dim=1)
        features = self.stem(together.contiguous(memory_format=torch.channels_last))
        kept = []
        for blocks, reduce in zip(self.encoder, self.downsample, strict=False):
            features = blocks(features)
            kept.append(features)
            features = reduce(features)
        features = self.encoder[-1](features)
        for blocks, enlarge, beside in zip(reversed(self.decoder), reversed(self.upsample), reversed(kept),
                                           strict=True):
            features = blocks(enlarge(features) + beside)
        return F.pixel_shuffle(self.head(features), 2)
