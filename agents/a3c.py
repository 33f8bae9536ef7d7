"""Batched advantage actor-critic with PPO's clipping and a leave-one-out baseline; `workers` above 1 make it
asynchronous (`rlenhance.agents.async_a3c`)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rlenhance.agents import distributed
from rlenhance.agents.base import LEARNERS, PolicyLearner, PolicyLearnerConfig, clone_weights, to_scalars
from rlenhance.agents.rollout import (
    Rollout,
    action_penalties,
    binomial_kernel,
    collect_rollout,
    concat_steps,
    discounted_returns,
    evaluate_actions,
    leave_one_out_baseline,
    require_finite,
    rollout_metrics,
    scope_rewards,
)
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.envs import PixelEnv
from rlenhance.learning.data import Batch
from rlenhance.learning.models.policy import PixelPolicy
from rlenhance.learning.rewards import Reward

_MAX_LOG_RATIO = 20.0  # the log-ratio is clamped here: its exponential would overflow


@dataclass(frozen=True)
class A3CConfig(PolicyLearnerConfig):
    """Settings of `a3c`."""

    rollouts_per_image: int = 6
    """K rollouts of the same image; the mean return of the others is the baseline (1: the learned value alone)."""
    gamma: float = 1.0
    """Discount. 1 is right for a fixed horizon with the steps left observed; above 1 is refused."""
    value_coef: float = 0.5
    """Weight of the value's squared error (0: no learned value, the group mean alone is the baseline)."""
    clip_range: float = 0.2
    """PPO's bound on the probability ratio (0: none, plain policy gradient; then take one epoch)."""
    dual_clip: float = 3.0
    """Where the advantage is negative, the objective is at least this times the advantage (above 1; 0: unbounded). A
    ratio beyond it gives no gradient; needs clip_range."""
    target_kl: float = 0.015
    """KL of a whole update (nat per agent, of each scope) that a scope's step size keeps to; a scope that the next step
    would move beyond 1.5 times it stays for the rest of the update (0: no limit)."""
    update_epochs: int = 3
    """Gradient steps per batch of rollouts."""
    ema_decay: float = 0.0
    """Share that each update keeps of the exponential moving average of the weights, which is then the policy that is
    validated, saved and used (0: the trained weights themselves; with workers there is no average)."""
    max_advantage: float = 4.0
    """Normalised advantages are cut here."""
    min_advantage_std: float = 0.01
    """Least deviation by which advantages are divided: what hardly differs is not blown up."""
    log_std_global: tuple[float, float] = (-1.0, -1.7)
    """Gaussian policies: log-deviation of the global agent, at the start and the end; it fixes the entropy."""
    log_std_local: tuple[float, float] = (-1.5, -2.2)
    """The same for the local agents."""
    entropy_target: tuple[float, float] = (0.6, 0.15)
    """Categorical policies: entropy to keep, as a share of the largest possible, at the start and the end."""
    reward_map_kernel: int = 0
    """Side of the reward-map convolution's kernel (odd; 0: none)."""
    credit_neighbors: bool = False
    """Terms over windows (ssim, texture) also reward an agent for its effect on its neighbours."""
    value_warmup_updates: int = 0
    """Updates at the start in which only the value heads learn (for warm starts)."""
    kl_ref_coef: tuple[float, float] = (0.0, 0.0)
    """Weight of the KL from the policy at the start of the run (per agent), at the start and the end of the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, "[0, 1]", "gamma", "entropy_target")
        check_ranges(self, "[0, 1)", "ema_decay")
        check_ranges(self, "[0, 1)", "clip_range")
        check_ranges(self, "[1, inf)", "rollouts_per_image", "update_epochs")
        check_ranges(self, "[0, inf)", "value_coef", "value_warmup_updates", "kl_ref_coef")
        check_ranges(self, "(0, inf]", "min_advantage_std", "max_advantage")
        check_ranges(self, "[-8, 2]", "log_std_global", "log_std_local")
        check_ranges(self, "[0, 99]", "reward_map_kernel")
        check_ranges(self, "[0, inf)", "dual_clip", "target_kl")
        if 0 < self.dual_clip <= 1:
            raise UsageError(f"dual_clip must be above 1, or 0 for none; got {self.dual_clip}")
        if self.reward_map_kernel and self.reward_map_kernel % 2 == 0:
            raise UsageError(f"reward_map_kernel must be odd, or 0 for none; got {self.reward_map_kernel}")
        if self.rollouts_per_image == 1 and self.value_coef == 0:
            raise UsageError("no baseline: rollouts_per_image=1 needs value_coef above 0")
        if self.value_warmup_updates and not self.value_coef:
            raise UsageError(f"value_warmup_updates needs value_coef above 0; got {self.value_warmup_updates} updates")


def clipped_objective(ratio: Tensor, advantage: Tensor, clip_range: float, dual_clip: float) -> Tensor:
    """PPO's objective of every agent, to be maximised.

    Args:
        ratio: new probability over the old one, above 0.
        advantage: of the same shape.
        clip_range: bound on the ratio, in the direction in which the objective rises (0: none at all).
        dual_clip: bound where the advantage is negative and the ratio grows, see `A3CConfig` (0: none).

    Source: PPO (Schulman et al. 2017), equation 7; dual clip (Ye et al. 2020), equation 5.
    """
    gain = ratio * advantage
    if not clip_range:
        return gain
    gain = torch.minimum(gain, ratio.clamp(1 - clip_range, 1 + clip_range) * advantage)
    return torch.where(advantage < 0, torch.maximum(gain, dual_clip * advantage), gain) if dual_clip else gain


class EntropyController:
    """Keeps a categorical policy's entropy near a target, by an entropy bonus that grows while it is below.

    Source: the temperature of SAC (Haarnoja et al. 2018, b), section 5; here multiplicative.
    """

    def __init__(self, rate: float = 0.05):
        self.coefficient, self.rate = 1e-3, rate

    def update(self, entropy: float, target: float) -> None:
        """After a step: `entropy` and `target` as shares of the largest possible."""
        change = math.exp(self.rate * max(-1.0, min(1.0, 5 * (target - entropy))))
        self.coefficient = min(1.0, max(1e-6, self.coefficient * change))


class StepSize:
    """The step size of one scope of agents, as a share of the learning rate, in [0.01, 1].

    KL grows with the square of a step, so the size is multiplied by the root of the target over the KL, by 0.5 to 1.1
    in an update.

    Source: the adaptive KL of PPO (Schulman et al. 2017), section 4. We depart in adapting the step and not a penalty,
    and in doing it for each scope.
    """

    def __init__(self, target: float):
        self.target, self.size = target, 1.0

    def exceeded(self, divergence: float) -> bool:
        """Whether this KL is too far from the policy that collected the rollouts."""
        return divergence > 1.5 * self.target

    def update(self, divergence: float) -> None:
        """After an update: the KL in nat per agent that its steps would have reached at this size."""
        change = math.sqrt(self.target / max(divergence, 1e-12))
        self.size = min(1.0, max(0.01, self.size * min(1.1, max(0.5, change))))


@LEARNERS.register("a3c")
class A3C(PolicyLearner):
    """Batched advantage actor-critic with PPO's clipping and a leave-one-out baseline.

    The stochastic policy collects K rollouts of every image. An agent's advantage is its own return to go, less a
    learned value, less the mean of the same difference in the other rollouts of the image, at the agent's own scale
    (per image, per cell, per pixel), divided by the batch's standard deviation. The policy is trained on PPO's
    clipped objective. A scope of agents whose KL exceeds `target_kl` gets smaller steps: its own head, and what all
    scopes share, which takes the smallest of their steps.

    Args:
        network: the policy.
        reward: what counts as better.
        config: settings.
        seed: of the actions and preferences that are drawn.
        device: of the policy and the environment.
        env: where it collects episodes; None: one that fits the policy. Where `info` has `agent_rewards`, those are
            what the agents earn.

    Source: A3C (Mnih et al. 2016), here synchronous and batched; PixelRL (Furuta et al. 2019) for the agent per
    pixel and the reward-map convolution; PPO (Schulman et al. 2017), equation 7; leave-one-out baseline (Kool et al.
    2019). We depart in the group baseline beside the value, and in taking action terms on the mean action.
    """

    supports_ddp: ClassVar[bool] = True
    Config: ClassVar[type[Any]] = A3CConfig

    def __init__(self, network: PixelPolicy, reward: Reward, config: A3CConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu", env: PixelEnv | None = None):
        self.config = config or self.Config()
        super().__init__(network, reward, self.config, seed, device, self.config.ema_decay, env)
        self.kernel = binomial_kernel(self.config.reward_map_kernel) if self.config.reward_map_kernel else None
        self.updates = 0
        self.reference_policy = copy.deepcopy(network).requires_grad_(False) if any(self.config.kl_ref_coef) else None
        self.entropy_targets = {scope: EntropyController() for scope in network.actions.scopes}
        self.step_sizes = {scope: StepSize(self.config.target_kl or math.inf) for scope in network.actions.scopes}

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        config, policy = self.config, self.policy
        self._set_deviation(progress)
        preference = self.sample_preferences(batch).repeat_interleave(config.rollouts_per_image, dim=0)
        rollout = collect_rollout(self.optimizer.network, self.env, batch.repeat(config.rollouts_per_image), preference,
                                  self.exploration_generator())
        require_finite(rollout)
        returns = self._returns(rollout)
        advantages, deviations = self._advantages(returns, concat_steps(rollout.values))
        old = concat_steps(rollout.log_probs)
        actions = concat_steps(rollout.actions)
        log: dict[str, Tensor | float] = {}
        largest: dict[str, Tensor] = {}
        stopped, forecast = set[str](), dict[str, float]()
        for epoch in range(config.update_epochs):
            distribution, values = evaluate_actions(self.optimizer.network, rollout)
            losses, metrics, distances = self._losses(distribution, values, actions, old, advantages, returns)
            largest = {name: torch.maximum(value, largest.get(name, value)) for name, value in distances.items()}
            if epoch and config.target_kl:
                stopped |= self._follow(distances, epoch, stopped, forecast)
            costs = action_penalties(self.reward, policy.actions, distribution, len(rollout.rewards[0]),
                                     rollout.episode.user_targets, deviations)
            losses |= {f"loss/{name}": cost for name, cost in costs.items()}
            if self.reference_policy is not None:
                losses["loss/kl_ref"] = self._kl_to_start(rollout, distribution, progress)
            if self.updates < config.value_warmup_updates:
                losses = self._values_alone(losses)
            log = {**losses, **metrics, **largest,
                   **self.optimizer.update(losses, progress, self._parameter_steps(stopped))}
        self.updates += 1
        self.average()
        others = self.unweighted_terms(rollout.episode, rollout.observations[0]["image"], rollout.final_image,
                                       self.updates)
        numbers = to_scalars({**log, **rollout_metrics(rollout, self.reward, costs), **others,
                             **{f"advantage/std/{scope}": value for scope, value in deviations.items()},
                             **{f"policy/step_size/{scope}": step.size for scope, step in self.step_sizes.items()},
                             **{f"policy/forecast_kl/{scope}": value for scope, value in forecast.items()}})
        self._adapt(numbers, progress)
        return numbers

    def _returns(self, rollout: Rollout) -> dict[str, Tensor]:
        """Level -> returns to go of all steps, (T * B, 1, h, w)."""
        grids = {scope: (value.shape[-2], value.shape[-1]) for scope, value in rollout.values[0].items()}
        steps = rollout.agent_rewards or [
            scope_rewards(self.reward, terms, grids, self.config.credit_neighbors) for terms in rollout.terms]
        return {
            scope: torch.cat(discounted_returns([step[scope] for step in steps], self.config.gamma,
                                                self.kernel if scope == "local" else None))
            for scope in grids
        }

    def _advantages(self, returns: Mapping[str, Tensor],
                    values: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Per scope (T * B, 1, h, w), normalised and cut, and the deviation that was divided by; no gradients pass."""
        config, advantages, deviations = self.config, {}, {}
        for scope in returns:
            advantage = returns[scope] - values[scope] if config.value_coef else returns[scope]
            # copies of an image are neighbours within a step, and steps follow each other
            advantage = advantage - leave_one_out_baseline(advantage, config.rollouts_per_image)
            deviations[scope] = advantage.std(correction=0).clamp(min=config.min_advantage_std)
            advantages[scope] = (advantage / deviations[scope]).clamp(-config.max_advantage, config.max_advantage)
        return advantages, deviations

    def _losses(self, distribution: Any, values: Mapping[str, Tensor], actions: Mapping[str, Tensor],
                old: Mapping[str, Tensor], advantages: Mapping[str, Tensor], returns: Mapping[str, Tensor],
                ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Losses, other numbers for the log, and how far each scope is from the policy that collected the rollouts."""
        config = self.config
        losses: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        distances: dict[str, Tensor] = {}
        new, entropy = distribution.log_prob(actions), distribution.entropy()
        for scope, advantage in advantages.items():
            log_ratio = (new[scope] - old[scope]).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
            ratio = log_ratio.exp()
            # an estimate of KL(old || new) that is never negative: Schulman 2020, "Approximating KL divergence", k3
            distances[f"policy/approx_kl/{scope}"] = (log_ratio.expm1() - log_ratio).detach().mean()
            gain = clipped_objective(ratio, advantage, config.clip_range, config.dual_clip)
            if config.clip_range:
                distances[f"policy/clip_fraction/{scope}"] = ((ratio - 1).abs() > config.clip_range).float().mean()
            losses[f"loss/policy/{scope}"] = -gain.mean()
            if config.value_coef:
                losses[f"loss/value/{scope}"] = config.value_coef * ((values[scope] - returns[scope]) ** 2).mean()
                spread = returns[scope].var().clamp(min=1e-8)
                metrics[f"value/explained_variance/{scope}"] = 1 - (returns[scope] - values[scope]).var() / spread
            if self.policy.actions.num_choices is not None:
                losses[f"loss/entropy/{scope}"] = -self.entropy_targets[scope].coefficient * entropy[scope].mean()
            metrics[f"policy/entropy/{scope}"] = entropy[scope].mean()
        return losses, metrics, distances

    def _follow(self, distances: Mapping[str, Tensor], steps: int, stopped: set[str],
                forecast: dict[str, float]) -> set[str]:
        """The scopes that the next step would move too far, the same in all processes.

        Args:
            distances: after `steps` steps of this update.
            stopped: scopes that do not move any more.
            forecast: the KL that the whole update would reach, of the others; it is written.
        """
        measured = torch.stack([distances[f"policy/approx_kl/{scope}"] for scope in self.step_sizes])
        divergences = dict(zip(self.step_sizes, distributed.average(measured).tolist(), strict=True))
        moving = [scope for scope in self.step_sizes if scope not in stopped]
        # KL grows with the square of the distance
        forecast |= {scope: divergences[scope] * (self.config.update_epochs / steps) ** 2 for scope in moving}
        return {scope for scope in moving
                if self.step_sizes[scope].exceeded(divergences[scope] * ((steps + 1) / steps) ** 2)}

    def _parameter_steps(self, stopped: set[str]) -> dict[nn.Parameter, float]:
        """The share of its step that each parameter takes: a head that of its scope (0 where it is stopped), value
        heads the whole step, and what all scopes share the smallest."""
        sizes = {scope: 0.0 if scope in stopped else step.size for scope, step in self.step_sizes.items()}
        steps = dict.fromkeys(self.policy.parameters(), min(sizes.values()))
        steps |= dict.fromkeys(self.policy.value_parameters(), 1.0)
        for scope, size in sizes.items():
            steps |= dict.fromkeys(self.policy.scope_parameters(scope), size)
        return steps

    def _kl_to_start(self, rollout: Rollout, distribution: Any, progress: float) -> Tensor:
        """Weighted KL from the policy with which the run began, mean over agents and scopes."""
        first, last = self.config.kl_ref_coef
        with torch.no_grad():
            assert self.reference_policy is not None
            reference, _ = evaluate_actions(self.reference_policy, rollout)
        divergence = torch.stack([kl.mean() for kl in distribution.kl(reference).values()]).mean()
        return (first + (last - first) * progress) * divergence

    def _values_alone(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The value losses, with gradients for the value heads only."""
        values = {name: loss for name, loss in losses.items() if name.startswith("loss/value/")}
        heads = self.policy.value_parameters()
        gradients = torch.autograd.grad(torch.stack(list(values.values())).sum(), heads)
        # the same gradients for the heads, and none for what stands below them
        parts = [(gradient * head).sum() for gradient, head in zip(gradients, heads, strict=True)]
        return {"loss/value_warmup": torch.stack(parts).sum()}

    def _set_deviation(self, progress: float) -> None:
        if self.policy.actions.num_choices is not None or self.policy.std_mode != "scheduled":
            return
        ranges = {"global": self.config.log_std_global, "local": self.config.log_std_local}
        for scope in self.policy.actions.scopes:
            first, last = ranges[scope]
            self.policy.set_log_std(scope, first + (last - first) * progress)

    def _adapt(self, numbers: dict[str, float], progress: float) -> None:
        """Step sizes and entropy bonuses, by the numbers of an update; the bonuses' coefficients are added to them."""
        for scope, step in self.step_sizes.items():
            if f"policy/forecast_kl/{scope}" in numbers:
                step.update(numbers[f"policy/forecast_kl/{scope}"])
        if self.policy.actions.num_choices is None:
            return
        first, last = self.config.entropy_target
        largest = self.policy.actions.action_dim * math.log(self.policy.actions.num_choices)
        for scope, target in self.entropy_targets.items():
            target.update(numbers[f"policy/entropy/{scope}"] / largest, first + (last - first) * progress)
            numbers[f"policy/entropy_coef/{scope}"] = target.coefficient

    def state_dict(self) -> dict[str, Any]:
        coefficients = {scope: target.coefficient for scope, target in self.entropy_targets.items()}
        reference = None if self.reference_policy is None else clone_weights(self.reference_policy)
        return {**super().state_dict(), "entropy": coefficients, "updates": self.updates, "origin": reference,
                "step_sizes": {scope: step.size for scope, step in self.step_sizes.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.updates = state["updates"]
        if self.reference_policy is not None:
            self.reference_policy.load_state_dict(state["origin"])
        for scope, coefficient in state["entropy"].items():
            self.entropy_targets[scope].coefficient = coefficient
        for scope, step in self.step_sizes.items():
            step.size = state.get("step_sizes", {}).get(scope, 1.0)  # runs before version 0.3 have none
