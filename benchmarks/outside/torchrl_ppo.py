"""PPO of TorchRL's parts over many pictures at once: `GymWrapper`, a TanhNormal policy, GAE and `ClipPPOLoss`.

TorchRL resets vector environments itself, so that theirs is the mode `autoreset_mode=DISABLED`.

Source: TorchRL's tutorial on PPO.
"""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import FlattenObservation, TransformAction
from torch import nn

from rlenhance import envs  # noqa: F401  registers the ids

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what TorchRL finds deprecated in the libraries that it imports
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    from tensordict.nn.distributions import NormalParamExtractor
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import ExplorationType, set_exploration_type
    from torchrl.modules import ProbabilisticActor, TanhNormal, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE


def make_env(env_id: str, num_envs: int, **arguments: Any) -> GymWrapper:
    """Many pictures for TorchRL: rows of numbers to see and to choose.

    Args:
        env_id: an environment whose actions are one `Box`, those of one scope of agents.
        num_envs: pictures at once.
        arguments: of the environment.
    """
    env = gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode=AutoresetMode.DISABLED, **arguments)
    shape = env.single_action_space.shape or ()
    env = TransformAction(env, lambda action: action.reshape(-1, *shape),
                          single_action_space=Box(-1, 1, (int(np.prod(shape)),), np.float32))
    return GymWrapper(FlattenObservation(env))  # outermost, a wrapper that has `autoreset_mode`


def perceptron(seen: int, outputs: int) -> nn.Sequential:
    """Two layers of 64."""
    return nn.Sequential(nn.Linear(seen, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def train(env: GymWrapper, horizon: int, *, total_steps: int = 11_520, epochs: int = 10, minibatches: int = 4,
          learning_rate: float = 1e-3, seed: int = 0) -> ProbabilisticActor:
    """Train an actor.

    Args:
        env: of `make_env`.
        horizon: steps of an episode; an update is made after one of each picture.
        total_steps: over all pictures.
        epochs, minibatches: passes over a rollout, and their parts.
        learning_rate: of actor and critic.
        seed: of pictures, weights and actions.
    """
    torch.manual_seed(seed)
    env.set_seed(seed)
    seen, heads = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    parameters = TensorDictModule(nn.Sequential(perceptron(seen, 2 * heads), NormalParamExtractor()),
                                  in_keys=["observation"], out_keys=["loc", "scale"])
    actor = ProbabilisticActor(parameters, spec=env.action_spec_unbatched, in_keys=["loc", "scale"],
                               distribution_class=TanhNormal, return_log_prob=True)
    critic = ValueOperator(perceptron(seen, 1), in_keys=["observation"])
    advantage = GAE(gamma=1.0, lmbda=1.0, value_network=critic, average_gae=True)
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=learning_rate)
    for _ in range(total_steps // (horizon * env.batch_size[0])):
        with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):  # outside a collector it is deterministic
            data = env.rollout(horizon, actor)
            advantage(data)
        data = data.reshape(-1)
        for _ in range(epochs):
            for part in torch.randperm(len(data)).chunk(minibatches):
                found = loss(data[part])
                optimizer.zero_grad()
                (found["loss_objective"] + found["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()
    return actor


def act(actor: ProbabilisticActor, observation: np.ndarray) -> np.ndarray:
    """The greedy actions for rows of observations."""
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        seen = TensorDict({"observation": torch.as_tensor(observation)}, batch_size=[len(observation)])
        return actor(seen)["action"].numpy()
