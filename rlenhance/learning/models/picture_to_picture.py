"""A completion network that is given the whole picture: every pixel is predicted, and every pixel is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS, FeedForwardModel
from rlenhance.learning.models.completers import CompletionNet
from rlenhance.learning.nn.backbones import Backbone

_GATED: Mapping[str, Any] = {"name": "gated_pixelrnn"}


@MODELS.register("picture_to_picture")
class PictureToPicture(FeedForwardModel):
    """One of the PixelRNNs as it would be trained for enhancement: picture in, picture out, nothing is missing.

    Args:
        network: spec of a `CompletionNet`; its mask plane is 0, and no pixel is blacked out.
    """

    def __init__(self, network: Mapping[str, Any] = _GATED):
        super().__init__()
        self.network = MODELS.rebuild(network)
        if not isinstance(self.network, CompletionNet):
            raise UsageError(f"network is the spec of a completion network; got {network['name']}")

    @property
    def backbone(self) -> Backbone:
        """Of the network; policies can start from it."""
        backbone: Backbone = self.network.backbone
        return backbone

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        return self.network.fill(image, torch.zeros_like(image[:, :1])).float()
