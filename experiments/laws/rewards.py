"""Laws of reward terms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlenhance.experiments.laws.law import law, require, seeded
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.ops.patch_grid import PatchGrid
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights, Transition
from rlenhance.learning.rewards.base import check_cost
from rlenhance.learning.rewards.custom import nondifferentiable

_KIND = "reward term"


def make_step(before: Tensor, after: Tensor, initial: Tensor | None = None, target: Tensor | None = None,
              magnitude: Tensor | None = None, **preferences: Tensor) -> Transition:
    """A step with every preference that the project's terms know, at the level 0.5 and the factor 1."""
    one = torch.ones(1, 1, 1, 1)
    levels = {"exposure_level": 0.5 * one, "contrast": one, "color": 0.5 * one, "highlights": one, **preferences}
    magnitude = torch.zeros(before.shape[0], 1, 4, 4) if magnitude is None else magnitude
    return Transition(before, after, before if initial is None else initial, magnitude, levels, target)


def _step(name: str, *pictures: Any, magnitude: Tensor | None = None) -> Transition:
    """A step in which the term's own preference is 1."""
    preference = TERMS[name].preference
    before, after, initial, target = (*pictures, None, None)[:4]
    asked = {preference: torch.ones(1, 1, 1, 1)} if preference else {}
    return make_step(before, after, initial, target, magnitude, **asked)


def _pictures(generator: torch.Generator, size: tuple[int, int] = (32, 32), count: int = 2) -> Tensor:
    return torch.rand(count, 3, *size, generator=generator)


def _alone(name: str) -> Reward:
    return Reward(RewardWeights.only(**{name: 1.0}))


def _is_state(name: str) -> bool:
    return TERMS[name].kind == "state"


def _is_action(name: str) -> bool:
    return TERMS[name].kind == "action"


@law(_KIND)
def says_what_it_is(name: str) -> None:
    """The term has a line of explanation, its docstring, and a weight that is not negative."""
    require(TERMS[name].name == name, f"it is registered as {name!r} and calls itself {TERMS[name].name!r}")
    require(TERMS[name].summary, "the function has no docstring")
    require(TERMS[name].default >= 0, f"its weight is {TERMS[name].default}")


@law(_KIND)
def costs_are_finite_maps(name: str) -> None:
    """Costs of pictures (or magnitudes) of any size, black and white ones too, are a finite map (N, 1, h, w)."""
    term, generator = TERMS[name], seeded()
    for size in ((32, 32), (9, 13)):
        flat = [torch.zeros(1, 3, *size), torch.ones(1, 3, *size)]
        image, target = torch.cat([_pictures(generator, size), *flat]), torch.cat([_pictures(generator, size), *flat])
        step = _step(name, image, image, target, target)
        value, second = (image, step) if term.kind == "state" else (image - 0.5, 0.5 - image)
        kept = image.clone()
        cost = check_cost(term, term.cost(value, second), value)
        require(torch.isfinite(cost).all(), f"a cost of pictures of {size[0]}x{size[1]} is not finite")
        require(torch.equal(image, kept), "it changes the picture that it is given: compute on a copy")


@law(_KIND, _is_state)
def telescopes(name: str) -> None:
    """Over an episode, the rewards of a state term sum to its cost at the start less its cost at the end."""
    curve, generator = ACTION_SETS.create("curve", agent_stride=1, global_agent=False), seeded()
    for size in ((32, 32), (9, 13)):
        first, target = _pictures(generator, size), _pictures(generator, size)
        reward, state, costs = _alone(name), first, dict[str, Tensor]()
        total: Any = 0
        for _ in range(5):
            after = curve.apply(state, {"local": torch.rand(2, 1, *size, generator=generator) * 2 - 1})
            transition = _step(name, state, after, first, target)
            transition.cached_costs = costs
            total = total + reward.total(reward.terms(transition))
            state, costs = after, transition.costs
        begun, ended = (TERMS[name].cost(image, _step(name, image, image, first, target)).float().mean(dim=(1, 2, 3))
                        for image in (first, state))
        require(torch.allclose(total, begun - ended, atol=1e-4),
                f"rewards sum to {total.tolist()}, the cost fell by {(begun - ended).tolist()}: a cost may depend on "
                f"initial, target and preferences, not on before, after or chance")


@law(_KIND, _is_state)
def known_costs_need_not_be_computed(name: str) -> None:
    """A step is rewarded the same whether the cost before it is handed on or computed anew."""
    first, second, third, target = _pictures(seeded(), count=8).chunk(4)
    reward = _alone(name)
    earlier = _step(name, first, second, first, target)
    reward.terms(earlier)
    anew, handed = _step(name, second, third, first, target), _step(name, second, third, first, target)
    handed.cached_costs = earlier.costs
    require(torch.equal(reward.terms(anew)[name], reward.terms(handed)[name]),
            "the cost after a step is not the cost before the next one")


@law(_KIND, _is_state)
def doing_nothing_earns_nothing(name: str) -> None:
    """A step that changes no pixel is rewarded with zero by a state term."""
    image, target = _pictures(seeded(), count=4).chunk(2)
    earned = _alone(name).terms(_step(name, image, image, image, target))[name]
    require((earned == 0).all(), f"it is rewarded with {earned.abs().max().item():.3g}")


