"""Rollouts: episodes are collected or replayed, and give rewards, returns and baselines for each agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.agents.optim import raise_if_any_nonfinite
from rlenhance.core.errors import UsageError
from rlenhance.envs import PixelEnv
from rlenhance.envs.transition import Episode, State, admit, advance, observe, score
from rlenhance.learning.actions import Action, ActionSet
from rlenhance.learning.data import Batch
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.nn.distributions import JointDistribution
from rlenhance.learning.rewards import TERMS, Reward, resize_map


@dataclass
class Rollout:
    """T steps of B episodes, a list entry per step.

    Attributes:
        episode: what stayed the same: images, targets, preferences.
        observations, actions: what the policy saw and chose.
        log_probs, values: per scope, (B, 1, h, w).
        terms: unweighted reward terms at their natural sizes.
        rewards: (B,) per step.
        agent_rewards: what each agent has earned, by scope, where the environment says so; else empty.
        action_magnitudes: A of every agent per step.
        is_recurrent: the policy carried a state.
        final_image: the images at the end.
    """

    episode: Episode
    final_image: Tensor
    observations: list[Observation] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    log_probs: list[dict[str, Tensor]] = field(default_factory=list)
    values: list[dict[str, Tensor]] = field(default_factory=list)
    terms: list[dict[str, Tensor]] = field(default_factory=list)
    rewards: list[Tensor] = field(default_factory=list)
    agent_rewards: list[dict[str, Tensor]] = field(default_factory=list)
    action_magnitudes: list[Tensor] = field(default_factory=list)
    is_recurrent: bool = False

    def _record(self, observation: Observation, action: Action) -> None:
        """What the agents saw and chose in a step."""
        self.observations.append(observation)
        self.actions.append(action)
        self.action_magnitudes.append(self.episode.actions.magnitude(action))

    def _decide(self, observation: Observation, action: Action, distribution: JointDistribution,
                values: dict[str, Tensor]) -> None:
        """Record what the policy saw and chose in a step, with its log-probability and values."""
        self._record(observation, action)
        self.log_probs.append(distribution.log_prob(action))
        self.values.append(values)


@torch.no_grad()
def collect_rollout(network: Any, env: PixelEnv, batch: Batch, preference: Tensor, generator: torch.Generator | None,
                    noise_block_size: int = 1) -> Rollout:
    """One episode per image, without gradients.

    Args:
        env: of any `autoreset_mode`; where the next episode begins in the last step, it is left out.
        preference: (B, P), encoded.
        generator: actions are drawn with it; None acts greedily.
        noise_block_size: blocks of so many agents along each side share their noise.
    """
    observation, _ = env.reset(options={"batch": batch, "preference": preference})
    rollout, memory = Rollout(env.episode, batch.image), None
    for _ in range(env.horizon):
        observation = network.precompute(observation)
        distribution, values, memory = network(observation, memory)
        action = distribution.mode() if generator is None else distribution.sample(generator, noise_block_size)
        rollout._decide(observation, action, distribution, values)
        observation, reward, _, _, info = env.step(action)
        rollout.terms.append(info["term_maps"])
        rollout.rewards.append(reward)
        if "agent_rewards" in info:
            rollout.agent_rewards.append(info["agent_rewards"])
    last = info.get("final_obs", observation)  # with SAME_STEP autoreset the observation is the next episode's
    rollout.is_recurrent, rollout.final_image = memory is not None, last["image"]
    return rollout


@torch.no_grad()
def replay_rollout(network: Any, episode: Episode, state: State, actions: Sequence[Action],
                   images: Sequence[Tensor] | None = None, decide: bool = True) -> Rollout:
    """Stored episodes, with rewards of the present weights, and the policy's present log-probabilities and values.

    Args:
        episode, state: as `rlenhance.envs.transition.start` gives them.
        actions: those that were taken, one mapping per step.
        images: of the episodes, T + 1, where they are stored: no transition is computed.
        decide: run the policy; otherwise `log_probs` and `values` stay empty.
    """
    rollout, memory = Rollout(episode, state.image, is_recurrent=network.backbone.recurrent), None
    for step, action in enumerate(actions):
        observation = network.precompute(observe(episode, state))
        if decide:
            distribution, values, memory = network(observation, memory)
            rollout._decide(observation, action, distribution, values)
        else:
            rollout._record(observation, action)
        done = admit(episode, action)
        earned, state = advance(episode, state, done) if images is None else \
            score(episode, state, episode.actions.magnitude(done), images[step + 1])
        rollout.terms.append(earned.terms)
        rollout.rewards.append(earned.reward)
    rollout.final_image = state.image
    return rollout


def require_finite(rollout: Rollout) -> None:
    """Refuse rewards that are not finite.

    Raises:
        NonFiniteError: names the term.
    """
    culprit = None
    if not torch.isfinite(torch.stack(rollout.rewards)).all():
        culprit = next((f"reward term {name}" for terms in rollout.terms for name, value in terms.items()
                        if not torch.isfinite(value).all()), "reward")
    raise_if_any_nonfinite(culprit, rollout.final_image.device)


def evaluate_actions(network: Any, rollout: Rollout) -> tuple[JointDistribution, dict[str, Tensor]]:
    """The policy's present distributions and values at the rollout's observations: T * B of them, step by step.

    A recurrent policy is unrolled from the first step; any other is evaluated once for all steps.
    """
    if not rollout.is_recurrent:
        distribution, values, _ = network(concat_steps(rollout.observations), None)
        return distribution, values
    steps, memory = [], None
    for observation in rollout.observations:
        distribution, values, memory = network(observation, memory)
        steps.append((distribution, values))
    return (JointDistribution.concat([distribution for distribution, _ in steps]),
            concat_steps([values for _, values in steps]))


def concat_steps(parts: Sequence[Any]) -> Any:
    """Concatenate mappings of tensors, key by key, along the first dimension."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def scope_rewards(reward: Reward, terms: Mapping[str, Tensor], grids: Mapping[str, tuple[int, int]],
                  credit_neighbors: bool = False) -> dict[str, Tensor]:
    """The reward of each agent at its own scale: scope -> (B, 1, h, w).

    A global agent gets the mean of every term. Local agents beside it get only the terms that are maps: a number
    that thousands of agents share is noise to each. Local agents alone get every term. Action terms are left out:
    learners take them on the policy's mean action.

    Args:
        terms: unweighted, at their natural sizes.
        grids: scope -> (h, w) of its agents.
        credit_neighbors: an agent's reward by a term over windows (`RewardTerm.radius`) is the sum over all
            places whose windows hold its pixel. Otherwise only its own place counts.
    """
    weighted = {name: reward.weights[name] * value for name, value in terms.items()
                if reward.weights[name] and TERMS[name].kind == "state"}
    some = next(iter(terms.values()), None)
    if some is None:
        raise UsageError("no reward term has a weight: there is nothing to learn from")
    rewards = {}
    for scope, size in grids.items():
        total = some.new_zeros(some.shape[0], 1, *size)
        for name, value in weighted.items():
            if scope == "local" and "global" in grids and value.shape[-2:] == (1, 1):
                continue
            reach = TERMS[name].radius if credit_neighbors and tuple(value.shape[-2:]) == tuple(size) else 0
            if reach:
                value = F.avg_pool2d(value, 2 * reach + 1, 1, reach, divisor_override=1)
            total = total + resize_map(value, size)
        rewards[scope] = total
    return rewards


