"""The environment once more, as one would write it first: one picture at a time, NumPy and OpenCV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from rlenhance.actions.curve import CurveActions
from rlenhance.core.errors import UsageError
from rlenhance.rewards import RewardWeights
from rlenhance.rewards.terms import CELLS, REGIONS

_STATE_TERMS = ("exposure", "local_exposure", "clipping", "contrast")
_ACTION_TERMS = ("smoothness", "effort", "steadiness")
_EDGE, _DARK = np.float32(1 - 1e-6), np.float32(0.02)


@dataclass
class LoopStep:
    """What one step gives.

    Attributes:
        image: (H, W, 3), float32 in [0, 1].
        reward: of the picture; `reward_map` (H, W) says where.
        terms: name -> unweighted term at its natural size, (h, w).
        strength: A of every agent, (h, w, C).
    """

    image: np.ndarray
    reward: float
    reward_map: np.ndarray
    terms: dict[str, np.ndarray]
    strength: np.ndarray


@dataclass
class LoopEnv:
    """The curve environment for one picture, with the default reward's terms; the measure for `envs.PixelEnv`.

    Args:
        actions: luminance or coupled curves, continuous or categorical.
        weights: only terms of the default reward may count.

    Raises:
        UsageError: another curve, or a term that it does not know.
    """

    actions: CurveActions
    weights: RewardWeights
    level: float = 0.0
    _costs: dict[str, np.ndarray] = field(default_factory=dict)
    _previous: np.ndarray | None = None

    def __post_init__(self) -> None:
        unknown = set(self.weights.active) - {*_STATE_TERMS, *_ACTION_TERMS}
        if unknown or self.actions.channels == "chroma":
            raise UsageError(f"the loop knows luminance and coupled curves and the default terms; got "
                             f"{self.actions.channels} curves and {', '.join(sorted(unknown)) or 'known terms'}")

    def reset(self, image: np.ndarray, level: float) -> np.ndarray:
        """Begin with a picture (H, W, 3), float32 in [0, 1], and the asked exposure level.

        Raises:
            UsageError: its sides are not multiples of 16 pixels.
        """
        if image.ndim != 3 or any(side % CELLS for side in image.shape[:2]):
            raise UsageError(f"the loop takes one picture (H, W, 3) with sides that are multiples of {CELLS}; "
                             f"got {image.shape}")
        self.image, self.level = image, level
        self._origin_clipped, self._origin_steps = _clipped(image), _log_steps(image)
        self._costs, self._previous = {name: self._cost(name, image) for name in _STATE_TERMS}, None
        return image

    def step(self, action: Mapping[str, np.ndarray]) -> LoopStep:
        """One step of all agents; per level (heads, h, w), numbers in [-1, 1] or indices."""
        strength = self.strength(action)
        bend = strength
        if bend.shape[:2] not in (self.image.shape[:2], (1, 1)):
            bend = _channels(cv2.resize(bend, self.image.shape[1::-1], interpolation=cv2.INTER_LINEAR))
        self.image = self.image + (1 - self.actions.momentum) * bend * (self.image * (1 - self.image))
        terms, reward = {}, 0.0
        reward_map = np.zeros(self.image.shape[:2], np.float32)
        previous = strength if self._previous is None else self._previous
        for name, weight in self.weights.active.items():
            if name in _ACTION_TERMS:
                terms[name] = -_action_cost(name, strength, previous)
            else:
                cost = self._cost(name, self.image)
                terms[name], self._costs[name] = self._costs[name] - cost, cost
            reward += weight * float(terms[name].mean())
            reward_map += weight * resized(terms[name], self.image.shape[:2])
        self._previous = strength
        return LoopStep(self.image, reward, reward_map, terms, strength)

    def strength(self, action: Mapping[str, np.ndarray]) -> np.ndarray:
        """A of every agent: (h, w, 1) or (h, w, 3)."""
        curve = self.actions
        bent = {level: self._normal(entry).transpose(1, 2, 0) for level, entry in action.items()}
        if len(bent) == 1:
            normal = next(iter(bent.values()))
        else:
            local = np.arctanh(bent["local"].clip(-_EDGE, _EDGE))
            normal = np.tanh(np.arctanh(bent["global"].clip(-_EDGE, _EDGE)) + local - local.mean(axis=(0, 1)))
        own = (curve.low + curve.high) / 2 + (curve.high - curve.low) / 2 * normal
        if curve.channels == "luminance":
            return own.astype(np.float32)
        return (curve.coupling * own + (1 - curve.coupling) * own[..., curve.lead_channel, None]).astype(np.float32)

    def _normal(self, entry: np.ndarray) -> np.ndarray:
        if self.actions.num_choices is None:
            return entry.clip(-1, 1)
        return entry.astype(np.float32) * np.float32(2 / (self.actions.num_choices - 1)) - 1

    def _cost(self, name: str, image: np.ndarray) -> np.ndarray:
        if name == "exposure":
            level = image.mean(axis=2).ravel()
            median = np.partition(level, (level.size - 1) // 2)[(level.size - 1) // 2]
            exposure = (0.5 * np.minimum(level, 0.75).mean() + 0.5 * median) / 0.93
            return np.abs(exposure - self.level, dtype=np.float32).reshape(1, 1)
        if name == "local_exposure":
            regions = resized(image.mean(axis=2), (REGIONS, REGIONS))
            return np.maximum(np.abs(regions - self.level) - 0.25, 0)
        if name == "clipping":
            return np.maximum(_clipped(image) - self._origin_clipped, 0)
        return sum(np.maximum(0.5 * np.abs(was) - np.sign(was) * now, 0)
                   for now, was in zip(_log_steps(image), self._origin_steps, strict=True))


def resized(value: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) at another size: areas are averaged, cells repeated."""
    if value.shape == size:
        return value
    if value.shape[0] > size[0]:
        return cv2.resize(value, size[::-1], interpolation=cv2.INTER_AREA)
    return np.repeat(np.repeat(value, size[0] // value.shape[0], axis=0), size[1] // value.shape[1], axis=1)


def _channels(image: np.ndarray) -> np.ndarray:
    """OpenCV drops a single channel."""
    return image if image.ndim == 3 else image[..., None]


def _clipped(image: np.ndarray) -> np.ndarray:
    top = image.max(axis=2)
    return ((top - 0.95) / 0.05).clip(0, 1) + ((_DARK - top) / _DARK).clip(0, 1)


def _log_steps(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    level = np.log(resized(image.mean(axis=2), (CELLS, CELLS)) + _DARK)
    right, down = np.zeros_like(level), np.zeros_like(level)
    right[:, :-1] = level[:, 1:] - level[:, :-1]
    down[:-1] = level[1:] - level[:-1]
    return right, down


def _action_cost(name: str, strength: np.ndarray, previous: np.ndarray) -> np.ndarray:
    if name == "effort":
        return (strength**2).sum(axis=2)
    if name == "steadiness":
        return ((strength - previous) ** 2).sum(axis=2)
    total = np.zeros_like(strength)
    total[:, :-1] += np.abs(strength[:, 1:] - strength[:, :-1])
    total[:-1] += np.abs(strength[1:] - strength[:-1])
    return total.sum(axis=2)
