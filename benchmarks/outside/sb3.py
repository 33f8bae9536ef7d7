"""Agents of stable-baselines3 and sb3-contrib on one action for the picture, seen as bytes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from sb3_contrib import TQC, TRPO, RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor

from benchmarks.outside.problem import Act
from rlenhance.envs import GlobalAction, Uint8Observation

_ON_POLICY = {"n_steps": 256, "batch_size": 64, "learning_rate": 1e-3, "gae_lambda": 1.0}
_OFF_POLICY = {"learning_starts": 200, "buffer_size": 12_000, "policy_kwargs": {"net_arch": [64, 64]}}
#: Name -> class, policy, arguments; the rest is as it comes.
AGENTS: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any]]] = {
    "PPO": (PPO, "MlpPolicy", _ON_POLICY),
    "SAC": (SAC, "MlpPolicy", _OFF_POLICY),
    "TRPO": (TRPO, "MlpPolicy", _ON_POLICY),
    "RecurrentPPO": (RecurrentPPO, "MlpLstmPolicy", {**_ON_POLICY, "policy_kwargs": {"lstm_hidden_size": 32}}),
    "TQC": (TQC, "MlpPolicy", _OFF_POLICY),
}


def make_env(env_id: str, **arguments: Any) -> gymnasium.Env:
    """One picture of bytes, one action for it."""
    return Monitor(Uint8Observation(GlobalAction(gymnasium.make(env_id, **arguments))))


def train(name: str, env: gymnasium.Env, *, total_steps: int, seed: int = 0, **changes: Any) -> BaseAlgorithm:
    """Train an agent.

    Args:
        name: of `AGENTS`.
        env: of `make_env`.
        total_steps, seed: of the training.
        changes: arguments of the agent in place of those in `AGENTS`.
    """
    made, policy, arguments = AGENTS[name]
    agent = made(policy, env, **{"gamma": 1.0, **arguments, **changes}, seed=seed, device="cpu")
    return agent.learn(total_steps)


def act_of(agent: BaseAlgorithm) -> Act:
    """The agent acting greedily; a recurrent one remembers from step to step."""
    state: Any = None

    def act(observation: Any, first: bool) -> Any:
        nonlocal state
        action, state = agent.predict(observation, None if first else state, episode_start=np.array([first]),
                                      deterministic=True)
        return action

    return act
