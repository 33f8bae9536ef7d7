"""`a3c` once more, as one would write it first: a loop over pictures, rollouts and steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.loop_env import LoopEnv, area_means, enlarged
from rlenhance.agents import A3C
from rlenhance.agents.rollout import action_penalties, concat_steps
from rlenhance.learning.data import Batch
from rlenhance.learning.models.policy import make_observation
from rlenhance.learning.nn.distributions import JointDistribution, PixelCategorical, SquashedGaussian
from rlenhance.learning.rewards import TERMS

_EDGE = np.float32(1 - 1e-6)

Arrays = Mapping[str, np.ndarray]  # level -> (heads, h, w), of actions; (h, w) of everything else


@dataclass
class Episode:
    """One picture, played once; a list entry per step."""

    observations: list[Any]
    actions: list[dict[str, np.ndarray]]
    log_probs: list[dict[str, np.ndarray]]
    values: list[dict[str, np.ndarray]]
    rewards: list[dict[str, np.ndarray]]


class LoopA3C(A3C):
    """The same update as `A3C`, from the same settings, picture by picture: the measure for the batched one.

    An episode is played and replayed on its own: `LoopEnv` and NumPy for the environment, reward, sampling,
    log-probabilities, returns and advantages; the network is asked about one picture, and its gradients are summed
    episode by episode. Only what reaches the weights is done; the log stays empty.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        actions: Any = self.policy.actions
        self.loop = LoopEnv(actions, self.reward.weights, self.policy.horizon)
        self.rng = np.random.default_rng(0)

    def step(self, batch: Batch, progress: float = 0.0,
             given: Sequence[Mapping[str, Tensor]] | None = None) -> dict[str, float]:
        """One update; `given` are actions to take, one mapping of (B, heads, h, w) per step."""
        group = self.config.rollouts_per_image
        self._set_deviation(progress)
        preference = self.sample_preferences(batch)
        episodes = []
        for number in range(len(batch) * group):
            wanted = None if given is None else [{k: v[number].numpy() for k, v in action.items()} for action in given]
            episodes.append(self.play_one(batch.image[number // group : number // group + 1],
                                          preference[number // group : number // group + 1], wanted))
        returns = [self._returns_of(episode) for episode in episodes]
        advantages, deviations = self._advantages_of(episodes, returns, group)
        for _ in range(self.config.update_epochs):
            self._descend(episodes, returns, advantages, deviations, progress)
        return {}

    def play_one(self, image: Tensor, preference: Tensor, given: Sequence[Arrays] | None = None) -> Episode:
        """One episode of one picture (1, 3, H, W)."""
        horizon, policy, memory = self.policy.horizon, self.policy, None
        asked = self.policy.preferences.decode(preference).get("exposure_level")
        level = self.reward.weights.exposure_level if asked is None else float(asked)
        seen = self.loop.reset(image[0].numpy(), level)
        episode = Episode([], [], [], [], [])
        for step in range(horizon):
            with torch.no_grad():
                observation = policy.precompute(make_observation(torch.from_numpy(seen["image"])[None],
                                                                 1 - step / horizon, preference))
                distribution, values, memory = policy(observation, memory)
            drawn = {name: self._draw(part) for name, part in distribution.scopes.items()} if given is None \
                else dict(given[step])
            done = self.loop.step(drawn)
            episode.observations.append(observation)
            episode.actions.append(drawn)
            episode.log_probs.append({name: _log_prob(part, drawn[name]) for name, part in distribution.scopes.items()})
            episode.values.append({name: value[0, 0].numpy() for name, value in values.items()})
            episode.rewards.append(self._level_rewards(done.terms, episode.values[-1]))
            seen = done.observation
        return episode

    def _draw(self, part: Any) -> np.ndarray:
        """A sample of one level: (heads, h, w)."""
        if isinstance(part, PixelCategorical):
            log_probs = part.log_probs[0].numpy()
            uniform = self.rng.random(log_probs.shape, np.float32).clip(1e-9, 1 - 1e-7)
            return (log_probs - np.log(-np.log(uniform))).argmax(axis=1)
        mean, deviation = part.mean[0].numpy(), np.exp(part.log_std[0].numpy())
        return np.tanh(mean + deviation * self.rng.standard_normal(mean.shape, np.float32))

    def _level_rewards(self, terms: Mapping[str, np.ndarray], values: Arrays) -> dict[str, np.ndarray]:
        rewards = {}
        for level, value in values.items():
            total: Any = np.zeros(value.shape, np.float32)
            for name, term in terms.items():
                shared = level == "local" and "global" in values and term.shape == (1, 1)
                if TERMS[name].kind == "state" and not shared:
                    total = total + self.reward.weights[name] * _resized(term, value.shape)
            rewards[level] = total
        return rewards

    def _returns_of(self, episode: Episode) -> dict[str, np.ndarray]:
        """Level -> (T, h, w)."""
        result: dict[str, list[np.ndarray]] = {level: [] for level in episode.rewards[0]}
        for rewards in reversed(episode.rewards):
            for level, reward in rewards.items():
                later = result[level][-1] if result[level] else 0
                result[level].append(reward + self.config.gamma * later)
        return {level: np.stack(steps[::-1]) for level, steps in result.items()}

    def _advantages_of(self, episodes: list[Episode], returns: list[dict[str, np.ndarray]],
                       group: int) -> tuple[list[dict[str, np.ndarray]], dict[str, float]]:
        config = self.config
        surprises = [{level: value - _values_of(episode, level, config.value_coef) for level, value in own.items()}
                     for episode, own in zip(episodes, returns, strict=True)]
        advantages: list[dict[str, np.ndarray]] = []
        for number, own in enumerate(surprises):
            first = number - number % group
            others = [surprises[other] for other in range(first, first + group) if other != number]
            advantages.append({level: value - (sum(other[level] for other in others) / len(others) if others else 0)
                               for level, value in own.items()})
        deviations = {level: max(config.min_advantage_std, float(np.std([own[level] for own in advantages])))
                      for level in advantages[0]}
        for own in advantages:
            for level, value in own.items():
                own[level] = (value / deviations[level]).clip(-config.max_advantage, config.max_advantage)
        return advantages, deviations

    def _descend(self, episodes: list[Episode], returns: list[dict[str, np.ndarray]],
                 advantages: list[dict[str, np.ndarray]], deviations: dict[str, float], progress: float) -> None:
        """One gradient step: the episodes' gradients, summed one by one."""
        parameters = list(self.policy.parameters())
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for episode, own_returns, own_advantages in zip(episodes, returns, advantages, strict=True):
            distribution, values = self._asked_again(episode)
            losses, _, _ = self._losses(distribution, values, _steps(episode.actions), _maps(episode.log_probs),
                                     _levels(own_advantages), _levels(own_returns))
            costs = action_penalties(self.reward, self.policy.actions, distribution, 1, {}, deviations)
            total = torch.stack([*losses.values(), *costs.values()]).sum() / len(episodes)
            for gradient, part in zip(gradients, torch.autograd.grad(total, parameters, allow_unused=True),
                                      strict=True):
                if part is not None:
                    gradient += part
        products = [(gradient * parameter).sum() for gradient, parameter in zip(gradients, parameters, strict=True)]
        self.optimizer.update({"loss": torch.stack(products).sum()}, progress)  # its gradient is the sum above

    def _asked_again(self, episode: Episode) -> tuple[JointDistribution, dict[str, Tensor]]:
        if not self.policy.backbone.recurrent:
            distribution, values, _ = self.policy(concat_steps(episode.observations), None)
            return distribution, values
        steps, memory = [], None
        for observation in episode.observations:
            distribution, values, memory = self.policy(observation, memory)
            steps.append((distribution, values))
        distributions, values = zip(*steps, strict=True)
        return JointDistribution.concat(distributions), concat_steps(values)


def _resized(term: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A term at the size of the agents: areas are averaged, cells repeated."""
    return area_means(term, size) if term.shape[0] > size[0] else enlarged(term, size)


def _values_of(episode: Episode, level: str, weight: float) -> Any:
    """The learned value of all steps, (T, h, w); 0 where none is learned."""
    return np.stack([values[level] for values in episode.values]) if weight else 0


def _log_prob(part: Any, action: np.ndarray) -> np.ndarray:
    """Of one level's action: (h, w)."""
    if isinstance(part, PixelCategorical):
        return np.take_along_axis(part.log_probs[0].numpy(), action[:, None], axis=1).sum(axis=(0, 1))
    assert isinstance(part, SquashedGaussian)
    mean, log_std = part.mean[0].numpy(), part.log_std[0].numpy()
    action = action.clip(-_EDGE, _EDGE)
    standard = (np.arctanh(action) - mean) / np.exp(log_std)
    return (-0.5 * standard**2 - log_std - 0.5 * math.log(2 * math.pi) - np.log1p(-(action**2))).sum(axis=0)


def _steps(parts: Sequence[Arrays]) -> dict[str, Tensor]:
    """Per level (T, heads, h, w)."""
    return {level: torch.from_numpy(np.stack([part[level] for part in parts])) for level in parts[0]}


def _maps(parts: Sequence[Arrays]) -> dict[str, Tensor]:
    """Per level (T, 1, h, w)."""
    return {level: value[:, None] for level, value in _steps(parts).items()}


def _levels(own: Arrays) -> dict[str, Tensor]:
    return {level: torch.from_numpy(value)[:, None] for level, value in own.items()}
