"""Toolchains: repair a picture of unknown, mixed damage with one black-box tool after another, and stop in time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.envs import transition
from rlenhance.envs.pixel_env import PixelEnv, check_numbers
from rlenhance.envs.transition import Score, State
from rlenhance.learning.actions import Action, ToolchainActions
from rlenhance.learning.data import Batch, BatchSource, ImageCache, Sampler, open_clean, validate_splits
from rlenhance.learning.data.mixed_damage import Level, MixedDamage
from rlenhance.learning.data.sampler import rng_of
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.rewards import Reward, RewardWeights
from rlenhance.tools import TOOLKITS, Tool, ToolCache, tool_of, toolkit

#: What counts as better: pictures (N, 3, H, W) and their references, or None -> (N,), higher is better.
ScoreFunction = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class DamagedSource:
    """Pictures of a source of clean ones, with mixed damage of their own in each draw; the clean ones are the targets.

    Args:
        clean: draws clean pictures.
        damage: what is done to them.
        seed: of the damage.
    """

    clean: BatchSource
    damage: MixedDamage
    seed: int = 0

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` pictures of draw `step`; of these only `part`."""
        clean = self.clean.batch(step, count).image
        damaged, _ = self.damage(clean, rng_of(self.seed, 1 << 42 | step))
        return Batch(damaged, clean)[part]

    def with_seed(self, seed: int) -> DamagedSource:
        """Another stream of such pictures."""
        return replace(self, clean=self.clean.with_seed(seed), seed=seed)


def tools_of(tools: str | Sequence[str | Tool]) -> tuple[Tool, ...]:
    """Tools from the name of a kit, or from tools and what `tool_of` takes."""
    if isinstance(tools, str):
        return toolkit(tools) if tools in TOOLKITS else (tool_of(tools),)
    return tuple(tool if isinstance(tool, Tool) else tool_of(tool) for tool in tools)


