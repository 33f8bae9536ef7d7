"""PPO for continuous actions in one file, in the manner of CleanRL, over many pictures at once.

Gymnasium's vector wrappers do their work on `make_vec`. All episodes have the same length, so that the environment need
not reset itself (`autoreset_mode=DISABLED`): a rollout is one episode of every picture, and nothing is bootstrapped at
its end.

Source: Huang et al., CleanRL, ppo_continuous_action.py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    ClipAction,
    FlattenObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
)
from torch import Tensor, nn
from torch.distributions import Normal

from rlenhance import envs  # noqa: F401  registers the ids


@dataclass
class Config:
    """What can be chosen."""

    env_id: str = "rlenhance/CurveOracle-v0"
    """The environment."""
    num_envs: int = 64
    """Pictures at once."""
    total_steps: int = 11_520
    """Steps of the environment, over all pictures."""
    learning_rate: float = 1e-3
    """Falls to zero over the training."""
    epochs: int = 10
    """Passes over a rollout."""
    minibatches: int = 4
    """Of a pass."""
    clip: float = 0.2
    """Of the ratio of probabilities."""
    value_coef: float = 0.5
    """Weight of the critic's loss."""
    max_grad_norm: float = 0.5
    """Gradients are clipped to it."""
    seed: int = 0
    """Of pictures, weights and actions."""


def make_env(config: Config, num_envs: int) -> gymnasium.vector.VectorEnv:
    """The vector environment with flat observations."""
    env = gymnasium.make_vec(config.env_id, num_envs=num_envs, autoreset_mode=AutoresetMode.DISABLED)
    return ClipAction(FlattenObservation(env))


def layer(inputs: int, outputs: int, std: float = 2**0.5) -> nn.Linear:
    """A linear layer with orthogonal weights."""
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, std)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    """Actor and critic, perceptrons of 2 x 64."""

    def __init__(self, env: gymnasium.vector.VectorEnv):
        super().__init__()
        seen = int(np.prod(env.single_observation_space.shape or ()))
        self.shape = env.single_action_space.shape or ()
        chosen = int(np.prod(self.shape))
        self.critic = nn.Sequential(layer(seen, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))
        self.mean = nn.Sequential(layer(seen, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, chosen, 0.01))
        self.log_std = nn.Parameter(torch.zeros(chosen))

    def policy(self, observation: Tensor) -> Normal:
        """The distribution of the actions, (N, numbers)."""
        return Normal(self.mean(observation), self.log_std.exp())

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The greedy action, (N, *shape)."""
        with torch.no_grad():
            return self.mean(torch.from_numpy(observation)).numpy().reshape(-1, *self.shape)


def train(config: Config) -> tuple[Agent, list[float]]:
    """Train an agent; the mean return of each update comes with it."""
    torch.manual_seed(config.seed)
    env = NormalizeReward(RecordEpisodeStatistics(make_env(config, config.num_envs)), gamma=1.0)
    agent = Agent(env)
    optimizer = torch.optim.Adam(agent.parameters(), lr=config.learning_rate, eps=1e-5)
    observation, _ = env.reset(seed=config.seed)
    returns: list[float] = []
    steps = 0
    while steps < config.total_steps:
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - steps / config.total_steps)
        rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        over = np.zeros(config.num_envs, bool)
        while not over.all():  # one episode of every picture
            seen = torch.from_numpy(observation)
            with torch.no_grad():
                action = agent.policy(seen).sample()
            observation, reward, terminated, truncated, info = env.step(action.numpy().reshape(-1, *agent.shape))
            rows.append((seen, action, agent.policy(seen).log_prob(action).sum(1).detach(), torch.from_numpy(reward)))
            over = terminated | truncated
        returns.append(float(np.mean(info["episode"]["r"])))
        observation, _ = env.reset()
        steps += len(rows) * config.num_envs

        seen, action, log_prob, earned = (torch.stack(column) for column in zip(*rows, strict=True))
        to_come = earned.float().flip(0).cumsum(0).flip(0).flatten()  # gamma = lambda = 1: the return itself
        seen, action, log_prob = seen.flatten(0, 1), action.flatten(0, 1), log_prob.flatten()
        advantage = to_come - agent.critic(seen).detach().flatten()
        for _ in range(config.epochs):
            for part in torch.randperm(len(seen)).chunk(config.minibatches):
                ratio = (agent.policy(seen[part]).log_prob(action[part]).sum(1) - log_prob[part]).exp()
                gain = advantage[part]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
                policy_loss = -torch.minimum(gain * ratio, gain * clipped).mean()
                value_loss = (agent.critic(seen[part]).flatten() - to_come[part]).square().mean()
                optimizer.zero_grad()
                (policy_loss + config.value_coef * value_loss).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
                optimizer.step()
    return agent, returns


if __name__ == "__main__":
    _, trained = train(Config(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    for number, value in enumerate(trained):
        print(f"update {number}: mean return {value:.3f}")
