"""Denoiser and generator in one: MRPNet, residual blocks, PixelShuffle; it also upscales."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.models.base import MODELS, FeedForwardModel
from rlenhance.nn.backbones import BACKBONES, Backbone
from rlenhance.nn.backbones.base import ResidualBlock
from rlenhance.ops.image_statistics import DEFAULT_EXPOSURE, STATISTICS, picture_statistics

#: How much larger a result can be.
SCALES = (1, 2, 4)
_CURVES, _LOW, _HIGH = 6, -0.3, 1.0


class SRGenerator(nn.Module):
    """Residual blocks with a skip over all of them, then PixelShuffle: a detail image (N, 3, scale H, scale W).

    Args:
        width: channels inside.
        blocks: residual blocks.
        scale: see `SCALES`.

    Source: SRResNet (Ledig et al. 2017), figure 4, without batch normalisation; the Generator of the super-resolution
    and denoising project. The shuffle is one step for any scale; detail begins at zero.
    """

    def __init__(self, width: int, blocks: int, scale: int):
        super().__init__()
        self.scale = scale
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.fuse = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 3 * scale**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor) -> Tensor:
        """What is added to the enlarged picture."""
        first = F.relu(self.stem(image.contiguous(memory_format=torch.channels_last)))
        return F.pixel_shuffle(self.head(F.relu(first + self.fuse(self.blocks(first)))), self.scale)


@MODELS.register("combined")
class MRPNetSR(FeedForwardModel):
    """MRPNet takes the noise out, the Generator adds what is missing in detail, trained end to end.

    The result is `scale` times as large: the denoised picture, enlarged bicubically, plus the Generator's detail.
    Before it has learned anything the result is the bicubic one.

    Args:
        width: channels of MRPNet.
        generator_width, blocks: of the Generator.
        scale: see `SCALES`.
        exposure: a tone curve of six steps comes first, chosen from the statistics of the whole picture: the
            supervised baseline of a policy that bends curves.

    Attributes:
        receptive_radius: pixels beyond which nothing has an influence on a pixel, but through the exposure.
        size_multiple: pixels along each side after which the network's grid repeats.

    Source: the super-resolution and denoising project (MRPNet with its Generator); for the curve Zero-DCE (Guo et al.
    2020), equation 2.
    """

    size_multiple = 2
    receptive_radius: int  # type: ignore[assignment]

    def __init__(self, width: int = 64, generator_width: int = 48, blocks: int = 6, scale: int = 1,
                 exposure: bool = False):
        super().__init__()
        if scale not in SCALES:
            raise UsageError(f"scale is {', '.join(map(str, SCALES))}; got {scale}")
        self.scale, self.exposure = scale, exposure
        self.purpose = "upscale" if scale > 1 else "enhance" if exposure else "denoise"
        self.backbone: Backbone = BACKBONES.create("mrpnet", channels=3, context=0, width=width)
        self.clean = nn.Conv2d(width, 3, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.clean.weight)
        assert self.clean.bias is not None
        nn.init.zeros_(self.clean.bias)
        self.generator = SRGenerator(generator_width, blocks, scale)
        self.receptive_radius = 2 * (8 + blocks)
        self.curve: nn.Module = nn.Identity()
        if exposure:
            last = nn.Linear(32, 3 * _CURVES)
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, -math.atanh((_HIGH + _LOW) / (_HIGH - _LOW)))  # a strength of 0
            self.curve = nn.Sequential(nn.Linear(STATISTICS, 32), nn.ReLU(), last)

    def apply_exposure(self, image: Tensor) -> Tensor:
        """The picture after its tone curve; without an exposure path, as it is."""
        if not self.exposure:
            return image
        raw = self.curve(picture_statistics(image, image.new_tensor(DEFAULT_EXPOSURE)))
        strengths = (_LOW + _HIGH) / 2 + (_HIGH - _LOW) / 2 * torch.tanh(raw)
        for strength in strengths.float()[:, :, None, None].chunk(_CURVES, dim=1):
            image = image + strength * image * (1 - image)
        return image

    def restore_unclamped(self, image: Tensor) -> Tensor:
        """Denoised, enlarged and detailed, not clipped: (N, 3, H, W) -> (N, 3, scale H, scale W)."""
        features, _ = self.backbone(image)
        clean = (image + self.clean(features)).float()
        large = clean if self.scale == 1 else F.interpolate(clean, scale_factor=self.scale, mode="bicubic",
                                                            align_corners=False)
        return large + self.generator(clean).float()

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        return self.restore_unclamped(self.apply_exposure(image))