def action_penalties(reward: Reward, actions: ActionSet, distribution: JointDistribution, count: int,
                     preferences: Mapping[str, Tensor], deviations: Mapping[str, Tensor | float] | None = None,
                     ) -> dict[str, Tensor]:
    """The weighted action terms of a policy's mean action, as losses: name -> scalar, the mean over T * B steps.

    Args:
        distribution: of T * B observations, step by step.
        count: of the episodes, B.
        preferences: what the user asks for, name -> (B, 1, 1, 1).
        deviations: scope -> the deviation by which its advantages are divided; None: 1. The gradient by a scope's
            actions is divided by it too, so that what an action costs and what it earns keep their ratio in every
            scope. The values are not divided.
    """
    names = [name for name in reward.weights.active if TERMS[name].kind == "action"]
    if not names:
        return {}
    means = distribution.soft_action()
    if deviations is not None:
        means = {scope: _scale_gradient(mean, 1 / deviations[scope]) for scope, mean in means.items()}
    magnitude = actions.magnitude(means)
    first = magnitude[:count]  # of the first step, which has none before it
    previous = torch.cat([first, magnitude[:-count]]) if len(magnitude) > count else first
    costs = {}
    for name in names:
        factor = TERMS[name].factor(preferences)
        if isinstance(factor, Tensor):  # of an image, the same at every step
            factor = factor.repeat(len(magnitude) // len(factor), 1, 1, 1)
        costs[name] = reward.weights[name] * (factor * TERMS[name].cost(magnitude, previous)).mean()
    return costs


def _scale_gradient(value: Tensor, factor: Tensor | float) -> Tensor:
    """The value; the gradient that passes back through it is multiplied by `factor`."""
    still = value.detach()
    return still + factor * (value - still)


def discounted_returns(rewards: Sequence[Tensor], gamma: float, kernel: Tensor | None = None) -> list[Tensor]:
    """R_t = r_t + gamma (kernel * R_{t+1}): a list of (B, 1, h, w), one per step.

    Args:
        gamma: discount in [0, 1].
        kernel: reward-map convolution (PixelRL, equation 11): (k, k), odd, non-negative, sums to one; what an agent's
            neighbours will gain counts for it too. Borders are reflected. None: no convolution.
    """
    if kernel is not None:
        check_kernel(kernel)
    total, result = None, []
    for reward in reversed(rewards):
        if total is not None:
            spread = total
            if kernel is not None and min(total.shape[-2:]) > kernel.shape[0] // 2:
                pad = kernel.shape[0] // 2
                spread = F.conv2d(F.pad(total, (pad,) * 4, mode="reflect"), kernel[None, None].to(total))
            reward = reward + gamma * spread
        total = reward
        result.append(total)
    return result[::-1]


def check_kernel(kernel: Tensor) -> Tensor:
    """Refuse a reward-map kernel that is not an average.

    Raises:
        UsageError: not square and odd, negative somewhere, or its sum is not one.
    """
    square = kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    if not square or not bool((kernel >= 0).all()) or not abs(float(kernel.sum()) - 1) <= 1e-4:  # NaN too
        raise UsageError(f"a reward-map kernel is square, odd, non-negative and sums to one; got shape "
                         f"{tuple(kernel.shape)}, minimum {kernel.min():.3g}, sum {kernel.sum():.3g}")
    return kernel


def binomial_kernel(size: int) -> Tensor:
    """A smooth average of size x size pixels."""
    row = torch.ones(1, dtype=torch.float64)
    for _ in range(size - 1):
        row = F.pad(row, (1, 0)) + F.pad(row, (0, 1))
    kernel = row[:, None] * row
    return (kernel / kernel.sum()).float()


def leave_one_out_baseline(returns: Tensor, group: int) -> Tensor:
    """The mean of the other rollouts of the same image: (B, ...) -> (B, ...), copies beside each other.

    All rollouts of an image begin alike, so the mean of the others is what to expect at the first step, and close to
    it after. With a group of one it is zero.
    """
    if group == 1:
        return torch.zeros_like(returns)
    grouped = returns.unflatten(0, (-1, group))
    others: Tensor = (grouped.sum(dim=1, keepdim=True) - grouped) / (group - 1)
    return others.flatten(0, 1)


def rollout_metrics(rollout: Rollout, reward: Reward, costs: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
    """Numbers for the log: return, reward terms, how strongly agents act at each step and how much they differ.

    The return counts the state terms of the sampled episodes, and the action terms on the mean action, as the
    learner does.
    """
    log: dict[str, Tensor | float] = {}
    gain = torch.zeros((), device=rollout.final_image.device)
    for name in rollout.terms[0]:
        if TERMS[name].kind == "state":
            log[f"reward/{name}"] = torch.stack([terms[name].mean() for terms in rollout.terms]).sum()
            gain = gain + reward.weights[name] * log[f"reward/{name}"]
    for name, cost in costs.items():
        log[f"reward/{name}"] = -len(rollout.terms) * cost / reward.weights[name]
        gain = gain - len(rollout.terms) * cost
    log["rollout/return"] = gain
    return log | magnitude_metrics(rollout.action_magnitudes)


def magnitude_metrics(magnitudes: Sequence[Tensor]) -> dict[str, Tensor | float]:
    """How strongly the agents act at each step, and how much they differ: for the log.

    Args:
        magnitudes: (B, C, h, w) per step.
    """
    spread = torch.stack([magnitude.std(dim=(-2, -1), correction=0).mean() for magnitude in magnitudes])
    return {**{f"action/magnitude/step{step + 1}": each for step, each in enumerate(magnitudes)},
            "action/spatial_std": spread}
