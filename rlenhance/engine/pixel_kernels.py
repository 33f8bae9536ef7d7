"""Filters that a network predicts for every pixel, computed band by band: by kernels.c where it was compiled, or NumPy.

The logits of a megapixel's filters are some 200 MB, so each band's are made of its features and used at once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from rlenhance.core.machine import compiled_functions, thread_count
from rlenhance.core.pixels import pixel_unshuffle
from rlenhance.engine import convolutions
from rlenhance.engine.convolution_plan import PANEL, Convolution, panels_of
from rlenhance.engine.networks import NETWORKS, NoiseConditioned

#: RGB -> Y, Cb, Cr around 0, and back (BT.601, full range).
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
#: What the picture and its noise map are multiplied by before the network, so that both are about 1.
PICTURE_SCALE, NOISE_SCALE = 4.0, 8.0
#: Numbers of a pixel that blend the next coarser level in: for luma, and for chroma.
ALPHAS = 2
#: Logits beyond it, of either sign, count as it; kernels.c has the same.
MOST_LOGIT = 60.0

_BAND = 1 << 18  # logits of a band, which stay in a core's cache


def outputs_of(level: int, levels: int, side: int) -> int:
    """Numbers of a pixel at a level: the logits of its filter for luma, of that for chroma, and those of the blend,
    which the last level does not have."""
    return 2 * side**2 + (ALPHAS if level < levels - 1 else 0)


class _Filters(ctypes.Structure):
    """The struct of kernels.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("logits", "picture", "result")] + [
        (name, ctypes.c_int64) for name in ("columns", "depth", "picture_columns", "picture_plane", "result_columns",
                                            "result_plane", "side", "pixels")]


def _load() -> Any:
    library = compiled_functions()
    if library is None or not hasattr(library, "filter_rows") or convolutions.NATIVE is None:
        return None
    library.filter_rows.argtypes = [ctypes.POINTER(_Filters), ctypes.c_int64, ctypes.c_int64]
    library.filter_rows.restype = None
    return library


#: kernels.c, or None.
NATIVE = _load()


