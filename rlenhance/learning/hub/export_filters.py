"""What is exported of policies over filters: all views of a picture as one graph.

A view is a turned picture, and what the network says of it is turned back. The same numbers come from kernels that are
turned, on the picture as it is: all views then share one input and one output, and their convolutions are one with
groups. The views' kernels follow from the stored ones within the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.arrays import d4_inverse, d4_transform
from rlenhance.core.pixels import pixel_shuffle, pixel_unshuffle
from rlenhance.learning.nn.backbones.gru_unet import GruUNet
from rlenhance.ops.filters_batched import PIXELRL_FILTERS


def can_export_filters(policy: Any) -> bool:
    """Whether `first_step` and `later_step` are those of a `FilterPolicy`."""
    return (isinstance(policy.backbone, GruUNet) and policy.backbone.memory == "first" and policy.num_tta_views > 1
            and set(policy.actions.tools) <= set(PIXELRL_FILTERS))


def first_step(policy: Any, cells: Tensor) -> tuple[Tensor, Tensor]:
    """The first step of an episode: cells (N, 4 channels, h, w) -> what the heads say of them, and the state.

    Sides are multiples of 2^(levels - 1).
    """
    net = policy.backbone
    features, skips = _entry(policy, net.stem, cells), []
    for blocks, down in zip(net.encoder, net.downsample, strict=False):
        skips.append(_residuals(policy, blocks, features))
        features = _views(policy, down, skips[-1])
    features = _residuals(policy, net.encoder[-1], features)
    for blocks, up in zip(reversed(net.decoder), reversed(net.upsample), strict=True):
        features = _residuals(policy, blocks, _views(policy, up, features) + skips.pop())
    state = _film(policy, net.film, features, cells.new_ones(1, 1))
    return _heads(policy, state), state


def later_step(policy: Any, cells: Tensor, remaining: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """A later step, with the share of the horizon that is left, (N, 1), and the state of the step before."""
    net, (first, second) = policy.backbone, policy.backbone.later
    features = F.relu(_views(policy, second, F.relu(_entry(policy, first, cells))))
    features = _film(policy, net.later_film, features, remaining)

    def gate(weight: Tensor, bias: Tensor, seen: Tensor) -> Tensor:
        ways = policy.num_tta_views
        own, other = (torch.cat([part] * ways) for part in weight.chunk(2, dim=1))
        return F.conv2d(features, own, torch.cat([bias] * ways), groups=ways) + F.conv2d(seen, other, groups=ways)

    weights, biases = net.cell.gates.weight.chunk(2), net.cell.gates.bias.chunk(2)
    update, reset = (torch.sigmoid(gate(*each, state)) for each in zip(weights, biases, strict=True))
    candidate = torch.tanh(gate(net.cell.candidate.weight, net.cell.candidate.bias, reset * state))
    state = state + update * (candidate - state)
    return _heads(policy, state), state


def _turned(weight: Tensor, ways: Sequence[int]) -> Tensor:
    """The kernels that do on a picture what `weight` does on the turned ones, turned back: (ways O, I, k, k)."""
    outputs, inputs, side, _ = map(int, weight.shape)  # numbers, which do not become a part of the graph
    taps = np.arange(side * side).reshape(side, side)
    places = np.concatenate([d4_inverse(taps, way).ravel() for way in ways])
    turned = weight.reshape(outputs, inputs, side * side).index_select(2, torch.from_numpy(places))
    turned = turned.reshape(outputs, inputs, len(ways), side * side).permute(2, 0, 1, 3)
    return turned.reshape(len(ways) * outputs, inputs, side, side)


def _places(planes: int, way: int) -> Tensor:
    """Where the channels of 2x2 pixels of `planes` planes stand in a turned picture."""
    numbers = np.broadcast_to(np.arange(4.0 * planes).reshape(1, -1, 1, 1), (1, 4 * planes, 4, 4))
    seen = pixel_unshuffle(np.ascontiguousarray(d4_transform(pixel_shuffle(numbers, 2), way)), 2)[0, :, 0, 0]
    return torch.from_numpy(seen.argsort())


def _views(policy: Any, layer: Any, features: Tensor) -> Tensor:
    """A convolution of each view on its own channels."""
    ways = range(policy.num_tta_views)
    weight, bias = _turned(layer.weight, ways), torch.cat([layer.bias for _ in ways])
    run = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
    return run(features, weight, bias, stride=layer.stride, padding=layer.padding, groups=len(ways))


def _entry(policy: Any, layer: nn.Conv2d, cells: Tensor) -> Tensor:
    """The convolution that each view begins with, on the same cells."""
    planes, ways = int(cells.shape[1]) // 4, range(policy.num_tta_views)
    weights = [weight.index_select(1, _places(planes, way))
               for way, weight in zip(ways, _turned(layer.weight, ways).chunk(len(ways)), strict=True)]
    assert layer.bias is not None
    return F.conv2d(cells, torch.cat(weights), torch.cat([layer.bias for _ in ways]), padding=1)


def _heads(policy: Any, state: Tensor) -> Tensor:
    """The mean over the views of what the heads say: (N, C, h, w)."""
    ways = range(policy.num_tta_views)
    weights, biases = [], []
    for head in [policy.heads] + ([] if policy.residual is None else [policy.residual]):
        places = [_places(head.out_channels // 4, way) for way in ways]
        turned = zip(_turned(head.weight, ways).chunk(len(ways)), places, strict=True)
        weights.append(torch.cat([weight.index_select(0, place) for weight, place in turned], dim=1))
        biases.append(sum(head.bias.index_select(0, place) for place in places))
    return F.conv2d(state, torch.cat(weights) / len(ways), torch.cat(biases) / len(ways), padding=1)


def _residuals(policy: Any, blocks: Any, features: Tensor) -> Tensor:
    for block in blocks:
        features = features + _views(policy, block.second, F.relu(_views(policy, block.first, features)))
    return features


def _film(policy: Any, film: Any, features: Tensor, context: Tensor) -> Tensor:
    """See `FiLM`; each view has the same."""
    if film.linear is None:
        return features
    scale, shift = film.linear(context)[:, :, None, None].chunk(2, dim=1)
    ways = policy.num_tta_views
    return features * (1 + torch.cat([scale] * ways, dim=1)) + torch.cat([shift] * ways, dim=1)
