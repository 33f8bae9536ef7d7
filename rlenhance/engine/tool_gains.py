"""The planner of `rlenhance restore` without torch: what each tool would gain on a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes
from rlenhance.engine.array_network import ArrayNetwork
from rlenhance.ops.damage_statistics import COLOR_STEP, GREY, NUM_STATISTICS, damage_statistics

_LAYERS = (0, 2, 4)  # places of the linear layers in a perceptron


class ToolGains(ArrayNetwork):
    """`rlenhance.learning.models.ToolGains` for arrays.

    Args:
        spec: of the model, as config.json has it.
        weights: its state dict.

    Attributes:
        tools: names of the tools.
        in_decibels, predicts: scores are predicted gains in dB.

    Raises:
        UsageError: weights that do not fit the spec.
    """

    plans = in_decibels = predicts = True

    def __init__(self, spec: Mapping[str, Any], weights: Mapping[str, np.ndarray]):
        self.tools = tuple(spec["tools"])
        self._colour = _Perceptrons(weights, "", spec, len(self.tools))
        self._grey = _Perceptrons(weights, "grey.", spec, len(self.tools)) if spec.get("grey") else None

    def scores(self, planes: np.ndarray, done: Sequence[str] = (), left: float = 1.0) -> np.ndarray:
        """The gain of each tool in dB: (N, 3, H, W) -> (N, len(tools)), whatever was done before."""
        return self.assess(planes)[0]

    def assess(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gain of each tool (N, len(tools)) and the picture's own PSNR (N,), both in dB.

        Args:
            planes: (N, 3, H, W) float32 in [0, 1].

        Raises:
            UsageError: not pictures.
        """
        seen = damage_statistics(check_planes(planes))
        found = self._colour(seen)
        if self._grey is not None:
            found = np.where(seen[:, COLOR_STEP, None] < GREY, self._grey(seen), found)
        return found[:, :-1], 10 * found[:, -1]


class _Perceptrons:
    """Several perceptrons, whose predictions are averaged: (N, NUM_STATISTICS) -> (N, tools + 1)."""

    def __init__(self, weights: Mapping[str, np.ndarray], prefix: str, spec: Mapping[str, Any], tools: int):
        width, sides = int(spec.get("width", 64)), dict[str, tuple[int, ...]]()
        sizes = NUM_STATISTICS, width, width, tools + 1
        for head in range(int(spec.get("heads", 4))):
            for layer, inputs, outputs in zip(_LAYERS, sizes, sizes[1:], strict=False):
                sides |= {f"heads.{head}.{layer}.weight": (outputs, inputs), f"heads.{head}.{layer}.bias": (outputs,)}
        for name, shape in {"mean": (NUM_STATISTICS,), "deviation": (NUM_STATISTICS,), **sides}.items():
            seen = weights.get(prefix + name)
            if seen is None or seen.shape != shape:
                raise UsageError(f"weights and config do not fit together (the weight {prefix}{name} has the shape "
                                 f"{'none' if seen is None else list(seen.shape)}, and {list(shape)} by the config)")
        self.mean, self.deviation = weights[f"{prefix}mean"], weights[f"{prefix}deviation"]
        names = [[f"{prefix}heads.{head}.{layer}" for layer in _LAYERS] for head in range(int(spec.get("heads", 4)))]
        self.heads = [[(weights[f"{name}.weight"].T, weights[f"{name}.bias"]) for name in head] for head in names]

    def __call__(self, statistics: np.ndarray) -> np.ndarray:
        scaled = ((statistics - self.mean) / self.deviation).clip(-5, 5)
        found = []
        for first, second, last in self.heads:
            hidden = np.maximum(scaled @ first[0] + first[1], 0)
            hidden = np.maximum(hidden @ second[0] + second[1], 0)
            found.append(hidden @ last[0] + last[1])
        return np.asarray(np.mean(found, axis=0))
