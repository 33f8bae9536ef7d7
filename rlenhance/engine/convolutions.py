"""Graphs of small convolutions, computed by compiled C: 3 x 3, 1 x 1, 2 x 2 with the step 2 and back, in groups too.

Kernels of 3 x 3 take a quarter of the multiplications (convolve.c). Sums and ReLU are done while a convolution writes;
what else acts on every number alone is done by NumPy, band by band, and so is what follows from weights, once. A graph
with other operations is left to the other backends.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from rlenhance.core.machine import compiled_functions
from rlenhance.engine.array_operations import POINTWISE
from rlenhance.engine.convolution_plan import CELL, Convolution, Plan, Pointwise, panels_of

_FEW = 1 << 14  # pixels below which one thread is faster
_BAND = 1 << 16  # numbers of a band that stay in a core's cache


class _Layer(ctypes.Structure):
    """Arguments of convolve.c; the caller keeps the arrays alive."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("source", "weights", "bias", "added", "result")] + [
        (name, ctypes.c_int64) for name in ("height", "width", "source_columns", "result_columns", "inputs", "outputs",
                                            "depth", "groups", "rectified")]


def _load() -> Any:
    library = compiled_functions()
    if library is None or not hasattr(library, "convolve_cells"):  # of a compiler without vectors
        return None
    for name in ("convolve_cells", "convolve_points", "convolve_down", "convolve_up"):
        getattr(library, name).argtypes = [ctypes.POINTER(_Layer), ctypes.c_int64, ctypes.c_int64]
    return library


#: convolve.c, or None.
NATIVE = _load()


@dataclass
class _Run:
    """A picture on its way through the steps.

    Attributes:
        layers: of convolve.c, by name.
        sizes: their heights and widths, without borders.
        small: the arrays beside them, by name.
        left: how often each layer is still taken.
        spare: layers that are done with, by size and channels; their borders are zero.
    """

    layers: dict[str, np.ndarray]
    sizes: dict[str, tuple[int, int]]
    small: dict[str, np.ndarray]
    left: Counter[str]
    spare: dict[tuple[int, ...], list[np.ndarray]] = field(default_factory=dict)

    def room(self, name: str, size: tuple[int, int], channels: int) -> np.ndarray:
        """A layer for a result."""
        found = self.spare.get((*size, channels))
        self.sizes[name] = size
        self.layers[name] = found.pop() if found else _zeros(size, channels)
        return self.layers[name]

    def inside(self, name: str, first: int, last: int) -> np.ndarray:
        """Rows of a layer without its border: (rows, width, channels)."""
        return self.layers[name][1 + first : 1 + last, 1 : 1 + self.sizes[name][1]]

    def release(self, name: str) -> None:
        """Count one use less; after the last one the memory is free for others."""
        self.left[name] -= 1
        if not self.left[name]:
            done = self.layers.pop(name)
            self.spare.setdefault((*self.sizes[name], done.shape[2]), []).append(done)


