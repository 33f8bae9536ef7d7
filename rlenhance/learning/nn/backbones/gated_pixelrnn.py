"""The gated PixelRNN and the ConvLSTM autoencoder, and the measured receptive field of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.learning.nn.backbones.base import BACKBONES, Backbone, FiLM
from rlenhance.learning.nn.backbones.pixelrnn import ConvLSTMCell, GatedConv
from rlenhance.learning.ops.image import pad_to_multiple

_LOOKS = 4  # random images on which a field is measured: ReLUs hide a part of it in each


@BACKBONES.register("gated_pixelrnn")
class GatedPixelRNN(Backbone):
    """A 7x7 convolution, gated layers with a ConvLSTM over depth, two residual blocks: features (N, width, H, W).

    The ConvLSTM's time is the depth of the network: it reads each layer's output, and the sum of layer, memory and
    first features is the next input. No state is carried from step to step of an episode. The padding is zero.

    The receptive field is 7 + 4 sum(dilations) + 8 pixels: 27 with dilations of 1, as published, 71 with 2, 4 and 8;
    the 3x3 convolution of the head adds 2.

    Args:
        channels: of the input.
        context: length of the context vector.
        width: channels inside.
        dilations: one layer each.
        batch_norm: batch normalisation in the gated layers and the residual blocks, as published; `folded` makes it a
            part of the convolutions.

    Source: the gated PixelRNN of the project on occluded bedrooms, and its published weights. We depart in the
    dilations and, where `batch_norm` is off, in the normalisation.
    """

    zero_padded = True

    def __init__(self, channels: int = 3, context: int = 0, width: int = 48, dilations: Sequence[int] = (2, 4, 8),
                 batch_norm: bool = False):
        super().__init__()
        self.width, self.stride, self.dilations = width, 1, tuple(dilations)
        self.stem = nn.Conv2d(channels, width, 7, padding=3)
        self.layers = nn.ModuleList(GatedConv(width, width, context, 1, wide, "zeros", batch_norm)
                                    for wide in self.dilations)
        self.memory = ConvLSTMCell(width, width, "constant")
        self.before, self.after = (nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
                                   for _ in range(2))
        self.before_norm, self.after_norm = (nn.ModuleList(nn.BatchNorm2d(width) if batch_norm else nn.Identity()
                                                           for _ in range(2)) for _ in range(2))
        self.film = FiLM(context, width)

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        features = first = self.stem(image)
        remembered = None
        for layer, wide in zip(self.layers, self.dilations, strict=True):
            features = layer(features, context)
            remembered = self.memory(features, remembered, wide)
            features = features + remembered[0] + first
        features = self.film(features, context)
        for before, norm, after, last in zip(self.before, self.before_norm, self.after, self.after_norm, strict=True):
            features = F.relu(features + last(after(F.relu(norm(before(features))))))
        return features, state

    def folded(self) -> Backbone:
        """The same features without batch normalisation: its running mean and variance in the convolutions."""
        made = BACKBONES.rebuild({name: value for name, value in self.spec.items() if name != "batch_norm"})
        own = self.state_dict()
        weights = {name: value.clone() for name, value in own.items() if name in made.state_dict()}
        pairs: list[Any] = [(layer.conv, layer.norm, f"layers.{i}.conv") for i, layer in enumerate(self.layers)]
        pairs += [(conv, norm, f"{part}.{i}") for part in ("before", "after") for i, (conv, norm) in enumerate(
            zip(getattr(self, part), getattr(self, f"{part}_norm"), strict=True))]
        for conv, norm, name in pairs:
            if not isinstance(norm, nn.Identity):
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                weights[f"{name}.weight"] = (conv.weight * scale[:, None, None, None]).detach()
                weights[f"{name}.bias"] = ((conv.bias - norm.running_mean) * scale + norm.bias).detach()
        made.load_state_dict(weights)
        return made


@BACKBONES.register("convlstm_autoencoder")
class ConvLSTMAutoencoder(Backbone):
    """Strided convolutions, several steps of a ConvLSTM, PixelShuffle: features (N, widths[0] / 2, H, W).

    Each step widens the receptive field by 8 pixels to every side. With one step, as published, the half of the
    ConvLSTM's weights that read the state, and its forget gate, get no gradient.

    Args:
        channels: of the input.
        context: length of the context vector.
        widths: channels at 1/2, 1/4 and 1/8 of the size; as published 64, 128 and 256.
        looks: steps of the ConvLSTM.
        skips: whether the encoder's features are added in the decoder.

    Source: the PixelRNN autoencoder of the other project on occluded bedrooms. We depart in the looks and the skips.
    """

    zero_padded = True

    def __init__(self, channels: int = 3, context: int = 0, widths: Sequence[int] = (32, 64, 128), looks: int = 4,
                 skips: bool = True):
        super().__init__()
        half, quarter, eighth = widths
        self.width, self.stride, self.looks, self.skips = half // 2, 1, looks, skips
        self.encoder = nn.ModuleList([nn.Conv2d(channels, half, 5, 2, 2), nn.Conv2d(half, quarter, 3, 2, 1),
                                      nn.Conv2d(quarter, eighth, 3, 2, 1)])
        self.memory = ConvLSTMCell(eighth, eighth, "constant")
        self.film = FiLM(context, eighth)
        self.decoder = nn.ModuleList(nn.Conv2d(inputs, 4 * outputs, 3, padding=1) for inputs, outputs in
                                     ((eighth, quarter), (quarter, half), (half, half // 2)))

    def forward(self, image: Tensor, context: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        height, width = image.shape[-2:]
        features, beside = pad_to_multiple(image, 8), []
        for layer in self.encoder:
            features = F.relu(layer(features))
            beside.append(features)
        remembered = None
        for _ in range(self.looks):
            remembered = self.memory(features, remembered)
        assert remembered is not None
        features = self.film(remembered[0], context)
        for index, layer in enumerate(self.decoder):
            features = F.pixel_shuffle(F.relu(layer(features)), 2)
            if self.skips and index < 2:
                features = features + beside[1 - index]
        return features[..., :height, :width], state


def receptive_field(network: nn.Module, size: int, channels: int = 3) -> tuple[int, int]:
    """Height and width of the receptive field of the middle pixel, measured by its gradient.

    Args:
        network: maps (1, channels, size, size) to an image of that size, or to features and a state.
        size: side of the images; no larger field can be measured.

    Example:
        >>> receptive_field(nn.Conv2d(3, 3, 3, padding=1), 16)
        (3, 3)
    """
    training = network.training
    network.eval()  # the statistics of a batch are of the whole picture
    generator, seen = torch.Generator().manual_seed(0), torch.zeros(size, size, dtype=torch.bool)
    for _ in range(_LOOKS):
        image = torch.rand(1, channels, size, size, generator=generator).requires_grad_()
        output = network(image)
        middle = (output[0] if isinstance(output, tuple) else output)[..., size // 2, size // 2]
        (gradient,) = torch.autograd.grad(middle.double().abs().sum(), image)
        seen |= gradient.abs().amax(dim=(0, 1)) > 0
    network.train(training)
    sides = [seen.any(dim=axis).nonzero() for axis in (1, 0)]
    height, width = (int(side[-1] - side[0]) + 1 if len(side) else 0 for side in sides)
    return height, width
