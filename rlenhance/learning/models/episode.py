"""Greedy episodes of policies as models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.engine.episode import CompactPolicy
from rlenhance.engine.latent import NUM_GATES, STILL
from rlenhance.learning.actions import (
    Action,
    FusedRenderer,
    LatentActions,
    PointwiseActions,
    apply_action,
    attenuate_local,
)
from rlenhance.learning.models.base import ImageNetwork, Policy
from rlenhance.learning.models.completion_policy import PriorModel
from rlenhance.learning.models.filter_policy import BaseFilterPolicy
from rlenhance.learning.models.policy import make_observation
from rlenhance.learning.models.tiled import TILE, can_tile, run_filters_tiled, run_tiled
from rlenhance.learning.ops.image import check_image, resize, to_array, to_tensor
from rlenhance.learning.ops.masked_tensors import mask_bbox


@dataclass(frozen=True)
class EpisodeTrace:
    """The images and actions of an episode of T steps.

    Attributes:
        states: T + 1 images at the size of the decisions, (N, C, h, w) each.
        actions: the T actions.
        image: the final image at full size, (N, C, H, W).
    """

    states: list[Tensor]
    actions: list[Action]
    image: Tensor


class GreedyEpisode(ImageNetwork):
    """`(image, mask=None, preference=None) -> image`: T greedy steps of a policy.

    Args:
        policy: the network.
        steps: number of steps, at most the policy's horizon; None: the horizon.
        local: False: only the global agent acts.

    Raises:
        UsageError: `steps` outside [0, horizon]; `local` False for a policy without a global agent.
    """

    def __init__(self, policy: Policy, steps: int | None = None, local: bool = True):
        super().__init__()
        if steps is not None and not 0 <= steps <= policy.horizon:
            raise UsageError(f"this policy was trained for episodes of {policy.horizon} steps: "
                             f"steps must lie between 0 and {policy.horizon}; got {steps}")
        if not local and "global" not in policy.actions.scopes:
            raise UsageError("this policy has no global agent: local must be True")
        self.policy, self.local = policy, local
        for name in ("purpose", "scale", "channels", "needs_mask", "preferences", "receptive_radius",
                     "train_size"):
            setattr(self, name, getattr(policy, name))
        self.steps = policy.horizon if steps is None else steps

    def forward(self, image: Tensor, mask: Tensor | None = None,
                preference: Mapping[str, float] | None = None) -> Tensor:
        """The image after the episode.

        In inference mode, a policy without a decision size processes a large image in tiles, within 1e-5 of the whole.

        Args:
            image: (N, C, H, W) in [0, 1], of any size.
            mask: (N, 1, H, W) in [0, 1], 1 where the image may change; None: everywhere.
            preference: name -> value, in the user's units; others have their default.

        Raises:
            UsageError: not an image; an unknown preference, or one outside its range.
        """
        policy: Any = self.policy
        if mask is None and isinstance(policy, BaseFilterPolicy) and torch.is_inference_mode_enabled():
            entered = policy.preprocess(image)
            encoded = policy.preferences.encode(preference, len(entered), image.device)
            return policy.postprocess(run_filters_tiled(policy, entered, encoded, self.steps), image)
        if mask is None and not policy.decision_size and torch.is_inference_mode_enabled() \
                and max(image.shape[-2:]) > TILE and can_tile(policy, *image.shape[-2:]):
            check_image(image)
            encoded = policy.preferences.encode(preference, image.shape[0], image.device)
            encoded = policy.preferences.resolve_auto(encoded, image)
            return run_tiled(policy, image, encoded, self.steps, local=self.local)
        return self.run(image, mask, preference).image

    def run(self, image: Tensor, mask: Tensor | None = None,
            preference: Mapping[str, float] | None = None) -> EpisodeTrace:
        """`forward` with all states and actions, and without tiles."""
        states, chosen = self._rollout(image, mask, preference)
        final = self.render(image, chosen, mask) if self.policy.decision_size else \
            self.policy.postprocess(states[-1], image)
        return EpisodeTrace(states, chosen, final)

    def decide(self, image: Tensor, mask: Tensor | None = None,
               preference: Mapping[str, float] | None = None) -> list[Action]:
        """The actions of the episode, for `render`.

        One image on a CPU in inference mode is computed by `rlenhance.engine.episode.CompactPolicy` where that knows
        the policy, within 1e-5.
        """
        policy: Any = self.policy
        if mask is None and image.shape[0] == 1 and image.device.type == "cpu" and image.dtype == torch.float32 \
                and torch.is_inference_mode_enabled() and CompactPolicy.supports(getattr(policy, "spec", {})):
            quick = CompactPolicy(policy.spec, {name: value.numpy() for name, value in policy.state_dict().items()})
            small = resize(policy.initial_image(image, None), quick.decision_size)[0].numpy()
            chosen = quick.decide(small, quick.encode(small, preference), self.steps, self.local)
            return [{scope: torch.from_numpy(entry) for scope, entry in action.items()} for action in chosen]
        return self._rollout(image, mask, preference)[1]

    def render(self, image: Tensor, actions: Sequence[Action], mask: Tensor | None = None) -> Tensor:
        """Apply the actions of `decide` to (N, 3, H, W); of another size only if the policy has a decision size."""
        self.policy.actions.check_image(image)
        own = (self.policy.decision_size,) * 2  # at this size the result is the last state of the episode, bit by bit
        if mask is None and None not in own and tuple(image.shape[-2:]) != own and image.device.type == "cpu" \
                and image.dtype == torch.float32:
            renderer = self.fused_renderer(actions, image)
            if renderer is not None and renderer.is_faster(*image.shape[-2:]):
                return renderer.image(image)
        first = image if self.policy.actions.needs_initial_image else None
        for action in actions:
            image = apply_action(self.policy.actions, image, action, mask, first)
        return image

    def render_array(self, picture: np.ndarray, actions: Sequence[Action], strength: float = 1.0) -> np.ndarray:
        """`render` for one array, without a large tensor where possible.

        Args:
            picture: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.
            actions: of one picture.
            strength: share of the change that is applied, in [0, 1].

        Returns:
            The same shape and dtype.
        """
        device = next(self.policy.parameters()).device
        if self.policy.decision_size and device.type == "cpu" and picture.dtype in (np.uint8, np.uint16) \
                and picture.size:
            renderer = self.fused_renderer(actions)
            if renderer is not None and renderer.is_faster(*picture.shape[:2]):
                return renderer.pixels(picture, strength)
        image = to_tensor(picture, device)
        result = self.render(image, actions)
        return to_array(result if strength == 1 else image + strength * (result - image), picture.dtype.type)

    def fused_renderer(self, actions: Sequence[Action], *others: Tensor) -> FusedRenderer | None:
        """All actions in one pass; None if there are none, the set is not pointwise, or a gradient is needed."""
        gradient = torch.is_grad_enabled() and any(
            entry.requires_grad for entry in [*others, *(entry for action in actions for entry in action.values())])
        if not actions or gradient or not isinstance(self.policy.actions, PointwiseActions):
            return None
        return FusedRenderer(self.policy.actions, actions)

    def _rollout(self, image: Tensor, mask: Tensor | None,
                 preference: Mapping[str, float] | None) -> tuple[list[Tensor], list[Action]]:
        """The episode at the decision size: its T + 1 states and T actions."""
        policy: Any = self.policy
        image = policy.initial_image(image, mask)
        encoded = policy.preferences.encode(preference, image.shape[0], image.device)
        picture, small_mask = image, mask
        if policy.decision_size:
            picture = resize(image, policy.decision_size)
            small_mask = None if mask is None else resize(mask, policy.decision_size)
        encoded = policy.preferences.resolve_auto(encoded, picture)
        return self._steps(picture, small_mask, encoded)

    def _steps(self, picture: Tensor, mask: Tensor | None, encoded: Tensor) -> tuple[list[Tensor], list[Action]]:
        """The T + 1 states and T actions from the first state on."""
        policy: Any = self.policy
        states, chosen, memory = [picture], [], None
        start = picture if policy.actions.needs_initial_image else None
        smoothness = policy.preferences.smoothness(encoded)
        for step in range(self.steps):
            left = 1 - step / policy.horizon
            action, memory = policy.act(make_observation(states[-1], left, encoded, mask, start), memory)
            if not self.local and "local" in action:  # equal local agents change nothing: their mean is subtracted
                action = {**action, "local": torch.zeros_like(action["local"])}
            action = attenuate_local(action, smoothness)
            chosen.append(action)
            states.append(apply_action(policy.actions, states[-1], action, mask, start))
        return states, chosen


class CompletionEpisode(GreedyEpisode):
    """The greedy episode of a completion policy: the prior takes the whole image, the episode runs around the hole."""

    def forward(self, image: Tensor, mask: Tensor | None = None,
                preference: Mapping[str, float] | None = None) -> Tensor:
        """Complete (N, 3, H, W) of any size where the mask is 1; other pixels do not change by a bit."""
        policy: Any = self.policy
        policy.preferences.encode(preference, image.shape[0])  # refuses any preference
        begun = policy.initial_image(image, mask)
        assert mask is not None  # checked by initial_image
        result: list[Tensor] = []
        for one, hole in zip(begun.split(1), mask.split(1), strict=True):
            rows, columns = mask_bbox(hole)
            filled, _ = self.run_prefilled(one[..., rows, columns], hole[..., rows, columns])
            done = one.clone()
            done[..., rows, columns] = filled
            result.append(torch.where(hole > 0.5, done, image[len(result) : len(result) + 1]))
        return torch.cat(result)

    def run_prefilled(self, image: Tensor, mask: Tensor) -> tuple[Tensor, list[Action]]:
        """The greedy episode on an image that the prior has completed: the last image, and the actions."""
        states, chosen = self._steps(image, mask, self.policy.preferences.encode(None, len(image), image.device))
        return states[-1], chosen


class LatentEpisode(GreedyEpisode):
    """`GreedyEpisode` of a policy over latent codes; further episodes can enhance its result.

    They keep the initial image of the first one, and the gates of patches that an episode has hardly changed (`STILL`)
    stay closed.

    Args:
        policy: its actions are `LatentActions`.
        steps: see `GreedyEpisode`.
        iterations: number of further episodes.

    Raises:
        UsageError: `iterations` is negative.
    """

    def __init__(self, policy: Policy, steps: int | None = None, iterations: int = 0):
        super().__init__(policy, steps)
        if iterations < 0:
            raise UsageError(f"iterations must not be negative; got {iterations}")
        self.iterations = iterations

    def forward(self, image: Tensor, mask: Tensor | None = None,
                preference: Mapping[str, float] | None = None) -> Tensor:
        """Enhance (N, 3, H, W) of any size."""
        return self.run(image, mask, preference).image

    def _rollout(self, image: Tensor, mask: Tensor | None,
                 preference: Mapping[str, float] | None) -> tuple[list[Tensor], list[Action]]:
        """The states and actions of all episodes in order."""
        policy: Any = self.policy
        moves: LatentActions = policy.actions
        start = check_image(image)
        now = moves.initial_image(start)
        encoded = policy.preferences.encode(preference, image.shape[0], image.device)
        states: list[Tensor] = [now]
        chosen: list[Action] = []
        moving: Tensor | None = None
        for _ in range(1 + self.iterations):
            before = now
            for step in range(self.steps):
                action, _ = policy.act(make_observation(now, 1 - step / policy.horizon, encoded, None, start))
                if moving is not None:
                    action = {"local": closed(action["local"], moving)}
                now = apply_action(moves, now, action, mask, start, len(chosen))
                states.append(now)
                chosen.append(action)
            patches = moves.blocks.extract(now - before).square().mean(dim=(1, 2, 3)).sqrt() > STILL
            moving = patches.unflatten(0, (len(image), 1, *moves.agent_grid("local", image.shape[-2], image.shape[-1])))
        return states, chosen


def closed(action: Tensor, moving: Tensor) -> Tensor:
    """Actions (N, heads, h, w) with the gates closed where `moving`, (N, 1, h, w) bool, is False."""
    gates = torch.where(moving, action[:, -NUM_GATES:], -1.0)
    return torch.cat([action[:, :-NUM_GATES], gates], dim=1)


def build_model(network: nn.Module, steps: int | None = None) -> Any:
    """A network as a model: the greedy episode of a policy, or the network itself.

    Args:
        network: a product of the `MODELS` registry.
        steps: see `GreedyEpisode`.

    Raises:
        UsageError: `steps` outside [0, horizon].
    """
    if not isinstance(network, Policy):
        return network
    if isinstance(network, PriorModel):
        return CompletionEpisode(network, steps)
    return (LatentEpisode if isinstance(network.actions, LatentActions) else GreedyEpisode)(network, steps)
