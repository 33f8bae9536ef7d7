"""Steps and updates per second, in one batch and in the loop over pictures, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.loop_env import LoopEnv
from benchmarks.loop_learner import LoopA3C
from benchmarks.table import Table, interleaved
from rlenhance.agents.rollout import collect_rollout
from rlenhance.envs import PixelEnv
from rlenhance.learning.data import Batch
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE


def measure_environment(cases: Sequence[Case], repeats: int) -> Table:
    """Episodes from ready-made random actions: `PixelEnv` and `LoopEnv`."""
    table = Table("environment", "Environment alone: episodes from ready-made actions",
                  ("environment", "episodes at once", "steps per second", "agent-steps per second",
                   "loop: steps per second", "times the loop"))
    for case in cases:
        learner, images = case.learner(), case.batch().repeat(case.rollouts)
        curve: Any = learner.policy.actions
        loop, pictures = LoopEnv(curve, learner.reward.weights), images.image.numpy()
        spaces = {level: (case.episodes, curve.action_dim, *curve.agent_grid(level, case.side, case.side))
                  for level in curve.scopes}
        actions = [{level: torch.randint(curve.num_choices, shape) if curve.num_choices else 2 * torch.rand(shape) - 1
                    for level, shape in spaces.items()} for _ in range(case.horizon)]
        arrays = [[{level: entry[number].numpy() for level, entry in action.items()} for action in actions]
                  for number in range(case.episodes)]

        seconds = interleaved({"batch": partial(run_batched, learner.env, images, actions),
                               "loop": partial(_looped, loop, pictures, arrays)}, repeats)
        name = f"stride {case.stride}" + (", categorical" if case.classic else "")
        table.rows.append((name, case.episodes, case.steps / seconds["batch"],
                           case.steps * case.agents / seconds["batch"], case.steps / seconds["loop"],
                           seconds["loop"] / seconds["batch"]))
    return table


def measure_updates(cases: Sequence[Case], repeats: int) -> Table:
    """Rollouts by the policy, and whole updates: `A3C` and `LoopA3C`."""
    table = Table("speed", "With the network: rollouts, and whole updates of a3c",
                  ("recipe", "pictures per update", "steps per second", "agent-steps per second", "times the loop",
                   "updates per second", "loop: updates per second", "updates, times the loop"))
    for case in cases:
        learner, batch = case.learner(), case.batch()
        loop = LoopA3C(case.learner().policy, learner.reward, learner.config)
        preference = learner.policy.preferences.encode(None, case.episodes)

        images = batch.repeat(case.rollouts)
        seconds = interleaved({
            "act": partial(collect_rollout, learner.policy, learner.env, images, preference, learner.generator),
            "act in loop": partial(_play_in_loop, loop, images.image, preference),
            "update": partial(learner.step, batch),
            "update in loop": partial(loop.step, batch),
        }, repeats)
        table.rows.append((case.label, case.pictures, case.steps / seconds["act"],
                           case.steps * case.agents / seconds["act"], seconds["act in loop"] / seconds["act"],
                           1 / seconds["update"], 1 / seconds["update in loop"],
                           seconds["update in loop"] / seconds["update"]))
    return table


def run_batched(env: PixelEnv, images: Batch, actions: Sequence[Mapping[str, Tensor] | Tensor],
                episodes: int = 1) -> None:
    """Whole episodes of a batch, from ready-made actions."""
    for _ in range(episodes):
        env.reset(options={"batch": images})
        for action in actions:
            env.step(action)


def _looped(loop: LoopEnv, pictures: np.ndarray, actions: Sequence[Sequence[Mapping[str, np.ndarray]]]) -> None:
    for picture, own in zip(pictures, actions, strict=True):
        loop.reset(picture, DEFAULT_EXPOSURE)
        for action in own:
            loop.step(action)


def _play_in_loop(loop: LoopA3C, images: Tensor, preference: Tensor) -> None:
    for number in range(len(images)):
        loop.play_one(images[number : number + 1], preference[number : number + 1])
