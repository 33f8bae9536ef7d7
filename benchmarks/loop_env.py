"""The environment once more, as one would write it first: one picture at a time, in NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.curve import CurveActions
from rlenhance.learning.rewards import RewardWeights
from rlenhance.learning.rewards.terms import CELLS, REGIONS

_STATE_TERMS = ("exposure", "local_exposure", "clipping", "contrast")
_ACTION_TERMS = ("smoothness", "effort", "steadiness")
_EDGE, _DARK = np.float32(1 - 1e-6), np.float32(0.02)


@dataclass
class LoopStep:
    """What one step gives.

    Attributes:
        observation: `image` (3, H, W), float32 in [0, 1], and `remaining` (1,), the share of the horizon that is left.
        reward: of the picture; `reward_map` (H, W) says where.
        terms: name -> unweighted term at its natural size, (h, w).
        terminated: the horizon is reached.
    """

    observation: dict[str, np.ndarray]
    reward: float
    reward_map: np.ndarray
    terms: dict[str, np.ndarray]
    terminated: bool


@dataclass
class LoopEnv:
    """The curve environment for one picture, with the default reward's terms; the measure for `envs.PixelEnv`.

    It computes only what has a weight, keeps what stays the same during an episode, and takes the cost of a state from
    the step before.

    Args:
        actions: luminance or coupled curves, continuous or categorical.
        weights: only terms of the default reward may count.
        horizon: steps of an episode.

    Raises:
        UsageError: another curve, or a term that it does not know.
    """

    actions: CurveActions
    weights: RewardWeights
    horizon: int = 8
    level: float = 0.0
    _costs: dict[str, np.ndarray] = field(default_factory=dict)
    _previous: np.ndarray | None = None
    _steps: int = 0

    def __post_init__(self) -> None:
        self._active = self.weights.active
        unknown = set(self._active) - {*_STATE_TERMS, *_ACTION_TERMS}
        if unknown or self.actions.channels == "chroma":
            raise UsageError(f"the loop knows luminance and coupled curves and the default terms; got "
                             f"{self.actions.channels} curves and {', '.join(sorted(unknown)) or 'known terms'}")

    def reset(self, image: np.ndarray, level: float) -> dict[str, np.ndarray]:
        """Begin with a picture (3, H, W), float32 in [0, 1], and the asked exposure level.

        Raises:
            UsageError: its sides are not multiples of 16 pixels.
        """
        if image.ndim != 3 or any(side % CELLS for side in image.shape[1:]):
            raise UsageError(f"the loop takes one picture (3, H, W) with sides that are multiples of {CELLS}; "
                             f"got {image.shape}")
        self.image, self.level, self._steps = image, level, 0
        self._initial_clipped, self._initial_steps = _clipped(image), _log_steps(brightness(image))
        self._costs, self._previous = self._state_costs(image), None
        return self._observe()

    def step(self, action: Mapping[str, np.ndarray]) -> LoopStep:
        """One step of all agents; per scope (heads, h, w), numbers in [-1, 1] or indices."""
        magnitude = self.magnitude(action)
        size = self.image.shape[1:]
        bend = magnitude if magnitude.shape[1:] in (size, (1, 1)) else interpolated(magnitude, size)
        if self.actions.momentum:
            bend = (1 - self.actions.momentum) * bend
        self.image = self.image + bend * (self.image * (1 - self.image))
        before, self._costs = self._costs, self._state_costs(self.image)
        previous = magnitude if self._previous is None else self._previous
        terms, reward, reward_map = {}, 0.0, np.zeros(size, np.float32)
        for name, weight in self._active.items():
            term = terms[name] = -_action_cost(name, magnitude, previous) if name in _ACTION_TERMS \
                else before[name] - self._costs[name]
            reward += weight * float(term.mean())
            reward_map += enlarged(weight * term, size)
        self._previous = magnitude
        self._steps += 1
        return LoopStep(self._observe(), reward, reward_map, terms, self._steps >= self.horizon)

    def magnitude(self, action: Mapping[str, np.ndarray]) -> np.ndarray:
        """A of every agent: (1, h, w) or (3, h, w)."""
        curve = self.actions
        normal = {scope: self._normal(entry) for scope, entry in action.items()}
        if len(normal) == 1:
            squashed = next(iter(normal.values()))
        else:
            local = np.arctanh(normal["local"].clip(-_EDGE, _EDGE))
            common = np.arctanh(normal["global"].clip(-_EDGE, _EDGE))
            squashed = np.tanh(common + local - local.mean(axis=(1, 2), keepdims=True))
        own = (curve.low + curve.high) / 2 + (curve.high - curve.low) / 2 * squashed
        return own if curve.channels == "luminance" else \
            curve.coupling * own + (1 - curve.coupling) * own[curve.lead_channel]

    def _normal(self, entry: np.ndarray) -> np.ndarray:
        if self.actions.num_choices is None:
            return entry.clip(-1, 1)
        return entry.astype(np.float32) * np.float32(2 / (self.actions.num_choices - 1)) - 1

    def _observe(self) -> dict[str, np.ndarray]:
        return {"image": self.image.copy(), "remaining": np.array([1 - self._steps / self.horizon], np.float32)}

    def _state_costs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        light, costs = brightness(image), {}
        for name in _STATE_TERMS:
            if name not in self._active:
                continue
            if name == "exposure":
                middle = (light.size - 1) // 2
                median = np.partition(light.ravel(), middle)[middle]
                exposure = (0.5 * np.minimum(light, 0.75).mean() + 0.5 * median) / 0.93
                costs[name] = np.abs(exposure - self.level).reshape(1, 1)
            elif name == "local_exposure":
                costs[name] = np.maximum(np.abs(area_means(light, (REGIONS, REGIONS)) - self.level) - 0.25, 0)
            elif name == "clipping":
                costs[name] = np.maximum(_clipped(image) - self._initial_clipped, 0)
            else:
                costs[name] = sum(np.maximum(0.5 * np.abs(was) - np.sign(was) * now, 0)
                                  for now, was in zip(_log_steps(light), self._initial_steps, strict=True))
        return costs


def brightness(image: np.ndarray) -> np.ndarray:
    """Mean of the channels: (3, H, W) -> (H, W)."""
    return (image[0] + image[1] + image[2]) / 3


def interpolated(agents: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The numbers of agents between their centres, bilinearly: (C, h, w) -> (C, *size)."""
    down, across = (_between(pixels, count) for pixels, count in zip(size, agents.shape[1:], strict=True))
    return down @ agents @ across.T


