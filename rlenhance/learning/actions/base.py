"""The contract of action sets, and the one function by which actions change images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.engine.edits import Edits
from rlenhance.learning.ops.image import check_image
from rlenhance.learning.types import Action

_SMALL = 1 << 13  # pixels


class ActionSet:
    """Base class of the action sets.

    Attributes:
        spec: the recipe, set by `Registry.create`.
        purpose: of the policies over it.
        scopes: the scopes of its agents, some of ("global", "local"); here "local" alone.
        action_dim: numbers that one agent chooses.
        num_choices: values of a categorical number, or None for continuous numbers in [-1, 1].
        strength_heads: how many of the numbers, the first, a policy's `initial_strength` sets.
        initial_action, initial_std: mean and standard deviation of a new policy's actions; None: set by the policy.
        range_margin: how far values of its images may lie outside [0, 1].
        image_channels: how many channels its images may have.
        needs_initial_image: whether its edits depend on the first image of the episode.
        binary_mask: whether a pixel changes wholly or not at all, and its edits depend on the mask.
        supports_controls: whether its agents can change brightness, contrast, highlights and saturation, so that a
            policy over it can be trained for every control of the user.
        local_zero_mean: whether its edits leave out the mean over the cells of the local numbers before the squashing.
            A continuous policy then centres its local means: what no image shows must not stand in its log-probability.
    """

    spec: dict[str, Any]
    purpose: ClassVar[Purpose] = "enhance"
    range_margin: ClassVar[float] = 0.0
    image_channels: ClassVar[tuple[int, ...]] = (3,)
    needs_initial_image: ClassVar[bool] = False
    binary_mask: ClassVar[bool] = False
    supports_controls: ClassVar[bool] = False

    @property
    def scopes(self) -> tuple[str, ...]:
        return ("local",)

    @property
    @abstractmethod
    def action_dim(self) -> int: ...

    @property
    def num_choices(self) -> int | None:
        return None

    @property
    def local_zero_mean(self) -> bool:
        return False

    @property
    def strength_heads(self) -> int:
        return 1

    @property
    def initial_action(self) -> tuple[float, ...] | None:
        return None

    @property
    def initial_std(self) -> tuple[float, ...] | None:
        return None

    def agent_grid(self, scope: str, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a scope's agents on an image of height x width; here one for every pixel."""
        return height, width

    @abstractmethod
    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None, initial_image: Tensor | None = None,
              step: int = 0) -> Tensor:
        """The edited image: (N, C, H, W) -> (N, C, H, W), of any size; coarse actions are interpolated.

        Args:
            image: (N, C, H, W).
            action: see `Action`.
            mask: (N, 1, H, W), 1 where the result will be used; for sets that depend on the mask.
            initial_image: (N, C, H, W), first image of the episode; for sets with `needs_initial_image`.
            step: index of the step in the episode.
        """

    @abstractmethod
    def magnitude(self, action: Action) -> Tensor:
        """How strongly each agent acts, 0 where it changes nothing: (N, C', h, w)."""

    def apply_and_measure(self, image: Tensor, action: Action, mask: Tensor | None = None,
                          initial_image: Tensor | None = None, step: int = 0) -> tuple[Tensor, Tensor]:
        """`apply` and `magnitude`; what the two share is computed once."""
        return self.apply(image, action, mask, initial_image, step), self.magnitude(action)

    @abstractmethod
    def noop(self, count: int, height: int, width: int) -> Action:
        """The action that changes nothing, for `count` images of height x width."""

    def initial_image(self, image: Tensor) -> Tensor:
        """The first image of an episode; here the image itself."""
        return image

    def check_image(self, image: Tensor, finite: bool = True) -> Tensor:
        """The image, if these actions can edit it.

        Raises:
            UsageError: they cannot, see `rlenhance.learning.ops.image.check_image`.
        """
        return check_image(image, finite, margin=self.range_margin, channels=self.image_channels)


#: Action sets by name.
ACTION_SETS: Registry[type[ActionSet]] = Registry("action set")


class PointwiseActions(Edits, ActionSet):
    """An action set whose edit of a pixel depends on that pixel and on a few parameters alone, see `Edits`.

    `rlenhance.learning.actions.render` applies several steps in one pass.
    """

    def parameters_and_magnitude(self, action: Action) -> tuple[Tensor, Tensor]:
        """`parameters` and `magnitude`; sets in which the two share work compute it once."""
        return self.parameters(action), self.magnitude(action)

    def _spread(self, parameters: Tensor, image: Tensor, first: Tensor | None) -> Tensor:
        interpolated = upsample_agents(parameters, image.shape[-2:])
        return self.at_pixels(interpolated, self.guide(image if first is None else first))

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None, initial_image: Tensor | None = None,
              step: int = 0) -> Tensor:
        return self.apply_parameters(image, self._spread(self.parameters(action), image, initial_image))

    def apply_and_measure(self, image: Tensor, action: Action, mask: Tensor | None = None,
                          initial_image: Tensor | None = None, step: int = 0) -> tuple[Tensor, Tensor]:
        parameters, magnitude = self.parameters_and_magnitude(action)
        return self.apply_parameters(image, self._spread(parameters, image, initial_image)), magnitude


