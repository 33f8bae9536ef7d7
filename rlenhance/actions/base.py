"""The protocol of an action set, and the one transition."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.core.types import Action, Purpose

_SMALL = 1 << 13  # pixels

#: Action sets by name.
ACTION_SETS: Registry[Any] = Registry("action set")


class ActionSet(Protocol):
    """A vocabulary of per-pixel edits.

    Attributes:
        purpose: what a policy over it is for.
        scopes: the scopes of the agents that act, a part of ("global", "local").
        action_dim: numbers that one agent chooses.
        num_choices: values of a categorical number, or None for continuous numbers in [-1, 1].
        spec: the recipe, as `Registry.create` stamps it.
    """

    spec: dict[str, Any]

    @property
    def purpose(self) -> Purpose: ...

    @property
    def scopes(self) -> tuple[str, ...]: ...

    @property
    def action_dim(self) -> int: ...

    @property
    def num_choices(self) -> int | None: ...

    def agent_grid(self, level: str, height: int, width: int) -> tuple[int, int]:
        """How many agents a scope has on a picture of height x width."""

    def apply(self, image: Tensor, action: Action) -> Tensor:
        """The edited picture: (N, 3, H, W) -> (N, 3, H, W), of any size: coarse actions are spread smoothly."""

    def magnitude(self, action: Action) -> Tensor:
        """How strongly each agent acts, 0 where it changes nothing: (N, C', h, w)."""

    def noop(self, count: int, height: int, width: int) -> Action:
        """The action that changes nothing, for `count` pictures of height x width."""


@runtime_checkable
class PointwiseActions(Protocol):
    """An action set whose edit of a pixel depends on that pixel alone, and on a few numbers that agents give.

    `apply(image, action)` is `bend(image, spread(turn(action), size))`. Several steps may then be done to a part of
    the picture at a time: see `rlenhance.actions.render`.
    """

    def turn(self, action: Action) -> Tensor:
        """The numbers (handles) of every agent: (N, C, h, w)."""

    def bend(self, image: Tensor, handles: Tensor) -> Tensor:
        """The edited picture (N, 3, H, W) for handles that broadcast to (N, C, H, W)."""


def spread(handles: Tensor, size: Sequence[int]) -> Tensor:
    """Numbers of coarse agents as smooth maps: (N, C, h, w) -> (N, C, *size); one agent's stay (N, C, 1, 1)."""
    if tuple(handles.shape[-2:]) in (tuple(size), (1, 1)):
        return handles
    if not torch.is_grad_enabled() and handles.device.type == "cpu" and size[0] * size[1] <= _SMALL:
        down, across = (_weights(*pair, handles.dtype) for pair in zip(handles.shape[-2:], size, strict=True))
        return down @ handles @ across.mT  # the same, several times faster where there is little to do
    return F.interpolate(handles, list(size), mode="bilinear", align_corners=False)


@lru_cache(maxsize=32)
def _weights(agents: int, size: int, dtype: torch.dtype) -> Tensor:
    """How much of each agent's number a pixel gets along one side: (size, agents)."""
    with torch.inference_mode(False):  # what is kept serves everyone
        return F.interpolate(torch.eye(agents, dtype=dtype)[None], size, mode="linear", align_corners=False)[0].mT


EDGE = 1 - 1e-6  # keeps atanh finite in float32


def attenuate_local(action: Action, smoothness: Tensor | None) -> Action:
    """What local agents do beside the picture's agent, held back: at smoothness 1 one curve is left for the picture.

    What they chose is multiplied by 1 - smoothness before the squashing, where it is added to the picture's.

    Args:
        smoothness: in [0, 1], (N, 1, 1, 1), of every picture; None: as the agents chose. It has a meaning for
            continuous agents of both scopes; others stay as they are.
    """
    if smoothness is None or set(action) != {"global", "local"} or not action["local"].is_floating_point():
        return action
    return {**action, "local": torch.tanh((1 - smoothness) * torch.atanh(action["local"].clamp(-EDGE, EDGE)))}


def apply_action(actions: ActionSet, image: Tensor, action: Action, mask: Tensor | None = None,
            start: Tensor | None = None, step: int = 0) -> Tensor:
    """One step of every agent: the environment and inference both call this, so they cannot drift apart.

    Args:
        image: (N, 3, H, W).
        action: see `Action`.
        mask: (N, 1, H, W), 1 where the picture may change; outside it stays as it was, bit for bit.
        start: the picture with which the episode began, for sets that go back to it (see `needs_initial_image`).
        step: how many steps came before, for sets that do something else at each (they have a true `counts`).
    """
    given: dict[str, Any] = {"mask": mask, "start": start} if needs_initial_image(actions) else {}
    if getattr(actions, "counts", False):
        given["step"] = step
    after = actions.apply(image, action, **given)
    if mask is not None and needs_initial_image(actions):
        return torch.where(mask > 0.5, after, image)
    return after if mask is None else image + mask * (after - image)


def begin(actions: ActionSet, image: Tensor) -> Tensor:
    """The picture on which the agents of an episode first act: what came in, unless the set begins otherwise."""
    first = getattr(actions, "begin", None)
    return image if first is None else first(image)


def needs_initial_image(actions: ActionSet) -> bool:
    """Whether a set's edits look at the mask and at the picture with which the episode began."""
    return getattr(actions, "needs_initial_image", False)


def image_constraints(actions: ActionSet) -> dict[str, Any]:
    """What `check_image` is to allow for a set's pictures: three channels in [0, 1], unless the set says otherwise."""
    return {"margin": getattr(actions, "margin", 0.0), "channels": getattr(actions, "planes", (3,))}


def validate_action(actions: ActionSet, action: Action | Tensor, size: tuple[int, int]) -> Action:
    """Take a bare tensor where there is one scope of agents, and refuse what the set does not know.

    Args:
        size: (height, width) of the picture that will be edited.

    Raises:
        UsageError: other scopes, or another number of agents or heads than the picture has.
    """
    if isinstance(action, Tensor):
        if len(actions.scopes) != 1:
            raise UsageError(f"this action set has the scopes {', '.join(actions.scopes)}: pass a mapping of tensors")
        action = {actions.scopes[0]: action}
    if set(action) != set(actions.scopes):
        raise UsageError(f"an action needs the scopes {', '.join(actions.scopes)}; got {', '.join(action) or 'none'}")
    for level, entry in action.items():
        wanted = (actions.action_dim, *actions.agent_grid(level, *size))
        seen = (*entry.shape[1:2], *entry.shape[-2:])  # probabilities have the choices between
        if entry.ndim not in (4, 5) or seen != wanted:
            raise UsageError(f"the {level} actions of a {size[1]}x{size[0]} picture are (N, {wanted[0]}, {wanted[1]}, "
                             f"{wanted[2]}); got {tuple(entry.shape)}")
    return action
