"""The shipped completion network without torch: harmonic interpolation plus the residual of a U-Net with attention."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes, pad_planes, pixel_shuffle, pixel_unshuffle
from rlenhance.engine.array_network import ArrayNetwork
from rlenhance.ops.harmonic_fill import harmonic_fill
from rlenhance.ops.masks import downscale_masked

_STRIDE = 4  # of the U-Net's unshuffling
_HEADS = 4  # of its attention
_GRID = 8  # side of its position embedding


class ResidualCompletion(ArrayNetwork):
    """`rlenhance.learning.models.completers.ResidualCompleter` for arrays, in evaluation mode.

    Args:
        spec: of the model, as config.json has it.
        weights: its state dict.

    Attributes:
        train_size: side in pixels of the square pictures that it was trained on.

    Raises:
        UsageError: weights that do not fit the spec.
    """

    needs_mask = True

    def __init__(self, spec: Mapping[str, Any], weights: Mapping[str, np.ndarray]):
        self.train_size, self.flip_ensemble = int(spec.get("train_size", 128)), bool(spec.get("flip_ensemble", True))
        self._net = _Pyramid(_Weights(weights), tuple(spec.get("widths", (48, 64, 96))),
                             tuple(spec.get("blocks", (1, 2, 2))))

    def __call__(self, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """The picture with its hole filled, clipped to [0, 1].

        Args:
            image: (1, 3, H, W) float32 in [0, 1].
            mask: (1, 1, H, W), above 0.5 where pixels are missing.

        Raises:
            UsageError: no picture, no mask, one of another shape, or one that covers the whole picture.
        """
        picture = check_planes(image)[0].transpose(1, 2, 0)
        if mask is None or mask.shape != (1, 1, *image.shape[2:]):
            raise UsageError(f"completing needs a mask {(1, 1, *image.shape[2:])}, 1 where pixels are missing; got "
                             f"{'none' if mask is None else mask.shape}")
        hole = mask[0, 0] > 0.5
        if hole.all():
            raise UsageError("the mask covers the whole picture: nothing is left to continue from")
        size, scale = hole.shape, min(1.0, self.train_size / min(hole.shape))
        small, covered = downscale_masked(picture, hole, (round(scale * size[0]), round(scale * size[1])))
        smooth = harmonic_fill(small, covered)
        residual = self._residual(smooth, covered)
        if self.flip_ensemble:
            residual = (residual + self._residual(smooth[:, ::-1], covered[:, ::-1])[:, ::-1]) / 2
        if scale < 1:
            smooth = harmonic_fill(picture, hole)
            residual = cv2.resize(residual, size[::-1], interpolation=cv2.INTER_LINEAR)
        filled = np.where(hole[..., None], (smooth + residual).clip(0, 1), picture)
        return np.ascontiguousarray(filled.transpose(2, 0, 1))[None]

    def _residual(self, smooth: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """What is added to the harmonic interpolation: (h, w, 3)."""
        planes = np.dstack([smooth - np.float32(0.5), hole.astype(np.float32)]).transpose(2, 0, 1)[None]
        cells = self._net(planes)
        return pixel_shuffle(cells, _STRIDE)[0, :, : smooth.shape[0], : smooth.shape[1]].transpose(1, 2, 0)


class _Weights:
    """A state dict, of which each entry is taken once, with the shape that it must have."""

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self._left = dict(weights)

    def take(self, name: str, *shape: int) -> np.ndarray:
        seen = self._left.pop(name, None)
        if seen is None or seen.shape != shape:
            raise UsageError(f"weights and config do not fit together (the weight {name} has the shape "
                             f"{'none' if seen is None else list(seen.shape)}, and {list(shape)} by the config)")
        return seen

    def end(self) -> None:
        if self._left:
            raise UsageError(f"weights and config do not fit together (by the config there is no weight "
                             f"{next(iter(self._left))})")


class _Convolution:
    """A convolution of (h, w, C): 3x3 with zero padding, 1x1, or 2x2 with stride 2."""

    def __init__(self, weights: _Weights, name: str, inputs: int, outputs: int, side: int = 3):
        kernel = weights.take(f"{name}.weight", outputs, inputs, side, side)
        self._side, self._bias = side, weights.take(f"{name}.bias", outputs)
        self._matrix = np.ascontiguousarray(kernel.reshape(outputs, -1).T)  # (C side side, outputs)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        if self._side == 3:
            features = np.pad(features, ((1, 1), (1, 1), (0, 0)))
        windows = sliding_window_view(features, (self._side, self._side), axis=(0, 1))
        step = 2 if self._side == 2 else 1
        windows = windows[::step, ::step]
        return np.asarray(windows.reshape(*windows.shape[:2], -1) @ self._matrix + self._bias)


class _Enlargement:
    """A transposed convolution with windows of 2x2 and stride 2: (h, w, C) -> (2 h, 2 w, outputs)."""

    def __init__(self, weights: _Weights, name: str, inputs: int, outputs: int):
        kernel = weights.take(f"{name}.weight", inputs, outputs, 2, 2)
        self._bias = weights.take(f"{name}.bias", outputs)
        self._matrix = np.ascontiguousarray(kernel.transpose(0, 2, 3, 1).reshape(inputs, -1))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        height, width = features.shape[:2]
        cells = (features @ self._matrix).reshape(height, width, 2, 2, -1)
        return np.asarray(cells.transpose(0, 2, 1, 3, 4).reshape(2 * height, 2 * width, -1) + self._bias)


class _Block:
    """`rlenhance.learning.nn.backbones.pyramid.SmoothBlock`."""

    def __init__(self, weights: _Weights, name: str, width: int):
        self._first, self._second = (_Convolution(weights, f"{name}.{part}", width, width)
                                     for part in ("first", "second"))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        inner = self._first(features)
        return features + self._second(inner * (0.5 + 0.5 * np.tanh(0.5 * inner)))  # SiLU


class _Attention:
    """`rlenhance.learning.nn.backbones.pyramid.Attention`."""

    def __init__(self, weights: _Weights, name: str, width: int):
        self._gain, self._shift = (weights.take(f"{name}.norm.{part}", width) for part in ("weight", "bias"))
        self._places = np.ascontiguousarray(
            weights.take(f"{name}.places", 1, width, _GRID, _GRID)[0].transpose(1, 2, 0))
        self._ask = _Convolution(weights, f"{name}.ask", width, 3 * width, 1)
        self._give = _Convolution(weights, f"{name}.give", width, width, 1)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        height, across, width = features.shape
        each = width // _HEADS
        normed = (features - features.mean()) / np.sqrt(features.var() + 1e-5) * self._gain + self._shift
        places = cv2.resize(self._places, (across, height), interpolation=cv2.INTER_LINEAR)
        asked = self._ask(normed + places).reshape(-1, 3, _HEADS, each).transpose(1, 2, 0, 3)
        query, key, value = asked  # (heads, places, each)
        alike = query @ key.transpose(0, 2, 1) / np.float32(each**0.5)
        share = np.exp(alike - alike.max(axis=2, keepdims=True))
        share /= share.sum(axis=2, keepdims=True)
        taken = (share @ value).transpose(1, 0, 2).reshape(height, across, width)
        return features + self._give(taken)


class _Pyramid:
    """`rlenhance.learning.nn.backbones.pyramid.Pyramid` on four planes, and the head: (1, 4, H, W) -> (1, 48, h, w)."""

    def __init__(self, weights: _Weights, widths: tuple[int, ...], blocks: tuple[int, ...]):
        pairs = list(pairwise(widths))
        self._multiple = _STRIDE * 2 ** len(pairs)

        def stack(part: str) -> list[list[_Block]]:
            return [[_Block(weights, f"backbone.{part}.{level}.{number}", width) for number in range(count)]
                    for level, (width, count) in enumerate(zip(widths[:-1], blocks[:-1], strict=True))]

        self._stem = _Convolution(weights, "backbone.stem", 4 * _STRIDE**2, widths[0])
        self._encoder, self._decoder = stack("encoder"), stack("decoder")
        self._down = [_Convolution(weights, f"backbone.downsample.{level}", *pair, 2)
                      for level, pair in enumerate(pairs)]
        self._up = [_Enlargement(weights, f"backbone.upsample.{level}", narrow, wide)
                    for level, (wide, narrow) in enumerate(pairs)]
        kinds: tuple[type[_Block] | type[_Attention], ...] = (_Block, _Attention)
        self._middle = [kind(weights, f"backbone.middle.{2 * number + place}", widths[-1])
                        for number in range(blocks[-1]) for place, kind in enumerate(kinds)]
        self._head = _Convolution(weights, "head", widths[0], 3 * _STRIDE**2)
        weights.end()

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        rows, columns = (-(-side // _STRIDE) for side in planes.shape[2:])
        cells = pixel_unshuffle(pad_planes(planes, self._multiple), _STRIDE)
        features = self._stem(np.ascontiguousarray(cells[0].transpose(1, 2, 0)))
        skips: list[np.ndarray] = []
        for level, down in zip(self._encoder, self._down, strict=True):
            for block in level:
                features = block(features)
            skips.append(features)
            features = down(features)
        for layer in self._middle:
            features = layer(features)
        for level, up in zip(reversed(self._decoder), reversed(self._up), strict=True):
            features = up(features) + skips.pop()
            for block in level:
                features = block(features)
        return self._head(features[:rows, :columns]).transpose(2, 0, 1)[None]
