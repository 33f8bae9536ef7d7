"""MRPNet and an SRResNet generator, trained end to end: denoising, upscaling, exposure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import tiles
from rlenhance.learning.models.base import MODELS, FeedForwardModel
from rlenhance.learning.nn.backbones import BACKBONES, Backbone
from rlenhance.learning.nn.backbones.base import ResidualBlock, block_stack, zero_init
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE, STATISTICS, picture_statistics

#: Allowed values of `scale`.
SCALES = (1, 2, 4)
#: Side in pixels beyond which a network of scale 1 works tile by tile, without gradients; `Upscaler` tiles the others.
TILE = 512
_CURVES, _LOW, _HIGH = 6, -0.3, 1.0


class NormalizedBlock(nn.Module):
    """Features plus convolution, batch normalisation, ReLU, convolution, batch normalisation of them.

    Source: SRResNet (Ledig et al. 2017), figure 4.
    """

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class SRGenerator(nn.Module):
    """Residual blocks with a skip over all of them, then PixelShuffle: a detail image (N, 3, scale H, scale W).

    Args:
        width: channels inside.
        blocks: residual blocks.
        scale: see `SCALES`.
        paper_form: with batch normalisation, and the last layer as PyTorch makes it.

    Source: SRResNet (Ledig et al. 2017), figure 4; the Generator of the super-resolution and denoising project. The
    shuffle is one step for any scale. Outside the published form there is no batch normalisation, and detail begins at
    zero.
    """

    def __init__(self, width: int, blocks: int, scale: int, paper_form: bool = False):
        super().__init__()
        self.scale = scale
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = block_stack(width, blocks, NormalizedBlock if paper_form else ResidualBlock)
        fuse = nn.Conv2d(width, width, 3, padding=1)
        self.fuse: nn.Module = nn.Sequential(fuse, nn.BatchNorm2d(width)) if paper_form else fuse
        head = nn.Conv2d(width, 3 * scale**2, 3, padding=1)
        self.head = head if paper_form else zero_init(head)

    def forward(self, image: Tensor) -> Tensor:
        """The detail that is added to the enlarged picture."""
        return F.pixel_shuffle(self.on_cells(image.contiguous(memory_format=torch.channels_last)), self.scale)

    def on_cells(self, image: Tensor) -> Tensor:
        """The same with scale x scale pixels as channels: (N, 3, H, W) -> (N, 3 scale^2, H, W)."""
        first = F.relu(self.stem(image))
        cells: Tensor = self.head(F.relu(first + self.fuse(self.blocks(first))))
        return cells


@MODELS.register("combined")
class MRPNetSR(FeedForwardModel):
    """MRPNet denoises, and the generator adds detail to the bicubically enlarged result; trained end to end.

    A new network gives the bicubic result. In the published form nothing is added to anything: MRPNet gives the
    denoised picture, and the generator, with batch normalisation, the result.

    Args:
        width: channels of MRPNet.
        generator_width, blocks: of the generator.
        scale: see `SCALES`.
        exposure: whether a tone curve of six steps, predicted from the picture's statistics, comes first: the
            supervised baseline of policies over curves.
        paper_form: the published form, see above.

    Attributes:
        receptive_radius: see `ImageNetwork`.
        size_multiple: pixels along each side after which the network's grid repeats.

    Source: the super-resolution and denoising project (MRPNet with its Generator); Zero-DCE (Guo et al. 2020),
    equation 2, for the curve.
    """

    size_multiple = 2
    receptive_radius: int  # type: ignore[assignment]

    def __init__(self, width: int = 64, generator_width: int = 48, blocks: int = 6, scale: int = 1,
                 exposure: bool = False, paper_form: bool = False):
        super().__init__()
        if scale not in SCALES:
            raise UsageError(f"scale is {', '.join(map(str, SCALES))}; got {scale}")
        self.scale, self.exposure, self.paper_form = scale, exposure, paper_form
        self.purpose = "upscale" if scale > 1 else "enhance" if exposure or paper_form else "denoise"
        self.backbone: Backbone = BACKBONES.create("mrpnet", channels=3, context=0, width=width)
        clean = nn.Conv2d(width, 3, 3, padding=1, padding_mode="replicate")
        self.clean = clean if paper_form else zero_init(clean)
        self.generator = SRGenerator(generator_width, blocks, scale, paper_form)
        self.receptive_radius = 2 * (8 + blocks)
        self.curve: nn.Module = nn.Identity()
        if exposure:
            last = nn.Linear(32, 3 * _CURVES)
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, -math.atanh((_HIGH + _LOW) / (_HIGH - _LOW)))  # a strength of 0
            self.curve = nn.Sequential(nn.Linear(STATISTICS, 32), nn.ReLU(), last)

    def apply_exposure(self, image: Tensor) -> Tensor:
        """The picture after its tone curve; the picture itself without `exposure`."""
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
        if self.paper_form:
            return self.generator(self.clean(features)).float()
        clean = (image + self.clean(features)).float()
        large = clean if self.scale == 1 else F.interpolate(clean, scale_factor=self.scale, mode="bicubic",
                                                            align_corners=False)
        return large + self.generator(clean).float()

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        exposed = self.apply_exposure(image)
        height, width = image.shape[-2:]
        if torch.is_grad_enabled() or self.training or self.scale > 1 or max(height, width) <= TILE:
            return self.restore_unclamped(exposed)
        result = torch.empty_like(exposed)
        for tile in tiles(height, width, TILE, self.receptive_radius):
            result[tile.inner] = self.restore_unclamped(exposed[tile.outer])[tile.crop]
        return result


@MODELS.register("enlarger")
class Enlarger(FeedForwardModel):
    """Detail from the generator alone, added to the bicubic enlargement; begins as the bicubic enlargement.

    It has no network that denoises first (see `MRPNetSR`), so that all of its work goes into detail.

    Args:
        width: channels of the generator.
        blocks: its residual blocks.
        scale: 2 or 4.
        paper_form: the generator as it was published: batch normalisation, and no bicubic path.

    Attributes:
        exposure: False: no tone curve comes first, see `MRPNetSR`.
        receptive_radius: see `ImageNetwork`.

    Source: SRResNet (Ledig et al. 2017), figure 4, at another width; the batch normalisation is left out as in EDSR
    (Lim et al. 2017).
    """

    purpose = "upscale"
    exposure = False
    receptive_radius: int  # type: ignore[assignment]

    def __init__(self, width: int = 48, blocks: int = 6, scale: int = 4, paper_form: bool = False):
        super().__init__()
        if scale not in (2, 4):
            raise UsageError(f"scale is 2 or 4; got {scale}")
        self.scale, self.paper_form = scale, paper_form
        self.generator = SRGenerator(width, blocks, scale, paper_form)
        self.receptive_radius = 2 * blocks + 4

    def restore_unclamped(self, image: Tensor) -> Tensor:
        """Enlarged, not clipped: (N, 3, H, W) -> (N, 3, scale H, scale W)."""
        detail = self.generator(image).float()
        if self.paper_form:
            return detail
        return F.interpolate(image.float(), scale_factor=self.scale, mode="bicubic", align_corners=False) + detail

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        return self.restore_unclamped(image)