@dataclass(frozen=True)
class Head:
    """The layer from a level's features to its logits.

    Attributes:
        weight: (outputs, channels) float32.
        bias: (outputs,) float32.
        side: of the filters in pixels.
        pixels: along a cell, 1 or 2.
        blends: whether numbers that blend the next level in follow.
    """

    weight: np.ndarray
    bias: np.ndarray
    side: int
    pixels: int
    blends: bool

    def filtered(self, planes: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The planes through their filters.

        Args:
            planes: (3, H, W) float32, YCbCr.
            features: (C, h, w) float32, of the cells.

        Returns:
            (3, H, W), and (2, H, W) in (0, 1), the shares of the next level for luma and for chroma, if any.
        """
        taps, (height, width), reach = self.side**2, features.shape[1:], self.side // 2
        result = np.empty_like(planes)
        blends = np.empty((ALPHAS, *planes.shape[1:]), np.float32) if self.blends else None
        around = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        cells = features.transpose(1, 2, 0)
        filled = np.pad(self.bias, (0, -len(self.bias) % PANEL))
        step = Convolution("points", "", "", self.weight[:, :, None, None], filled, 1, None, 0)
        panels = None if NATIVE is None else panels_of(step)

        def band(part: tuple[int, int]) -> None:
            first, last = part
            if panels is None:
                logits = np.ascontiguousarray(cells[first:last] @ self.weight.T + self.bias)
                self._filter_plainly(logits, around, result, first)
            else:
                logits = convolutions.points(step, panels, cells[first:last])
                NATIVE.filter_rows(_Filters(
                    logits.ctypes.data, around.ctypes.data, result.ctypes.data, width, logits.shape[2],
                    around.shape[2], around[0].size, result.shape[2], result[0].size, self.side, self.pixels),
                    first, last)
            if blends is not None:
                found = _shuffled(logits[..., 2 * taps * self.pixels**2 : outputs_of(0, 2, self.side) *
                                         self.pixels**2], self.pixels)
                blends[:, self.pixels * first : self.pixels * last] = 0.5 + 0.5 * np.tanh(0.5 * found)

        count = max(1, min(height, -(-height * width * len(self.bias) // _BAND)))
        if NATIVE is not None and len(cells) and cells.strides[2] != cells.itemsize:
            cells = np.ascontiguousarray(cells)
        parts = list(pairwise(height * number // count for number in range(count + 1)))
        threads = min(thread_count(), len(parts))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(band, parts))
        else:
            for part in parts:
                band(part)
        return result, blends

    def _filter_plainly(self, logits: np.ndarray, around: np.ndarray, result: np.ndarray, first: int) -> None:
        """What `filter_rows` does, in NumPy."""
        taps, side, pixels = self.side**2, self.side, self.pixels
        spread = _shuffled(logits[..., : 2 * taps * pixels**2], pixels)
        weights = np.exp(spread.reshape(2, taps, *spread.shape[1:]).clip(-MOST_LOGIT, MOST_LOGIT))
        weights /= weights.sum(axis=1, keepdims=True)
        rows = slice(pixels * first, pixels * first + spread.shape[1])
        windows = np.lib.stride_tricks.sliding_window_view(
            around[:, rows.start : rows.stop + side - 1], (side, side), axis=(1, 2))
        for plane in range(3):
            own = weights[min(plane, 1)].reshape(side, side, *spread.shape[1:])
            result[plane, rows] = np.einsum("yxhw,hwyx->hw", own, windows[plane])


def _shuffled(numbers: np.ndarray, pixels: int) -> np.ndarray:
    """(h, w, K pixels^2), the pixels of a cell last -> (K, pixels h, pixels w)."""
    height, width, count = numbers.shape
    parts = numbers.reshape(height, width, count // pixels**2, pixels, pixels)
    return np.ascontiguousarray(parts.transpose(2, 0, 3, 1, 4)).reshape(-1, height * pixels, width * pixels)


def apply_kernels(planes: np.ndarray, features: Sequence[np.ndarray], heads: Sequence[Head]) -> np.ndarray:
    """Filter at every level and blend, from the coarsest up.

    Args:
        planes: (3, H, W) float32, YCbCr.
        features: of each level, (C, h, w); the first two are those of half the size.
        heads: of each level.
    """
    results, blends = [], []
    for level, (found, head) in enumerate(zip(features, heads, strict=True)):
        planes = planes if level == 0 else _halved(planes)
        own, blend = head.filtered(planes, found)
        results.append(own)
        blends.append(blend)
    done = results.pop()
    for own, blend in zip(reversed(results), reversed(blends[:-1]), strict=True):
        assert blend is not None
        rest = done - _halved(own)
        for plane in range(3):  # twice the size, linearly
            enlarged = cv2.resize(rest[plane], own.shape[:0:-1], interpolation=cv2.INTER_LINEAR)
            own[plane] += blend[min(plane, 1)] * enlarged
        done = own
    return done


def _halved(planes: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: (C, H, W), even sides -> (C, H / 2, W / 2)."""
    rows = planes[:, ::2] + planes[:, 1::2]
    return np.asarray((rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25))


@NETWORKS.register("kernel_denoiser")
class KernelDenoiser(NoiseConditioned):
    """`rlenhance.learning.models.KernelDenoiser`."""

    def __init__(self, folder: Any, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], *more: Any):
        super().__init__(folder, config, weights, *more)
        self._to_ycc, self._from_ycc = np.array(TO_YCC, np.float32), np.array(FROM_YCC, np.float32)
        levels, side = int(self.spec.get("levels", 4)), int(self.spec.get("side", 5))
        self.size_multiple = int(2 ** max(levels - 1, 1))
        named = [(weights[f"network.heads.{level}.weight"], weights[f"network.heads.{level}.bias"])
                 for level in range(levels)]
        self.heads = [Head(np.ascontiguousarray(weight[:, :, 0, 0]), bias, side, 2 if level == 0 else 1,
                           level < levels - 1) for level, (weight, bias) in enumerate(named)]

    def cleaned(self, image: np.ndarray, noise: np.ndarray) -> np.ndarray:
        scaled = (np.float32(PICTURE_SCALE) * image, np.float32(NOISE_SCALE) * noise)
        cells = np.concatenate([pixel_unshuffle(part, 2) for part in scaled], axis=1)
        found = self.run(cells=cells)
        features = list(found) if isinstance(found, tuple) else [found]
        results = []
        for number, picture in enumerate(image):
            own = [each[number] for each in (features[0], *features)]
            planes = np.tensordot(self._to_ycc, picture, 1)
            results.append(np.tensordot(self._from_ycc, apply_kernels(planes, own, self.heads), 1))
        return np.stack(results)
