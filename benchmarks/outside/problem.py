"""The problem that all tools get: one agent finds the curve of a picture; the best return is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from rlenhance import envs  # noqa: F401  registers the ids

ID = "rlenhance/CurveOracle-v0"
#: 16 x 16 pixels, 4 steps, one agent for the picture. Ten times the default reward: agents that do not normalise it
#: learn faster.
ARGUMENTS: dict[str, Any] = {"size": 16, "horizon": 4, "reward": {"l1": 10.0}}
#: The stream of the pictures on which agents are judged; they train on streams of smaller seeds.
TEST_SEED = 1_000_000

#: (observation, whether an episode begins) -> action.
Act = Callable[[Any, bool], Any]


def share_of_best(env: gymnasium.Env, act: Act, pictures: int = 50) -> float:
    """What an agent earns on pictures that it has not seen, as a share of the best return; 1 is the oracle.

    Args:
        env: the problem in the wrappers of the agent.
        act: the agent, acting greedily.
        pictures: number of episodes.
    """
    shares = []
    for number in range(pictures):
        observation, info = env.reset(seed=TEST_SEED if number == 0 else None)
        best, earned, first, over = float(info["best_return"]), 0.0, True, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(observation, first))
            earned, first, over = earned + float(reward), False, terminated or truncated
        shares.append(earned / best)
    return float(np.mean(shares))


def best_constant(values: int = 9, pictures: int = 50) -> float:
    """The best of so many actions that are the same in every step and every picture, chosen on the test pictures."""
    env = gymnasium.make(ID, **ARGUMENTS)

    def constant(value: float) -> Act:
        return lambda observation, first: np.full(env.action_space.shape or (), value, np.float32)

    return max(share_of_best(env, constant(value), pictures) for value in np.linspace(-1, 1, values))
