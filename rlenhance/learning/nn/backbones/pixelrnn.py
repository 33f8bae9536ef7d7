"""Gated convolutions and a ConvLSTM over the steps of the episode."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.learning.ops.image import pad_to_multiple


class GatedConv(nn.Module):
    """tanh(a) * sigmoid(b), with a and b from one convolution, batch normalisation (if `batch_norm`) and FiLM before
    the gate.

    Source: conditional PixelCNN (van den Oord et al. 2016), equation 2.
    """

    def __init__(self, inputs: int, outputs: int, context: int, stride: int = 1, dilation: int = 1,
                 padding_mode: Literal["replicate", "zeros"] = "replicate", batch_norm: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 2 * outputs, 3, stride, dilation, dilation, padding_mode=padding_mode)
        self.norm = nn.BatchNorm2d(2 * outputs) if batch_norm else nn.Identity()
        self.film = FiLM(context, 2 * outputs)

    def forward(self, features: Tensor, context: Tensor | None) -> Tensor:
        value, gate = self.film(self.norm(self.conv(features)), context).chunk(2, dim=1)
        return torch.tanh(value) * torch.sigmoid(gate)


class ConvLSTMCell(nn.Module):
    """An LSTM whose products are convolutions. Source: Shi et al. 2015, equation 3, without peepholes.

    Args:
        inputs, width: channels of the input and of the state.
        padding_mode: "replicate" or "constant" (zero).
    """

    def __init__(self, inputs: int, width: int, padding_mode: str = "replicate"):
        super().__init__()
        self.width, self.padding_mode = width, padding_mode
        self.gates = nn.Conv2d(inputs + width, 4 * width, 3)

    def forward(self, features: Tensor, state: tuple[Tensor, Tensor] | None,
                dilation: int = 1) -> tuple[Tensor, Tensor]:
        """The output and the cell state, (N, width, h, w) each; `dilation` is that of the convolution."""
        if state is None:
            zero = features.new_zeros(features.shape[0], self.width, *features.shape[-2:])
            state = zero, zero
        hidden, cell = state
        padded = F.pad(torch.cat([features, hidden], dim=1), (dilation,) * 4, mode=self.padding_mode)
        gates = F.conv2d(padded, self.gates.weight, self.gates.bias, dilation=dilation)
        enter, forget, leave, value = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget + 1) * cell + torch.sigmoid(enter) * torch.tanh(value)
        return torch.sigmoid(leave) * torch.tanh(cell), cell


@BACKBONES.register("pixelrnn")
class PixelRNN(Backbone):
    """Three gated convolutions with stride 2 and a ConvLSTM: features (N, width, ceil(H/8), ceil(W/8)).

    The state is the ConvLSTM's, carried from step to step of an episode. Supervised networks run several passes.

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels inside.
    """

    recurrent = True

    def __init__(self, channels: int = 3, context: int = 0, width: int = 48):
        super().__init__()
        self.width, self.stride = width, 8
        self.layers = nn.ModuleList([
            GatedConv(channels, width // 2, context, stride=2),
            GatedConv(width // 2, width, context, stride=2),
            GatedConv(width, width, context, stride=2),
        ])
        self.memory = ConvLSTMCell(width, width)

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        features = pad_to_multiple(image, self.stride)
        for layer in self.layers:
            features = layer(features, context)
        state = self.memory(features, state)
        return state[0], state
