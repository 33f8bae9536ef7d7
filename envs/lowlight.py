"""Low-light enhancement: every agent bends its tone curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from envs.image_env import ImageEnv
from envs.pixel_env import PixelEnv
from rlenhance.actions import ACTION_SETS
from rlenhance.data import PictureCache, Sampler, open_folder, sample_photographs, scan
from rlenhance.preferences import Preferences
from rlenhance.rewards import Reward, RewardWeights
from rlenhance.statistics import DEFAULT_EXPOSURE


class LowLightEnv(PixelEnv):
    """Brighten dark photographs by bending tone curves.

    ## Action Space

    `Dict(picture=Box(-1, 1, (C, 1, 1)), local=Box(-1, 1, (C, h, w)))`: one agent for the whole picture and one per
    cell of h x w, C = 1 head ("luminance"). -1 means the curve's A = -0.3 (darken), +1 means A = 1.0 (brighten most);
    c' = c + A c (1 - c). With one level of agents the space is that level's `Box` alone; with
    `curve={"kind": "categorical"}` the boxes become `MultiDiscrete` of 27 values.

    ## Observation Space

    `Dict(image=Box(0, 1, (3, H, W)), steps_left=Box(0, 1, (1,)))`, float32: the current picture (RGB, sRGB-encoded)
    and the share of the horizon that is left. With `preferences`, also `preference=Box(-1, 1, (P,))`.

    ## Rewards

    The weighted sum of the reward terms' means, a number per picture; `info["reward_map"]` (1, H, W) says where,
    `info["reward_terms"]` which term (raw, weight, weighted). State terms are cost(before) - cost(after), so that
    they telescope over an episode. Where the sizes of the maps divide, the reward is the mean of the map.

    ## Starting State

    A random crop of a random picture. With no `data`, one of the sample photographs, darkened by a physical model to
    1/2 to 1/32 of its exposure. `reset(options={"batch": Batch})` begins with pictures of one's own.

    ## Episode End

    Termination after `horizon` steps, always; never truncation. The problem has a finite horizon and the steps left
    are observed, so nothing is to be bootstrapped behind the end.

    ## Arguments

    data: folder of pictures (see docs/data.md), or None for the sample photographs. size: side of the square
    pictures in pixels (64). horizon: steps (8). curve: arguments of the `Curve` action set. reward: name -> weight;
    terms that are not named keep their default. exposure_level: asked exposure (0.475). preferences: name ->
    (lowest, default, highest). device: where the tensors live ("cpu"). render_mode: None or "rgb_array".

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/LowLight-v0", num_envs=8)` is this class: torch tensors on `device`, with
    `metadata["autoreset_mode"]` SAME_STEP. `gymnasium.make("rlenhance/LowLight-v0")` holds one picture and speaks
    NumPy.

    ## Version History

    v0: the first.
    """

    def __init__(self, num_envs: int = 1, *, data: str | Path | None = None, size: int = 64, horizon: int = 8,
                 curve: Mapping[str, Any] | None = None, reward: Mapping[str, float] | None = None,
                 exposure_level: float = DEFAULT_EXPOSURE,
                 preferences: Mapping[str, tuple[float, float, float]] | None = None,
                 device: torch.device | str = "cpu", render_mode: str | None = None,
                 autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP):
        cache = PictureCache(max_side=4 * size)
        splits, _ = scan(open_folder(data) if data else sample_photographs(), cache)
        rewards = Reward(RewardWeights(reward, exposure_level=exposure_level))
        rewards.check(splits.has_references)
        super().__init__(
            ACTION_SETS.create("curve", **(curve or {})), rewards, horizon=horizon,
            preferences=Preferences(dict(preferences or {})), source=Sampler(splits.train, cache, size),
            num_envs=num_envs, size=(size, size), device=device, render_mode=render_mode,
            autoreset_mode=autoreset_mode,
        )


class LowLightImageEnv(ImageEnv):
    """`LowLightEnv` of one picture, in NumPy; the same arguments, spaces without the leading N."""

    def __init__(self, **arguments: Any):
        super().__init__(LowLightEnv(1, autoreset_mode=AutoresetMode.DISABLED, **arguments))
