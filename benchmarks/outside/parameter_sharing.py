"""Parameter sharing over the cells of a picture: PettingZoo's agents, one PPO of stable-baselines3 for all of them.

SuperSuit makes each agent of the `ParallelEnv` an entry of a vector environment; the policy that learns from them is
the same for every cell, and each cell has its own reward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import supersuit
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed

from rlenhance.envs.parallel import ParallelImageEnv, parallel_env


def train(env_id: str, *, total_steps: int = 11_520, worlds: int = 4, seed: int = 0, **arguments: Any) -> PPO:
    """Train one policy for all cells.

    Args:
        env_id, arguments: see `rlenhance.envs.parallel.parallel_env`.
        total_steps: of the pictures; each is a step of every cell.
        worlds: pictures at once.
        seed: of pictures, weights and actions.
    """
    env = parallel_env(env_id, **arguments)
    cells, horizon = len(env.possible_agents), env.env.horizon
    vector = supersuit.pettingzoo_env_to_vec_env_v1(env)
    vector = supersuit.concat_vec_envs_v1(vector, worlds, num_cpus=0, base_class="stable_baselines3")
    set_random_seed(seed)
    vector.venv.reset(seed=seed)  # SuperSuit's vector environment takes no seed from PPO
    agent = PPO("MlpPolicy", vector, n_steps=8 * horizon, batch_size=8 * cells, n_epochs=4, learning_rate=1e-3,
                gamma=1.0, gae_lambda=1.0, device="cpu")
    agent.learn(total_steps * cells)
    return agent


def share_of_best(env: ParallelImageEnv, agent: PPO, seed: int, pictures: int = 50) -> float:
    """What the cells earn together, acting greedily, as a share of the best return."""
    shares = []
    for number in range(pictures):
        observations, _ = env.reset(seed=seed if number == 0 else None)
        best, earned = float(env.info["best_return"]), 0.0
        while env.agents:
            names = list(env.agents)
            actions, _ = agent.predict(np.stack([observations[name] for name in names]), deterministic=True)
            observations, *_, infos = env.step(dict(zip(names, actions, strict=True)))
            earned += infos[names[0]]["team_reward"]
        shares.append(earned / best)
    return float(np.mean(shares))
