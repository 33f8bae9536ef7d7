"""Soft actor-critic with an agent per pixel, cell and image."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlenhance.agents.base import LEARNERS, PolicyLearner, PolicyLearnerConfig, clone_weights, to_scalars
from rlenhance.agents.critic import TwinCritic, min_q
from rlenhance.agents.optim import NonFiniteError, OptimizerConfig, OptimizerStep, update_ema
from rlenhance.agents.replay import EpisodeBatch, EpisodeReplayBuffer
from rlenhance.agents.rollout import (
    Rollout,
    action_penalties,
    collect_rollout,
    concat_steps,
    evaluate_actions,
    replay_rollout,
    require_finite,
    rollout_metrics,
    scope_rewards,
)
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.envs.transition import start
from rlenhance.learning.actions import Action
from rlenhance.learning.data import Batch
from rlenhance.learning.models.policy import Observation, PixelPolicy
from rlenhance.learning.nn.distributions import JointDistribution
from rlenhance.learning.rewards import Reward

_HALVINGS = 12  # of an update that has left the trust region, before it is taken back


@dataclass(frozen=True)
class SACConfig(PolicyLearnerConfig):
    """Settings of `sac`."""

    buffer_size: int = 512
    """Episodes in the replay."""
    batch_size: int = 16
    """Episodes per gradient step, all their steps together."""
    gradient_steps: int = 4
    """Gradient steps per batch of new episodes."""
    critic_warmup_updates: int = 0
    """First batches of a run from which only the critics learn: their first values are no guide for the policy."""
    gamma: float = 1.0
    """Discount; 1 is right for a fixed horizon with the steps left observed."""
    td_lambda: float = 0.8
    """Share of the episode's own further course in the critics' targets (0: one step and a bootstrap)."""
    target_entropy: float = -1.5
    """Entropy to keep, in nat per action dimension (a dimension is one head of one agent)."""
    init_alpha: float = 0.01
    """Temperature at the start; it follows the target entropy."""
    alpha_lr: float = 0.02
    """How fast its logarithm moves, per nat and gradient step."""
    tau: float = 0.05
    """Share of the critics that enters their slow copies at each gradient step."""
    noise_block_size: int = 2
    """Cells along each side that share their exploration noise (1: each its own)."""
    max_kl: float = 0.0
    """Bound on the KL from the policy before the update, in nat per action dimension (0: none; else 0.01 to 0.05)."""
    critic_backbone: str = "compact"
    """Backbone of the critics."""
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-3))
    """Adam, of the critics."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, "[0, 1]", "gamma", "td_lambda")
        check_ranges(self, "(0, 1]", "tau")
        check_ranges(self, "[1, inf)", "buffer_size", "batch_size", "gradient_steps", "noise_block_size")
        check_ranges(self, "[0, inf)", "critic_warmup_updates", "max_kl")
        check_ranges(self, "(0, inf)", "init_alpha")


