"""Operations of ONNX on NumPy arrays: those that stand beside the convolutions of an exported graph.

`evaluate` computes one of them on arrays of any shape; `POINTWISE` has those that act on every number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlenhance.engine.onnx_file import Node

_MOST = 1 << 26  # numbers of an array: a few nodes of a foreign graph could ask for any memory


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


def evaluate(node: Node, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The result of an operation.

    Raises:
        ValueError: an operation that is not known, arrays that do not fit it, or a result of more than 2^26 numbers.
    """
    if node.kind in POINTWISE:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        _check_size(int(np.prod(shape, dtype=object)))
        return np.asarray(POINTWISE[node.kind](*arrays))
    if node.kind not in _OPERATIONS:
        raise ValueError(f"it has {node.kind}")
    try:
        if node.kind in ("Concat", "Gather"):  # what may be larger than what it takes
            _check_size(sum(array.size for array in arrays) if node.kind == "Concat" else
                        arrays[0].size * max(1, arrays[1].size))
        return np.asarray(_OPERATIONS[node.kind](node.attributes, *arrays))
    except (IndexError, TypeError, KeyError, np.exceptions.AxisError) as error:
        raise ValueError(f"{node.kind} does not fit its arrays") from error


def _check_size(count: int) -> None:
    if count > _MOST:
        raise ValueError(f"an array of {count:,} numbers")


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
        if step < 1:
            raise ValueError("a slice that runs backwards")
        places[number if axes is None else int(axes[number])] = slice(int(start), int(end), step)
    return array[tuple(places)]


def _linear(about: Mapping[str, Any], one: np.ndarray, other: np.ndarray, bias: np.ndarray | float = 0) -> np.ndarray:
    if about.get("transA") or about.get("alpha", 1) != 1 or about.get("beta", 1) != 1:
        raise ValueError("a product with factors")
    return np.asarray(one @ (other.T if about.get("transB") else other) + bias)


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Constant": _constant,
    "Reshape": _reshape,
    "Slice": _slice,
    "Gemm": _linear,
    "Gather": lambda about, array, places: np.take(array, places, axis=about.get("axis") or 0),
    "Transpose": lambda about, array: array.transpose(about["perm"]),
    "Shape": lambda about, array: np.array(array.shape, np.int64),
    "Concat": lambda about, *arrays: np.concatenate(arrays, axis=about["axis"]),
    "Unsqueeze": lambda about, array, axes: np.expand_dims(array, tuple(int(axis) for axis in axes)),
    "Identity": lambda about, array: array,
}
