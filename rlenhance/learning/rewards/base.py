"""A reward term: a registered function that gives the cost of an image, or of an action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.learning.ops.patch_grid import PatchGrid

Cost = TypeVar("Cost", bound=Callable[..., Tensor])
Feature = TypeVar("Feature")


@dataclass
class Transition:
    """One step of an episode, with everything that a term may read.

    Attributes:
        before, after: the image, (N, 3, H, W) in [0, 1].
        initial: the image at the start of the episode, (N, 3, H, W).
        magnitude: how strongly each agent acted, (N, C, h, w); 0 is no change (`ActionSet.magnitude`).
        preferences: the user's preferences, name -> (N, 1, 1, 1), as "exposure_level".
        target: the reference, (N, 3, H, W), or None.
        mask: (N, 1, H, W), 1 where the image may change, or None.
        previous: `magnitude` of the step before; None at the first step.
        target_weight: (N, 1, 1, 1), 1 for images whose reference counts, 0 for the others; None: all count.
        cached_costs: costs of the state terms before the step, where they are known already.
        costs: costs of the state terms after the step, filled by `Reward.terms`: the next step's `cached_costs`.
        patch_grid: the patches on which the agents act, or None where they act on pixels.
        initial_features: what `shared` has computed of `initial`; the steps of an episode hand it on.
    """

    before: Tensor
    after: Tensor
    initial: Tensor
    magnitude: Tensor
    preferences: Mapping[str, Tensor]
    target: Tensor | None = None
    mask: Tensor | None = None
    previous: Tensor | None = None
    target_weight: Tensor | None = None
    cached_costs: Mapping[str, Tensor] = field(default_factory=dict)
    costs: dict[str, Tensor] = field(default_factory=dict)
    patch_grid: PatchGrid | None = None
    initial_features: dict[Any, Any] = field(default_factory=dict)
    _after_features: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def shared(self, function: Callable[[Tensor], Feature], image: Tensor) -> Feature:
        """`function(image)` for several terms: computed once of `after`, and of `initial` once in an episode.

        Args:
            function: a function of the image alone.
            image: any image; only of `after` and `initial` the result is kept.
        """
        if image is self.after:
            features = self._after_features
        elif image is self.initial and not image.requires_grad:
            features = self.initial_features
        else:
            return function(image)
        if function not in features:
            features[function] = function(image)
        found: Feature = features[function]
        return found


@dataclass(frozen=True)
class RewardTerm:
    """A registered term.

    Attributes:
        name: the same on the command line, in config.json and in Python.
        cost: state terms: (image, transition) -> cost map, lower is better; action terms: (magnitude, previous) ->
            cost map of the step.
        kind: "state", rewarded as cost(before) - cost(after), so that it telescopes over an episode; or "action",
            rewarded as minus the cost of the step.
        default: weight when the user names none.
        reference: whether it needs `transition.target`.
        preference: name of the user's preference that multiplies the weight at use time; None where none does.
        default_factor: the factor for a policy that does not take that preference.
        radius: pixels to each side that the cost at a place depends on, for a map of pixels.
        differentiable: whether a gradient passes; learners that follow gradients refuse a term that denies it without
            trying.
    """

    name: str
    cost: Callable[..., Tensor]
    kind: str
    default: float
    reference: bool
    preference: str | None = None
    default_factor: float = 1.0
    radius: int = 0
    differentiable: bool = True

    def factor(self, preferences: Mapping[str, Tensor]) -> Tensor | float:
        """Factor of the weight for the user's preferences: (N, 1, 1, 1), or one number for all images."""
        return self.default_factor if self.preference is None else preferences.get(self.preference, self.default_factor)

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (self.cost.__doc__ or "").strip().split("\n")[0]


#: Reward terms by name.
TERMS: Registry[RewardTerm] = Registry("reward term")


def check_cost(term: RewardTerm, value: Any, like: Tensor) -> Tensor:
    """The value of a term as a cost map of the dtype and device of `like`.

    Args:
        value: what the term's `cost` returned.
        like: (N, C, H, W), the images or magnitudes that it was given.

    Returns:
        (N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W).

    Raises:
        UsageError: not a tensor, or not a map per image, region or pixel.
    """
    if not isinstance(value, Tensor) or value.ndim != 4 or value.shape[:2] != (like.shape[0], 1):
        got = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UsageError(f"the reward term {term.name} must give a tensor (N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W): "
                         f"a cost per picture, region or pixel of each of the N pictures; of {like.shape[0]} pictures "
                         f"it gave {got}")
    return value.to(like)


def state_term(name: str, *, default: float = 0.0, reference: bool = False, preference: str | None = None,
               default_factor: float = 1.0, radius: int = 0, differentiable: bool = True) -> Callable[[Cost], Cost]:
    """Decorator: register `function(image, transition) -> cost map` as a term that rewards a decrease of the cost.

    The map is (N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W): the size at which the cost is meant. It may depend on the
    initial image, the reference and the user's preferences, never on `before` or `after`.

    Args:
        name, default, reference, preference, default_factor, differentiable: see `RewardTerm`.
        radius: pixels to each side that the cost at a place depends on; learners that credit an agent for its
            neighbours' places use it.

    Raises:
        UsageError: a negative weight, or a name that is taken.

    Example:
        >>> @state_term("redness")
        ... def redness(image, transition):
        ...     '''Mean of the red channel.'''
        ...     return image[:, :1].mean(dim=(2, 3), keepdim=True)
        >>> TERMS["redness"].summary
        'Mean of the red channel.'
        >>> TERMS.remove("redness")
    """
    return _register(name, "state", default, reference, preference, default_factor, radius, differentiable)


def action_term(name: str, *, default: float = 0.0, preference: str | None = None,
                default_factor: float = 1.0) -> Callable[[Cost], Cost]:
    """Decorator: register `function(magnitude, previous) -> cost map` as the cost of a single step.

    Both arguments are (N, C, h, w): how strongly each agent acts now, and how strongly it acted in the step before (at
    the first step, the same as now). The other arguments and errors are those of `state_term`.
    """
    return _register(name, "action", default, False, preference, default_factor)


def _register(name: str, kind: str, default: float, reference: bool, preference: str | None, default_factor: float,
              radius: int = 0, differentiable: bool = True) -> Callable[[Cost], Cost]:
    if default < 0:
        raise UsageError(f"a weight must not be negative; got {default} for {name}")

    def register(function: Cost) -> Cost:
        TERMS.register(name)(RewardTerm(name, function, kind, default, reference, preference, default_factor, radius,
                                         differentiable))
        return function

    return register