class Convolutions:
    """A graph of convolutions, with sums and functions of every number alone between them.

    Args:
        plan: its steps.
        threads: at most.
    """

    def __init__(self, plan: Plan, threads: int):
        self.plan, self.threads = plan, threads
        parts = [part for step in plan.steps for part in (step.operations if isinstance(step, Pointwise) else [step])]
        self.panels = {part.result: panels_of(part) for part in parts if isinstance(part, Convolution)}

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The outputs of the inputs, (N, C, H, W) or (N, C): (N, C, H, W) each; the channels of a pixel may lie
        side by side in memory."""
        count = len(next(iter(inputs.values())))
        found = [self._one({name: value[number : number + 1] for name, value in inputs.items()}, outputs)
                 for number in range(count)]
        return [parts[0][None] if count == 1 else np.stack(parts) for parts in zip(*found, strict=True)]

    def _one(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        pictures = {name: inputs[name][0] for name in self.plan.layers}
        run = _Run({name: _laid_out(picture) for name, picture in pictures.items()},
                   {name: (picture.shape[1], picture.shape[2]) for name, picture in pictures.items()},
                   self.plan.small({name: value for name, value in inputs.items() if name not in pictures}),
                   Counter(self.plan.uses))
        with ExitStack() as stack:
            pixels = max(height * width for height, width in run.sizes.values())
            threads = max(1, min(self.threads, -(-pixels // _FEW)))
            divide: Callable[..., Iterable[Any]] = map if threads <= 1 else \
                stack.enter_context(ThreadPoolExecutor(threads)).map
            for step in self.plan.steps:
                if isinstance(step, Convolution):
                    self._convolve(step, run, divide, threads)
                else:
                    self._act(step, run, divide, threads)
        return [run.inside(name, 0, run.sizes[name][0])[..., : self.plan.channels[name]].transpose(2, 0, 1)
                for name in outputs]

    def _convolve(self, step: Convolution, run: _Run, divide: Callable[..., Iterable[Any]], threads: int) -> None:
        source, (height, width) = run.layers[step.source], run.sizes[step.source]
        size = {"down": (height // 2, width // 2), "up": (2 * height, 2 * width)}.get(step.kind, (height, width))
        added = run.layers[step.added] if step.added else None
        if step.added and added is not None:
            if run.sizes[step.added] != size or added.shape[2] != len(step.bias):
                raise ValueError(f"a sum of pictures of {run.sizes[step.added]} and {size} pixels")
            run.release(step.added)  # the sum may stand where it stood
        result = run.room(step.result, size, len(step.bias))
        panels = self.panels[step.result]
        about = _Layer(source.ctypes.data, panels.ctypes.data, step.bias.ctypes.data,
                       None if added is None else added.ctypes.data, result.ctypes.data, height, width,
                       source.shape[1], result.shape[1], source.shape[2], result.shape[2], panels.shape[2], step.groups,
                       step.rectified)
        function = getattr(NATIVE, f"convolve_{step.kind}")
        rows = {"cells": -(-height // CELL), "down": height // 2}.get(step.kind, height)
        parts = _parts(rows, 4 * threads if threads > 1 else 1)
        if any(divide(lambda part: function(about, *part), parts)):
            raise MemoryError("no memory for the cells of a layer")
        run.release(step.source)

    def _act(self, step: Pointwise, run: _Run, divide: Callable[..., Iterable[Any]], threads: int) -> None:
        """Operations on every pixel alone, band by band."""
        size, channels = run.sizes[step.sources[0]], self.plan.channels
        for name in step.results:
            run.room(name, size, -(-channels[name] // 16) * 16)
        smaller = {name: _along_channels(run.small[name]) for name in step.smaller}

        def band(part: tuple[int, int]) -> None:
            first, last = part
            values = smaller | {name: run.inside(name, first, last)[..., : channels[name]] for name in step.sources}
            for each in step.operations:
                if isinstance(each, Convolution):
                    found = points(each, self.panels[each.result], values[each.source])
                    values[each.result] = found[..., : channels[each.result]]
                else:
                    values[each.output] = POINTWISE[each.kind](*(values[name] for name in each.inputs))
            for name in step.results:
                run.inside(name, first, last)[..., : channels[name]] = values[name]

        most = max(channels[name] for name in (*step.sources, *step.results))
        for _ in divide(band, _bands(size[0], size[0] * size[1] * most)):
            pass
        for name in step.sources:
            run.release(name)


def points(step: Convolution, panels: np.ndarray, source: np.ndarray) -> np.ndarray:
    """A convolution of 1 x 1, see `panels_of`: (rows, width, channels) float32, whose channels lie side by side -> the
    same with whole panels of channels."""
    (height, width), (row, pixel, _) = source.shape[:2], source.strides
    result = np.empty((height, width, len(step.bias)), np.float32)
    NATIVE.convolve_points(_Layer(
        source.ctypes.data, panels.ctypes.data, step.bias.ctypes.data, None, result.ctypes.data, height, width,
        row // pixel, width, pixel // 4, len(step.bias), panels.shape[2], step.groups, 0), 0, height)
    return result


def _parts(rows: int, count: int) -> list[tuple[int, int]]:
    """Rows in parts: the first of each, and the one behind its last."""
    count = min(rows, count)
    ends = [rows * number // count for number in range(count + 1)]
    return list(pairwise(ends))


def _bands(rows: int, numbers: int) -> list[tuple[int, int]]:
    """Rows in bands that stay in a core's cache.

    Args:
        rows: of a picture.
        numbers: in all of it.
    """
    return _parts(rows, -(-numbers // _BAND))


def _along_channels(array: np.ndarray) -> np.ndarray:
    """One number, or one for each channel: as the last side of a layer."""
    if array.ndim > 4 or any(side != 1 for place, side in enumerate(array.shape[::-1]) if place != 2):
        raise ValueError(f"an array of the shape {array.shape} beside pictures")
    return array.reshape(-1)


def _zeros(size: tuple[int, int], channels: int) -> np.ndarray:
    rows, columns = (-(-side // CELL) * CELL + 2 for side in size)
    return np.zeros((rows, columns, channels), np.float32)


def _laid_out(picture: np.ndarray) -> np.ndarray:
    """(C, H, W) as a layer of convolve.c; fast where the channels of a pixel already lie side by side."""
    channels, height, width = picture.shape
    layer = _zeros((height, width), -(-channels // 8) * 8)
    inside = layer[1 : 1 + height, 1 : 1 + width, :channels]
    if picture.strides[0] == picture.itemsize:
        inside[:] = picture.transpose(1, 2, 0)
        return layer
    for first, last in _bands(height, picture.size):
        turned = cv2.transpose(np.ascontiguousarray(picture[:, first:last]).reshape(channels, -1))
        inside[first:last] = turned.reshape(last - first, width, channels)
    return layer
