"""A small network that enlarges: residual blocks at the size of the small picture, and one shuffle of pixels."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS, FeedForwardModel
from rlenhance.learning.models.mrpnet_sr import SRGenerator


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