class ToolSet(ActionSet):
    """An action set in which each pixel takes the result of one tool.

    Probabilities instead of an index give the mixture of all tools' results, which is differentiable.

    Attributes:
        tools: their names, in the order of the choices.
        identity: the name of the tool that changes nothing.
    """

    identity: ClassVar[str]
    tools: Any  # a field or a property: tuple[str, ...]

    @property
    def action_dim(self) -> int:
        return 1

    @property
    def num_choices(self) -> int:
        return len(self.tools)

    def magnitude(self, action: Action) -> Tensor:
        """1 except for the identity; of probabilities, their sum over the other tools: (N, 1, H, W)."""
        choice = action["local"]
        identity: int = self.tools.index(self.identity)
        if choice.is_floating_point():
            return 1 - choice[:, :, identity]
        if choice.device.type == "cpu":  # three times as fast
            chosen: Tensor = torch.from_numpy(np.not_equal(choice.numpy(), identity).astype(np.float32))
            return chosen
        return (choice != identity).float()

    def noop(self, count: int, height: int, width: int) -> Action:
        return {"local": torch.full((count, 1, height, width), self.tools.index(self.identity))}


def upsample_agents(values: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate the numbers of coarse agents bilinearly.

    Args:
        values: (N, C, h, w).
        size: (H, W).

    Returns:
        (N, C, H, W); of a single agent (N, C, 1, 1).
    """
    if tuple(values.shape[-2:]) in (tuple(size), (1, 1)):
        return values
    if not torch.is_grad_enabled() and values.device.type == "cpu" and size[0] * size[1] <= _SMALL:
        down, across = (_weights(*pair, values.dtype) for pair in zip(values.shape[-2:], size, strict=True))
        if values.shape[0] * values.shape[1] == 1:
            return (down @ values[0, 0] @ across.mT)[None, None]  # two products instead of two batches of one
        return down @ values @ across.mT  # the same, several times faster for small images
    return F.interpolate(values, list(size), mode="bilinear", align_corners=False)


@lru_cache(maxsize=32)
def _weights(agents: int, size: int, dtype: torch.dtype) -> Tensor:
    """Interpolation weights along one side: (size, agents)."""
    with torch.inference_mode(False):  # a cached tensor must serve every mode
        return F.interpolate(torch.eye(agents, dtype=dtype)[None], size, mode="linear", align_corners=False)[0].mT


def apply_action(actions: ActionSet, image: Tensor, action: Action, mask: Tensor | None = None,
                 initial_image: Tensor | None = None, step: int = 0) -> Tensor:
    """One step of all agents, for the environment and inference alike.

    Args:
        actions: the action set.
        image: (N, C, H, W).
        action: see `Action`.
        mask: (N, 1, H, W) in [0, 1], 1 where the image may change; where it is 0 no bit changes.
        initial_image, step: see `ActionSet.apply`.
    """
    return _inside_mask(actions, image, actions.apply(image, action, mask, initial_image, step), mask)


def apply_and_measure(actions: ActionSet, image: Tensor, action: Action, mask: Tensor | None = None,
                      initial_image: Tensor | None = None, step: int = 0) -> tuple[Tensor, Tensor]:
    """`apply_action`, and the magnitude of the action; what the two share is computed once.

    Args:
        actions, image, action, mask, initial_image, step: as for `apply_action`.

    Returns:
        the image after, (N, C, H, W); `ActionSet.magnitude`, (N, C', h, w).
    """
    after, magnitude = actions.apply_and_measure(image, action, mask, initial_image, step)
    return _inside_mask(actions, image, after, mask), magnitude


def _inside_mask(actions: ActionSet, image: Tensor, after: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return after
    return torch.where(mask > 0.5, after, image) if actions.binary_mask else image + mask * (after - image)


def validate_action(actions: ActionSet, action: Action | Tensor, size: tuple[int, int]) -> Action:
    """The action as a mapping, if it fits the action set and the image.

    Args:
        actions: the action set.
        action: see `Action`; or the tensor of the only scope.
        size: (height, width) of the image.

    Raises:
        UsageError: other scopes, or another shape.
    """
    if isinstance(action, Tensor):
        if len(actions.scopes) != 1:
            raise UsageError(f"this action set has the scopes {', '.join(actions.scopes)}: pass a mapping of tensors")
        action = {actions.scopes[0]: action}
    if set(action) != set(actions.scopes):
        raise UsageError(f"an action needs the scopes {', '.join(actions.scopes)}; got {', '.join(action) or 'none'}")
    for scope, entry in action.items():
        wanted = (actions.action_dim, *actions.agent_grid(scope, *size))
        seen = (*entry.shape[1:2], *entry.shape[-2:])  # probabilities have the choices between
        if entry.ndim not in (4, 5) or seen != wanted:
            raise UsageError(f"the {scope} actions of a {size[1]}x{size[0]} picture are (N, {wanted[0]}, {wanted[1]}, "
                             f"{wanted[2]}); got {tuple(entry.shape)}")
    return action
