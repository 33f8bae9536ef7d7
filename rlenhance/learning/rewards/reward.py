"""From terms and weights to a reward map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlenhance.core.arrays import constants
from rlenhance.core.errors import UsageError
from rlenhance.learning.ops.image import resize
from rlenhance.learning.rewards.base import TERMS, Transition, check_cost
from rlenhance.learning.rewards.weights import RewardWeights


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
        every_term: compute the terms of weight 0 too, where they can be, so that they are logged. They cost more
            than the active ones.
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
        names = self.weights if self.every_term else self.weights.active
        return [name for name in names if has_reference or not TERMS[name].reference]

    def terms(self, transition: Transition) -> dict[str, Tensor]:
        """Each term, unweighted, at its natural size: (N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W).

        State terms are cost(before) - cost(after), so over an episode they telescope to cost(first) - cost(last).
        Terms of preferences that the policy does not take are left out.

        Raises:
            UsageError: a user-defined term gives another shape.
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
                values[name] = -cost if isinstance(factor, float) and factor == 1 else -factor * cost
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
        counting = {name: value for name, value in terms.items() if self.weights[name]}
        if terms and not counting:
            some = next(iter(terms.values()))
            return some.new_zeros(some.shape[0])
        return self.weigh(tuple(counting), term_means(counting))[1]

    def weigh(self, names: tuple[str, ...], means: Tensor) -> tuple[Tensor, Tensor]:
        """The means of the terms of these names times their weights, and the sum of those that have one.

        Args:
            names: of the terms, T.
            means: (T, N).

        Returns:
            (T, N) and (N,).
        """
        numbers = tuple([self.weights[name] for name in names])
        weighted = constants(numbers, (len(names), 1), means) * means
        counting = [place for place, number in enumerate(numbers) if number]  # a term that is logged only does not
        return weighted, (weighted if len(counting) == len(numbers) else weighted[counting]).sum(dim=0)

    def map(self, terms: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """The weighted sum as a map (N, 1, *size); its mean is the total wherever sizes divide."""
        if not terms:
            raise UsageError("no reward term has a weight: there is nothing to sum")
        counting = [(value, self.weights[name]) for name, value in terms.items() if self.weights[name]]
        if not counting:
            first = next(iter(terms.values()))
            return first.new_zeros(first.shape[0], 1, *size)
        total: Tensor | None = None
        # few cells are added into more, so that only the last sum has the size of the map
        for value, weight in sorted(counting, key=lambda part: part[0].shape[-2:].numel()):
            own = value.shape[-2:]
            if total is None:
                total = weight * value
            elif _divide(total.shape[-2:], own) and _divide(own, size):
                total = _add_to_cells(total, value, weight)
            else:
                total = resize_map(total, size) + resize_map(weight * value, size)
        assert total is not None
        return resize_map(total, size)


def term_means(terms: Mapping[str, Tensor]) -> Tensor:
    """The mean of every term, in their order: (T, N).

    Raises:
        UsageError: there is no term at all.
    """
    if not terms:
        raise UsageError("no reward term has a weight: there is nothing to sum")
    sums = torch.stack([value.flatten() if value.shape[-2:] == (1, 1) else value.sum(dim=(1, 2, 3))
                        for value in terms.values()])
    return sums / constants(tuple([float(value.shape[-2:].numel()) for value in terms.values()]), (len(terms), 1), sums)


def _divide(cells: Sequence[int], size: Sequence[int]) -> bool:
    return size[0] % cells[0] == 0 and size[1] % cells[1] == 0


def _add_to_cells(coarse: Tensor, fine: Tensor, weight: float) -> Tensor:
    """The sum of a map and a weighted one of as many or more cells, whose numbers divide."""
    height, width = coarse.shape[-2:]
    if coarse.shape == fine.shape or (height, width) == (1, 1):
        return torch.add(coarse, fine, alpha=weight)
    parts = fine.shape[-2] // height, fine.shape[-1] // width
    cells = fine.reshape(-1, 1, height, parts[0], width, parts[1])
    return torch.add(coarse[..., :, None, :, None], cells, alpha=weight).reshape(fine.shape)
