"""The policy gradient of all tools, with returns that are found by going on after each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from rlenhance.agents.base import Learner, to_scalars
from rlenhance.agents.dqn import lean
from rlenhance.agents.optim import OptimizerConfig, raise_if_any_nonfinite
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.envs import ToolchainEnv
from rlenhance.learning.data import Batch
from rlenhance.learning.models import ToolchainPolicy
from rlenhance.learning.models.policy import Observation


@dataclass(frozen=True)
class VineConfig:
    """Settings of `vine`."""

    exploration: float = 0.1
    """Share of the tools that are drawn evenly; the others are drawn by the policy."""
    buffer_size: int = 20_000
    """States that are kept to learn from, with the returns that were found there; the oldest are dropped."""
    states: int = 64
    """States of a gradient step."""
    gradient_steps: int = 16
    """Gradient steps in an update."""
    entropy: tuple[float, float] = (0.1, 0.0)
    """Weight of the policy's entropy at the start and at the end, in units of the score."""
    most_loss: float = 3.0
    """A choice that loses more than this on the best one counts as this, in units of the score: how bad a bad tool is
    need not be learned."""
    ema_decay: float = 0.995
    """Share that each gradient step keeps of the average of the weights, which goes on after a tool, and is used."""
    preference_sampling_prob: float = 0.8
    """Share of the pictures whose price is drawn from its whole range; the others have its default."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(1e-3, 50, 0.02, 1.0))
    """Adam."""

    def __post_init__(self) -> None:
        check_ranges(self, "[1, inf)", "buffer_size", "states", "gradient_steps")
        check_ranges(self, "[0, inf)", "entropy")
        check_ranges(self, "(0, inf)", "most_loss")
        check_ranges(self, "[0, 1)", "ema_decay")
        check_ranges(self, "[0, 1]", "exploration", "preference_sampling_prob")


class Vine(Learner):
    """A policy over tools that learns from the returns of all of them.

    At each state of an episode every tool is tried, and after each of them the policy's greedy choices (of the average
    of its weights) are followed to the end. The environment is deterministic, so these returns are exact: no critic
    estimates them, and no draw disturbs them. The loss is what the policy's probabilities lose on the best choice,
    summed over all choices; stopping returns 0. With a cache and a short horizon this costs little: T steps of K tools
    need at most about K T^2 / 2 results for a picture.

    Args:
        planner: its scores are logits.
        env: without regions.
        config, seed, device: as of other learners.

    Raises:
        UsageError: the planner's scores are values, or it has regions.

    Source: vine (TRPO, Schulman et al. 2015, section 5.2), mean actor-critic (Allen et al. 2017) and rollout policy
    iteration (Lagoudakis and Parr 2003). We depart in greedy rollouts of averaged weights, and in learning from states
    of earlier updates as well.
    """

    Config: ClassVar[type[Any]] = VineConfig

    def __init__(self, planner: ToolchainPolicy, env: ToolchainEnv, config: VineConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        if planner.learns_values or planner.actions.regions > 1:
            raise UsageError("vine trains a ToolchainPolicy without learns_values and without regions: use a3c for "
                             "regions, and dqn for values")
        self.config = config or VineConfig()
        super().__init__(planner, self.config.optimizer, seed, device, planner, self.config.ema_decay)
        self.env, self._planner = env, planner.to(self.device).eval()
        self._kept: dict[str, Tensor] = {}

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        seen = self._collect(batch)
        for states in seen:
            self._kept = {name: torch.cat([self._kept.get(name, value[:0]), value])[-self.config.buffer_size :]
                          for name, value in states.items()}
        first, last = self.config.entropy
        count, log = len(self._kept["returns"]), dict[str, Tensor | float]()
        for _ in range(self.config.gradient_steps):
            rows = torch.randint(count, (self.config.states,), generator=self.generator)
            states = {name: value[rows].float() for name, value in self._kept.items()}
            log = {**self.descend(self._losses(states, first + (last - first) * progress), progress)}
        return to_scalars({**log, "rollout/return": seen[0]["greedy"].mean(), "replay/states": float(count),
                           "rollout/length": float(sum(len(states["greedy"]) for states in seen[1:]) / len(batch))})

    @torch.no_grad()
    def _collect(self, batch: Batch) -> list[dict[str, Tensor]]:
        """What is learned from, of each step of an episode: the states (M, ...) of the pictures that go on, with the
        return of each choice (M, K + 1) and that of the greedy one (M,)."""
        planner, stop = self._planner, self._planner.actions.stop
        preference = planner.preferences.sample(len(batch), self.generator, self.config.preference_sampling_prob)
        env, seen = self.env, list[dict[str, Tensor]]()
        observation, _ = env.reset(options={"batch": batch, "preference": preference})
        observation = planner.precompute(observation)
        for left in range(env.horizon - 1, -1, -1):
            count = len(observation["image"])
            tried = env.branch(torch.arange(count).repeat_interleave(stop))
            after, reward, *_ = tried.step(torch.arange(stop).repeat(count))
            if left:
                after = planner.precompute(after)
                reward = reward + self._follow(tried, after, left)
            returns = torch.cat([reward.view(count, stop), reward.new_zeros(count, 1)], dim=1)
            scores, allowed = planner(observation), observation["action_mask"][:, :, 0, 0]
            greedy = returns.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]
            seen.append({**lean(observation), "preference": observation.get("preference", preference[:count]),
                         "returns": returns, "greedy": greedy})
            raise_if_any_nonfinite(None if torch.isfinite(returns).all() else "reward", self.device)
            chances = torch.lerp(scores.softmax(dim=1), allowed / allowed.sum(dim=1, keepdim=True),
                                 self.config.exploration)
            choice = torch.multinomial(chances, 1, generator=self.generator)[:, 0]
            rows = (torch.arange(count) * stop + choice)[choice != stop]
            if not left or not len(rows):
                break
            env = tried.branch(rows)
            observation = cast(Observation, {name: value[rows] for name, value in dict[str, Any](after).items()})
        return seen

    def _follow(self, env: ToolchainEnv, observation: Observation, steps: int) -> Tensor:
        """The return of the greedy choices from here on: (M,)."""
        rows = torch.arange(len(observation["image"]))
        total = torch.zeros(len(rows))
        for left in range(steps - 1, -1, -1):
            choice = self._planner(observation).argmax(dim=1)
            going = (choice != self._planner.actions.stop).nonzero().flatten()
            if not len(going):
                break
            env, rows = env.branch(going), rows[going]
            observation, reward, *_ = env.step(choice[going])
            total[rows] += reward
            observation = self._planner.precompute(observation) if left else observation
        return total

    def _losses(self, states: dict[str, Tensor], entropy: float) -> dict[str, Tensor]:
        allowed = states["action_mask"][:, :, 0, 0] > 0.5
        returns = states["returns"].masked_fill(~allowed, -torch.inf)
        lost = (returns.amax(dim=1, keepdim=True) - returns).clamp(max=self.config.most_loss)
        observation: Any = {name: value for name, value in states.items() if name not in ("returns", "greedy")}
        logs = self.optimizer.network(observation).log_softmax(dim=1).clamp(min=-50)
        chances = logs.exp()
        return {"loss/policy": (chances * lost).sum(dim=1).mean(), "loss/entropy": entropy * (chances * logs).sum(
            dim=1).mean()}
