"""Recurrent backbones: a convolutional GRU behind convolutions of any kind."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.nn.backbones.base import Backbone, FiLM
from rlenhance.learning.ops.image import pad_to_multiple

#: Values of `memory`, see `RecurrentBackbone`.
MEMORY_MODES = ("first", "every", "none")
_KEEPS = -8.0  # bias of the update gate: a new GRU changes 1/3000 of its state per step (-5: 0.15 dB lost in ten steps)


class ConvGRUCell(nn.Module):
    """A GRU whose products are convolutions: h <- (1 - z) h + z tanh(W x + U (r h)), with zero padding.

    Args:
        inputs, width: channels of the input and of the state.
        kernel: side of the convolutions.
        bias: whether they have one.

    Source: Ballas et al. 2016, equation 5, as PixelRL has it (Furuta et al. 2019, section 4.1).
    """

    def __init__(self, inputs: int, width: int, kernel: int = 3, bias: bool = True):
        super().__init__()
        self.gates = nn.Conv2d(inputs + width, 2 * width, kernel, padding=kernel // 2, bias=bias)
        self.candidate = nn.Conv2d(inputs + width, width, kernel, padding=kernel // 2, bias=bias)

    def forward(self, features: Tensor, hidden: Tensor) -> Tensor:
        """The next state; all (N, channels, h, w)."""
        update, reset = torch.sigmoid(self.gates(torch.cat([features, hidden], dim=1))).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([features, reset * hidden], dim=1)))
        return (1 - update) * hidden + update * candidate


class RecurrentBackbone(Backbone):
    """Base class: convolutions on the pixel-unshuffled image (as in FFDNet: at stride 2 each is four times as cheap),
    and a GRU over the steps. A subclass defines `encode_image`.

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels of the features.
        stride: of the unshuffling; 1: none.
        memory: "first": the convolutions encode the first image of an episode into the state; at later steps two small
            convolutions encode the image, and the GRU updates the state. "every": the convolutions encode every image,
            as in PixelRL. "none": the same without a state.
        size_multiple: the image is padded to multiples of this many pixels.
    """

    zero_padded = True
    recurrent = True
    recurrent_parts = ("later", "later_film", "cell")

    def __init__(self, channels: int, context: int, width: int, stride: int, memory: str, size_multiple: int):
        super().__init__()
        if memory not in MEMORY_MODES:
            raise UsageError(f"memory is one of {', '.join(MEMORY_MODES)}; got {memory!r}")
        self.width, self.stride, self.memory, self.recurrent = width, stride, memory, memory != "none"
        self.size_multiple = size_multiple
        self.film = FiLM(context, width)
        if memory == "first":
            self.later = nn.ModuleList(nn.Conv2d(inputs, width, 3, padding=1)
                                       for inputs in (channels * stride**2, width))
            self.later_film = FiLM(context, width)
        if memory != "none":
            self.cell = ConvGRUCell(width, width, kernel=1 if memory == "first" else 3)
            assert self.cell.gates.bias is not None
            nn.init.constant_(self.cell.gates.bias[:width], _KEEPS)

    def encode_image(self, planes: Tensor) -> Tensor:
        """Features of an unshuffled image: (N, channels stride^2, h, w) -> (N, width, h, w)."""
        raise TypeError("a recurrent backbone defines encode_image")

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        height, width = (-(-side // self.stride) for side in image.shape[-2:])
        planes = F.pixel_unshuffle(pad_to_multiple(image, self.size_multiple), self.stride)
        planes = planes.contiguous(memory_format=torch.channels_last)  # with bf16 on a CPU that has it, twice as fast
        if self.memory == "first" and state is not None:
            first, second = self.later
            features = second(F.relu(first(planes[..., :height, :width])))
            state = self.cell(self.later_film(F.relu(features), context), state)
            return state, state
        features = self.film(self.encode_image(planes)[..., :height, :width], context)
        if self.memory == "none":
            return features, None
        if self.memory == "every" and state is not None:
            features = self.cell(features, state)
        return features, features
