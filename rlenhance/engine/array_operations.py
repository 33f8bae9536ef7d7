"""Operations of ONNX on NumPy arrays.

`evaluate` computes one of them on arrays of any shape, `ArrayGraph` all of a graph; `POINTWISE` has those that act on
every number alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rlenhance.engine.onnx_file import Node

_MOST = 1 << 26  # numbers of an array beside pictures: a few nodes of a foreign graph could ask for any memory
_GROWTH = 64  # how much larger than a picture the arrays on its way may be
_BAND = 1 << 18  # numbers of a band of a convolution, which stay in a core's cache
_DTYPES = {1: np.float32, 7: np.int64}  # of ONNX's TensorProto


def _sigmoid(values: np.ndarray) -> np.ndarray:
    """By the hyperbolic tangent, which NumPy computes in half of the time of an exponential and a quotient."""
    result = np.multiply(values, 0.5, dtype=values.dtype)
    np.tanh(result, out=result)
    result *= 0.5
    result += 0.5
    return result


def _divided(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(one // other if one.dtype.kind == "i" else one / other)


#: What acts on every number alone, by the name of its operation.
POINTWISE: Mapping[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divided,
    "Sigmoid": _sigmoid,
    "Tanh": np.tanh,
    "Relu": lambda values: np.maximum(values, np.zeros((), values.dtype)),
}


def evaluate(node: Node, arrays: Sequence[np.ndarray], most: int = _MOST) -> np.ndarray:
    """The result of an operation.

    Raises:
        ValueError: an operation that is not known, arrays that do not fit it, or a result of more numbers than `most`.
    """
    if node.kind not in POINTWISE and node.kind not in _OPERATIONS:
        raise ValueError(f"it has {node.kind}")
    try:
        if node.kind in POINTWISE:
            count = int(np.prod(np.broadcast_shapes(*(array.shape for array in arrays)), dtype=object))
        else:
            count = int(_SIZES.get(node.kind, lambda about, *arrays: 0)(node.attributes, *arrays))
        if count > most:
            raise ValueError(f"an array of {count:,} numbers")
        if node.kind in POINTWISE:
            return np.asarray(POINTWISE[node.kind](*arrays))
        return np.asarray(_OPERATIONS[node.kind](node.attributes, *arrays))
    except (AttributeError, IndexError, TypeError, KeyError, np.exceptions.AxisError) as error:
        raise ValueError(f"{node.kind} does not fit its arrays") from error


class ArrayGraph:
    """Any graph of such operations, one after the other.

    Args:
        nodes: of the graph, in order.
        weights: by name.

    Raises:
        ValueError: see `evaluate`.
    """

    def __init__(self, nodes: Sequence[Node], weights: Mapping[str, np.ndarray]):
        self.known, self.nodes = dict(weights), list[Node]()
        for node in nodes:
            if set(node.inputs) <= {"", *self.known}:  # it follows from weights alone
                self.known[node.output] = evaluate(node, [self.known[name] for name in node.inputs])
            else:
                self.nodes.append(node)

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The outputs of the inputs, by name.

        Raises:
            KeyError, ValueError: the graph does not fit them.
        """
        found, most = {**self.known, **inputs}, max(_MOST, _GROWTH * max(value.size for value in inputs.values()))
        left = Counter([*(name for node in self.nodes for name in node.inputs), *outputs])
        for node in self.nodes:
            found[node.output] = evaluate(node, [found[name] for name in node.inputs], most)
            for name in node.inputs:
                left[name] -= 1
                if not left[name]:
                    found.pop(name, None)
        return [found[name] for name in outputs]


def _constant(about: Mapping[str, Any]) -> np.ndarray:
    value = about["value"]
    if not isinstance(value, np.ndarray):
        raise ValueError("a constant of another type")
    return value


def _reshape(about: Mapping[str, Any], array: np.ndarray, shape: np.ndarray) -> np.ndarray:
    sides = [array.shape[place] if side == 0 else int(side) for place, side in enumerate(shape)]
    return array.reshape(sides)


