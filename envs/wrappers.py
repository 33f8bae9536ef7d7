"""Wrappers for agents from elsewhere: flat actions, one action for the picture, pictures as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from envs.image_env import ImageEnv
from rlenhance.core.errors import UsageError


def _image_env(env: Any) -> ImageEnv:
    """The `ImageEnv` at the bottom.

    Raises:
        UsageError: something else is there, a batched environment for example.
    """
    inner = getattr(env, "unwrapped", env)
    if not isinstance(inner, ImageEnv):
        raise UsageError(f"these wrappers take an environment of one picture; got {type(inner).__name__}: "
                         f"use gymnasium.make, or ImageEnv(PixelEnv(..., autoreset_mode=AutoresetMode.DISABLED))")
    return inner


def _check_fixed(name: str, before: spaces.Space[Any], now: spaces.Space[Any]) -> None:
    """Refuse a picture that changed the spaces: an outside agent has asked for them once, at the start."""
    if before != now:
        raise UsageError(f"{name} promised its agent {before}, and this picture needs {now}: "
                         f"begin with pictures of the size the environment was made for, or wrap it anew")


class _Actions(gymnasium.ActionWrapper, RecordConstructorArgs):
    """What the action wrappers share: the scopes of agents in the action set's order, and the checks at the door."""

    def __init__(self, env: gymnasium.Env):
        inner = _image_env(env)
        if env.action_space != inner.action_space:
            raise UsageError(f"the actions are wrapped already ({env.action_space}): "
                             f"use FlattenActions or PictureAction, and only once")
        RecordConstructorArgs.__init__(self)
        gymnasium.ActionWrapper.__init__(self, env)
        self._inner, self._taken = inner, inner.action_space
        self._actions = inner.env.actions
        whole = inner.action_space
        self._levels: dict[str, Any] = (  # picture first; spaces.Dict would sort them by name
            {level: whole[level] for level in self._actions.scopes} if isinstance(whole, spaces.Dict)
            else {self._actions.scopes[0]: whole})

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As below; a picture of another size, whose actions would be others, is refused."""
        observation, info = self.env.reset(seed=seed, options=options)
        _check_fixed(type(self).__name__, self._taken, self._inner.action_space)
        return observation, info

    def _checked(self, action: Any, size: int) -> np.ndarray:
        """The action as (size,) numbers within the space."""
        flat, choices = np.asarray(action), self._actions.num_choices
        if flat.size != size or flat.ndim > 1:
            raise UsageError(f"{type(self).__name__} takes {size} numbers, shape ({size},); got shape {flat.shape}")
        flat = flat.reshape(size)
        low, high = (-1, 1) if choices is None else (0, choices - 1)
        outside = flat[~((flat >= low) & (flat <= high))]  # NaN is outside too
        if outside.size:
            raise UsageError(f"an action lies in [{low}, {high}]; got {outside[0]}: clip or squash it before the step")
        if choices is not None and not np.issubdtype(flat.dtype, np.integer):
            raise UsageError(f"these agents choose among {choices} values by index; got {flat.dtype}: pass integers")
        return flat.astype(np.float32 if choices is None else np.int64)

    def _levelled(self, levels: Mapping[str, np.ndarray]) -> Any:
        """What the environment takes: a mapping, or the bare array where there is one level."""
        return dict(levels) if len(self._levels) > 1 else next(iter(levels.values()))


class FlattenActions(_Actions):
    """All agents' actions in one row.

    The action space is one-dimensional, `Box(-1, 1, (n,))` or `MultiDiscrete([K] * n)` with n = the sum over the
    levels of heads x h x w. First the picture's agent, then the local agents; within a level head by head, row by
    row. On a picture of 64 x 64 with local agents of stride 8 that is 1 + 64 numbers, with stride 1 it is 4096.

    Args:
        env: an environment of one picture.

    Raises:
        UsageError: a batched environment; actions that are wrapped already; in a step an action of another length or
            outside the space; at a reset a picture that has another number of agents.

    Example:
        >>> import gymnasium, envs
        >>> env = FlattenActions(gymnasium.make("rlenhance/CurveOracle-v0", curve={"agent_stride": 8}, size=16))
        >>> env.action_space
        Box(-1.0, 1.0, (5,), float32)
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        size = sum(int(np.prod(space.shape)) for space in self._levels.values())
        choices = self._actions.num_choices
        self.action_space = (spaces.Box(-1.0, 1.0, (size,), np.float32) if choices is None
                             else spaces.MultiDiscrete(np.full(size, choices)))
        self._size = size

    def action(self, action: Any) -> Any:
        """(n,) -> what the environment takes, level -> (C, h, w)."""
        rest, levels = self._checked(action, self._size), {}
        for level, space in self._levels.items():
            own, rest = np.split(rest, [int(np.prod(space.shape))])
            levels[level] = own.reshape(space.shape)
        return self._levelled(levels)

    def flatten(self, action: Any) -> np.ndarray:
        """The other way: what the environment takes -> (n,)."""
        levels = action if isinstance(action, Mapping) else {self._actions.scopes[0]: action}
        return np.concatenate([np.asarray(levels[level]).ravel() for level in self._levels])