class ReturnBounds:
    """The least and the largest soft return to go of the episodes so far: the range of the critics' values.

    A critic that bootstraps with a discount of 1 may diverge; the values it bootstraps from are clamped to this range,
    widened by half.
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf

    def update(self, returns: Tensor) -> None:
        low, high = returns.aminmax()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def clamp(self, value: Tensor) -> Tensor:
        margin = 0.5 * (self.high - self.low)
        return value.clamp(self.low - margin, self.high + margin)


def lambda_targets(reward: Tensor, entropy: Tensor, value: Tensor, count: int, gamma: float,
                   td_lambda: float) -> Tensor:
    """Soft returns along stored episodes, the critics' targets.

    G_t = r_t + gamma (H_{t+1} + (1 - td_lambda) Q_{t+1} + td_lambda G_{t+1}), and G_t = r_t at the last step. H_{t+1} =
    -alpha log pi(a' | s_{t+1}) and Q_{t+1} = Q(s_{t+1}, a') are those of an action a' that the present policy draws in
    the stored state. H_{t+1} belongs to the state, so it stands beside trace and bootstrap alike: with a true Q and
    actions of the policy itself, every td_lambda has the same target in expectation.

    Args:
        reward, entropy, value: r, H, Q of all steps, (T * B, 1, h, w), step by step.
        count: of the episodes, B.
        gamma: discount. td_lambda: share of the trace, both in [0, 1].

    Returns:
        G of all steps, (T * B, 1, h, w).

    Source: the entropy-augmented reward of SAC (Haarnoja et al. 2018 a, lemma 1) in Peng's Q(lambda) (Peng and Williams
    1996; Kozuno et al. 2021). The log-probability of the stored a_{t+1} would have the same mean for actions of the
    present policy; for those of earlier ones its mean is a cross-entropy, which has no bound.
    """
    rewards, bonuses, values = reward.split(count), entropy.split(count), value.split(count)
    targets = [rewards[-1]]
    for step in range(len(rewards) - 2, -1, -1):
        after = bonuses[step + 1] + (1 - td_lambda) * values[step + 1] + td_lambda * targets[0]
        targets.insert(0, rewards[step] + gamma * after)
    return torch.cat(targets)


class KLConstraint:
    """The multiplier of the KL divergence from the last policy: it rises while the divergence exceeds its bound. An
    update that exceeds the bound nevertheless is taken back in part.

    Source: dual gradient ascent on a KL constraint, as in MPO (Abdolmaleki et al. 2018), section 4.2.
    """

    def __init__(self, bound: float, rate: float = 0.1):
        self.bound, self.rate, self.multiplier = bound, rate, 1.0

    def update(self, divergence: float) -> None:
        """After a step: `divergence` in nat per action dimension."""
        excess = (divergence - self.bound) / self.bound
        self.multiplier = min(1e4, max(1e-4, self.multiplier * math.exp(self.rate * max(-1.0, min(3.0, excess)))))


@LEARNERS.register("sac")
class SAC(PolicyLearner):
    """Off-policy maximum-entropy actor-critic over all agents.

    New episodes enter a replay buffer; gradient steps draw whole episodes, compute states and rewards again, and fit
    twin Q maps per scope of agents, each to its own reward. The log-probability is averaged over the agents of a
    scope, never summed, so that one temperature serves images and grids of any size.

    Args:
        network: a policy with continuous heads and `std_mode="predicted"`.
        reward: what counts as better.
        config: settings.
        seed: of the actions, preferences and draws.
        device: of the policy, the critics and the environment.

    Source: SAC (Haarnoja et al. 2018 a, b); the entropy target per dimension. We depart in the maps, in rewards at the
    agents' own scale, in exploration noise that neighbours share, in whole episodes, and in taking action terms on
    the mean action.
    """

    std_mode: ClassVar[str] = "predicted"
    supports_categorical: ClassVar[bool] = False
    Config: ClassVar[type[Any]] = SACConfig

    def __init__(self, network: PixelPolicy, reward: Reward, config: SACConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        self.config = config or self.Config()
        if network.actions.num_choices is not None:
            raise UsageError("sac needs continuous actions: use a continuous action set, or the learner a3c")
        if network.std_mode != "predicted":
            raise UsageError(f"sac needs a policy with std_mode='predicted'; got {network.std_mode!r}")
        super().__init__(network, reward, self.config, seed, device)
        self.critic = TwinCritic(network, self.config.critic_backbone).to(self.device)
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self.critic_optimizer = OptimizerStep(self.critic, self.config.critic_optimizer)
        self.replay_buffer = EpisodeReplayBuffer(self.config.buffer_size,
                                                 keep_states=isinstance(network.actions, torch.nn.Module))
        self.log_alpha = math.log(self.config.init_alpha)
        self.batches = 0
        self.return_bounds = {scope: ReturnBounds() for scope in network.actions.scopes}
        self.kl_constraint = KLConstraint(self.config.max_kl) if self.config.max_kl else None

    def use_fabric(self, fabric: Any) -> None:
        super().use_fabric(fabric)
        self.critic_optimizer.use_fabric(fabric)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        config = self.config
        preference = self.sample_preferences(batch)
        rollout = collect_rollout(self.optimizer.network, self.env, batch, preference, self.generator,
                                  config.noise_block_size)
        require_finite(rollout)
        states = [*(observation["image"] for observation in rollout.observations), rollout.final_image]
        self.replay_buffer.add(batch, preference, rollout.actions, states)
        before = copy.deepcopy(self.policy).requires_grad_(False) if self.kl_constraint else None
        log: dict[str, Tensor | float] = {}
        costs: dict[str, Tensor] = {}
        for _ in range(config.gradient_steps):
            episodes, rewards = self._recompute(self.replay_buffer.sample(config.batch_size, self.generator))
            log = self._fit_critics(episodes, rewards, progress)
            if self.batches >= config.critic_warmup_updates:
                actor, costs = self._fit_actor(episodes, before, progress)
                log |= actor
            update_ema(self.critic_target, self.critic, self.config.tau)
        if before is not None and self.batches >= config.critic_warmup_updates:
            log["sac/kl"] = self._backtrack(episodes, before)
        self.batches += 1
        return to_scalars({**log, **rollout_metrics(rollout, self.reward, costs),
                           **self.unweighted_terms(rollout.episode, states[0], states[-1], self.batches)})

    def _recompute(self, drawn: EpisodeBatch) -> tuple[Rollout, dict[str, Tensor]]:
        """The stored episodes as a rollout, and every agent's rewards, (T * B, 1, h, w) per scope."""
        begun = start(self.policy.actions, self.reward, self.policy.horizon, self.policy.preferences, drawn.batch,
                      drawn.preference, None if drawn.states is None else drawn.states[0], self.env.early_stop_psnr)
        rollout = replay_rollout(self.policy, *begun, drawn.actions, drawn.states, decide=False)
        require_finite(rollout)
        height, width = rollout.final_image.shape[-2:]
        actions = self.policy.actions
        grids = {scope: actions.agent_grid(scope, height, width) for scope in actions.scopes}
        return rollout, concat_steps([scope_rewards(self.reward, terms, grids) for terms in rollout.terms])

    def _entropy_term(self, log_prob: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Temperature times log-probability, per action dimension."""
        temperature = math.exp(self.log_alpha)
        return {scope: temperature * value / self.policy.actions.action_dim for scope, value in log_prob.items()}

    def _fit_critics(self, rollout: Rollout, rewards: Mapping[str, Tensor], progress: float) -> dict[str, Any]:
        config, count = self.config, rollout.final_image.shape[0]
        observation: Observation = concat_steps(rollout.observations)
        context = self.policy.global_features(observation)
        with torch.no_grad():
            distribution, _ = evaluate_actions(self.policy, rollout)
            action, log_prob = distribution.sample_with_log_prob(self.generator)
            value = min_q(self.critic_target(observation, context, action))
            targets = {}
            for scope, penalty in self._entropy_term(log_prob).items():
                bounds, bonus = self.return_bounds[scope], -penalty
                bounds.update(lambda_targets(rewards[scope], bonus, bonus, count, config.gamma, 1.0))
                targets[scope] = lambda_targets(rewards[scope], bonus, bounds.clamp(value[scope]), count,
                                                config.gamma, config.td_lambda)
        both = self.critic_optimizer.network(observation, context, concat_steps(rollout.actions))
        losses = {f"loss/critic/{scope}": torch.stack([((value[scope] - target) ** 2).mean() for value in both]).mean()
                  for scope, target in targets.items()}
        step = self.critic_optimizer.update(losses, progress)
        return {**losses, "optim/critic_grad_norm": step["optim/grad_norm"],
                **{f"critic/q_target/{scope}": target.mean() for scope, target in targets.items()}}

    def _fit_actor(self, rollout: Rollout, before: PixelPolicy | None,
                   progress: float) -> tuple[dict[str, Any], dict[str, Tensor]]:
        observation: Observation = concat_steps(rollout.observations)
        context = self.policy.global_features(observation)
        distribution, _ = evaluate_actions(self.optimizer.network, rollout)
        action, log_prob = distribution.sample_with_log_prob(self.generator)
        values = self._own_values(observation, context, action)
        soft = self._entropy_term(log_prob)
        losses = {f"loss/policy/{scope}": soft[scope].mean() - value for scope, value in values.items()}
        costs = action_penalties(self.reward, self.policy.actions, distribution, len(rollout.rewards[0]),
                                 rollout.episode.user_targets)
        losses |= {f"loss/{name}": cost for name, cost in costs.items()}
        seen: dict[str, Any] = {}
        heads = self.policy.actions.action_dim
        if before is not None and self.kl_constraint is not None:
            divergence = self._divergence(distribution, rollout, before)
            losses["loss/kl"] = self.kl_constraint.multiplier * divergence
            self.kl_constraint.update(float(divergence.detach()))
            seen |= {"sac/kl_multiplier": self.kl_constraint.multiplier}
        log = self.optimizer.update(losses, progress)
        density = torch.stack([value.mean() / heads for value in log_prob.values()]).mean()
        excess = float(density.detach()) + self.config.target_entropy  # positive: entropy below its target
        if not math.isfinite(excess):
            raise NonFiniteError("entropy")
        self.log_alpha += self.config.alpha_lr * max(-1.0, min(1.0, excess))
        self.log_alpha = max(-12.0, min(2.0, self.log_alpha))
        seen |= {f"policy/entropy/{scope}": entropy.mean() for scope, entropy in distribution.entropy().items()}
        return {**losses, **log, **seen, "policy/log_prob": density, "sac/alpha": math.exp(self.log_alpha)}, costs

    def _own_values(self, observation: Observation, context: Tensor, action: Action) -> dict[str, Tensor]:
        """The mean lower Q of each scope: its gradient reaches the actions of that scope alone.

        Every scope's Q sees all actions, and the returns of the scopes share the terms that are maps: with a gradient
        for the other scope's actions as well, these terms would count twice.
        """
        inputs = {scope: part.detach().requires_grad_() for scope, part in action.items()}
        self.critic.requires_grad_(False)  # its values count here, its weights stay
        values = {scope: value.mean() for scope, value in min_q(self.critic(observation, context, inputs)).items()}
        self.critic.requires_grad_(True)
        slopes = {scope: torch.autograd.grad(value, inputs[scope], retain_graph=True)[0]
                  for scope, value in values.items()}
        return {scope: value.detach() + (slopes[scope] * (action[scope] - inputs[scope].detach())).sum()
                for scope, value in values.items()}  # to first order, which is all that a gradient sees

    def _divergence(self, distribution: JointDistribution, rollout: Rollout, before: PixelPolicy) -> Tensor:
        """KL from the policy before the update, in nat per action dimension."""
        with torch.no_grad():
            last, _ = evaluate_actions(before, rollout)
        heads = self.policy.actions.action_dim
        return torch.stack([kl.mean() / heads for kl in distribution.kl(last).values()]).mean()

    @torch.no_grad()
    def _backtrack(self, rollout: Rollout, before: PixelPolicy) -> Tensor:
        """Move the policy halfway back to what it was until the KL is within the bound; the KL that is left.

        The multiplier alone keeps the KL near the bound on average: one update may exceed it.
        """
        assert self.kl_constraint is not None
        for _ in range(_HALVINGS):
            divergence = self._divergence(evaluate_actions(self.policy, rollout)[0], rollout, before)
            if divergence <= self.kl_constraint.bound:
                return divergence
            update_ema(self.policy, before, 0.5)
        self.policy.load_state_dict(before.state_dict())
        return torch.zeros(())

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(), "critic": clone_weights(self.critic), "slow": clone_weights(self.critic_target),
            "critic_optimiser": self.critic_optimizer.state_dict(), "memory": self.replay_buffer.state_dict(),
            "log_temperature": self.log_alpha, "batches": self.batches,
            "ranges": {scope: [seen.low, seen.high] for scope, seen in self.return_bounds.items()},
            "trust_price": self.kl_constraint.multiplier if self.kl_constraint else 0.0,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for critic, weights in ((self.critic, state["critic"]), (self.critic_target, state["slow"])):
            critic.load_state_dict(weights)
        self.critic_optimizer.load_state_dict(state["critic_optimiser"])
        self.replay_buffer.load_state_dict(state["memory"], self.device)
        self.log_alpha, self.batches = state["log_temperature"], state.get("batches", 0)
        for scope, (low, high) in state["ranges"].items():
            self.return_bounds[scope].low, self.return_bounds[scope].high = low, high
        if self.kl_constraint:
            self.kl_constraint.multiplier = state["trust_price"]
