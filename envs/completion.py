"""Completion: every pixel of a hole takes the value of a tool."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.envs.pixel_env import PixelEnv, check_numbers
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.data import Batch, BatchSource, CompletionSampler, ImageCache, open_completion, validate_splits
from rlenhance.learning.hub.checkpoint import load_model
from rlenhance.learning.ops.masked_tensors import on_tensors
from rlenhance.learning.rewards import Reward, RewardWeights
from rlenhance.ops.inpaint import find_method

#: The decrease of the absolute difference at a pixel, and of 1 - SSIM about it.
COMPLETION_REWARD = {"l1": 1.0, "ssim": 0.2}


class PrefilledSource:
    """Images of a source whose holes a prior has filled: the initial images of episodes.

    Args:
        source: gives batches with masks.
        prior: (image, mask) -> image.
        window: side in pixels of the square about each hole that is kept, after the prior has seen the whole image;
            None: all. Holes that are larger are cut.
    """

    def __init__(self, source: BatchSource, prior: Callable[[Tensor, Tensor], Tensor], window: int | None = None):
        self.source, self.prior, self.window = source, prior, window

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` images of draw `step`; of these only `part`."""
        return prefill_and_crop(self.source.batch(step, count, part), self.prior, self.window)

    def with_seed(self, seed: int) -> PrefilledSource:
        """Another stream of the same source."""
        return PrefilledSource(self.source.with_seed(seed), self.prior, self.window)


def prefill_and_crop(batch: Batch, prior: Callable[[Tensor, Tensor], Tensor], window: int | None = None) -> Batch:
    """A batch whose holes a prior has filled, cut to a window about them.

    Args:
        batch: images (N, 3, H, W) with masks.
        prior, window: see `PrefilledSource`.

    Raises:
        UsageError: a batch without masks.
    """
    if batch.mask is None:
        raise UsageError("completion needs masks: Batch(image, target, mask), 1 where pixels are missing")
    with torch.no_grad():
        filled = replace(batch, image=prior(batch.image, batch.mask))
    height, width = batch.image.shape[-2:]
    if window is None or window >= max(height, width):
        return filled
    cuts = []
    for index in range(len(batch)):
        places = batch.mask[index, 0].nonzero().float().mean(dim=0).tolist()
        top, left = (min(max(0, round(place - window / 2)), max(0, side - window))
                     for place, side in zip(places, (height, width), strict=True))
        rows, columns = slice(top, top + window), slice(left, left + window)
        one = filled[index : index + 1]
        parts: list[Any] = [None if part is None else part[..., rows, columns]
                            for part in (one.image, one.target, one.mask)]
        cuts.append(Batch(*parts))
    return Batch.stack(cuts)


class CompletionEnv(PixelEnv):
    """Fill a hole pixel by pixel, with copies, filters and steps back.

    ## Action Space

    `MultiDiscrete` (1, H, W): every pixel names a tool, by its place in `CompletionActions(strides).tools`: 0 keeps; 1
    to 32 copy the pixel 8, 4, 2 or 1 away in eight directions; then diffuse, median, isophote, mirror, start, darker,
    brighter, detail (see `rlenhance.learning.actions.CompletionActions`). Outside the hole nothing changes with any
    tool; a copy from outside the image keeps the pixel. With `actions="touch_up"`: `Box(-1, 1, (3, H, W))`, a small
    change of each channel.

    ## Observation Space

    `Dict(image=Box(0, 1, (3, H, W)), remaining=Box(0, 1, (1,)), mask=Box(0, 1, (1, H, W)), initial_image=Box(0, 1,
    (3, H, W)))`, float32: the current image (RGB, sRGB-encoded), the share of the horizon that is left, the hole
    (1 inside), and the image with which the episode began.

    ## Rewards

    `info["reward_map"]` (1, H, W): how much the absolute difference to the original falls at a pixel, plus 0.2 times
    how much 1 - SSIM about it falls. The reward is the mean of the map. Both telescope: the sum over an episode is by
    how much the last image is better than the first. With `reward={"seam": 1, "texture": 1}` no original is needed.

    ## Starting State

    A random part of a random image with a new hole, filled by `start`: the stream is seeded by `reset(seed=)` and the
    number of the image. `reset(options={"batch": Batch})` begins with the caller's images, already filled, their
    originals and their masks.

    ## Episode End

    Termination after `horizon` steps, always; never truncation. The problem has a finite horizon and the steps left
    are observed, so no value is bootstrapped after the end.

    ## Arguments

    data: folder (see docs/howto/completion_policies.md), or None for the sample photographs. holes: "square",
    "squares", "brush" or "mixed". size: side of the square images in pixels (64). horizon: steps (8). start:
    "laplace", another rule, or a shipped network or run that fills holes. strides: how far copies reach ((8, 4, 2,
    1)). actions: "fill" or "touch_up". reward: name -> weight; all other terms are off. device: of the tensors
    ("cpu"). render_mode: None or "rgb_array". info_terms: "active", or "all": the reward terms of weight 0 are worked
    out and stand in `info` too.

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/Completion-v0", num_envs=8)` holds 8 images in NumPy (`TorchToNumpy`), with
    NEXT_STEP autoreset, as Gymnasium's own vector environments. With `output="torch"` it is this class: torch tensors
    on `device`, with SAME_STEP autoreset. `gymnasium.make("rlenhance/Completion-v0")` holds one image in NumPy.
    On a GPU each step copies the masks to the host, where the tools mirror and detail find their places.

    ## Version History

    v0: the first.
    """

    def __init__(self, num_envs: int = 1, *, data: str | Path | None = None, holes: str = "square", size: int = 64,
                 horizon: int = 8, start: str = "laplace", strides: Sequence[int] = (8, 4, 2, 1),
                 actions: str = "fill", reward: Mapping[str, float] | None = None,
                 device: torch.device | str = "cpu", render_mode: str | None = None,
                 info_terms: str = "active", autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP):
        check_numbers(num_envs, size, horizon)
        able = [name for name in ACTION_SETS if getattr(ACTION_SETS[name], "purpose", "") == "completion"]
        if actions not in able:
            raise UsageError(f"actions is {' or '.join(able)}; got {actions!r}")
        takes_strides = "strides" in inspect.signature(ACTION_SETS[actions]).parameters
        cache = ImageCache()
        splits, _ = validate_splits(open_completion(data), cache)
        made = ACTION_SETS.create(actions, **({"strides": tuple(strides)} if takes_strides else {}))
        super().__init__(
            made, Reward(RewardWeights.only(**dict(reward or COMPLETION_REWARD))), horizon=horizon,
            source=PrefilledSource(CompletionSampler(splits.train, cache, size, holes=holes), load_prior(start)),
            num_envs=num_envs, size=(size, size), device=device, render_mode=render_mode,
            info_terms=info_terms, autoreset_mode=autoreset_mode,
        )
        self._match_spaces(num_envs, (3, size, size), masked=True)


def load_prior(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The prior of a name: a method that needs no training, a shipped network, or a run.

    Raises:
        UsageError: none of that name.
    """
    method = find_method(name)
    return on_tensors(method) if method else load_model(name)
