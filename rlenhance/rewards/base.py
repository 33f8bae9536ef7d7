"""A reward term: a registered function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.ops.patch_grid import PatchGrid

#: Reward terms by name.
TERMS = Registry("reward term")


@dataclass
class Transition:
    """One step of an episode, with all that a term may look at.

    Attributes:
        before, after: the picture, (N, 3, H, W).
        origin: the picture with which the episode began.
        strength: how strongly each agent acted, (N, C, h, w); 0 is nothing (`ActionSet.strength`).
        previous: `strength` of the step before; None at the first step.
        levels: what the user may choose, name -> (N, 1, 1, 1): "exposure_level".
        target: the reference, or None.
        mask: (N, 1, H, W), 1 where the picture may change, or None.
        target_weight: (N, 1, 1, 1), 1 for pictures whose reference counts, 0 for the others; None: all count.
        blocks: the patches that agents stand on, or None where they do not.
        costs_before: costs of the state terms before the step, where they are known already.
        costs_after: filled by `Reward.terms`, so that the next step need not compute them again.
    """

    before: Tensor
    after: Tensor
    origin: Tensor
    strength: Tensor
    levels: Mapping[str, Tensor]
    target: Tensor | None = None
    mask: Tensor | None = None
    previous: Tensor | None = None
    target_weight: Tensor | None = None
    costs_before: Mapping[str, Tensor] = field(default_factory=dict)
    costs_after: dict[str, Tensor] = field(default_factory=dict)
    blocks: PatchGrid | None = None


@dataclass(frozen=True)
class Term:
    """A registered term.

    Attributes:
        name: the same on the command line, in config.json and in Python.
        function: state terms: (image, transition) -> cost map, lower is better; action terms:
            (strength, previous) -> cost map of the step.
        kind: "state", rewarded as cost(before) - cost(after), so that it telescopes over an episode; or "action",
            rewarded as minus the cost of the step.
        default: weight when the user names none.
        knob: the preference that multiplies the weight at use time; None where none does.
        unasked: the factor where a policy does not take that preference.
        reference: needs `transition.target`.
        reach: pixels to each side that the cost of a place looks at, where it is a map of pixels.
    """

    name: str
    function: Callable[[Tensor, Any], Tensor]
    kind: str
    default: float
    reference: bool
    knob: str | None = None
    unasked: float = 1.0
    reach: int = 0

    def factor(self, levels: Mapping[str, Tensor]) -> Tensor | float:
        """What the user's preference multiplies the weight by: (N, 1, 1, 1), or one number for all pictures."""
        return self.unasked if self.knob is None else levels.get(self.knob, self.unasked)

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


def as_cost(term: Term, value: Any, like: Tensor) -> Tensor:
    """What a term gave, as a cost map like the pictures it was given: their type of number, on their device.

    Raises:
        UsageError: not a tensor, or of a shape that is no map per picture, region or pixel.
    """
    if not isinstance(value, Tensor) or value.ndim != 4 or value.shape[:2] != (like.shape[0], 1):
        got = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UsageError(f"the reward term {term.name} must give a tensor (N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W): "
                         f"a cost per picture, region or pixel of each of the N pictures; of {like.shape[0]} pictures "
                         f"it gave {got}")
    return value.to(like)


def _enter(name: str, kind: str, default: float, reference: bool, knob: str | None, unasked: float,
           reach: int = 0) -> Callable[[Callable], Callable]:
    if default < 0:
        raise UsageError(f"a weight must not be negative; got {default} for {name}")

    def register(function: Callable) -> Callable:
        TERMS.register(name)(Term(name, function, kind, default, reference, knob, unasked, reach))
        return function

    return register


def state_term(name: str, *, default: float = 0.0, reference: bool = False, knob: str | None = None,
               unasked: float = 1.0, reach: int = 0) -> Callable[[Callable], Callable]:
    """Decorator: register `function(image, transition) -> cost map` as a term that rewards its decrease.

    The map may be (N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W): the size at which the cost is meant. It may depend on
    the picture the episode began with, the reference and the user's levels, never on `before` or `after`. `knob` is
    the preference that multiplies its weight, `unasked` the factor where a policy takes no such preference. `reach`:
    pixels to each side that the cost of a place looks at; learners that hold agents answerable for what they do to
    their neighbours go by it.

    Example:
        >>> @state_term("redness")
        ... def redness(image, transition):
        ...     '''Mean of the red channel.'''
        ...     return image[:, :1].mean(dim=(2, 3), keepdim=True)
        >>> TERMS["redness"].summary
        'Mean of the red channel.'
        >>> TERMS.remove("redness")
    """
    return _enter(name, "state", default, reference, knob, unasked, reach)


def action_term(name: str, *, default: float = 0.0, knob: str | None = None,
                unasked: float = 1.0) -> Callable[[Callable], Callable]:
    """Decorator: register `function(strength, previous) -> cost map` of a single step; it does not telescope.

    Both are (N, C, h, w): how strongly each agent acts now, and how strongly it did in the step before (at the first
    step the same as now).
    """
    return _enter(name, "action", default, False, knob, unasked)