class ToolchainEnv(PixelEnv):
    """Choose tools one after the other for a picture whose damage is unknown, or stop.

    The tools are black boxes (filters, networks, codecs, commands): no gradient passes through them.

    ## Action Space

    `Discrete(K + 1)`: a tool by its place in `tools`, from 0 to K - 1, or K: stop. With r = `regions` above 1,
    `MultiDiscrete` (1, r, r): each cell of an r x r grid picks its own, and the results are blended: a cell's weight
    falls linearly to the centres of its neighbours, and the weights of a pixel sum to 1. Who has stopped stays so
    until the episode ends. A tool that is not allowed (`action_mask`) is taken as a stop.

    ## Observation Space

    `Dict`, float32: `image=Box(0, 1, (3, H, W))`, the current picture (RGB, sRGB-encoded);
    `last_tools=Box(0, 1, (K + 1, r, r))`, 1 at the choice of the step before, 0 everywhere before the first;
    `remaining=Box(0, 1, (1,))`, the share of the horizon that is left; `budget=Box(0, 1, (1,))`, the share of the
    budget that is left (1 without one); `action_mask=Box(0, 1, (K + 1, r, r))`, 1 where a choice is allowed: stop
    always, a tool where nobody has stopped and what is left of the budget pays for it on the whole picture. With
    `price_range`, also `preference=Box(-1, 1, (1,))`. Neither the clean picture nor its score is observed.

    ## Rewards

    The rise of the score in the step, minus `price` times the cost of the tools that ran, in seconds of processor
    time per megapixel (of cells, their mean). The score is the PSNR to the clean picture in dB by default. It
    telescopes: the return is the score at the end, minus that at the start, minus the price of the chain. Stopping
    earns 0.

    `info` of each step has `cost` (N,), in seconds per megapixel, and `agent_rewards`, the reward of each cell by
    scope (N, 1, r, r): its place in the map of the score, minus its own price. `reward_map` and `reward_terms` are as
    everywhere, without the price and without a score that is a function.

    ## Starting State

    A random crop of a random clean picture with a random mix of blur, noise and JPEG
    (`rlenhance.learning.data.MixedDamage`), the same for the same seed. With no `data`, the sample photographs.
    `reset(options={"batch": Batch})` begins with the caller's pictures, and their references where the score needs
    them.

    ## Episode End

    Termination after `horizon` steps, always; never truncation. A picture that was stopped does not change any more.

    ## Arguments

    tools: name of a kit ("opencv"), or tools, by name or as `rlenhance.tools.Tool`. horizon: the most tools in a
    chain (3). score: "psnr", "ssim", another state term of `rlenhance.learning.rewards`, a mapping of several with
    weights, or a function (pictures (N, 3, H, W), references or None) -> (N,), higher is better, which may do without a
    reference. price: what a second per megapixel costs, in units of the score (0). regions: cells along each side
    (1). budget: seconds per megapixel that a chain may cost (None: no limit). data: folder of clean pictures. damage:
    mild, moderate, severe or wide. size: side of the square pictures in pixels (63). price_range: None, or (lowest,
    default, highest): the price is then the preference `price`, observed, and asked for at each reset. source: draws
    the pictures instead. cache: results of tools, shared with others (None: its own, 256 MiB). device: of the tensors
    ("cpu"); tools run where they are written for, on the host as a rule. render_mode: None or "rgb_array".
    info_terms: "active", or "all": the reward terms of weight 0 are worked out and stand in `info` too.

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/Toolchain-v0", num_envs=8)` holds 8 pictures in NumPy (`TorchToNumpy`), with
    NEXT_STEP autoreset, as Gymnasium's own vector environments. With `output="torch"` it is this class: torch tensors
    on `device`, with SAME_STEP autoreset; each step copies the choices to the host. `gymnasium.make(
    "rlenhance/Toolchain-v0")` holds one picture in NumPy. Pictures with the same choice go through a tool together.

    ## Version History

    v0: the first.

    Source: RL-Restore (Yu et al. 2018), section 3. We depart in the price, the budget and the regions, and in a stop
    that is taken per cell.
    """

    actions: ToolchainActions

    def __init__(self, num_envs: int = 1, *, tools: str | Sequence[str | Tool] = "opencv", horizon: int = 3,
                 score: str | Mapping[str, float] | ScoreFunction = "psnr", price: float = 0.0, regions: int = 1,
                 budget: float | None = None, data: str | Path | None = None, damage: Level = "moderate",
                 size: int = 63,
                 price_range: tuple[float, float, float] | None = None, source: BatchSource | None = None,
                 cache: ToolCache | None = None, device: torch.device | str = "cpu", render_mode: str | None = None,
                 info_maps: bool = True, info_terms: str = "active", check_nan: bool = True,
                 autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP):
        check_numbers(num_envs, size, horizon)
        for name, low in (("price", price), ("budget", budget or 0.0), ("price_range", (price_range or (0.0,))[0])):
            if not 0 <= low < math.inf:
                raise UsageError(f"{name} must be finite and not negative; got {low}")
        self._given, self.tools = tools, tools_of(tools)
        self.price, self.budget = price, budget
        self._function = score if callable(score) else None
        weights = {} if callable(score) else {score: 1.0} if isinstance(score, str) else dict(score)
        self._cache = cache or ToolCache(self.tools, 1 << 28)
        self._costs = torch.tensor([*(tool.cost for tool in self.tools), 0.0])
        super().__init__(
            ToolchainActions(tuple(tool.name for tool in self.tools), regions), Reward(RewardWeights.only(**weights)),
            horizon=horizon, preferences=Preferences({"price": price_range} if price_range else {}),
            source=source or _source(data, damage, size), num_envs=num_envs, size=(size, size), device=device,
            render_mode=render_mode, info_maps=info_maps, info_terms=info_terms, check_nan=check_nan,
            autoreset_mode=autoreset_mode)
        self._costs = self._costs.to(self.device)

    def _extra_spaces(self) -> dict[str, spaces.Space[Any]]:
        choices = (self.actions.num_choices, self.actions.regions, self.actions.regions)
        return {"last_tools": spaces.Box(0.0, 1.0, choices, np.float32),
                "budget": spaces.Box(0.0, 1.0, (1,), np.float32),
                "action_mask": spaces.Box(0.0, 1.0, choices, np.float32)}

    def _scope_space(self, scope: str) -> spaces.Space[Any]:
        return spaces.Discrete(self.actions.num_choices) if self.actions.regions == 1 else super()._scope_space(scope)

    def step(self, action: Any) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """As `PixelEnv.step`; without regions, an action is (N,)."""
        plain = self.actions.regions == 1 and not isinstance(action, Mapping) and len(getattr(action, "shape", ())) == 1
        return super().step(action[:, None, None, None] if plain else action)

    def _begin(self) -> None:
        """What an episode has beside its pictures."""
        image = self.episode.batch.image
        grid = (len(image), self.actions.num_choices, self.actions.regions, self.actions.regions)
        self._last_tools, self._spent = image.new_zeros(grid), image.new_zeros(len(image))
        self._ids = [] if self.actions.regions > 1 or image.device.type == "meta" else [
            hashlib.blake2b(each.numpy(force=True).tobytes(), digest_size=16).digest() for each in image]
        self._chains: list[tuple[str, ...]] = [()] * len(self._ids)

    def _observe(self) -> Observation:
        if self._state.step == 0:
            self._begin()
        left = 1 - self._spent[:, None] / (self.budget or math.inf)
        observation = super()._observe()
        observation |= {"last_tools": self._last_tools, "budget": left.clamp(0, 1),
                        "action_mask": self.action_mask().float()}
        return observation

    def action_mask(self) -> Tensor:
        """Which choices are allowed: (N, K + 1, r, r) bool."""
        stopped = self._last_tools[:, self.actions.stop :] > 0.5
        limit = math.inf if self.budget is None else self.budget * (1 + 1e-6)  # a budget of one tool's cost pays for it
        pays = self._spent[:, None] + self._costs <= limit
        mask = pays[..., None, None] & ~stopped
        mask[:, self.actions.stop] = True
        return mask

    def _advance(self, action: Action) -> tuple[Score, State]:
        scope, episode, state = self.actions.scopes[0], self.episode, self._state
        choice = action[scope].long()
        allowed = self.action_mask().gather(1, choice)
        choice = torch.where(allowed, choice, self.actions.stop)
        after = self.actions.blend(state.image, {scope: choice}, self._run)
        magnitude = self.actions.magnitude({scope: choice})
        if episode.batch.mask is not None:
            after = state.image + episode.batch.mask * (after - state.image)
        earned, following = transition.score(episode, state, magnitude, after)
        cell_costs = self._costs[choice]
        self._cost = cell_costs.mean(dim=(1, 2, 3))
        asked = self.user_targets.get("price", self.price)
        fee = asked * cell_costs
        gain = self._gain(choice, after)
        self._earned = gain, fee.mean(dim=(1, 2, 3))
        shared = self.reward.map(earned.terms, (self.actions.regions,) * 2) if earned.terms else torch.zeros_like(fee)
        self._agent_rewards = {scope: shared + gain[:, None, None, None] - fee}
        self._spent = self._spent + self._cost
        self._last_tools = torch.zeros_like(self._last_tools).scatter_(1, choice, 1.0)
        self._chains = [chain if index == self.actions.stop else (*chain, self.actions.tools[index])
                        for chain, index in zip(self._chains, choice.flatten().tolist(), strict=False)]
        return replace(earned, reward=earned.reward + gain - self._earned[1]), following

    def _gain(self, choice: Tensor, after: Tensor) -> Tensor:
        """What choices (N, 1, r, r) earn beside the reward terms, without their price: (N,)."""
        return self._function_gain(after)

    def _function_gain(self, after: Tensor) -> Tensor:
        """The rise of a score that is a function, from the present pictures to those `after`: (N,)."""
        if self._function is None:
            return after.new_zeros(len(after))
        target = self.episode.batch.target
        return self._function(after, target) - self._function(self._state.image, target)

    def try_tools(self) -> tuple[Tensor, Tensor]:
        """What each tool would make of the present pictures, without a step; tools never need a gradient, and their
        results are kept for the step that follows.

        Returns:
            The pictures (N, K, 3, H, W), and the rise of the score (N, K) without the price. A picture that has stopped
            stays as it is.

        Raises:
            UsageError: with regions, whose choices cannot be tried one by one.
        """
        if self.actions.regions > 1:
            raise UsageError(f"tools can be tried on whole pictures; got {self.actions.regions} regions")
        stopped = self._last_tools[:, self.actions.stop] > 0.5
        images, gains = [], []
        for index in range(self.actions.stop):
            choice = torch.where(stopped, self.actions.stop, index)[:, None]
            after = self.actions.blend(self._state.image, {"global": choice}, self._run)
            earned, _ = transition.score(self.episode, self._state, self.actions.magnitude({"global": choice}), after)
            images.append(after)
            gains.append(earned.reward + self._function_gain(after))
        return torch.stack(images, dim=1), torch.stack(gains, dim=1)

    def branch(self, rows: Tensor) -> ToolchainEnv:
        """The present episodes of some of the pictures, to go on with them elsewhere: this environment stays where it
        is, and both share the results of tools.

        Args:
            rows: numbers of the pictures, (M,); a picture may be there several times.

        Returns:
            An environment of M pictures that begins nothing new at its end. Its spaces are not made anew.
        """
        made, episode, state = object.__new__(type(self)), self.episode, self._state
        vars(made).update(vars(self))
        made._episode = replace(
            episode, batch=episode.batch[rows], preference=episode.preference[rows], features={},
            user_targets={name: value[rows] if len(value) > 1 else value
                          for name, value in episode.user_targets.items()})
        made._state = replace(state, image=state.image[rows],
                              magnitude=None if state.magnitude is None else state.magnitude[rows],
                              costs={name: value[rows] for name, value in state.costs.items()})
        made._last_tools, made._spent = self._last_tools[rows], self._spent[rows]
        made._ids, made._chains = ([known[row] for row in rows.tolist()] if known else []
                                   for known in (self._ids, self._chains))
        made.metadata = {**self.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        made.num_envs = len(rows)
        return made

    @property
    def costs(self) -> Tensor:
        """Seconds of processor time per megapixel of each tool, and 0 for stopping: (K + 1,)."""
        return self._costs

    def _run(self, index: int, rows: Tensor) -> Tensor:
        """The results of a tool for some of the pictures; it runs once for equal ones, and not where they are known."""
        images = self._state.image[rows]
        if not self._ids:
            plain: Tensor = self.tools[index].batch(images)
            return plain
        states = [(self._ids[place], self._chains[place]) for place in rows.tolist()]
        first = {state: place for place, state in reversed([*enumerate(states)])}
        ids, chains = zip(*first, strict=True)
        results = self._cache.extend(ids, images[[*first.values()]], chains, [self.tools[index].name] * len(first))
        order = {state: place for place, state in enumerate(first)}
        found: Tensor = results[[order[state] for state in states]]
        return found

    def _extra_info(self, state: State, reward: Tensor) -> dict[str, Any]:
        return {"cost": self._cost, "agent_rewards": self._agent_rewards}

    def __getstate__(self) -> dict[str, Any]:
        """Without the results of tools; tools that were given by name are made again."""
        state = super().__getstate__()
        if isinstance(self._given, str) or all(isinstance(tool, str) for tool in self._given):
            del state["tools"]
        del state["_cache"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if "tools" not in state:
            self.tools = tools_of(self._given)
        self._cache = ToolCache(self.tools, 1 << 28)


def _source(data: str | Path | None, damage: Level, size: int) -> DamagedSource:
    images = ImageCache()
    splits, _ = validate_splits(open_clean(data), images)
    return DamagedSource(Sampler(splits.train, images, size, crop="native"), MixedDamage(damage))
