"""Greedy actions of a small policy on one small image, in NumPy.

On 64 pixels, calling a layer of the compact backbone in torch costs ten times its arithmetic. Tests compare the result
with `PixelPolicy.act` (within 1e-5).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlenhance.actions import Action
from rlenhance.models.policy import PixelPolicy
from rlenhance.nn.backbones.compact import Compact
from rlenhance.ops.image_statistics import picture_statistics

_MOST = 1024  # features up to which this is faster


class FastDecider:
    """A `PixelPolicy` on a compact backbone, for one picture on a CPU; made anew for every episode.

    Args:
        policy: one that `supports` accepts.
        preference: (1, P), encoded; the same in all steps.
    """

    def __init__(self, policy: PixelPolicy, preference: Tensor):
        self.exposure_target, self.log_bins = policy.exposure_target(preference), policy.log_bins
        self.preference = policy.preferences.network_input(preference).numpy()[0]
        backbone: Any = policy.backbone
        heads: Any = policy.heads.items()
        self.side, self.local_zero_mean = backbone.stride, policy.actions.local_zero_mean
        self.stem = _Matrix(backbone.stem)
        self.blocks = [_Matrix(block) for block in backbone.blocks]
        self.films = [(film.linear.weight.detach().numpy(), film.linear.bias.detach().numpy())
                      for film in backbone.films]
        self.heads: dict[str, Any] = {
            scope: [_Matrix(head[0]), _Matrix(head[2])] if scope == "global" else _Matrix(head)
            for scope, head in heads}

    @staticmethod
    def supports(policy: Any, image: Tensor) -> bool:
        """Whether the policy and the image are supported, in inference mode."""
        if not (torch.is_inference_mode_enabled() and isinstance(policy, PixelPolicy) and not policy.uses_mask
                and isinstance(policy.backbone, Compact) and policy.actions.num_choices is None
                and policy.std_mode == "scheduled" and image.device.type == "cpu" and image.dtype == torch.float32
                and image.shape[0] == 1 and image[0, 0].numel() <= _MOST * policy.backbone.stride ** 2):
            return False
        grid = tuple(-(-side // policy.backbone.stride) for side in image.shape[-2:])
        layers = [policy.backbone.stem, *policy.backbone.blocks, *policy.heads.values()]
        return all(scope == "global" or policy.actions.agent_grid(scope, *image.shape[-2:]) == grid
                   for scope in policy.actions.scopes) and all(_plain(layer) for layer in layers)

    def act(self, image: Tensor, remaining: float) -> Action:
        """The greedy action for an image (1, 3, H, W) and the share of the horizon that is left."""
        statistics = picture_statistics(image, *self.exposure_target, self.log_bins).numpy()[0]
        context = np.concatenate([self.preference, np.array([remaining], np.float32), statistics])
        pixels = image.numpy()[0]
        bottom, right = (-side % self.side for side in pixels.shape[1:])
        if bottom or right:
            pixels = np.pad(pixels, ((0, 0), (0, bottom), (0, right)), mode="edge")
        height, width = (side // self.side for side in pixels.shape[1:])
        cells = pixels.reshape(3, height, self.side, width, self.side).transpose(0, 2, 4, 1, 3)
        features = self.stem(cells.reshape(-1, height, width))
        for block, (weight, bias) in zip(self.blocks, self.films, strict=True):
            scale, shift = (weight @ context + bias).reshape(2, -1, 1, 1)
            change = block(features)
            change *= 1 + scale
            change += shift
            features = features + np.maximum(change, 0, out=change)
        action = {}
        for scope, head in self.heads.items():
            if scope == "global":
                first, last = head
                known = np.concatenate([features.mean(axis=(1, 2)), context])[:, None, None]
                raw = last(np.maximum(first(known), 0))
            else:
                raw = head(features)
                if self.local_zero_mean:
                    raw = raw - raw.mean(axis=(1, 2), keepdims=True)
            action[scope] = torch.from_numpy(np.tanh(raw))[None]
        return action


class _Matrix:
    """A convolution with replicated padding, as a matrix product: (C, h, w) -> (C', h, w)."""

    def __init__(self, layer: Any):
        self.weight = layer.weight.detach().flatten(1).numpy()
        self.bias = layer.bias.detach().numpy()[:, None]
        self.taps, self.dilation = layer.kernel_size[0], layer.dilation[0]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        size = features.shape[1:]
        columns = features.reshape(features.shape[0], -1)
        if self.taps > 1:
            columns = columns[:, _places(*size, self.taps, self.dilation)].reshape(-1, columns.shape[1])
        return (self.weight @ columns + self.bias).reshape(-1, *size)


@lru_cache(maxsize=32)
def _places(height: int, width: int, taps: int, dilation: int) -> np.ndarray:
    """Flat index of every pixel's neighbour at every tap, with replicated padding: (taps * taps, height * width)."""
    reach = dilation * (np.arange(taps) - taps // 2)
    rows = np.clip(np.arange(height) + reach[:, None], 0, height - 1)
    line = np.clip(np.arange(width) + reach[:, None], 0, width - 1)
    return (rows[:, None, :, None] * width + line[None, :, None, :]).reshape(taps * taps, -1)


def _plain(layer: nn.Module) -> bool:
    """Whether `_Matrix` supports the layer: a square kernel, replicated padding and a bias; or two of 1x1."""
    if isinstance(layer, nn.Sequential):
        return len(layer) == 3 and isinstance(layer[1], nn.ReLU) and _plain(layer[0]) and _plain(layer[2])
    return (isinstance(layer, nn.Conv2d) and layer.bias is not None and layer.stride == (1, 1) and layer.groups == 1
            and (layer.kernel_size == (1, 1) or (layer.padding_mode == "replicate" and layer.kernel_size[0] % 2 == 1
                 and layer.kernel_size[0] == layer.kernel_size[1] and layer.dilation[0] == layer.dilation[1]
                 and layer.padding == (layer.dilation[0] * (layer.kernel_size[0] // 2),) * 2)))
