"""A policy over tools as an actor-critic: `a3c` of toolchains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlenhance.agents.a3c import A3C, A3CConfig
from rlenhance.envs import ToolchainEnv
from rlenhance.learning.models import ToolchainPolicy
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.nn.distributions import JointDistribution, PixelCategorical


class ToolchainActor(nn.Module):
    """A `ToolchainPolicy` in the form of the other policies: a distribution over the allowed tools, and values.

    Args:
        planner: the policy; its scores are logits.
    """

    decision_size = None

    def __init__(self, planner: ToolchainPolicy):
        super().__init__()
        self.planner = planner
        self.actions, self.preferences, self.horizon = planner.actions, planner.preferences, planner.horizon

    def precompute(self, observation: Observation) -> Observation:
        """See `ToolchainPolicy.precompute`."""
        return self.planner.precompute(observation)

    def forward(self, observation: Observation, state: Any = None) -> tuple[JointDistribution, dict[str, Tensor], Any]:
        """Distribution over the tools (N, 1, K + 1, r, r), values (N, 1, r, r), and no state."""
        scores, value = self.planner.evaluate(observation)
        allowed = scores.clamp(min=-1e4)  # minus infinity times no probability would not be a number
        scope = self.actions.scopes[0]
        return JointDistribution({scope: PixelCategorical(allowed[:, None])}), {scope: value}, None

    def scope_parameters(self, scope: str) -> Sequence[nn.Parameter]:
        """None: there is one scope."""
        return []

    def value_parameters(self) -> Sequence[nn.Parameter]:
        """Those of the value alone."""
        return list(self.planner.values.parameters())


class ToolchainA3C(A3C):
    """`a3c` for a policy over tools: categorical, and what is not allowed has no probability.

    Args:
        planner: the policy; its scores are logits.
        env: where it collects episodes; its reward is what counts as better.
        config, seed, device: see `A3C`.
    """

    def __init__(self, planner: ToolchainPolicy, env: ToolchainEnv, config: A3CConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        actor: Any = ToolchainActor(planner)
        super().__init__(actor, env.reward, config, seed=seed, device=device, env=env)
        self.network = planner  # what is saved; its weights are those that are trained, or their average