@lru_cache(maxsize=32)
def _between(pixels: int, agents: int) -> np.ndarray:
    """Linear interpolation along one side, as a matrix: (pixels, agents)."""
    place = ((np.arange(pixels) + 0.5) * agents / pixels - 0.5).clip(0, agents - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(agents)), 0).astype(np.float32)


def area_means(light: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Means over regions whose sizes divide: (H, W) -> (h, w)."""
    down, across = (_averages(pixels, count) for pixels, count in zip(light.shape, size, strict=True))
    return down @ light @ across.T


@lru_cache(maxsize=32)
def _averages(pixels: int, count: int) -> np.ndarray:
    """Means of neighbours along one side, as a matrix: (count, pixels)."""
    return np.repeat(np.eye(count, dtype=np.float32) * (count / pixels), pixels // count, axis=1)


def enlarged(value: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A map (h, w) whose cells are repeated: (H, W); a single cell stays (1, 1)."""
    if value.shape in (tuple(size), (1, 1)):
        return value
    return value.repeat(size[0] // value.shape[0], axis=0).repeat(size[1] // value.shape[1], axis=1)


def _clipped(image: np.ndarray) -> np.ndarray:
    top = np.maximum(np.maximum(image[0], image[1]), image[2])
    return ((top - 0.95) / 0.05).clip(0, 1) + ((_DARK - top) / _DARK).clip(0, 1)


def _log_steps(light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _differences(np.log(area_means(light, (CELLS, CELLS)) + _DARK))


def _differences(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To the right and down, zero at the far border."""
    right, down = np.zeros_like(maps), np.zeros_like(maps)
    right[..., :-1] = maps[..., 1:] - maps[..., :-1]
    down[..., :-1, :] = maps[..., 1:, :] - maps[..., :-1, :]
    return right, down


def _action_cost(name: str, magnitude: np.ndarray, previous: np.ndarray) -> np.ndarray:
    if name == "effort":
        return (magnitude**2).sum(axis=0)
    if name == "steadiness":
        return ((magnitude - previous) ** 2).sum(axis=0)
    right, down = _differences(magnitude)
    return (np.abs(right) + np.abs(down)).sum(axis=0)
