"""Base classes of models and policies, and the registry of networks that can be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.learning.actions import Action, ActionSet
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.image import convert_channels
from rlenhance.learning.ops.masked_tensors import check_mask, composite

#: Networks that a checkpoint can hold, by name.
MODELS: Registry[Any] = Registry("model")


class ImageNetwork(nn.Module):
    """Base class of the networks that a checkpoint can hold; its attributes are written to config.json.

    Attributes:
        spec: name in `MODELS` and constructor arguments, stamped by `MODELS.create`.
        purpose: what the network is for: "enhance", "denoise", "completion", "upscale", "restore" (it
            chooses among tools), or "bracket" (it chooses exposures).
        scale: sides of the output over those of the input.
        channels: of the images that it takes, 1 (grey) or 3 (RGB).
        needs_mask: whether it needs a mask.
        preferences: the choices of the user.
        receptive_radius: pixels beyond which an input pixel has no influence on an output pixel; None where it is not
            known. Statistics of the whole image are left out.
        train_size: side in pixels of the square pictures that a completion network was trained on.
    """

    spec: dict[str, Any]
    purpose: Purpose = "enhance"
    scale: int = 1
    channels: int = 3
    needs_mask: bool = False
    preferences: Preferences = Preferences()
    receptive_radius: int | None = None
    train_size: int | None = None


class FeedForwardModel(ImageNetwork):
    """Base class of the networks that are models in one pass; a subclass defines `predict`.

    Attributes:
        range_margin: how far input values may lie outside [0, 1], as noise that was not clipped does.
        accepted: names that `preference` may hold.
        composites: whether the output of a network that needs a mask is the image outside it.
    """

    composites: bool = True
    range_margin: float = 0.0
    accepted: tuple[str, ...] = ()

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        """The output, not clipped: (N, channels, scale H, scale W).

        Args:
            image: (N, channels, H, W), checked.
            mask: (N, 1, H, W); binary if the network needs one.
            preference: names among `accepted`, in the user's units.
        """
        raise TypeError(f"{type(self).__name__} defines predict")

    def forward(self, image: Tensor, mask: Tensor | None = None,
                preference: Mapping[str, float] | None = None) -> Tensor:
        """The output for images of any size; in evaluation mode it is clipped to [0, 1].

        Args:
            image: (N, channels, H, W) float in [0, 1]; one channel equals three equal ones.
            mask: (N, 1, H, W) in [0, 1], 1 where the image may change; for completion, 1 where pixels are missing.
            preference: name -> value, in the user's units.

        Returns:
            (N, C, scale H, scale W); outside the mask the image itself (see `composites`).

        Raises:
            UsageError: not an image; an unknown preference; a mask that is missing, has another shape, or is given to
                a network that changes the size.
        """
        if others := set(preference or {}) - set(self.accepted):
            kind = f"only the preference {', '.join(self.accepted)}" if self.accepted else "no preferences"
            raise UsageError(f"a network that acts in one pass takes {kind}; got {', '.join(sorted(others))}: "
                             f"use a policy")
        planes = convert_channels(image, self.channels, self.range_margin)
        if mask is not None and self.scale > 1:
            raise UsageError(f"a network of scale {self.scale} changes the size, and a mask would not fit the result: "
                             f"leave it out")
        if self.needs_mask:
            mask = check_mask(mask, planes)
        out = self.predict(planes, mask, preference or {})
        if not self.training:  # clamping would stop gradients
            out = out.clamp(0, 1)
        if self.channels < image.shape[1]:
            out = out.expand(-1, image.shape[1], -1, -1)
        if mask is None or not self.composites:
            return out
        return composite(out, image, mask) if self.needs_mask else image + mask * (out - image)


class Policy(ImageNetwork):
    """Base class of the policies: `policy(observation, state) -> distribution, value, state`.

    Attributes:
        actions: the action set.
        horizon: steps of an episode, T.
        decision_size: side in pixels of the downscaled picture on which episodes run; None: the picture itself.
        uses_mask: whether observations need a mask.
    """

    actions: ActionSet
    horizon: int
    decision_size: int | None
    uses_mask: bool = False

    @property
    def purpose(self) -> Purpose:  # type: ignore[override]
        """That of the action set."""
        return self.actions.purpose

    @property
    def needs_mask(self) -> bool:  # type: ignore[override]
        return self.uses_mask

    def scope_parameters(self, scope: str) -> list[nn.Parameter]:
        """The parameters that only the actions of one scope depend on; none where there is one scope."""
        return []

    def value_parameters(self) -> list[nn.Parameter]:
        """The parameters that only the values depend on; none where they are not distinguished."""
        values = getattr(self, "values", None)
        return list(values.parameters()) if isinstance(values, nn.Module) else []

    def preprocess(self, image: Tensor) -> Tensor:
        """Check a picture, and convert it for the episodes of this policy.

        Raises:
            UsageError: the policy cannot edit it.
        """
        return self.actions.check_image(image)

    def initial_image(self, image: Tensor, mask: Tensor | None) -> Tensor:
        """The first picture of an episode; completion policies fill the hole."""
        return self.preprocess(image)

    def postprocess(self, result: Tensor, image: Tensor) -> Tensor:
        """Convert the last picture of an episode back to the form of `image`."""
        return result

    def act(self, observation: Any, state: Any = None) -> tuple[Action, Any]:
        """The greedy action and the next state."""
        distribution, _, state = self(observation, state)
        return distribution.mode(), state

    def precompute(self, observation: Any) -> Any:
        """The observation with cached features that do not change between calls; here none."""
        return observation
