"""The batched environment: tensors in, tensors out, all on one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from rlenhance.core.errors import UsageError, check_counts
from rlenhance.core.machine import resolve_device
from rlenhance.envs.action_input import NaNCount, check_finite, to_tensors
from rlenhance.envs.transition import Episode, Score, State, admit, advance, observe, start
from rlenhance.learning.actions import Action, ActionSet
from rlenhance.learning.data import Batch, BatchSource
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.visualize import action_colors, side_by_side
from rlenhance.learning.rewards import Reward

#: Which reward terms `info` has.
INFO_TERMS = ("active", "all")


def check_numbers(num_envs: int, size: int, horizon: int) -> None:
    """Refuse numbers that no environment can have; concrete ones ask before they open their data.

    Raises:
        UsageError: names the one that is no whole number, or beyond its range.
    """
    check_counts(num_envs=(num_envs, 1 << 16), size=(size, 1 << 14), horizon=(horizon, 10_000))


class PixelEnv(gymnasium.vector.VectorEnv):
    """N images that are edited at once; every agent of every image acts at each step.

    The action space, observation space, rewards and episode end are those of the concrete environment (see
    `LowLightEnv`); this class has what they share. It takes and returns torch tensors on `device`, keeps gradients, and
    copies nothing to the host within an episode; at its end one number says whether an action had NaN (those on the
    CPU are refused at once). Actions in
    NumPy, as `action_space.sample()` gives them, are taken too. `TorchToNumpy` returns NumPy.

    Args:
        actions: the action set.
        reward: of each step.
        horizon: steps of an episode, T. Reaching it is termination: the problem has a finite horizon and the steps
            left are observed.
        preferences: that the user may give; part of the observation.
        source: draws the images at a reset without a batch.
        num_envs, size: number of images, and their (height, width) in pixels. A reset with a batch sets both.
        device: of all tensors.
        info_maps: compute `info["reward_map"]` at every step; learners, which do not read it, turn it off.
        info_terms: which reward terms `info` has, "active" (those with a weight) or "all": those of weight 0 too, where
            they can be computed. They do not change the reward, and cost more than the active ones.
        autoreset_mode: all episodes end together; the next ones begin in that step (SAME_STEP; the last
            observation is `info["final_obs"]`, the step's info also `info["final_info"]`), in the next one, whose
            action is passed over and whose reward is 0 (NEXT_STEP), or when the caller resets (DISABLED).
        render_mode: None or "rgb_array".
        check_nan: refuse actions with NaN or infinity; learners, which look for it themselves and say
            where it came from, turn it off.
    """

    metadata: dict[str, Any] = {
        "render_modes": ["rgb_array"], "render_fps": 4, "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    single_observation_space: spaces.Dict
    #: Channels of its images before the first reset; a batch may have another number where the action set allows it.
    num_channels: int = 3

    def __init__(self, actions: ActionSet, reward: Reward, *, horizon: int = 8,
                 preferences: Preferences | None = None, source: BatchSource | None = None, num_envs: int = 1,
                 size: tuple[int, int] = (64, 64), device: torch.device | str = "cpu", info_maps: bool = True,
                 info_terms: str = "active", autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
                 render_mode: str | None = None, check_nan: bool = True):
        check_numbers(num_envs, min(size), horizon)
        modes = [mode for mode in AutoresetMode if autoreset_mode in (mode, mode.value)]
        if not modes:
            raise UsageError(f"autoreset_mode is {', '.join(repr(mode.value) for mode in AutoresetMode)} or its "
                             f"gymnasium.vector.AutoresetMode; got {autoreset_mode!r}")
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"render_mode is None or 'rgb_array'; got {render_mode!r}")
        if info_terms not in INFO_TERMS:
            raise UsageError(f"info_terms is {' or '.join(INFO_TERMS)}; got {info_terms!r}")
        self.actions, self.horizon = actions, horizon
        self.reward = replace(reward, every_term=reward.every_term or info_terms == "all")
        self.preferences = preferences or Preferences()
        self.device = torch.device(resolve_device(device))
        self.render_mode, self.check_nan = render_mode, check_nan
        self.metadata = {**type(self).metadata, "autoreset_mode": modes[0]}
        self._source, self._drawn = source, 0
        self._stream: BatchSource | None = None
        self._num_draws, self.info_maps = num_envs, info_maps
        self._episode: Episode | None = None
        self._state: State
        #: An image that has reached this PSNR to its reference, in dB, stays as it is for the rest of its episode.
        self.early_stop_psnr: float | None = None
        self._match_spaces(num_envs, (self.num_channels, *size), masked=False)

    def _match_spaces(self, num_envs: int, shape: tuple[int, int, int], masked: bool) -> None:
        """Make the spaces for this many images of this shape, (channels, height, width), unless they fit already."""
        if "single_observation_space" in vars(self):
            now = self.single_observation_space.spaces
            if (num_envs, shape, masked) == (self.num_envs, now["image"].shape, "mask" in now):
                return
        self.num_envs, self.size = num_envs, shape[1:]
        margin = self.actions.range_margin
        single: dict[str, spaces.Space[Any]] = {
            "image": spaces.Box(-margin, 1.0 + margin, shape, np.float32),
            "remaining": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
        if len(self.preferences):
            single["preference"] = spaces.Box(-1.0, 1.0, (len(self.preferences),), np.float32)
        if masked:
            single["mask"] = spaces.Box(0.0, 1.0, (1, *self.size), np.float32)
        if self.actions.needs_initial_image:
            single["initial_image"] = spaces.Box(0.0, 1.0, shape, np.float32)
        single |= self._extra_spaces()
        scopes = {scope: self._scope_space(scope) for scope in self.actions.scopes}
        self.single_observation_space = spaces.Dict(single)
        self.single_action_space = next(iter(scopes.values())) if len(scopes) == 1 else spaces.Dict(scopes)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def _extra_spaces(self) -> dict[str, spaces.Space[Any]]:
        """Spaces of what a concrete environment adds to a single observation."""
        return {}

    def _scope_space(self, scope: str) -> spaces.Space[Any]:
        shape = (self.actions.action_dim, *self.actions.agent_grid(scope, *self.size))
        if self.actions.num_choices is None:
            return spaces.Box(-1.0, 1.0, shape, np.float32)
        return spaces.MultiDiscrete(np.full(shape, self.actions.num_choices))

    @property
    def episode(self) -> Episode:
        """What is constant until the next reset.

        Raises:
            UsageError: before the first one.
        """
        if self._episode is None:
            raise UsageError("call reset first: the environment has no episode yet")
        return self._episode

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When the next episode begins."""
        mode: AutoresetMode = self.metadata["autoreset_mode"]
        return mode

    @property
    def user_targets(self) -> Mapping[str, Tensor]:
        """The user's preferences of the last reset, name -> (N, 1, 1, 1)."""
        return self.episode.user_targets

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes.

        Args:
            seed: begins the source's stream anew; later resets go on in it.
            options: `batch` (a `Batch` to begin with) and `preference` (encoded, (N, P), also in NumPy). Without them
                the batch is drawn from the source, or is the last one where there is no source, and preferences have
                their defaults.
                `reset_mask`, as Gymnasium's DISABLED mode has it: all episodes begin together, so all of it is True.

        Raises:
            UsageError: neither a batch nor a source; or the reward needs a reference and the batch has none.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        if not np.all(options.pop("reset_mask", True)):
            raise UsageError("reset_mask is True for every image: the episodes of an environment begin together")
        unknown = set(options) - {"batch", "preference"}
        if unknown:
            raise UsageError(f"reset knows the options batch and preference; got {', '.join(sorted(unknown))}")
        batch, chosen = options.get("batch"), options.get("preference")
        if batch is not None and not isinstance(batch, Batch):
            raise UsageError(f"the option batch is a rlenhance.learning.data.Batch; got {type(batch).__name__}")
        if batch is not None:
            batch.check(finite=False, margin=self.actions.range_margin, channels=self.actions.image_channels)
        elif self._source is not None:
            batch = self._draw(seed)
        elif self._episode is None:
            raise UsageError("nothing to begin with: give the environment a source, or reset(options={'batch': Batch})")
        else:  # the same images again, with the same preferences
            batch, chosen = self._episode.batch, self._episode.preference if chosen is None else chosen
        chosen = self._encoded(chosen, len(batch))
        self._missing = NaNCount()
        self._episode, self._state = start(
            self.actions, self.reward, self.horizon, self.preferences, batch.to(self.device), chosen.to(self.device),
            early_stop_psnr=self.early_stop_psnr)
        channels, height, width = batch.image.shape[1:]
        self._match_spaces(len(batch), (channels, height, width), batch.mask is not None)
        return self._observe(), {}

    def _encoded(self, chosen: Any, count: int) -> Tensor:
        """The preferences that a reset asks for, or the defaults: (N, P).

        Raises:
            UsageError: another shape.
        """
        if chosen is None:
            return self.preferences.encode(None, count)
        encoded = torch.as_tensor(chosen).float()
        if encoded.shape != (count, len(self.preferences)):
            raise UsageError(f"the option preference is ({count}, {len(self.preferences)}), as env.preferences.encode "
                             f"gives it; got {tuple(encoded.shape)}")
        return encoded

    def _draw(self, seed: int | None) -> Batch:
        assert self._source is not None
        if seed is not None or self._stream is None:
            chosen = int(self.np_random.integers(2**31)) if seed is None else seed
            self._stream, self._drawn = self._source.with_seed(chosen), 0
        self._drawn += 1
        return self._stream.batch(self._drawn - 1, self._num_draws)

    def step(self, action: Any) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """One step of all agents.

        Args:
            action: per scope (N, C, h, w), see `rlenhance.learning.types.Action`; a bare tensor where there is one
                scope.
                NumPy arrays in the place of tensors are copied.

        Returns:
            observation; reward (N,); terminated (N,); truncated (N,), never; and info with
            `reward_map` (N, 1, H, W) unless `info_maps` is off, `reward_terms` (name -> raw (N,), weight, weighted
            (N,)) and `term_maps` (name -> unweighted, at its natural size), of the terms that `info_terms` names.

        Raises:
            UsageError: the action does not fit, or has NaN or infinity; nothing has changed then. In tensors on a GPU
                they are found at the end of the episode.
        """
        episode, state = self.episode, self._state
        if state.step >= self.horizon:
            return self._begin_next()
        given = to_tensors(self.actions, action)
        if self.check_nan:  # arrays were checked
            check_finite(self.actions, given)
            self._missing.add(given)
        earned, self._state = self._advance(admit(episode, given))
        info = {**self._breakdown(earned), **self._extra_info(self._state, earned.reward)}
        ended = self._state.step >= self.horizon
        terminated = torch.full((self.num_envs,), ended, dtype=torch.bool, device=self.device)
        observation = self._observe()
        if ended:
            self._missing.refuse()
        if ended and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = {"final_obs": observation, "_final_obs": terminated, "final_info": dict(info),
                     "_final_info": terminated}
            observation, begun = self.reset()
            info = {**info, **begun, **final}
        return observation, earned.reward, terminated, torch.zeros_like(terminated), info

    def _begin_next(self) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """The step after the last one: with NEXT_STEP autoreset it begins the next episodes."""
        if self.autoreset_mode != AutoresetMode.NEXT_STEP:
            raise UsageError("the episode has ended: call reset, or use autoreset_mode=SAME_STEP or NEXT_STEP")
        observation, info = self.reset()
        going_on = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        return observation, torch.zeros(self.num_envs, device=self.device), going_on, going_on.clone(), info

    def _breakdown(self, earned: Score) -> dict[str, Any]:
        """The reward by term and by place."""
        weights = self.reward.weights
        info: dict[str, Any] = {
            "reward_terms": {name: {"raw": raw, "weight": weights[name], "weighted": weighted}
                             for name, raw, weighted in zip(earned.terms, earned.means.unbind(),
                                                            earned.weighted.unbind(), strict=True)},
            "term_maps": earned.terms,
        }
        if self.info_maps:
            info["reward_map"] = self.reward.map(earned.terms, self.size) if earned.terms \
                else earned.reward.new_zeros(self.num_envs, 1, *self.size)
        return info

    def _observe(self) -> Observation:
        """The observation of the present state."""
        return observe(self.episode, self._state)

    def _advance(self, action: Action) -> tuple[Score, State]:
        """One step with an action of `admit`: its reward, and the state after it."""
        return advance(self.episode, self._state, action)

    def _extra_info(self, state: State, reward: Tensor) -> dict[str, Any]:
        """Entries that a concrete environment adds to a step's info: name -> (N,)."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: values without their gradients, which belong to the original."""
        return {name: _detached(value) for name, value in vars(self).items()}

    def render(self) -> Any:
        """Input, current image and action map of each image, side by side: N arrays (H, 3 W + 4, 3) uint8."""
        if self.render_mode is None:
            return None
        strength = self._state.magnitude if self._state.magnitude is not None else torch.zeros(self.num_envs, 1, 1, 1)
        images = [image.expand(-1, 3, -1, -1) for image in (self.episode.batch.image, self._state.image)]
        frame = side_by_side([*images, action_colors(strength.to(self.device), self.size)])
        return tuple((frame.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())


def _detached(value: Any) -> Any:
    """A tensor, or those in a state or a dict, without gradients; anything else as it is."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, State):
        return replace(value, **{field.name: _detached(getattr(value, field.name)) for field in fields(value)})
    if type(value) is dict:  # spaces are mappings too
        return {key: _detached(inner) for key, inner in value.items()}
    return value
