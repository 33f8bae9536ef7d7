"""Graphs of small convolutions, computed by compiled C: 3 x 3, 2 x 2 with the step 2 and back, sums, and ReLU.

Kernels of 3 x 3 take a quarter of the multiplications (convolve.c). A graph with other operations is left to the other
backends.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlenhance.core.compiled import compiled_functions

_CELL, _PANEL = 4, 16  # pixels along a cell, channels of a panel; as in convolve.c
_FEW = 1 << 14  # pixels below which one thread is faster
# Kernels before Winograd's products, F(4 x 4, 3 x 3)
_TRANSFORM = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_KINDS = {("Conv", (3, 3), (1, 1, 1, 1), (1, 1)): "cells", ("Conv", (2, 2), (0, 0, 0, 0), (2, 2)): "down",
          ("ConvTranspose", (2, 2), (0, 0, 0, 0), (2, 2)): "up"}


class _Layer(ctypes.Structure):
    """Arguments of convolve.c; the caller keeps the arrays alive."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("source", "weights", "bias", "added", "result")] + [
        (name, ctypes.c_int64) for name in ("height", "width", "source_columns", "result_columns", "inputs", "outputs",
                                            "rectified")]


def _load() -> Any:
    library = compiled_functions()
    if library is None or not hasattr(library, "convolve_cells"):  # of a compiler without vectors
        return None
    for name in ("convolve_cells", "convolve_down", "convolve_up"):
        getattr(library, name).argtypes = [ctypes.POINTER(_Layer), ctypes.c_int64, ctypes.c_int64]
    return library


#: convolve.c, or None.
NATIVE = _load()


