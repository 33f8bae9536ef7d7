"""Greedy episodes of a small policy on one picture, in NumPy.

On 64 pixels, calling a layer of the compact backbone in torch costs ten times its arithmetic. Tests compare the actions
with those of `PixelPolicy.act` (within 1e-5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from rlenhance.core import ArrayAction
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import pad_planes, resize_planes, to_pixels, to_planes
from rlenhance.core.preferences import PreferenceRanges
from rlenhance.engine.array_network import ArrayPolicy
from rlenhance.engine.edits import EDITS, Edits, attenuate_local
from rlenhance.engine.render import AxisWeights, Renderer
from rlenhance.ops.plane_statistics import (
    DEFAULT_EXPOSURE,
    STATISTICS,
    auto_exposure,
    noise_deviation,
    picture_statistics,
)

_HIDDEN = 32  # units of the head of the global agent
_ARGUMENTS = {"name", "actions", "backbone", "horizon", "decision_size", "preferences", "auto", "uses_mask",
              "initial_strength", "std_mode", "sees_initial_image", "log_bins"}
_BACKBONE = {"channels", "context", "width", "stride", "dilations"}
_AUTO = {"exposure_level": lambda planes: auto_exposure(planes).item(),
         "noise": lambda planes: 255 * noise_deviation(planes).item()}


class CompactPolicy:
    """A `PixelPolicy` on a compact backbone with a decision size.

    Args:
        spec: of the policy, as config.json has it.
        weights: its state dict.

    Attributes:
        preferences: the choices of the user.
        horizon: steps of an episode.
        decision_size: side in pixels of the picture on which episodes run.
    """

    def __init__(self, spec: Mapping[str, Any], weights: Mapping[str, np.ndarray]):
        actions = dict(spec["actions"])
        self.edits = EDITS[actions.pop("name")](**actions)
        ranges = spec.get("preferences") or {}
        self.preferences = PreferenceRanges({name: tuple(span) for name, span in ranges.items()},
                                            tuple(spec.get("auto", ())))
        self.horizon, self.decision_size = int(spec.get("horizon", 8)), int(spec.get("decision_size", 64))
        self.log_bins, backbone = int(spec.get("log_bins", 0)), spec["backbone"]
        self.stride, dilations = int(backbone.get("stride", 8)), backbone.get("dilations", (1, 2, 1))
        self._check(weights, int(backbone.get("width", 32)), len(dilations))
        self.stem = _Convolution(weights, "backbone.stem")
        self.blocks = [_Convolution(weights, f"backbone.blocks.{number}", dilation)
                       for number, dilation in enumerate(dilations)]
        self.films = [tuple(weights[f"backbone.films.{number}.linear.{part}"] for part in ("weight", "bias"))
                      for number in range(len(dilations))]
        self.heads = {scope: [_Convolution(weights, f"heads.{scope}.{layer}") for layer in (0, 2)]
                      if scope == "global" else [_Convolution(weights, f"heads.{scope}")]
                      for scope in self.edits.scopes}

    @staticmethod
    def supports(spec: Mapping[str, Any]) -> bool:
        """Whether the policy of a config.json is one that this class computes as torch does."""
        actions, backbone = dict(spec.get("actions") or {}), dict(spec.get("backbone") or {})
        name, kind = actions.pop("name", None), backbone.pop("name", None)
        if spec.get("name") != "pixel_policy" or name not in EDITS or not EDITS[name].supports(actions) \
                or kind != "compact" or not set(spec) <= _ARGUMENTS or not set(backbone) <= _BACKBONE \
                or spec.get("uses_mask") or spec.get("sees_initial_image") \
                or spec.get("std_mode", "scheduled") != "scheduled" or not spec.get("decision_size", 64):
            return False
        edits, size, stride = EDITS[name](**actions), spec.get("decision_size", 64), backbone.get("stride", 8)
        grid = (-(-size // stride),) * 2
        return size <= 32 * stride and all(scope == "global" or edits.agent_grid(scope, size, size) == grid
                                           for scope in edits.scopes)

    def _check(self, weights: Mapping[str, np.ndarray], width: int, blocks: int) -> None:
        """Compare the shapes of the weights with the spec's.

        Raises:
            UsageError: a weight is missing, or has another shape.
        """
        context = len(self.preferences) + 1 + STATISTICS + self.log_bins
        wanted: dict[str, tuple[int, ...]] = {"backbone.stem": (width, 3 * self.stride**2, 1, 1)}
        for number in range(blocks):
            wanted[f"backbone.blocks.{number}"] = (width, width, 3, 3)
            wanted[f"backbone.films.{number}.linear"] = (2 * width, context)
        if "global" in self.edits.scopes:
            wanted |= {"heads.global.0": (_HIDDEN, width + context, 1, 1),
                       "heads.global.2": (self.edits.action_dim, _HIDDEN, 1, 1)}
        if "local" in self.edits.scopes:
            wanted["heads.local"] = (self.edits.action_dim, width, 3, 3)
        for name, shape in wanted.items():
            for part, size in (("weight", shape), ("bias", shape[:1])):
                seen = weights.get(f"{name}.{part}")
                if seen is None or seen.shape != size:
                    raise UsageError(f"weights and config do not fit together (the weight {name}.{part} has the shape "
                                     f"{'none' if seen is None else list(seen.shape)}, and {list(size)} by the config)")

    def encode(self, small: np.ndarray, preference: Mapping[str, float | None] | None = None) -> np.ndarray:
        """The choices for a picture at the decision size, (3, h, w): (P,), with automatic ones set.

        Raises:
            UsageError: an unknown preference, or one outside its range.
        """
        row, names = self.preferences.row(preference), list(self.preferences.ranges)
        for name in self.preferences.auto:
            if self.preferences.is_automatic(row, name):
                row[names.index(name)] = self.preferences.scaled(name, _AUTO[name](small))
        return row

    def decide(self, small: np.ndarray, row: np.ndarray, steps: int, local: bool = True) -> list[ArrayAction]:
        """The actions of an episode on (3, h, w), for `encode`'s row: (1, C, h, w) of each scope."""
        return self.run(small, row, steps, local)[0]

    def run(self, small: np.ndarray, row: np.ndarray, steps: int,
            local: bool = True) -> tuple[list[ArrayAction], np.ndarray]:
        """`decide`, and the last picture."""
        now, guide = small, self.edits.guide(small)
        chosen: list[ArrayAction] = []
        for step in range(steps):
            action: ArrayAction = self.act(now, row, 1 - step / self.horizon)
            if not local and "local" in action:  # equal local agents change nothing: their mean is subtracted
                action = {**action, "local": np.zeros_like(action["local"])}
            action = attenuate_local(action, self.preferences.value(row, "smoothness"))
            chosen.append(action)
            now = self._edited(now, action, guide)
        return chosen, now

    def act(self, planes: np.ndarray, row: np.ndarray, remaining: float) -> dict[str, np.ndarray]:
        """The greedy action for (3, h, w), the row of `encode` and the share of the horizon that is left."""
        level = self.preferences.value(row, "exposure_level")
        auto = self.preferences.is_automatic(row, "exposure_level") \
            if "exposure_level" in self.preferences.auto else None
        statistics = picture_statistics(planes, DEFAULT_EXPOSURE if level is None else level, auto, self.log_bins)
        context = np.concatenate([self.preferences.seen(row), np.array([remaining], np.float32), statistics])
        cells = pad_planes(planes[None], self.stride)[0]
        height, width = (side // self.stride for side in cells.shape[1:])
        cells = cells.reshape(3, height, self.stride, width, self.stride).transpose(0, 2, 4, 1, 3)
        features = self.stem(cells.reshape(-1, height, width))
        for block, (weight, bias) in zip(self.blocks, self.films, strict=True):
            scale, shift = (weight @ context + bias).reshape(2, -1, 1, 1)
            change = block(features)
            change *= 1 + scale
            change += shift
            features = features + np.maximum(change, 0, out=change)
        action = {}
        for scope, (head, *rest) in self.heads.items():
            if scope == "global":
                known = np.concatenate([features.mean(axis=(1, 2)), context])[:, None, None]
                raw = rest[0](np.maximum(head(known), 0))
            else:
                raw = head(features)
                if len(self.heads) > 1:  # see `PixelPolicy._center`
                    raw = raw - raw.mean(axis=(1, 2), keepdims=True)
            action[scope] = np.tanh(raw)[None]
        return action

    def _edited(self, planes: np.ndarray, action: ArrayAction, guide: np.ndarray | None) -> np.ndarray:
        numbers = self.edits.parameters(action)[0]
        if guide is None:
            renderer = Renderer(self.edits, numbers[None])
            if renderer.is_faster(*planes.shape[1:]):
                return renderer.planes(planes)
        parameters = upsample_agents(numbers, planes.shape[1:])
        return self.edits.apply_parameters(planes, self.edits.at_pixels(parameters, guide))


class CompactEpisode(ArrayPolicy):
    """A `CompactPolicy` as a network over pictures of any size.

    Args:
        policy: the policy.
        steps: of an episode; None: the horizon.
        local: False: only the global agent acts.

    Raises:
        UsageError: `steps` outside [0, horizon].
    """

    decision_size: int
    shares_decision = True

    def __init__(self, policy: CompactPolicy, steps: int | None = None, local: bool = True):
        if steps is not None and not 0 <= steps <= policy.horizon:
            raise UsageError(f"this policy was trained for episodes of {policy.horizon} steps: "
                             f"steps must lie between 0 and {policy.horizon}; got {steps}")
        self.policy, self.steps, self.local = policy, policy.horizon if steps is None else steps, local
        self.horizon, self.decision_size = policy.horizon, policy.decision_size
        self.preferences = policy.preferences

    @property
    def formula(self) -> Edits:
        """How actions change pixels."""
        return self.policy.edits

    def with_steps(self, steps: int | None) -> CompactEpisode:
        """The same with another number of steps."""
        return CompactEpisode(self.policy, steps, self.local)

    def decide(self, planes: np.ndarray, preference: Mapping[str, float | None] | None = None) -> list[ArrayAction]:
        """The actions for a picture (1, 3, H, W): T times (1, C, h, w) of each scope."""
        small = resize_planes(planes, self.decision_size)[0]
        return self.policy.decide(small, self.policy.encode(small, preference), self.steps, self.local)

    def render_array(self, picture: np.ndarray, actions: Sequence[ArrayAction], strength: float = 1.0,
                     out: np.ndarray | None = None) -> np.ndarray:
        """See `ArrayPolicy.render_array`."""
        if not actions or not picture.size:
            return picture.copy()
        renderer = self._renderer(actions)
        if picture.dtype in (np.uint8, np.uint16) and renderer.is_faster(*picture.shape[:2]):
            return renderer.pixels(picture, strength, out)
        planes = to_planes(picture)
        result = self._rendered(planes, actions, renderer)
        return to_pixels(planes + np.float32(strength) * (result - planes) if strength != 1 else result,
                         picture.dtype.type)

    def __call__(self, planes: np.ndarray, preference: Mapping[str, float | None] | None = None) -> np.ndarray:
        """The result of a picture (1, 3, H, W)."""
        if planes.shape[-2:] == (self.decision_size,) * 2:
            row = self.policy.encode(planes[0], preference)
            return self.policy.run(planes[0], row, self.steps, self.local)[1][None]
        actions = self.decide(planes, preference)
        return self._rendered(planes, actions, self._renderer(actions)) if actions else planes

    def _renderer(self, actions: Sequence[ArrayAction]) -> Renderer:
        return Renderer(self.policy.edits, np.concatenate([self.policy.edits.parameters(action) for action in actions]))

    def _rendered(self, planes: np.ndarray, actions: Sequence[ArrayAction], renderer: Renderer) -> np.ndarray:
        if renderer.is_faster(*planes.shape[-2:]):
            return renderer.planes(planes[0])[None]
        now, guide = planes[0], self.policy.edits.guide(planes[0])
        for action in actions:
            now = self.policy._edited(now, action, guide)
        return now[None]


class _Convolution:
    """A convolution with replicated padding, as a matrix product: (C, h, w) -> (C', h, w)."""

    def __init__(self, weights: Mapping[str, np.ndarray], name: str, dilation: int = 1):
        kernel = weights[f"{name}.weight"]
        self.weight, self.bias = kernel.reshape(len(kernel), -1), weights[f"{name}.bias"][:, None]
        self.taps, self.dilation = kernel.shape[-1], dilation

    def __call__(self, features: np.ndarray) -> np.ndarray:
        size = features.shape[1:]
        columns = features.reshape(features.shape[0], -1)
        if self.taps > 1:
            columns = columns[:, _places(*size, self.taps, self.dilation)].reshape(-1, columns.shape[1])
        return np.asarray((self.weight @ columns + self.bias).reshape(-1, *size))


@lru_cache(maxsize=32)
def _places(height: int, width: int, taps: int, dilation: int) -> np.ndarray:
    """Flat index of every pixel's neighbour at every tap, with replicated padding: (taps * taps, height * width)."""
    reach = dilation * (np.arange(taps) - taps // 2)
    rows = np.clip(np.arange(height) + reach[:, None], 0, height - 1)
    line = np.clip(np.arange(width) + reach[:, None], 0, width - 1)
    return (rows[:, None, :, None] * width + line[None, :, None, :]).reshape(taps * taps, -1)


def upsample_agents(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Interpolate the numbers of coarse agents bilinearly: (C, h, w) -> (C, H, W); of a single agent (C, 1, 1)."""
    if values.shape[1:] in (tuple(size), (1, 1)):
        return values
    down, across = (_weights(*pair) for pair in zip(values.shape[1:], size, strict=True))
    return np.asarray(down @ values @ across.T)


@lru_cache(maxsize=32)
def _weights(agents: int, size: int) -> np.ndarray:
    """Interpolation weights along one side: (size, agents)."""
    axis, weights = AxisWeights.of(size, agents, size), np.zeros((size, agents), np.float32)
    np.add.at(weights, (np.arange(size), axis.before), 1 - axis.part)
    np.add.at(weights, (np.arange(size), axis.after), axis.part)
    return weights