@law(_KIND, _is_action)
def not_acting_costs_nothing(name: str) -> None:
    """An action term is zero where nobody acts, and otherwise a cost."""
    generator = seeded()
    image = _pictures(generator)
    reward = _alone(name)
    idle = reward.terms(_step(name, image, image))[name]
    require((idle == 0).all(), f"agents that do nothing are rewarded with {idle.abs().max().item():.3g}")
    busy = _step(name, image, image, magnitude=torch.rand(2, 3, 5, 7, generator=generator) * 2 - 1)
    busy.previous = -busy.magnitude
    value = reward.terms(busy)[name]
    require(value.shape[:2] == (2, 1) and value.shape[2:] in ((5, 7), (1, 1)),
            f"its map is {tuple(value.shape)} where agents are 5x7")
    require((value <= 0).all() and value.sum() < 0, "agents that act are not charged")


@law(_KIND, _is_action)
def first_step_is_as_steady_as_can_be(name: str) -> None:
    """Without a step before it, a step is charged as if the agents had done the same already."""
    image, magnitude = _pictures(seeded()), torch.full((2, 1, 4, 4), 0.7)
    first, again = (_step(name, image, image, magnitude=magnitude) for _ in range(2))
    again.previous = again.magnitude
    one, other = (_alone(name).terms(step)[name] for step in (first, again))
    require(torch.equal(one, other), "the first step is charged otherwise")


@law(_KIND)
def gradient_passes_or_is_denied(name: str) -> None:
    """A finite gradient passes, on black and white pictures too, or the term says `differentiable=False`."""
    term, generator = TERMS[name], seeded()
    flat = [torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)]
    pictures = torch.cat([_pictures(generator), *flat])
    target, initial = (torch.cat([_pictures(generator, count=3), flat[1]]) for _ in range(2))
    step = _step(name, pictures, pictures, initial, target)
    magnitude = _pictures(generator, (4, 4), 4) - 0.5
    value, second = (pictures, step) if term.kind == "state" else (magnitude, -magnitude)
    step.mask = torch.zeros(4, 1, 32, 32)  # some terms are of holes, or of patches: without them they say nothing
    step.mask[..., 8:20, 10:22] = 1
    step.patch_grid = PatchGrid(16, 4)
    if not term.differentiable:
        require(nondifferentiable([name], {term.kind}) == [name], "it says differentiable=False and is taken for one")
        return
    value = value.clone().requires_grad_()
    way_out = "compute in torch, without rounding or comparing, or register it with differentiable=False"
    try:
        cost = check_cost(term, term.cost(value, second), value)
    except RuntimeError as error:  # "can't call numpy() on a tensor that requires grad"
        require(False, f"{error}; {way_out}")
    require(cost.requires_grad, f"no gradient passes: {way_out}")
    (slope,) = torch.autograd.grad(cost.sum(), value)
    require(torch.isfinite(slope).all(), "its gradient is not finite; add a small number where it divides or takes a "
                                         "root")
    require(slope.abs().max() > 0, f"its gradient is 0: {way_out}")


@law(_KIND)
def pictures_of_a_batch_are_rewarded_apart(name: str) -> None:
    """A picture's reward does not depend on its neighbours in the batch."""
    generator = seeded()
    before, after, target = (_pictures(generator) for _ in range(3))
    magnitude, reward = torch.rand(2, 1, 4, 4, generator=generator), _alone(name)
    together = reward.terms(_step(name, before, after, None, target, magnitude=magnitude))[name]
    alone = reward.terms(_step(name, before[1:], after[1:], None, target[1:], magnitude=magnitude[1:]))[name]
    require(torch.allclose(together[1:], alone, atol=1e-5), "alone it is rewarded otherwise")


@law(_KIND, _is_state)
def references_count_where_they_are_judged(name: str) -> None:
    """Where a picture is not judged by its reference, terms that compare with it say nothing; others do not care."""
    generator = seeded()
    before, after, target = (_pictures(generator) for _ in range(3))
    reward = _alone(name)

    def value(weight: Tensor | None) -> Tensor:
        step = _step(name, before, after, before, target, magnitude=torch.rand(2, 1, 4, 4, generator=seeded()))
        step.target_weight = weight
        return reward.terms(step)[name]

    everywhere, second = value(None), value(torch.tensor([0.0, 1.0])[:, None, None, None])
    require(torch.equal(second[1], everywhere[1]), "a picture that is judged is rewarded otherwise")
    require(torch.equal(second[0], everywhere[0] * (not TERMS[name].reference)),
            "it looks at the reference without reference=True" if not TERMS[name].reference else
            "a picture that is not judged by its reference is rewarded")


@law(_KIND, lambda name: TERMS[name].preference is not None)
def preference_multiplies_the_term(name: str) -> None:
    """The preference of each picture multiplies the term; without it the term counts by `default_factor`."""
    term, generator = TERMS[name], seeded()
    before, after = (_pictures(generator) for _ in range(2))
    magnitude, reward = torch.rand(2, 1, 4, 4, generator=generator), _alone(name)

    def value(**levels: Tensor) -> Tensor:
        level = {"exposure_level": torch.full((1, 1, 1, 1), 0.5)}
        return reward.terms(Transition(before, after, before, magnitude, {**level, **levels}))[name].mean(dim=(1, 2, 3))

    preference = str(term.preference)
    one = value(**{preference: torch.ones(2, 1, 1, 1)})
    require(one.abs().min() > 0, "with the preference 1 it is 0")
    other = value(**{preference: torch.tensor([2.0, -1.0])[:, None, None, None]})
    require(torch.allclose(other, one * torch.tensor([2.0, -1.0]), atol=1e-6), "the preference does not multiply it")
    if term.default_factor:
        require(torch.allclose(value(), term.default_factor * one, atol=1e-6), "without the preference it counts "
                                                                               "otherwise than default_factor says")
