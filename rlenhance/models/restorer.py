"""The supervised baseline on the same backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.backbones import BACKBONES, Backbone
from rlenhance.errors import UsageError
from rlenhance.images import check_image
from rlenhance.models.base import MODELS
from rlenhance.statistics import DEFAULT_EXPOSURE, STATISTICS, picture_statistics


@MODELS.register("restorer")
class Restorer(nn.Module):
    """Backbone and residual head: output = clip(image + residual). Begins as the identity.

    It sees the same statistics of the whole picture as a policy, and is trained with a reference.

    Args:
        backbone: spec of a backbone, without `channels` and `context`.
        passes: how often a recurrent backbone looks; with one pass its memory would get no gradient.
    """

    spec: dict[str, Any]

    def __init__(self, backbone: Mapping[str, Any], passes: int = 3):
        super().__init__()
        if passes < 1:
            raise UsageError(f"passes must be at least 1; got {passes}")
        self.passes = passes
        self.backbone: Backbone = BACKBONES.rebuild({**backbone, "channels": 3, "context": STATISTICS})
        self.head = nn.Conv2d(self.backbone.width, 3 * self.backbone.stride**2, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def residual(self, image: Tensor) -> Tensor:
        """What is added to the picture, before clipping: (N, 3, H, W)."""
        level = image.new_tensor(DEFAULT_EXPOSURE)
        statistics, state = picture_statistics(image, level), None
        for _ in range(self.passes if self.backbone.recurrent else 1):
            features, state = self.backbone(image, statistics, state)
        full = F.pixel_shuffle(self.head(features), self.backbone.stride)
        return full[..., : image.shape[-2], : image.shape[-1]]

    def forward(self, image: Tensor, mask: Tensor | None = None,
                preference: Mapping[str, float] | None = None) -> Tensor:
        """Restore (N, 3, H, W) of any size. In training mode nothing is clipped: outside [0, 1] gradients would end."""
        if preference:
            raise UsageError(f"a restorer takes no preferences; got {', '.join(preference)}: use a policy")
        out = check_image(image) + self.residual(image)
        if not self.training:
            out = out.clamp(0, 1)
        return out if mask is None else image + mask * (out - image)
