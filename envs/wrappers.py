"""Wrappers for agents of other libraries: flat actions, one action for the image, images as bytes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from rlenhance.core.errors import UsageError
from rlenhance.envs.image_env import ImageEnv
from rlenhance.envs.pixel_env import PixelEnv


def _image_env(env: Any) -> ImageEnv:
    """The `ImageEnv` at the bottom.

    Raises:
        UsageError: something else is there, a batched environment for example.
    """
    inner = getattr(env, "unwrapped", env)
    if not isinstance(inner, ImageEnv):
        raise UsageError(f"these wrappers take an environment of one image; got {type(inner).__name__}: "
                         f"use gymnasium.make, or ImageEnv(PixelEnv(..., autoreset_mode=AutoresetMode.DISABLED))")
    return inner


def _check_fixed(name: str, before: spaces.Space[Any], now: spaces.Space[Any]) -> None:
    """Refuse an image that changes the spaces: agents of other libraries read them once, at the start."""
    if before != now:
        raise UsageError(f"the space of {name} is {before}, and this image needs {now}: "
                         f"begin with images of the size the environment was made for, or wrap it anew")


class _Actions(gymnasium.ActionWrapper, RecordConstructorArgs):
    """Base class of the action wrappers: the scopes of agents in the action set's order, and the checks."""

    def __init__(self, env: gymnasium.Env):
        inner = _image_env(env)
        if env.action_space != inner.action_space:
            raise UsageError(f"the actions are wrapped already ({env.action_space}): "
                             f"use FlattenActions or GlobalAction, and only once")
        RecordConstructorArgs.__init__(self)
        gymnasium.ActionWrapper.__init__(self, env)
        self._inner, self._taken = inner, inner.action_space
        self._actions = inner.env.actions
        whole = inner.action_space
        self._scopes: dict[str, Any] = ({scope: whole[scope] for scope in self._actions.scopes}
                                        if isinstance(whole, spaces.Dict) else {self._actions.scopes[0]: whole})

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As `ImageEnv.reset`; an image of another size, which has another action space, is refused."""
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

    def _as_action(self, scopes: Mapping[str, np.ndarray]) -> Any:
        """The action for the environment: a mapping, or the bare array where there is one scope."""
        return dict(scopes) if len(self._scopes) > 1 else next(iter(scopes.values()))


class FlattenActions(_Actions):
    """All agents' actions in one vector.

    The action space is one-dimensional, `Box(-1, 1, (n,))` or `MultiDiscrete([K] * n)` with n = the sum over the
    scopes of heads x h x w. The global agent comes first, then the local ones; within a scope head by head, row by
    row. On an image of 64 x 64 with local agents of stride 8 that is 1 + 64 numbers, with stride 1 it is 4096.

    Args:
        env: an environment of one image.

    Raises:
        UsageError: a batched environment; actions that are wrapped already; in a step an action of another length or
            outside the space; at a reset an image that has another number of agents.

    Example:
        >>> import gymnasium, envs
        >>> env = FlattenActions(gymnasium.make("rlenhance/CurveOracle-v0", curve={"agent_stride": 8}, size=16))
        >>> env.action_space
        Box(-1.0, 1.0, (5,), float32)
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        size = sum(int(np.prod(space.shape)) for space in self._scopes.values())
        choices = self._actions.num_choices
        self.action_space = (spaces.Box(-1.0, 1.0, (size,), np.float32) if choices is None
                             else spaces.MultiDiscrete(np.full(size, choices)))
        self._size = size

    def action(self, action: Any) -> Any:
        """(n,) -> the action for the environment, scope -> (C, h, w)."""
        rest, scopes = self._checked(action, self._size), {}
        for scope, space in self._scopes.items():
            own, rest = np.split(rest, [int(np.prod(space.shape))])
            scopes[scope] = own.reshape(space.shape)
        return self._as_action(scopes)

    def flatten(self, action: Any) -> np.ndarray:
        """The inverse: an action for the environment -> (n,)."""
        scopes = action if isinstance(action, Mapping) else {self._actions.scopes[0]: action}
        return np.concatenate([np.asarray(scopes[scope]).ravel() for scope in self._scopes])


class GlobalAction(_Actions):
    """One action for the whole image; local agents, where there are any, act neutrally.

    The action space is `Box(-1, 1, (C,))` for C continuous heads; for categorical ones `Discrete(K)` with one head and
    `MultiDiscrete([K] * C)` with several.

    Args:
        env: an environment of one image that has a global agent.

    Raises:
        UsageError: there is no global agent; and as for `FlattenActions`.

    Example:
        >>> import gymnasium, envs
        >>> GlobalAction(gymnasium.make("rlenhance/LowLight-v0", size=16)).action_space
        Box(-1.0, 1.0, (1,), float32)
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        if "global" not in self._scopes:
            raise UsageError(f"no agent acts for the whole image here, only {', '.join(self._scopes)} agents do: "
                             f"{_way_to_global_agent(self._inner.env)}take FlattenActions")
        heads, choices = self._actions.action_dim, self._actions.num_choices
        if choices is None:
            self.action_space = spaces.Box(-1.0, 1.0, (heads,), np.float32)
        else:
            self.action_space = spaces.Discrete(choices) if heads == 1 else spaces.MultiDiscrete([choices] * heads)
        neutral = self._actions.noop(1, *self._inner.env.size)
        self._neutral = {scope: neutral[scope][0].cpu().numpy() for scope in self._scopes if scope != "global"}

    def action(self, action: Any) -> Any:
        """(C,), or one index -> the action for the environment, scope -> (C, h, w)."""
        heads = self._actions.action_dim
        return self._as_action({"global": self._checked(action, heads).reshape(heads, 1, 1), **self._neutral})


def _way_to_global_agent(env: PixelEnv) -> str:
    """How this environment would have a global agent, as the beginning of an advice; "" where it cannot."""
    name, taken = env.actions.spec["name"], inspect.signature(type(env)).parameters
    if not hasattr(env.actions, "global_agent"):
        return f"the action set {name} has none; "
    if name == "curve" and "curve" in taken:
        return "make the environment with curve={'global_agent': True}, or "
    if issubclass(type(env), PixelEnv) and type(env) is not PixelEnv and "actions" in taken:
        return f"make the environment with actions={{'name': {name!r}, 'global_agent': True}}, or "
    return f"make its action set ({name}) with global_agent=True, or "


class Uint8Observation(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """The observation as one uint8 array, channels first, for convolutional agents.

    `Box(0, 255, (C + 1 + P + M, H, W), uint8)`. The planes are the image's (C = 3: red, green, blue; C = 1: grey); the
    steps left, a constant plane, 255 at the start of an episode and 0 at its end (with a fixed horizon the value of a
    state depends on it); one constant plane for each of P preferences, -1 as 0 and +1 as 255; and the mask, where there
    is one (M = 1).
    The observation is rounded to bytes; the image that the agents edit is not.

    Args:
        env: an environment of one image.

    Raises:
        UsageError: a batched environment; observations that are wrapped already; at a reset an image of another size.

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
        channels, *_ = parts["image"].shape or ()
        planes = channels + 1 + len(self._inner.env.preferences) + ("mask" in parts)
        self.observation_space = spaces.Box(0, 255, (planes, *self._inner.env.size), np.uint8)

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """As `ImageEnv.reset`, in bytes; an image of another size is refused."""
        observation, info = self.env.reset(seed=seed, options=options)
        _check_fixed(type(self).__name__, self._taken, self._inner.observation_space)
        return self.observation(observation), info

    def observation(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The environment's observation as (C + 1 + P + M, H, W) uint8."""
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
