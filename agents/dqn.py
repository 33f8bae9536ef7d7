"""A deep Q-network for toolchains: double, duelling, n-step or trying every tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.agents.base import Learner, to_scalars
from rlenhance.agents.optim import OptimizerConfig, raise_if_any_nonfinite
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.envs import ToolchainEnv
from rlenhance.learning.data import Batch
from rlenhance.learning.models import ToolchainPolicy
from rlenhance.learning.models.policy import Observation


@dataclass(frozen=True)
class DQNConfig:
    """Settings of `dqn`."""

    try_all: bool = True
    """Every tool is tried at each state that an episode visits, and all of them are learned from; without, only the one
    that is taken."""
    gamma: float = 1.0
    """Discount. 1 is right for a fixed horizon with the steps left observed; 0 looks at the next gain alone: the
    regression of gains, on the states that its chains visit."""
    n_step: int = 1
    """Steps whose rewards are summed before the value of the state after them; above 1 without try_all."""
    temperature: tuple[float, float] = (1.0, 0.2)
    """Tools are drawn with probabilities like exp(value / temperature), in units of the score, at the start and the
    end."""
    buffer_size: int = 20_000
    """States that are kept to learn from; the oldest are dropped."""
    states: int = 64
    """States of a gradient step."""
    gradient_steps: int = 16
    """Gradient steps in an update."""
    min_target: float = -2.0
    """Targets below it are raised to it, in units of the score: how bad a bad tool is need not be learned."""
    ema_decay: float = 0.99
    """Share that each gradient step keeps of the average of the weights: the target network, and what is used."""
    preference_sampling_prob: float = 0.8
    """Share of the states that learn with a price drawn from its whole range; the others with its default."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(1e-3, 50, 0.05, 1.0))
    """Adam."""

    def __post_init__(self) -> None:
        check_ranges(self, "[1, inf)", "n_step", "buffer_size", "states", "gradient_steps")
        check_ranges(self, "(0, inf)", "temperature")
        check_ranges(self, "(-inf, 0]", "min_target")
        check_ranges(self, "[0, 1)", "ema_decay")
        check_ranges(self, "[0, 1]", "preference_sampling_prob", "gamma")
        if self.n_step > 1 and self.gamma < 1:
            raise UsageError(f"rewards of several steps are summed without a discount; got gamma {self.gamma} and "
                             f"n_step {self.n_step}: leave one of them out")
        if self.try_all and self.n_step > 1:
            raise UsageError(f"with try_all a target looks one step ahead for every tool; got n_step {self.n_step}: "
                             f"leave one of them out")


@dataclass(frozen=True)
class Visit:
    """A state that was visited, with what was tried there.

    Attributes:
        observation: of the state, without the first dimension.
        tried: indices of tools, (M,).
        gains: rises of the score after them, (M,), without the price.
        costs: their costs in seconds per megapixel, (M,).
        following: observations of the states after them, (M, ...); after the last step of all, `ended` is 1.
        ended: 0 or 1.
    """

    observation: Mapping[str, Tensor]
    tried: Tensor
    gains: Tensor
    costs: Tensor
    following: Mapping[str, Tensor]
    ended: Tensor