def _slice(
    about: Mapping[str, Any],
    array: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> np.ndarray:
    places = [slice(None)] * array.ndim
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        step = 1 if steps is None else int(steps[number])
        places[number if axes is None else int(axes[number])] = slice(int(start), int(end), step)
    return array[tuple(places)]


def _linear(about: Mapping[str, Any], one: np.ndarray, other: np.ndarray, bias: np.ndarray | float = 0) -> np.ndarray:
    if about.get("transA") or about.get("alpha", 1) != 1 or about.get("beta", 1) != 1:
        raise ValueError("a product with factors")
    return np.asarray(one @ (other.T if about.get("transB") else other) + bias)


def _pad(about: Mapping[str, Any], array: np.ndarray, pads: np.ndarray) -> np.ndarray:
    mode = {None: "constant", b"constant": "constant", b"edge": "edge"}[about.get("mode")]
    return np.pad(array, pads.reshape(2, -1).T, mode)  # type: ignore[call-overload]


def _convolution(about: Mapping[str, Any], pictures: np.ndarray, kernel: np.ndarray,
                 bias: np.ndarray | None = None) -> np.ndarray:
    """A product of matrices for each band of rows."""
    groups, (top, left, bottom, right) = _borders(about)
    (down, across), (tall, wide) = about.get("strides", (1, 1)), about.get("dilations", (1, 1))
    reach = tall * (kernel.shape[2] - 1) + 1, wide * (kernel.shape[3] - 1) + 1
    padded = np.pad(pictures, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, reach, (2, 3))[:, :, ::down, ::across, ::tall, ::wide]
    count, _, rows, columns = windows.shape[:4]
    factors = kernel.reshape(groups, len(kernel) // groups, -1)
    result = np.empty((len(kernel), count, rows, columns), np.float32)
    band = max(1, _BAND // max(1, windows[:, :, 0].size))
    for first in range(0, rows, band):
        part = windows[:, :, first : first + band].transpose(1, 4, 5, 0, 2, 3)
        result[:, :, first : first + band] = (factors @ part.reshape(groups, factors.shape[2], -1)).reshape(
            len(kernel), count, -1, columns)
    if bias is not None:
        result += bias[:, None, None, None]
    return result.swapaxes(0, 1)


def _transposed(about: Mapping[str, Any], pictures: np.ndarray, kernel: np.ndarray,
                bias: np.ndarray | float = 0.0) -> np.ndarray:
    """A convolution that enlarges: the products are added at the places where their pixels spread to."""
    groups, (top, left, bottom, right) = _borders(about)
    (down, across), (count, inputs, rows, columns) = about.get("strides", (1, 1)), pictures.shape
    if set(about.get("dilations", ())) - {1}:
        raise ValueError("a convolution that enlarges, with gaps")
    (tall, wide), outputs = kernel.shape[2:], groups * kernel.shape[1]
    height, width = (rows - 1) * down + tall, (columns - 1) * across + wide
    result, source = np.zeros((count, outputs, height, width), np.float32), pictures.reshape(count, groups, -1,
                                                                                             rows * columns)
    for y, x in np.ndindex(tall, wide):
        factors = kernel[:, :, y, x].reshape(groups, inputs // groups, -1).transpose(0, 2, 1)
        result[:, :, y : y + (rows - 1) * down + 1 : down, x : x + (columns - 1) * across + 1 : across] += (
            factors @ source).reshape(count, outputs, rows, columns)
    return np.asarray(result[:, :, top : height - bottom, left : width - right] + np.reshape(bias, (-1, 1, 1)))


def _borders(about: Mapping[str, Any]) -> tuple[int, list[int]]:
    """Groups and padding of a convolution."""
    if not about.keys().isdisjoint(("auto_pad", "output_padding", "output_shape")):
        raise ValueError("a convolution that chooses its padding")
    return int(about.get("group", 1)), list(about.get("pads", (0, 0, 0, 0)))


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Constant": _constant,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Reshape": _reshape,
    "Slice": _slice,
    "Gemm": _linear,
    "Pad": _pad,
    "Cast": lambda about, array: array.astype(_DTYPES[about["to"]]),
    "ConstantOfShape": lambda about, shape: np.full(shape, about["value"].item(), about["value"].dtype),
    "Flatten": lambda about, array: array.reshape(math.prod(array.shape[: about.get("axis", 1)]), -1),
    "MatMul": lambda about, one, other: one @ other,
    "Squeeze": lambda about, array, axes: np.squeeze(array, tuple(int(axis) for axis in axes)),
    "Gather": lambda about, array, places: np.take(array, places, axis=about.get("axis") or 0),
    "Transpose": lambda about, array: array.transpose(about["perm"]),
    "Shape": lambda about, array: np.array(array.shape, np.int64),
    "Concat": lambda about, *arrays: np.concatenate(arrays, axis=about["axis"] or 0),
    "Unsqueeze": lambda about, array, axes: np.expand_dims(array, tuple(int(axis) for axis in axes)),
    "Identity": lambda about, array: array,
}


def _convolved(about: Mapping[str, Any], pictures: np.ndarray, kernel: np.ndarray, *bias: np.ndarray) -> int:
    _, (top, left, bottom, right) = _borders(about)
    count, inputs, height, width = pictures.shape
    return count * max(inputs, len(kernel)) * (height + top + bottom) * (width + left + right)


def _spread(about: Mapping[str, Any], pictures: np.ndarray, kernel: np.ndarray, *bias: np.ndarray) -> int:
    (down, across), (count, _, height, width) = about.get("strides", (1, 1)), pictures.shape
    return int(count * about.get("group", 1) * kernel.shape[1] * (height * down + kernel.shape[2])
               * (width * across + kernel.shape[3]))


#: Numbers of a result that may be larger than what it is made from, at most.
_SIZES: Mapping[str, Callable[..., int]] = {
    "Concat": lambda about, *arrays: sum(array.size for array in arrays),
    "Gather": lambda about, array, places: array.size * max(1, places.size),
    "ConstantOfShape": lambda about, shape: math.prod(int(side) for side in shape),
    "Conv": _convolved,
    "ConvTranspose": _spread,
    "Pad": lambda about, array, pads: math.prod(side + int(more) for side, more in zip(
        array.shape, pads.reshape(2, -1).sum(axis=0), strict=True)),
    "MatMul": lambda about, one, other: one.size * other.size // max(1, one.shape[-1]) ** 2,
}
#: What a graph may compute: the operations of `rlenhance.learning.hub.export`. None of them reads a file, runs another
#: graph, or comes from a library of its own.
OPERATIONS = frozenset((*POINTWISE, *_OPERATIONS))
