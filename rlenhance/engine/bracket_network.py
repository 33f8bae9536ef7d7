"""The planner of `rlenhance bracket` without torch: what each exposure that may follow is worth."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.engine.array_network import ArrayNetwork
from rlenhance.ops.bracket import NUM_OBSERVED, PLACES, VALUE_SCALE

_LAYERS = 3


class BracketNetwork(ArrayNetwork):
    """`rlenhance.learning.models.BracketValues` for arrays.

    Args:
        spec: of the model, as config.json has it.
        weights: its state dict.

    Raises:
        UsageError: weights that do not fit the spec.
    """

    def __init__(self, spec: Mapping[str, Any], weights: Mapping[str, np.ndarray]):
        width, heads = int(spec.get("width", 128)), int(spec.get("heads", 4))
        sizes = (NUM_OBSERVED, width, width, PLACES + 1)
        shapes: dict[str, tuple[int, ...]] = {"mean": sizes[:1], "deviation": sizes[:1], "level": ()}
        for number, (inputs, outputs) in enumerate(pairwise(sizes)):
            shapes |= {f"weights.{number}": (heads, inputs, outputs), f"biases.{number}": (heads, 1, outputs)}
        for name, shape in shapes.items():
            seen = weights.get(name)
            if seen is None or seen.shape != shape:
                raise UsageError(f"weights and config do not fit together (the weight {name} has the shape "
                                 f"{'none' if seen is None else list(seen.shape)}, and {list(shape)} by the config)")
        self._mean, self._deviation, self._level = weights["mean"], weights["deviation"], float(weights["level"])
        self._layers = [(weights[f"weights.{number}"], weights[f"biases.{number}"]) for number in range(_LAYERS)]

    def values(self, observation: np.ndarray) -> np.ndarray:
        """The value of each place of a bracket in dB, and last that of stopping: (NUM_OBSERVED,) -> (PLACES + 1,).

        Those of places that are not offered mean nothing.

        Args:
            observation: of `rlenhance.ops.bracket.observe`; (N, NUM_OBSERVED) gives (N, PLACES + 1).
        """
        found = np.atleast_2d((observation - self._mean) / self._deviation).clip(-5, 5)
        for number, (weight, bias) in enumerate(self._layers):
            found = found @ weight + bias
            if number + 1 < _LAYERS:
                found = np.maximum(found, 0)
        values: np.ndarray = self._level + VALUE_SCALE * found.mean(axis=0)
        return values.reshape(*observation.shape[:-1], -1)
