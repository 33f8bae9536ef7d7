"""From terms and weights to a reward map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.image import resize
from rlenhance.rewards.base import TERMS, Transition, check_cost
from rlenhance.rewards.weights import RewardWeights


def resize_map(value: Tensor, size: tuple[int, int]) -> Tensor:
    """A map at another size with the same mean wherever sizes divide: areas are averaged, cells repeated.

    Args:
        value: (N, 1, h, w).
        size: (height, width) wanted.
    """
    if value.shape[-2:] == size:
        return value
    if value.shape[-2:] == (1, 1):
        return value.expand(*value.shape[:2], *size)
    height, width = value.shape[-2:]
    if size[0] % height == 0 and size[1] % width == 0:  # the same, many times faster
        cells = value[..., :, None, :, None]
        return cells.expand(-1, -1, -1, size[0] // height, -1, size[1] // width).reshape(*value.shape[:2], *size)
    return resize(value, size)


@dataclass(frozen=True)
class Reward:
    """The reward of a transition under the user's weights.

    Args:
        weights: of the terms.
        every_term: compute the terms of weight 0 too, where they can be, so that they are logged. It costs several
            times as much as the active ones.
    """

    weights: RewardWeights
    every_term: bool = False

    def check(self, has_reference: bool) -> None:
        """Refuse weights on terms that compare with a reference where there is none.

        Raises:
            UsageError: names the terms and the alternatives.
        """
        if not has_reference and self.weights.needs_reference:
            free = [name for name in TERMS if not TERMS[name].reference]
            raise UsageError(f"{', '.join(self.weights.needs_reference)} compare with a reference, and these pictures "
                             f"have none: set the weight to 0, use pairs (low/ and high/), or weight {', '.join(free)}")

    def names(self, has_reference: bool) -> list[str]:
        """The terms that `terms` will compute."""
        return [name for name in self.weights
                if (self.every_term or self.weights[name]) and (has_reference or not TERMS[name].reference)]

    def terms(self, transition: Transition) -> dict[str, Tensor]:
        """Each term, unweighted, at its natural size: (N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W).

        State terms are cost(before) - cost(after), so over an episode they telescope to cost(first) - cost(last).
        Terms of preferences that the policy does not take are left out.

        Raises:
            UsageError: a term of the user's own gives another shape.
        """
        values: dict[str, Tensor] = {}
        for name in self.names(transition.target is not None):
            term = TERMS[name]
            factor = term.factor(transition.preferences)
            if isinstance(factor, float) and factor == 0:  # a preference that this policy does not take
                continue
            if term.reference and transition.target_weight is not None:
                factor = factor * transition.target_weight
            if term.kind == "action":
                previous = transition.magnitude if transition.previous is None else transition.previous
                cost = check_cost(term, term.cost(transition.magnitude, previous), transition.magnitude)
                values[name] = -factor * cost
                continue
            before = transition.cached_costs.get(name)
            if before is None:
                before = check_cost(term, term.cost(transition.before, transition), transition.before)
            after = check_cost(term, term.cost(transition.after, transition), transition.after)
            transition.costs[name] = after
            gain = before - after
            values[name] = gain if isinstance(factor, float) and factor == 1 else factor * gain
        return values

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The reward of a picture: (N,), the weighted sum of the terms' means.

        Raises:
            UsageError: there is no term at all.
        """
        if not terms:
            raise UsageError("no reward term has a weight: there is nothing to sum")
        parts = [self.weights[name] * value.mean(dim=(1, 2, 3)) for name, value in terms.items() if self.weights[name]]
        if not parts:
            some = next(iter(terms.values()))
            return some.new_zeros(some.shape[0])
        return torch.stack(parts).sum(dim=0)

    def map(self, terms: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """The weighted sum as a map (N, 1, *size); its mean is the total wherever sizes divide."""
        if not terms:
            raise UsageError("no reward term has a weight: there is nothing to sum")
        parts = [self.weights[name] * resize_map(value, size) for name, value in terms.items() if self.weights[name]]
        if not parts:
            first = next(iter(terms.values()))
            return first.new_zeros(first.shape[0], 1, *size)
        return sum(parts[1:], parts[0])
