"""The small, fast backbone of the shipped policies."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.learning.ops.image import pad_to_multiple


@BACKBONES.register("compact")
class Compact(Backbone):
    """Pixel-unshuffle, a 1x1 convolution, residual 3x3 convolutions with FiLM. About 40 thousand parameters.

    It works at 1/stride of the size: features (N, width, ceil(H/stride), ceil(W/stride)).

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels inside.
        stride: of the unshuffling.
        dilations: one residual convolution each.
    """

    def __init__(self, channels: int = 3, context: int = 0, width: int = 32, stride: int = 8,
                 dilations: tuple[int, ...] = (1, 2, 1)):
        super().__init__()
        self.width, self.stride = width, stride
        self.stem = nn.Conv2d(channels * stride**2, width, 1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=d, dilation=d, padding_mode="replicate") for d in dilations)
        self.films = nn.ModuleList(FiLM(context, width) for _ in dilations)

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        padded, side = pad_to_multiple(image, self.stride), self.stride
        count, channels, height, width = padded.shape
        cells = padded.reshape(count, channels, height // side, side, width // side, side)
        # the order of F.pixel_unshuffle, in half its time
        return self.on_cells(cells.permute(0, 1, 3, 5, 2, 4).reshape(count, -1, height // side, width // side),
                             context), state

    def on_cells(self, cells: Tensor, context: Tensor | None = None) -> Tensor:
        """The same with stride x stride pixels as channels: (N, channels stride^2, h, w) -> (N, width, h, w)."""
        features: Tensor = self.stem(cells)
        for block, film in zip(self.blocks, self.films, strict=True):
            features = features + F.relu(film(_convolved(block, features), context))
        return features


def _convolved(block: nn.Module, features: Tensor) -> Tensor:
    """The block's convolution; a dilated one of one small image on a CPU is faster as a matrix product."""
    if not isinstance(block, nn.Conv2d) or block.dilation == (1, 1) or block.bias is None or torch.is_grad_enabled() \
            or features.device.type != "cpu" or features.shape[0] > 1 or features[0, 0].numel() > 256:
        return block(features)
    (dilation, _), size = block.dilation, features.shape[-2:]
    columns = F.unfold(F.pad(features, (dilation,) * 4, mode="replicate"), block.kernel_size, dilation=dilation)[0]
    return torch.addmm(block.bias[:, None], block.weight.flatten(1), columns).unflatten(1, size)[None]