class GlobalAction(_Actions):
    """One action for the whole picture; local agents, where there are any, act neutrally.

    The action space is `Box(-1, 1, (C,))` for C continuous heads; for categorical ones `Discrete(K)` with one head and
    `MultiDiscrete([K] * C)` with several.

    Args:
        env: an environment of one picture that has a global agent.

    Raises:
        UsageError: there is no global agent; and as for `FlattenActions`.

    Example:
        >>> import gymnasium, envs
        >>> GlobalAction(gymnasium.make("rlenhance/LowLight-v0", size=16)).action_space
        Box(-1.0, 1.0, (1,), float32)
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        if "global" not in self._levels:
            raise UsageError(f"nobody acts for the whole picture here, only {', '.join(self._levels)} agents do: make "
                             f"the environment with curve={{'global_agent': True}}, or take FlattenActions")
        heads, choices = self._actions.action_dim, self._actions.num_choices
        if choices is None:
            self.action_space = spaces.Box(-1.0, 1.0, (heads,), np.float32)
        else:
            self.action_space = spaces.Discrete(choices) if heads == 1 else spaces.MultiDiscrete([choices] * heads)
        neutral = self._actions.noop(1, *self._inner.env.size)
        self._neutral = {level: neutral[level][0].cpu().numpy() for level in self._levels if level != "global"}

    def action(self, action: Any) -> Any:
        """(C,), or one index -> what the environment takes, level -> (C, h, w)."""
        heads = self._actions.action_dim
        return self._levelled({"global": self._checked(action, heads).reshape(heads, 1, 1), **self._neutral})


class Uint8Observation(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """The observation as one picture of bytes, channels first, as convolutional agents want it.

    `Box(0, 255, (3 + 1 + P + M, H, W), uint8)`. The planes are red, green, blue; the steps left, a constant plane, 255
    at the start of an episode and 0 at its end (the horizon is fixed, and who does not see it cannot value a state);
    one constant plane for each of P preferences, -1 as 0 and +1 as 255; and the mask, where there is one (M = 1).
    What is observed is rounded to bytes; the picture that the agents edit is not.

    Args:
        env: an environment of one picture.

    Raises:
        UsageError: a batched environment; observations that are wrapped already; at a reset a picture of another size.

    Example:
        >>> import gymnasium, envs
        >>> Uint8Observation(gymnasium.make("rlenhance/LowLight-v0", size=16)).observation_space
        Box(0, 255, (4, 16, 16), uint8)
    """

    def __init__(self, env: gymnasium.Env):
        self._inner = _image_env(env)
        if env.observation_space != self._inner.observation_space:
            raise UsageError(f"the observations are wrapped already ({env.observation_space}): "
                             f"put Uint8Observation directly around the environment, and only once")
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        self._taken = self._inner.observation_space
        parts = self._inner.env.single_observation_space.spaces
        planes = 4 + len(self._inner.env.preferences) + ("mask" in parts)
        self.observation_space = spaces.Box(0, 255, (planes, *self._inner.env.size), np.uint8)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """As below, in bytes; a picture of another size is refused."""
        observation, info = self.env.reset(seed=seed, options=options)
        _check_fixed(type(self).__name__, self._taken, self._inner.observation_space)
        return self.observation(observation), info

    def observation(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The environment's observation as (3 + 1 + P + M, H, W) uint8."""
        size = observation["image"].shape[1:]
        constant = [observation["remaining"]]
        if "preference" in observation:
            constant.append((observation["preference"] + 1) / 2)
        planes = [observation["image"], np.broadcast_to(np.concatenate(constant)[:, None, None],
                                                        (sum(map(len, constant)), *size))]
        if "mask" in observation:
            planes.append(observation["mask"])
        image: np.ndarray = np.rint(255 * np.concatenate(planes).clip(0, 1)).astype(np.uint8)
        return image
