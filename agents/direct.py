"""Back-propagation through the rollout: the control for every policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlenhance.agents.base import LEARNERS, PolicyLearner, PolicyLearnerConfig, to_scalars
from rlenhance.agents.optim import raise_if_any_nonfinite
from rlenhance.agents.rollout import magnitude_metrics
from rlenhance.learning.data import Batch
from rlenhance.learning.models.policy import PixelPolicy
from rlenhance.learning.rewards import Reward


@dataclass(frozen=True)
class DirectConfig(PolicyLearnerConfig):
    """Settings of `direct`."""


@LEARNERS.register("direct")
class Direct(PolicyLearner):
    """Maximise the return of the greedy episode by differentiating through all of its steps.

    Same network, same environment, same reward as `a3c`; it needs actions and rewards that are differentiable.
    Categorical heads act by the mixture of their choices' results. If it converges to a bad image, the reward is
    wrong, not the learner.

    Args:
        network, reward, config, seed, device: as for `A3C`.

    Raises:
        UsageError: no gradient passes through a term of the reward: it would be ignored without a word.
    """

    supports_ddp: ClassVar[bool] = True
    Config: ClassVar[type[Any]] = DirectConfig
    differentiable_terms: ClassVar[frozenset[str]] = frozenset({"state", "action"})

    def __init__(self, network: PixelPolicy, reward: Reward, config: DirectConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        self.config = config or self.Config()
        super().__init__(network, reward, self.config, seed, device)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        observation, _ = self.env.reset(options={"batch": batch, "preference": self.sample_preferences(batch)})
        first = observation["image"]
        memory, gain, magnitudes = None, batch.image.new_zeros(len(batch)), []
        sums: dict[str, Tensor] = {}
        for _ in range(self.env.horizon):
            distribution, _, memory = self.optimizer.network(observation, memory)
            action = distribution.soft_action()
            magnitudes.append(self.env.actions.magnitude(action).detach())
            observation, reward, _, _, info = self.env.step(action)
            gain = gain + reward
            for name, part in info["reward_terms"].items():
                sums[name] = sums.get(name, 0) + part["raw"].detach()
        raise_if_any_nonfinite(next((f"reward term {name}" for name, value in sums.items()
                                     if not torch.isfinite(value).all()), None), gain.device)
        log = self.optimizer.update({"loss/return": -gain.mean()}, progress)
        return to_scalars({
            **log, "rollout/return": gain, **{f"reward/{name}": value for name, value in sums.items()},
            **self.unweighted_terms(self.env.episode, first, observation["image"], self.optimizer.steps),
            **magnitude_metrics(magnitudes),
        })