@dataclass(frozen=True)
class Node:
    """An operation of a graph: its kind, and the names of what it takes and gives."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class _Step:
    """A convolution with what follows it: its kernel, the name of a layer that is added, and ReLU.

    Attributes:
        inputs: channels of the source, a multiple of eight.
        channels: of the result that count, without those that fill up a panel.
    """

    kind: str
    source: str
    result: str
    kernel: np.ndarray
    bias: np.ndarray
    inputs: int
    channels: int
    added: str | None
    rectified: bool


class Convolutions:
    """A chain of convolutions with residual sums.

    Args:
        nodes: of the graph, in order.
        weights: by name.
        given, wanted: names of the input and of the output.
        threads: at most.

    Raises:
        ValueError: an operation that this does not know, or a sum or ReLU that does not follow a convolution.
    """

    def __init__(self, nodes: Sequence[Node], weights: Mapping[str, np.ndarray], given: str, wanted: str, threads: int):
        self.given, self.wanted, self.threads = given, wanted, threads
        self.steps = check_nodes(nodes, weights, given, wanted)
        self.panels = [_panels(step.kind, step.kernel, step.inputs, len(step.bias)) for step in self.steps]
        self.uses = Counter(name for step in self.steps for name in (step.source, step.added) if name)

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The output, [(N, C, H, W)], of the input (N, C, H, W)."""
        return [np.stack([self._one(picture) for picture in inputs[self.given]])]

    def _one(self, picture: np.ndarray) -> np.ndarray:
        layers = {self.given: _laid_out(picture)}
        sizes = {self.given: picture.shape[1:]}
        left = Counter(self.uses)
        spare: dict[tuple[int, ...], list[np.ndarray]] = {}  # layers that are done with; their borders are zero
        with ExitStack() as stack:
            threads = min(self.threads, -(-picture.shape[1] * picture.shape[2] // _FEW))
            run: Callable[..., Iterable[int]] = map if threads <= 1 else \
                stack.enter_context(ThreadPoolExecutor(threads)).map
            for step, panels in zip(self.steps, self.panels, strict=True):
                if step.added:
                    left[step.added] -= 1
                    if not left[step.added]:  # the sum may stand where it stood
                        room = layers[step.added]
                        spare.setdefault((*sizes[step.added], room.shape[2]), []).append(room)
                self._step(step, panels, layers, sizes, spare, run, max(1, threads))
                left[step.source] -= 1
                if not left[step.source]:
                    done = layers.pop(step.source)
                    spare.setdefault((*sizes[step.source], done.shape[2]), []).append(done)
        height, width = sizes[self.wanted]
        last = layers[self.wanted][1 : height + 1, 1 : width + 1, : self.steps[-1].channels]
        return np.ascontiguousarray(last.transpose(2, 0, 1))

    def _step(self, step: _Step, panels: np.ndarray, layers: dict[str, np.ndarray], sizes: dict[str, tuple[int, ...]],
              spare: dict[tuple[int, ...], list[np.ndarray]], run: Callable[..., Iterable[int]], threads: int) -> None:
        source, (height, width) = layers[step.source], sizes[step.source]
        sizes[step.result] = {"cells": (height, width), "down": (height // 2, width // 2),
                              "up": (2 * height, 2 * width)}[step.kind]
        size, added = sizes[step.result], None if step.added is None else layers[step.added]
        room = spare.get((*size, len(step.bias)))
        result = layers[step.result] = room.pop() if room else _zeros(size, len(step.bias))
        about = _Layer(source.ctypes.data, panels.ctypes.data, step.bias.ctypes.data,
                       None if added is None else added.ctypes.data, result.ctypes.data, height, width, source.shape[1],
                       result.shape[1], source.shape[2], result.shape[2], step.rectified)
        rows = {"cells": -(-height // _CELL), "down": height // 2, "up": height}[step.kind]
        function = getattr(NATIVE, f"convolve_{step.kind}")
        parts = min(rows, 4 * threads if threads > 1 else 1)
        ends = [rows * number // parts for number in range(parts + 1)]
        if any(run(lambda first, last: function(about, first, last), ends[:-1], ends[1:])):
            raise MemoryError("no memory for the cells of a layer")


def _zeros(size: tuple[int, ...], channels: int) -> np.ndarray:
    rows, columns = (-(-side // _CELL) * _CELL + 2 for side in size)
    return np.zeros((rows, columns, channels), np.float32)


def _laid_out(picture: np.ndarray) -> np.ndarray:
    """(C, H, W) as a layer of convolve.c."""
    channels, height, width = picture.shape
    layer = _zeros((height, width), -(-channels // 8) * 8)
    layer[1 : height + 1, 1 : width + 1, :channels] = picture.transpose(1, 2, 0)
    return layer


def check_nodes(nodes: Sequence[Node], weights: Mapping[str, np.ndarray], given: str, wanted: str) -> list[_Step]:
    """The steps of `Convolutions`.

    Raises:
        ValueError: see there.
    """
    steps = list(_steps(nodes, weights, {given}))
    if not steps or steps[-1].result != wanted:
        raise ValueError("its output is no convolution")
    return steps


def _steps(nodes: Sequence[Node], weights: Mapping[str, np.ndarray], known: set[str]) -> Iterable[_Step]:
    uses = Counter(name for node in nodes for name in node.inputs)
    channels: dict[str, int] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop(0)
        if node.kind not in ("Conv", "ConvTranspose") or len(node.inputs) != 3 or node.inputs[0] not in known \
                or not set(node.inputs[1:]) <= set(weights):
            raise ValueError(f"it has {node.kind}")
        shape, pads, strides = (tuple(node.attributes.get(name, ())) for name in ("kernel_shape", "pads", "strides"))
        kind = _KINDS.get((node.kind, shape, pads, strides or (1, 1)))
        plain = node.attributes.get("group", 1) == 1 and set(node.attributes.get("dilations", ())) <= {1} \
            and "auto_pad" not in node.attributes and "output_padding" not in node.attributes
        if kind is None or not plain:
            raise ValueError(f"it has {node.kind} of {shape} with the padding {pads}")
        kernel, bias = (weights[name] for name in node.inputs[1:])
        result, added, rectified = node.output, None, False
        while waiting and uses[result] == 1 and result in waiting[0].inputs and not rectified:
            after = waiting[0]
            other = [name for name in after.inputs if name != result]
            if after.kind == "Add" and added is None and len(other) == 1 and other[0] in known and kind != "down":
                added = other[0]
            elif after.kind == "Relu" and kind == "cells":
                rectified = True
            else:
                break
            result = waiting.pop(0).output
        count = kernel.shape[0 if node.kind == "Conv" else 1]
        wide = channels.get(node.inputs[0]) or int(kernel.shape[1 if node.kind == "Conv" else 0])
        inputs = -(-wide // 8) * 8
        outputs = -(-count // _PANEL) * _PANEL
        channels[result] = outputs
        known.add(result)
        yield _Step(kind, node.inputs[0], result, kernel, np.pad(bias, (0, outputs - count)).astype(np.float32), inputs,
                    count, added, rectified)


def _panels(kind: str, kernel: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    """A kernel as convolve.c reads it: (places, outputs / 16, inputs, 16), or (outputs / 16, places, inputs, 16) to
    reduce."""
    if kind == "cells":
        placed = np.einsum("ya,xb,oiab->yxio", _TRANSFORM, _TRANSFORM, kernel.astype(np.float64), optimize=True)
    else:
        placed = kernel.transpose(2, 3, 1, 0) if kind == "down" else kernel.transpose(2, 3, 0, 1)
    placed = placed.reshape(-1, *placed.shape[2:])
    placed = np.pad(placed, ((0, 0), (0, inputs - placed.shape[1]), (0, outputs - placed.shape[2])))
    panels = placed.reshape(len(placed), inputs, outputs // _PANEL, _PANEL)
    return np.ascontiguousarray(panels.transpose((2, 0, 1, 3) if kind == "down" else (0, 2, 1, 3)), np.float32)
