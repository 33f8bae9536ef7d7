"""One image, NumPy in and out: the batched environment holding one image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.envs.pixel_env import PixelEnv
from rlenhance.learning.data import Batch

# Gymnasium's AsyncVectorEnv forks on Linux. A forked process has none of the threads that torch started before, and
# would wait for them without end at its first parallel operation: it computes with one thread, its own.
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


class ImageEnv(gymnasium.Env):
    """A Gymnasium environment over a `PixelEnv` of one image.

    Observations and actions are those of the `PixelEnv` without the leading N, as NumPy arrays; the reward is a
    float, the reward map is `info["reward_map"]` (1, H, W).

    Args:
        env: a `PixelEnv` of one image with `autoreset_mode=DISABLED`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, env: PixelEnv):
        if env.num_envs != 1:
            raise UsageError(f"an ImageEnv holds one image; got a PixelEnv of {env.num_envs}")
        self.env = env
        self.render_mode = env.render_mode
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin with the next image of the source, or with `options={"batch": Batch of one}`."""
        super().reset(seed=seed)
        batch = dict(options or {}).get("batch")
        if isinstance(batch, Batch) and len(batch) != 1:
            raise UsageError(f"an ImageEnv holds one image; got a batch of {len(batch)}: use the PixelEnv")
        observation, info = self.env.reset(seed=seed, options=options)
        self.observation_space = self.env.single_observation_space
        self.action_space = self.env.single_action_space
        return _first(observation), _first(info)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One step of all agents of the image."""
        batched: Any = ({scope: np.asarray(value)[None] for scope, value in action.items()}
                        if isinstance(action, Mapping) else np.asarray(action)[None])
        with torch.inference_mode():  # no gradient passes through NumPy
            observation, reward, terminated, truncated, info = self.env.step(batched)
        return _first(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

    def render(self) -> Any:
        """(H, 3 W + 4, 3) uint8: input, current image, action map."""
        frames = self.env.render()
        return None if frames is None else frames[0]


def single_image(batched: type[Any]) -> type[ImageEnv]:
    """The class of one image for a batched environment with its arguments: `LowLightEnv` -> `LowLightImageEnv`."""
    def init(self: ImageEnv, **arguments: Any) -> None:
        ImageEnv.__init__(self, batched(1, autoreset_mode=AutoresetMode.DISABLED, **arguments))

    about = f"`{batched.__name__}` of one image, in NumPy; the same arguments, spaces without the leading N."
    return type(batched.__name__.replace("Env", "ImageEnv"), (ImageEnv,),
                {"__init__": init, "__doc__": about, "__module__": "rlenhance.envs"})


def _first(value: Any) -> Any:
    """The first of N, as NumPy, through nested mappings."""
    if isinstance(value, Tensor):
        return value.numpy(force=True)[0, ...].copy()  # nothing that the caller keeps may change later
    if isinstance(value, Mapping):
        return {key: _first(inner) for key, inner in value.items()}
    return value
