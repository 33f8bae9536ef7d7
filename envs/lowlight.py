"""Low-light enhancement: each agent chooses a tone curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from rlenhance.core.errors import UsageError
from rlenhance.envs.pixel_env import PixelEnv, check_numbers
from rlenhance.learning.actions import ACTION_SETS, ActionSet
from rlenhance.learning.data import ImageCache, Sampler, open_dataset, sample_photographs, validate_splits
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.rewards import Reward, RewardWeights
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE


class LowLightEnv(PixelEnv):
    """Brighten dark photographs with tone curves.

    ## Action Space

    `Dict(global=Box(-1, 1, (C, 1, 1)), local=Box(-1, 1, (C, h, w)))`: one agent for the whole image and one per
    cell of h x w, C = 1 head ("luminance"). -1 means the curve's A = -0.3 (darken), +1 means A = 1.0 (brighten most);
    c' = c + A c (1 - c). With one scope of agents the space is that scope's `Box` alone; with
    `curve={"kind": "categorical"}` the boxes become `MultiDiscrete` of 27 values. With `actions={"name": "tone"}`
    C = 4 handles: brightness, contrast, highlights, saturation (see `rlenhance.learning.actions.ToneActions`).

    ## Observation Space

    `Dict(image=Box(0, 1, (3, H, W)), remaining=Box(0, 1, (1,)))`, float32: the current image (RGB, sRGB-encoded)
    and the share of the horizon that is left. With `preferences`, also `preference=Box(-1, 1, (P,))`: a number for
    each, then for each automatic one a 1 where its value comes from the image and a 0 where the user gave it.

    ## Rewards

    The weighted sum of the reward terms' means, a number per image; `info["reward_map"]` (1, H, W) has it by place,
    `info["reward_terms"]` by term (raw, weight, weighted). State terms are cost(before) - cost(after), so that
    they telescope over an episode. Where the sizes of the maps divide, the reward is the mean of the map.

    ## Starting State

    A random crop of a random image. With no `data`, one of the sample photographs, darkened by a physical model to
    1/2 to 1/32 of its exposure. `reset(options={"batch": Batch})` begins with the caller's images.

    ## Episode End

    Termination after `horizon` steps, always; never truncation. The problem has a finite horizon and the steps left
    are observed, so no value is bootstrapped after the end.

    ## Arguments

    data: folder of images (see docs/howto/data.md), or None for the sample photographs. size: side of the square images
    in pixels (64). horizon: steps (8). curve: arguments of the `CurveActions` action set. actions: instead of it, an
    action set of any name, as in `{"name": "tone", "agent_stride": 4}`. reward: name -> weight; other terms keep their
    default. exposure_level: target exposure (0.475). preferences: name -> (lowest, default, highest). auto: those of
    them that are measured in the image where the user gives no value (`["exposure_level"]`). device: of the tensors
    ("cpu"). render_mode: None or "rgb_array". info_terms: "active", or "all": the reward terms of weight 0 are worked
    out and stand in `info` too.

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/LowLight-v0", num_envs=8)` holds 8 images in NumPy (`TorchToNumpy`), with
    NEXT_STEP autoreset, as Gymnasium's own vector environments. With `output="torch"` it is this class: torch tensors
    on `device`, with SAME_STEP autoreset. `gymnasium.make("rlenhance/LowLight-v0")` holds one image in NumPy.

    ## Version History

    v0: the first.
    """

    def __init__(self, num_envs: int = 1, *, data: str | Path | None = None, size: int = 64, horizon: int = 8,
                 curve: Mapping[str, Any] | None = None, actions: Mapping[str, Any] | None = None,
                 reward: Mapping[str, float] | None = None, exposure_level: float = DEFAULT_EXPOSURE,
                 preferences: Mapping[str, tuple[float, float, float]] | None = None, auto: Sequence[str] = (),
                 device: torch.device | str = "cpu", render_mode: str | None = None,
                 info_terms: str = "active", autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP):
        check_numbers(num_envs, size, horizon)
        cache = ImageCache(max_side=4 * size)
        splits, _ = validate_splits(open_dataset(data) if data else sample_photographs(), cache)
        rewards = Reward(RewardWeights(reward, exposure_level=exposure_level))
        rewards.check(splits.has_references)
        super().__init__(
            _action_set(curve, actions), rewards, horizon=horizon,
            preferences=Preferences(dict(preferences or {}), tuple(auto)), source=Sampler(splits.train, cache, size),
            num_envs=num_envs, size=(size, size), device=device, render_mode=render_mode,
            info_terms=info_terms, autoreset_mode=autoreset_mode,
        )


def _action_set(curve: Mapping[str, Any] | None, actions: Mapping[str, Any] | None) -> ActionSet:
    if actions is None:
        return ACTION_SETS.create("curve", **(curve or {}))
    if curve is not None:
        raise UsageError("give curve or actions, not both: curve={...} is short for actions={'name': 'curve', ...}")
    if "name" not in actions:
        raise UsageError(f"actions must name an action set ({', '.join(ACTION_SETS)}), as in {{'name': 'tone'}}; "
                         f"got {dict(actions)}")
    return ACTION_SETS.rebuild(dict(actions))
