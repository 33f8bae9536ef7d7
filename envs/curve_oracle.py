"""An environment whose best episode is known, so that an agent's regret can be measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.envs.image_env import ImageEnv
from rlenhance.envs.pixel_env import PixelEnv, check_numbers
from rlenhance.envs.transition import State
from rlenhance.learning.actions import ACTION_SETS, Action, ActionSet, CurveActions, apply_action
from rlenhance.learning.data import Batch
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.rewards import Reward, RewardWeights, Transition
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

#: Reward terms whose cost is zero at the target and nowhere below zero: the episode that meets the target is the best.
EXACT_TERMS = ("l1", "squared_error", "ssim")
AMPLITUDE = 0.25  # of the patterns: no finished image reaches black or white
LEVELS = (0.3, 0.7)  # mean of the finished images, at least and at most
GAINS = (1.5, 6.0)  # how many times darker than finished the shadows begin, at least and at most


def invert_curve(image: Tensor, bend: Tensor) -> Tensor:
    """The image that the curve c' = c + A c (1 - c) bends into this one.

    Args:
        image: c', in [0, 1].
        bend: A, in (-1, 1], of a shape that broadcasts.

    Example:
        >>> invert_curve(torch.tensor(0.3 + 0.5 * 0.3 * 0.7), torch.tensor(0.5))
        tensor(0.3000)
    """
    # the root of A c^2 - (1 + A) c + c' = 0 that lies in [0, 1], written so that A = 0 divides nothing by zero
    return 2 * image / (1 + bend + torch.sqrt(((1 + bend) ** 2 - 4 * bend * image).clamp(min=0)))


class InvertibleCurveSource:
    """Draws images that one known action, repeated at every step, finishes.

    A finished image is smooth, and its channels have one mean, the asked level; where there are local agents, in
    the left and in the right half of the image. The image to begin with is the finished one with the drawn
    curve inverted `horizon` times. So the image determines the curve: it is the one that lifts the means to the level.

    Every sample has a random stream of its own, keyed by (seed, its number).

    Args:
        actions: a `CurveActions` action set.
        horizon: steps of an episode, T.
        size: side of the square images in pixels, at least 8.
        level: mean of the finished images, from 0.3 to 0.7.
        seed: of the stream.

    Raises:
        UsageError: another action set; a size or level outside its range.
    """

    def __init__(self, actions: ActionSet, horizon: int, size: int, *, level: float = DEFAULT_EXPOSURE, seed: int = 0):
        if not isinstance(actions, CurveActions):
            raise UsageError(f"the optimum is known for the action set Curve; got {type(actions).__name__}")
        if size < 8:
            raise UsageError(f"images with a known curve are at least 8 pixels wide; got size {size}")
        _check_level("exposure_level", level, level)
        self.actions, self.horizon, self.size, self.level, self.seed = actions, horizon, size, level, seed

    def with_seed(self, seed: int) -> InvertibleCurveSource:
        """Another stream of such images."""
        return InvertibleCurveSource(self.actions, self.horizon, self.size, level=self.level, seed=seed)

    def batch(self, step: int, count: int, part: slice = slice(None), *, level: Tensor | None = None) -> Batch:
        """The `count` images of draw `step`, with their targets, on the CPU; of these only `part`.

        Args:
            level: mean of the finished images, (count, 1, 1, 1); None: the stream's own.
        """
        patterns = torch.stack([self._pattern(self._rng(step * count + i, 0)) for i in range(count)])
        image = patterns + (self.level if level is None else level)
        action = self.oracle(step, count)
        # the change of mid-grey in a step gives the A of each pixel: c' - c = A / 4
        grey = torch.full_like(image, 0.5)
        bend = 4 * (apply_action(self.actions, grey, action) - grey)
        for _ in range(self.horizon):
            image = invert_curve(image, bend)
        target = image
        for _ in range(self.horizon):  # by the transition itself, so that the oracle reaches it bit for bit
            target = apply_action(self.actions, target, action)
        return Batch(image, target)[part]

    def oracle(self, step: int, count: int) -> dict[str, Tensor]:
        """The action that, taken at every step, finishes the images of draw `step`: scope -> (count, C, h, w)."""
        drawn = [self._action(self._rng(step * count + i, 1)) for i in range(count)]
        return {scope: torch.stack([action[scope] for action in drawn]) for scope in self.actions.scopes}

    def _rng(self, number: int, part: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed, 2 * number + part]))

    def _pattern(self, rng: np.random.Generator) -> Tensor:
        """(3, H, W) within AMPLITUDE of zero, of mean zero in each channel (of each half, with local agents)."""
        coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 3, 4, 4)).astype(np.float32))
        pattern = F.interpolate(coarse, (self.size, self.size), mode="bilinear", align_corners=False)[0]
        middle = self.size // 2 if "local" in self.actions.scopes else self.size
        halves = [half - half.mean(dim=(1, 2), keepdim=True)
                  for half in (pattern[..., :middle], pattern[..., middle:]) if half.shape[-1]]
        pattern = torch.cat(halves, dim=-1)
        return AMPLITUDE * pattern / pattern.abs().max().clamp(min=1e-6)

    def _action(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Scope -> (C, h, w): a curve that brightens the image, and the difference of its halves from it."""
        curve = self.actions
        low, high = (min(gain ** (1 / self.horizon) - 1, 0.9 * curve.high) for gain in GAINS)
        middle, half = (curve.low + curve.high) / 2, (curve.high - curve.low) / 2
        action = {}
        for scope in curve.scopes:
            grid = curve.agent_grid(scope, self.size, self.size)
            left, right = ((rng.uniform(low, high, curve.action_dim) - middle) / half for _ in range(2))
            if curve.channels == "chroma":
                left[1:], right[1:] = rng.uniform(-0.3, 0.3, (2, 2))
            if scope == "local" and curve.global_agent:
                left = rng.uniform(-0.2, 0.2, curve.action_dim)
                right = -left
            sides = left if scope == "global" else np.where(np.arange(grid[1])[:, None] < grid[1] // 2, left, right)
            value = torch.from_numpy(np.asarray(sides, np.float32).T).reshape(curve.action_dim, 1, -1).expand(-1, *grid)
            if curve.num_choices is not None:
                value = ((value + 1) / 2 * (curve.num_choices - 1)).round().long()
            action[scope] = value.contiguous()
        return action


def _check_level(name: str, low: float, high: float) -> None:
    if not LEVELS[0] <= low <= high <= LEVELS[1]:
        raise UsageError(f"{name} lies between {LEVELS[0]} and {LEVELS[1]}, so that no finished image touches black "
                         f"or white; got {low} to {high}")


class CurveOracleEnv(PixelEnv):
    """Find the curve that finishes a synthetic image: the best episode is known, and how far one is from it.

    ## Action Space

    That of `rlenhance/LowLight-v0`, with the arguments in `curve`. By default there is one agent for the whole
    image: `Box(-1, 1, (C, 1, 1))`, C = 1 head, -1 means the curve's A = -0.3, +1 means A = 1.0. With
    `curve={"agent_stride": 8}` there are local agents too, with `{"agent_stride": 8, "global_agent": False}` only
    those; the left and the right half of the image then need different curves.

    ## Observation Space

    `Dict(image=Box(0, 1, (3, H, W)), remaining=Box(0, 1, (1,)))`, float32: the current image (RGB, sRGB-encoded)
    and the share of the horizon that is left. With `preferences`, also `preference=Box(-1, 1, (1,))`.

    ## Rewards

    The decrease of the distance to the finished image, by default the mean absolute difference (`l1`, in units of
    brightness). The finished image is not observed; it is determined by the mean of its channels, with local agents
    in each half of the image. The best return is the distance at the start, and the
    oracle earns it: `oracle()` is the action to take at every step.

    `info` of each step holds `regret` (N,), the best return less the return so far, at the end of an episode the
    return that was lost, and `action_error` (N,), the mean over the agents of |A - A of the oracle|, where A
    is the constant strength that brightens shadows as the steps so far did, (1 + A)^t = (1 + A_1) ... (1 + A_t): only
    their product matters. The oracle ends with 0 in both. `reset` gives `best_return` (N,).
    `reward_map` and `reward_terms` are as everywhere.

    ## Starting State

    A smooth random image of mean `exposure_level`, with a random curve inverted `horizon` times. No files are
    needed. `reset(options={"preference": ...})` chooses the mean, where `preferences` has it.

    ## Episode End

    Termination after `horizon` steps, always; never truncation.

    ## Arguments

    size: side of the square images in pixels (16). horizon: steps (4). curve: arguments of the `CurveActions` action
    set (agent_stride 0: one agent). reward: name -> weight over l1, squared_error and ssim, whose cost is zero at the
    finished image ({"l1": 1}). exposure_level: mean of the finished image, 0.3 to 0.7 (0.475). preferences: None, or
    {"exposure_level": (lowest, default, highest)}. device: of the tensors ("cpu"). render_mode: None or "rgb_array".
    info_terms: "active", or "all": the reward terms of weight 0 are worked out and stand in `info` too.

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/CurveOracle-v0", num_envs=8)` holds 8 images in NumPy (`TorchToNumpy`), with
    NEXT_STEP autoreset, as Gymnasium's own vector environments. With `output="torch"` it is this class: torch tensors
    on `device`, with SAME_STEP autoreset. `gymnasium.make("rlenhance/CurveOracle-v0")` holds one image in NumPy.

    ## Version History

    v0: the first.
    """

    def __init__(self, num_envs: int = 1, *, size: int = 16, horizon: int = 4, curve: Mapping[str, Any] | None = None,
                 reward: Mapping[str, float] | None = None, exposure_level: float = DEFAULT_EXPOSURE,
                 preferences: Mapping[str, tuple[float, float, float]] | None = None,
                 device: torch.device | str = "cpu", render_mode: str | None = None,
                 info_terms: str = "active", autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP):
        check_numbers(num_envs, size, horizon)
        weights = RewardWeights.only(**dict(reward or {"l1": 1.0}))
        inexact = [name for name in weights.active if name not in EXACT_TERMS]
        if inexact or not weights.active:
            raise UsageError(f"the optimum is known for a reward of {', '.join(EXACT_TERMS)}; "
                             f"got {', '.join(inexact) or 'no weight'}")
        for name, (low, _, high) in (preferences or {}).items():
            if name != "exposure_level":
                raise UsageError(f"the preference here is exposure_level; got {name}")
            _check_level(name, low, high)
        actions = ACTION_SETS.create("curve", **{"agent_stride": 0, **(curve or {})})
        super().__init__(
            actions, Reward(weights), horizon=horizon, preferences=Preferences(preferences or {}),
            source=InvertibleCurveSource(actions, horizon, size, level=exposure_level), num_envs=num_envs,
            size=(size, size), device=device, render_mode=render_mode, info_terms=info_terms,
            autoreset_mode=autoreset_mode,
        )
        self._level: Tensor | None = None

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes; `info["best_return"]` (N,) is what the oracle will earn.

        Args:
            seed: begins the stream anew.
            options: `preference` (encoded, (N, 1)).

        Raises:
            UsageError: a batch is given, whose best episode is not known.
        """
        options = dict(options or {})
        if options.get("batch") is not None:
            raise UsageError("the best episode is known for this environment's own images only: leave out the batch, "
                             "or use rlenhance/LowLight-v0")
        if len(self.preferences):
            chosen = self._encoded(options.get("preference"), self.num_envs).cpu()
            self._level = self.preferences.decode(chosen)["exposure_level"]
        observation, info = super().reset(seed=seed, options=options)
        start, target = self.episode.batch.image, self.episode.batch.target
        assert target is not None
        whole = Transition(start, target, start, start.new_zeros(1, 1, 1, 1), self.user_targets, target)
        self._to_gain = self.reward.total(self.reward.terms(whole))
        self._log_gain = start.new_zeros(1, 1, 1, 1)
        return observation, {**info, "best_return": self._to_gain}

    def _draw(self, seed: int | None) -> Batch:
        batch = super()._draw(seed)
        assert isinstance(self._stream, InvertibleCurveSource)
        place = self._drawn - 1, self._num_draws
        self._oracle = {scope: value.to(self.device) for scope, value in self._stream.oracle(*place).items()}
        return batch if self._level is None else self._stream.batch(*place, level=self._level)

    def _extra_info(self, state: State, reward: Tensor) -> dict[str, Any]:
        assert state.magnitude is not None
        self._to_gain = self._to_gain - reward
        self._log_gain = self._log_gain + torch.log1p(state.magnitude.clamp(min=-1 + 1e-6))
        even = torch.expm1(self._log_gain / state.step)
        error = (even - self.actions.magnitude(self._oracle)).abs().mean(dim=(1, 2, 3))
        return {"regret": self._to_gain, "action_error": error}

    def oracle(self) -> Action | Tensor:
        """The best action of the present episodes, the same at every step, as `step` takes it.

        Raises:
            UsageError: before the first reset.
        """
        _ = self.episode
        return self._oracle if len(self._oracle) > 1 else next(iter(self._oracle.values()))


class CurveOracleImageEnv(ImageEnv):
    """`CurveOracleEnv` of one image, in NumPy; the same arguments, spaces without the leading N."""

    env: CurveOracleEnv

    def __init__(self, **arguments: Any):
        super().__init__(CurveOracleEnv(1, autoreset_mode=AutoresetMode.DISABLED, **arguments))

    def oracle(self) -> Any:
        """The best action of the present episode, the same at every step, as `step` takes it."""
        best = self.env.oracle()
        if isinstance(best, Tensor):
            return best[0].cpu().numpy()
        return {scope: value[0].cpu().numpy() for scope, value in best.items()}
