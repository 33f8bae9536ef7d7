"""What `rlenhance.engine.convolutions` does with a graph, step by step, found before any picture is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlenhance.engine.array_operations import POINTWISE, evaluate
from rlenhance.engine.onnx_file import Node

#: Pixels along a cell, and channels of a panel; as in convolve.c.
CELL, PANEL = 4, 16
# Kernels before Winograd's products, F(4 x 4, 3 x 3)
_TRANSFORM = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_KINDS = {("Conv", (3, 3), (1, 1, 1, 1), (1, 1)): "cells", ("Conv", (1, 1), (0, 0, 0, 0), (1, 1)): "points",
          ("Conv", (2, 2), (0, 0, 0, 0), (2, 2)): "down", ("ConvTranspose", (2, 2), (0, 0, 0, 0), (2, 2)): "up"}
_UNKNOWN = ("auto_pad", "output_padding")  # attributes of a convolution that are not known


@dataclass(frozen=True)
class Convolution:
    """A convolution with what follows it: the name of a layer that is added, and ReLU.

    Attributes:
        kind: which function of convolve.c.
        source, result: names of layers.
        kernel: (O, I / groups, k, k), or (I, O / groups, k, k) where the result is larger.
        bias: float32, filled up to whole panels.
        groups: of its channels.
        added: name, or None.
        rectified: 0: no ReLU follows; 1: after the sum; 2: before it.
    """

    kind: str
    source: str
    result: str
    kernel: np.ndarray
    bias: np.ndarray
    groups: int
    added: str | None
    rectified: int


@dataclass(frozen=True)
class Pointwise:
    """Operations that act on every pixel alone, one after the other: convolutions of 1 x 1, and functions of numbers.

    Attributes:
        operations: in order.
        sources: names of the layers that they take, each once; they have one size.
        smaller: names of arrays with one number, or one for each channel.
        results: names of the layers that are taken later.
    """

    operations: tuple[Convolution | Node, ...]
    sources: tuple[str, ...]
    smaller: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The steps of a graph.

    Attributes:
        layers: the inputs that are pictures.
        steps: in order.
        later: operations on arrays that are no pictures and that follow from the inputs.
        known: arrays by name: weights, and what follows from them.
        channels: of each layer.
        uses: how often each layer is taken, outputs once more.
    """

    layers: tuple[str, ...]
    steps: tuple[Convolution | Pointwise, ...]
    later: tuple[Node, ...]
    known: Mapping[str, np.ndarray]
    channels: Mapping[str, int]
    uses: Counter[str]

    def small(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All arrays that are no pictures."""
        found = {**self.known, **inputs}
        for node in self.later:
            found[node.output] = evaluate(node, [found[name] for name in node.inputs])
        return found


def plan(nodes: Sequence[Node], weights: Mapping[str, np.ndarray], given: Sequence[str], wanted: Sequence[str]) -> Plan:
    """The steps of a graph.

    Args:
        nodes: of the graph, in order.
        weights: by name.
        given, wanted: names of the inputs and of the outputs.

    Raises:
        ValueError: an operation, or a way to use it, that is not known; an output that is no picture.
    """
    return _Planner(nodes, weights, given, wanted).plan()


class _Planner:
    def __init__(
        self, nodes: Sequence[Node], weights: Mapping[str, np.ndarray], given: Sequence[str], wanted: Sequence[str]
    ):
        self.nodes, self.wanted = nodes, tuple(wanted)
        self.uses = Counter([*(name for node in nodes for name in node.inputs), *wanted])
        seen = {node.inputs[0] for node in nodes if node.kind in ("Conv", "ConvTranspose") and node.inputs}
        self.inputs = tuple(name for name in given if name in seen)
        self.small, self.known = set(given) - seen, dict(weights)
        self.channels: dict[str, int] = {}
        self.later: list[Node] = []
        self.steps: list[Convolution | Pointwise] = []

    def plan(self) -> Plan:
        waiting = list(self._on_pictures())
        while waiting:
            node = waiting.pop(0)
            self.steps.append(self._chain([node], waiting) if _is_pointwise(node) else self._convolution(node, waiting))
        missing = [name for name in self.wanted if name not in self.channels]
        if missing or not any(isinstance(step, Convolution) for step in self.steps):
            raise ValueError("an output is no picture, or no convolution leads to it")
        taken = Counter([name for step in self.steps for name in _taken(step)] + list(self.wanted))
        return Plan(self.inputs, tuple(self.steps), tuple(self.later), self.known, self.channels, taken)

    def _on_pictures(self) -> Iterator[Node]:
        """The operations on pictures; those on other arrays are done now, or kept for when the inputs are there."""
        pictures = set(self.inputs)
        for node in self.nodes:
            if pictures & set(node.inputs):
                if not set(node.inputs) <= pictures | set(self.known) | self.small:
                    raise ValueError(f"{node.kind} takes what is not known")
                pictures.add(node.output)
                yield node
            elif set(node.inputs) <= set(self.known):
                self.known[node.output] = evaluate(node, [self.known[name] for name in node.inputs])
            elif set(node.inputs) <= set(self.known) | self.small:
                self.small.add(node.output)
                self.later.append(node)
            else:
                raise ValueError(f"{node.kind} takes what is not known")

    def _convolution(self, node: Node, waiting: list[Node]) -> Convolution:
        """This convolution, and the sum and ReLU behind it."""
        kind, shape = _kind(node), node.attributes.get("kernel_shape")
        if kind is None or not 2 <= len(node.inputs) <= 3 or not set(node.inputs[1:]) <= set(self.known):
            raise ValueError(f"it has {node.kind} of {shape} with the padding {node.attributes.get('pads')}")
        groups, kernel = int(node.attributes.get("group", 1)), self.known[node.inputs[1]]
        count = len(kernel) if node.kind == "Conv" else groups * kernel.shape[1]
        inputs = groups * kernel.shape[1] if node.kind == "Conv" else len(kernel)
        if self._count(node.inputs[0], inputs) != inputs or list(kernel.shape[2:]) != shape or \
                (groups > 1 and (inputs % (8 * groups) or count % (PANEL * groups))):
            raise ValueError(f"it has {node.kind} of {inputs} channels in {groups} groups")
        bias = self.known[node.inputs[2]] if len(node.inputs) == 3 else np.zeros(count, np.float32)
        if bias.shape != (count,):
            raise ValueError(f"it has {node.kind} with a bias of the shape {bias.shape}")
        result, added, rectified = node.output, None, 0
        while kind != "points" and waiting and self.uses[result] == 1 and result in waiting[0].inputs:
            after = waiting[0]
            other = [name for name in after.inputs if name != result]
            if after.kind == "Add" and added is None and len(other) == 1 and kind != "down" \
                    and self.channels.get(other[0]) == count and (other[0] not in self.inputs or not count % PANEL):
                added, rectified = other[0], 2 * rectified
            elif after.kind == "Relu" and kind == "cells" and not rectified:
                rectified = 1
            else:
                break
            result = waiting.pop(0).output
        self.channels[result] = count
        filled = np.pad(bias, (0, -count % PANEL)).astype(np.float32)
        return Convolution(kind, node.inputs[0], result, kernel, filled, groups, added, rectified)

    def _count(self, name: str, otherwise: int) -> int:
        """Channels of a layer; of an input those that are first asked for."""
        return self.channels.setdefault(name, otherwise) if name in self.inputs else self.channels.get(name, 0)

    def _chain(self, nodes: list[Node], waiting: list[Node]) -> Pointwise:
        """Operations on every pixel alone that follow each other."""
        while waiting and _is_pointwise(waiting[0]):
            nodes.append(waiting.pop(0))
        operations: list[Convolution | Node] = []
        for node in nodes:
            if node.kind in POINTWISE:
                counts = {self.channels[name] for name in node.inputs if name in self.channels}
                if len(counts) != 1 or set(node.inputs) & (set(self.inputs) - set(self.channels)):
                    raise ValueError(f"it has {node.kind} of pictures that differ")
                self.channels[node.output] = counts.pop()
                operations.append(node)
            else:
                operations.append(self._convolution(node, []))
        made = {node.output for node in nodes}
        taken = Counter(name for node in nodes for name in node.inputs)
        sources = tuple(name for name in taken if name not in made and name in self.channels)
        smaller = tuple(name for node in nodes if node.kind in POINTWISE for name in node.inputs
                        if name not in self.channels)
        return Pointwise(tuple(operations), sources, smaller,
                         tuple(node.output for node in nodes if self.uses[node.output] > taken[node.output]))


def _kind(node: Node) -> str | None:
    """Which function of convolve.c computes a convolution; None: none does."""
    shape, pads, strides = (tuple(node.attributes.get(name, ())) for name in ("kernel_shape", "pads", "strides"))
    plain = set(node.attributes.get("dilations", ())) <= {1} and node.attributes.keys().isdisjoint(_UNKNOWN)
    return _KINDS.get((node.kind, shape, pads, strides or (1, 1))) if plain else None


def _is_pointwise(node: Node) -> bool:
    return node.kind in POINTWISE or _kind(node) == "points"


def _taken(step: Convolution | Pointwise) -> list[str]:
    if isinstance(step, Pointwise):
        return list(step.sources)
    return [name for name in (step.source, step.added) if name]


def panels_of(step: Convolution) -> np.ndarray:
    """A kernel as convolve.c reads it: (places, outputs / 16, depth, 16); to reduce, (outputs / 16, places, depth, 16).

    The depth is that of a group; but for kernels of 1 x 1 it is filled up to whole vectors of eight.
    """
    kernel = step.kernel
    if step.kind == "cells":
        placed = np.einsum("ya,xb,oiab->yxio", _TRANSFORM, _TRANSFORM, kernel.astype(np.float64), optimize=True)
    elif step.kind == "up":  # (I, O / groups, 2, 2)
        parts = kernel.reshape(step.groups, -1, *kernel.shape[1:]).transpose(3, 4, 1, 0, 2)
        placed = parts.reshape(*parts.shape[:3], -1)
    else:
        placed = kernel.transpose(2, 3, 1, 0)
    placed = placed.reshape(-1, *placed.shape[2:])
    missing = 0 if step.kind == "points" else -placed.shape[1] % 8
    placed = np.pad(placed, ((0, 0), (0, missing), (0, len(step.bias) - placed.shape[2])))
    panels = placed.reshape(*placed.shape[:2], -1, PANEL)
    return np.ascontiguousarray(panels.transpose((2, 0, 1, 3) if step.kind == "down" else (0, 2, 1, 3)), np.float32)
