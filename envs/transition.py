"""Episodes as pure functions: start, observation, transition and score, for the environment and for replays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlenhance.learning.actions import Action, ActionSet, apply_and_measure, attenuate_local, validate_action
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models.policy import Observation, make_observation
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.patch_grid import PatchGrid
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights, Transition, term_means


@dataclass(frozen=True)
class Episode:
    """What is constant during N parallel episodes.

    Attributes:
        actions, reward, horizon: see `PixelEnv`.
        batch: the images with which they began, (N, C, H, W), with targets and masks.
        preference: (N, P), encoded, as the policy sees it.
        user_targets: what the user asks for, name -> (N, 1, 1, 1).
        early_stop_psnr: an image that has reached this PSNR to its target, in dB, stays as it is; None: none does.
        features: what reward terms have computed of the first images, see `Transition.shared`.
    """

    actions: ActionSet
    reward: Reward
    horizon: int
    batch: Batch
    preference: Tensor
    user_targets: Mapping[str, Tensor]
    early_stop_psnr: float | None = None
    features: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def patch_grid(self) -> PatchGrid | None:
        """The patches on which the agents act, or None where they act on pixels."""
        return getattr(self.actions, "blocks", None)


@dataclass(frozen=True)
class State:
    """What changes from step to step.

    Attributes:
        image: the current images, (N, C, H, W).
        step: number of steps so far.
        magnitude: how strongly each agent acted in the last step, None before the first.
        costs: of the state terms, where they are known.
    """

    image: Tensor
    step: int = 0
    magnitude: Tensor | None = None
    costs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The reward of a step.

    Attributes:
        terms: reward terms, unweighted, at their natural sizes.
        means: their means, (T, N), in their order.
        weighted: the means times the weights, (T, N).
        reward: (N,), the sum of `weighted` over the terms with a weight.
    """

    terms: dict[str, Tensor]
    means: Tensor
    weighted: Tensor
    reward: Tensor


def start(actions: ActionSet, reward: Reward, horizon: int, preferences: Preferences, batch: Batch, preference: Tensor,
          image: Tensor | None = None, early_stop_psnr: float | None = None) -> tuple[Episode, State]:
    """Begin episodes.

    Args:
        actions, reward, horizon, preferences: see `PixelEnv`.
        batch: the images to begin with.
        preference: (N, P), encoded; automatic ones are measured in the image here.
        image: on which the agents first act, where it is known (see `ActionSet.initial_image`).
        early_stop_psnr: see `Episode`.

    Raises:
        UsageError: the reward needs a reference, and the batch has none.
    """
    reward.check(batch.target is not None)
    preference = preferences.resolve_auto(preference, batch.image)
    level = batch.image.new_full((1, 1, 1, 1), reward.weights.exposure_level)
    episode = Episode(actions, reward, horizon, batch, preference,
                      {"exposure_level": level, **preferences.decode(preference)}, early_stop_psnr)
    return episode, State(actions.initial_image(batch.image) if image is None else image)


def observe(episode: Episode, state: State) -> Observation:
    """The observation of a state."""
    return make_observation(state.image, 1 - state.step / episode.horizon, episode.preference, episode.batch.mask,
                            episode.batch.image if episode.actions.needs_initial_image else None)


def admit(episode: Episode, action: Action | Tensor) -> Action:
    """The action as it is applied: checked, on the images' device, local agents attenuated by `smoothness`.

    Args:
        action: per scope (N, C, h, w), see `rlenhance.learning.types.Action`; a bare tensor where there is one scope.

    Raises:
        UsageError: see `rlenhance.learning.actions.validate_action`.
    """
    image = episode.batch.image
    checked = validate_action(episode.actions, action, (image.shape[-2], image.shape[-1]))
    return attenuate_local({scope: entry.to(image.device) for scope, entry in checked.items()},
                           episode.user_targets.get("smoothness"))


def advance(episode: Episode, state: State, action: Action) -> tuple[Score, State]:
    """One step: the images after an action of `admit`, their reward, and the state with them."""
    batch = episode.batch
    after, magnitude = apply_and_measure(episode.actions, state.image, action, batch.mask, batch.image, state.step)
    if episode.early_stop_psnr is not None and batch.target is not None:
        reached = psnr(state.image.detach(), batch.target) >= episode.early_stop_psnr
        after = torch.where(reached[:, None, None, None], state.image, after)
    return score(episode, state, magnitude, after)


def score(episode: Episode, state: State, magnitude: Tensor, after: Tensor) -> tuple[Score, State]:
    """The reward of a step, and the state after it.

    Args:
        magnitude: how strongly each agent acted, (N, C, h, w), see `ActionSet.magnitude`.
        after: the images after the action.
    """
    batch = episode.batch
    made = Transition(state.image, after, batch.image, magnitude, episode.user_targets, batch.target, batch.mask,
                      state.magnitude, batch.target_weight, state.costs, patch_grid=episode.patch_grid,
                      initial_features=episode.features)
    terms = episode.reward.terms(made)
    means = term_means(terms) if terms else after.new_zeros(0, after.shape[0])  # nothing has a weight
    weighted, reward = episode.reward.weigh(tuple(terms), means)
    return Score(terms, means, weighted, reward), State(after, state.step + 1, magnitude, made.costs)


def unweighted_gains(episode: Episode, first: Tensor, last: Tensor) -> dict[str, Tensor]:
    """The state terms of weight 0 from the first to the last image of the episodes, at their natural sizes.

    Args:
        first, last: (N, C, H, W).
    """
    batch, weights = episode.batch, episode.reward.weights
    names = [name for name in weights if not weights[name] and TERMS[name].kind == "state"]
    whole = Transition(first, last, batch.image, first.new_zeros(1, 1, 1, 1), episode.user_targets, batch.target,
                       batch.mask, target_weight=batch.target_weight, patch_grid=episode.patch_grid,
                       initial_features=episode.features)
    return Reward(RewardWeights.only(**dict.fromkeys(names, 1.0))).terms(whole)