class DQN(Learner):
    """A Q-network over tools: the value of a tool is the rise of the score from now on, less the price.

    An update collects an episode for every picture, and takes gradient steps on states of all episodes that are kept.
    The target of a tool that was tried is its gain, less the price, plus the value of the best tool after it: chosen by
    the network, valued by its average (double). The value of stopping is 0 by definition. Where the price may be asked
    for, a state is learned from with another price each time: what was seen does not depend on it.

    Args:
        planner: its scores are values (duelling).
        env: without regions.
        config, seed, device: as of other learners.

    Raises:
        UsageError: the planner's scores are logits, or it has regions.

    Source: DQN (Mnih et al. 2015), double (van Hasselt et al. 2016), duelling (Wang et al. 2016), n-step (Sutton 1988).
    We depart in trying every tool at a visited state (the environment can, and a picture's tools are learned against
    each other), in exploring by the values, in Huber's loss on bounded targets, and in an average as the target.
    """

    Config: ClassVar[type[Any]] = DQNConfig

    def __init__(self, planner: ToolchainPolicy, env: ToolchainEnv, config: DQNConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        if not planner.learns_values or planner.actions.regions > 1:
            raise UsageError("dqn trains a ToolchainPolicy with learns_values and without regions: use a3c for others")
        self.config = config or DQNConfig()
        super().__init__(planner, self.config.optimizer, seed, device, planner, self.config.ema_decay)
        self.env, self._planner = env, planner.to(self.device).eval()
        self._visits: list[Visit] = []
        self._oldest = 0

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        first, last = self.config.temperature
        gain, length = self._collect(batch, first * (last / first) ** progress)
        log: dict[str, Tensor | float] = {}
        for _ in range(self.config.gradient_steps):
            places = torch.randint(len(self._visits), (self.config.states,), generator=self.generator).tolist()
            log = {**self.descend(self._losses([self._visits[place] for place in places]), progress)}
        return to_scalars({**log, "rollout/return": gain, "rollout/length": length,
                           "replay/states": float(len(self._visits))})

    @torch.no_grad()
    def _collect(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """An episode of every picture; the mean return, and the mean number of tools."""
        env, planner = self.env, self._planner
        preference = planner.preferences.sample(len(batch), self.generator, self.config.preference_sampling_prob)
        observation, _ = env.reset(options={"batch": batch, "preference": preference})
        observation = planner.precompute(observation)
        stop, steps = planner.actions.stop, list[Any]()
        total, length = torch.zeros(len(batch)), torch.zeros(len(batch))
        for _ in range(env.horizon):
            scores = planner(observation) / temperature
            choice = torch.multinomial(scores.softmax(dim=1), 1, generator=self.generator)
            tried = env.try_tools() if self.config.try_all else None
            following, reward, _, _, info = env.step(choice.flatten())
            following = planner.precompute(following)
            fee = env.user_targets["price"].flatten() * info["cost"] if len(preference[0]) else env.price * info["cost"]
            steps.append((observation, choice, tried, reward + fee, info["cost"]))
            observation, total = following, total + reward
            length = length + (choice.flatten() != stop).float()
        for step, (before, choice, tried, gain, cost) in enumerate(steps):
            rows = (before["last_tools"][:, stop, 0, 0] < 0.5).nonzero().flatten()
            if tried is not None:
                self._remember(before, rows, torch.arange(stop).expand(len(batch), -1), tried[1],
                               env.costs[:stop].expand(len(batch), -1), self._after(before, tried[0]),
                               float(step + 1 == env.horizon))
                continue
            end = min(step + self.config.n_step, env.horizon)
            after = steps[end][0] if end < env.horizon else observation
            for part in steps[step + 1 : end]:
                gain, cost = gain + part[3], cost + part[4]
            self._remember(before, rows[choice[rows, 0] != stop], choice, gain[:, None], cost[:, None],
                           {name: value[:, None] for name, value in cast(dict[str, Tensor], after).items()},
                           float(end == env.horizon))
        raise_if_any_nonfinite(None if torch.isfinite(total).all() else "reward", self.device)
        return total.mean(), length.mean()

    def _after(self, before: Observation, images: Tensor) -> dict[str, Tensor]:
        """The observations (N, K, ...) after each tool."""
        env, planner = self.env, self._planner
        count, tools = images.shape[:2]
        spent = (1 - before["budget"]) * (env.budget or 0.0) + env.costs[:tools]
        pays = spent[..., None] + env.costs <= env.budget * (1 + 1e-6) if env.budget else \
            torch.ones(count, tools, tools + 1, dtype=torch.bool)
        pays[..., tools] = True
        last = torch.eye(tools, tools + 1).expand(count, -1, -1)
        after: Observation = {
            "image": images.flatten(0, 1), "last_tools": last.reshape(-1, tools + 1, 1, 1),
            "remaining": (before["remaining"] - 1 / env.horizon).repeat_interleave(tools, dim=0),
            "budget": (1 - spent / env.budget if env.budget else torch.ones(count, tools)).clamp(0, 1).reshape(-1, 1),
            "action_mask": pays.float().reshape(-1, tools + 1, 1, 1)}
        seen = cast("dict[str, Tensor]", planner.precompute(after))
        return {name: value.unflatten(0, (count, tools)) for name, value in seen.items()}

    def _remember(self, before: Mapping[str, Any], rows: Tensor, tried: Tensor, gains: Tensor, costs: Tensor,
                  following: Mapping[str, Any], ended: float) -> None:
        """Keep the visits of some of the pictures."""
        kept = lean(before), lean(following)
        for row in rows.tolist():
            visit = Visit({name: value[row] for name, value in kept[0].items()}, tried[row], gains[row], costs[row],
                          {name: value[row] for name, value in kept[1].items()}, torch.tensor(ended))
            if len(self._visits) < self.config.buffer_size:
                self._visits.append(visit)
            else:
                self._visits[self._oldest] = visit
                self._oldest = (self._oldest + 1) % self.config.buffer_size

    def _losses(self, visits: Sequence[Visit]) -> dict[str, Tensor]:
        planner, count = self._planner, len(visits)
        now = {name: torch.stack([visit.observation[name] for visit in visits]).float()
               for name in visits[0].observation}
        after = {name: torch.stack([visit.following[name] for visit in visits]).float()
                 for name in visits[0].following}
        tried, gains, costs = (torch.stack([getattr(visit, name) for visit in visits])
                               for name in ("tried", "gains", "costs"))
        price: Tensor | float = self.env.price
        if len(planner.preferences):
            preference = planner.preferences.sample(count, self.generator, self.config.preference_sampling_prob)
            price = planner.preferences.decode(preference)["price"][:, :, 0, 0]
            now["preference"] = preference
            after["preference"] = preference[:, None].expand(-1, tried.shape[1], -1)
        ended = torch.stack([visit.ended for visit in visits])[:, None]
        with torch.no_grad():
            flat: Any = {name: value.flatten(0, 1) for name, value in after.items()}
            best = self.optimizer.network(flat).argmax(dim=1, keepdim=True)
            value = planner(flat).gather(1, best).reshape(count, -1)
            target = (gains - price * costs + self.config.gamma * (1 - ended) * value).clamp(min=self.config.min_target)
        allowed = now["action_mask"][:, :, 0, 0].gather(1, tried)
        scores = self.optimizer.network({**now, "action_mask": torch.ones_like(now["action_mask"])}).gather(1, tried)
        error = F.smooth_l1_loss(scores, target, reduction="none")
        return {"loss/value": (error * allowed).sum() / allowed.sum().clamp(min=1)}


def lean(observation: Mapping[str, Any]) -> dict[str, Tensor]:
    """What is kept of an observation: where it has features, not the picture; otherwise that, at half precision."""
    kept = {name: value for name, value in observation.items() if name not in ("image", "preference")}
    if "spectrum" not in observation:
        kept["image"] = observation["image"].half()
    return kept
