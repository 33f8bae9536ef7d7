"""Backbones that remember what they saw: a convolutional GRU behind convolutions of any kind."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.image import pad_to_multiple
from rlenhance.nn.backbones.base import Backbone, FiLM

#: What a step sees of the picture, and whether it remembers, see `RecurrentBackbone`.
MEMORY_MODES = ("first", "every", "none")
_KEEPS = -8.0  # bias of the update gate: at first a step changes 1/3000 of the memory (at -5 ten steps cost 0.15 dB)


class ConvGRUCell(nn.Module):
    """A GRU whose products are convolutions: h <- (1 - z) h + z tanh(W x + U (r h)). Borders are zero.

    Args:
        inputs, width: channels of what comes in, and of what is remembered.
        kernel: side of the convolutions.
        bias: added to each sum.

    Source: Ballas et al. 2016, equation 5, as PixelRL has it (Furuta et al. 2019, section 4.1).
    """

    def __init__(self, inputs: int, width: int, kernel: int = 3, bias: bool = True):
        super().__init__()
        self.gates = nn.Conv2d(inputs + width, 2 * width, kernel, padding=kernel // 2, bias=bias)
        self.candidate = nn.Conv2d(inputs + width, width, kernel, padding=kernel // 2, bias=bias)

    def forward(self, features: Tensor, hidden: Tensor) -> Tensor:
        """Both (N, channels, h, w); what is remembered afterwards."""
        update, reset = torch.sigmoid(self.gates(torch.cat([features, hidden], dim=1))).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([features, reset * hidden], dim=1)))
        return (1 - update) * hidden + update * candidate


class RecurrentBackbone(Backbone):
    """Base class: convolutions on the pixel-unshuffled picture (FFDNet: at stride 2 each is four times as cheap), and
    a GRU from step to step. A subclass gives `encode_image`.

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels of the features.
        stride: of the unshuffling; 1 works on the pixels themselves.
        memory: "first": the convolutions look at the first picture of the episode, and what they saw is remembered; a
            later step looks with two small ones, and the GRU makes that part of the memory. "every": they look at
            every picture, as PixelRL does. "none": the same without a memory.
        size_multiple: the picture is continued to multiples of this many pixels.
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
        """What the convolutions make of an unshuffled picture: (N, channels stride^2, h, w) -> (N, width, h, w)."""
        raise TypeError("a remembering backbone defines encode_image")

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
