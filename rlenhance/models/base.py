"""What a model is, what a policy is, and the table of those that can be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from rlenhance.actions import Action, ActionSet, pictures_of
from rlenhance.core.image import check_image
from rlenhance.core.registry import Registry
from rlenhance.nn.preferences import Preferences

#: Networks that a checkpoint can hold, by name.
MODELS: Registry[Any] = Registry("model")


class Model(Protocol):
    """Anything that turns a picture into a better one."""

    def __call__(self, image: Tensor, mask: Tensor | None = None,
                 preference: Mapping[str, float] | None = None) -> Tensor: ...


class Completing:
    """Marks the networks that fill holes: `network(image, mask) -> image`, with the picture itself outside the mask.

    A hole comes in black (see `rlenhance.ops.masks`), and `rlenhance.pipelines.complete.Completer` brings a photograph
    to the size that the network knows.

    Attributes:
        side: side in pixels of the square pictures that it was trained on.
    """

    side: int


class Policy(nn.Module):
    """Base class of the networks that act: `policy(observation, state) -> distribution, value, state`.

    Attributes:
        actions: what its agents may do.
        horizon: steps of an episode, T.
        state_size: side in pixels of the reduced picture on which episodes run; None: they run on the picture itself.
        preferences: what the user may choose.
        masked: expects a mask in its observation.
    """

    spec: dict[str, Any]
    actions: ActionSet
    horizon: int
    state_size: int | None
    preferences: Preferences
    masked: bool = False

    def enter(self, image: Tensor) -> Tensor:
        """A picture, checked, as episodes of this policy take it.

        Raises:
            UsageError: it is none that this policy can work on.
        """
        return check_image(image, **pictures_of(self.actions))

    def first_picture(self, image: Tensor, mask: Tensor | None) -> Tensor:
        """The picture with which its episodes begin: what came in, unless the policy puts something into the hole."""
        return self.enter(image)

    def leave(self, result: Tensor, image: Tensor) -> Tensor:
        """The end of an episode that began with `enter(image)`, as the user's picture."""
        return result

    def act(self, observation: Any, state: Any = None) -> tuple[Action, Any]:
        """The greedy action and the next state; a policy that can do so leaves out what these do not need."""
        distribution, _, state = self(observation, state)
        return distribution.mode(), state

    def look(self, observation: Any) -> Any:
        """The observation with what the policy computes once of a picture; here nothing."""
        return observation
