"""Laws of action sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws.law import law, require, seeded, smooth_pictures, stir
from rlenhance.learning.actions import ACTION_SETS, Action, PointwiseActions, apply_action, validate_action
from rlenhance.learning.models import MODELS, make_observation

_KIND = "action set"


def action_shapes(actions: Any, count: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shape of each entry of an action."""
    return {scope: (count, actions.action_dim, *actions.agent_grid(scope, height, width)) for scope in actions.scopes}


def random_action(actions: Any, image: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Any action that an agent may choose."""
    shapes = action_shapes(actions, image.shape[0], *image.shape[-2:])
    if actions.num_choices is None:
        return {scope: torch.rand(shape, generator=generator) * 2 - 1 for scope, shape in shapes.items()}
    return {scope: torch.randint(actions.num_choices, shape, generator=generator) for scope, shape in shapes.items()}


def _is_categorical(name: str, **config: Any) -> bool:
    return ACTION_SETS.create(name, **config).num_choices is not None


def _depends_on_the_pixel_alone(name: str, **config: Any) -> bool:
    actions = ACTION_SETS.create(name, **config)
    return isinstance(actions, PointwiseActions) and not actions.needs_initial_image


def _difference(one: Tensor, other: Tensor) -> str:
    return f"the pictures differ by up to {(one - other).abs().max().item():.2g}"


@law(_KIND)
def noop_changes_nothing(name: str, **config: Any) -> None:
    """The action of `noop` leaves every pixel as it was, and its magnitude is 0."""
    actions, image = ACTION_SETS.create(name, **config), smooth_pictures()
    neutral = actions.noop(2, 32, 40)
    shapes = {scope: tuple(value.shape) for scope, value in neutral.items()}
    require(shapes == action_shapes(actions, 2, 32, 40),
            f"noop gives {shapes} where scopes, action_dim and agent_grid ask for {action_shapes(actions, 2, 32, 40)}")
    after = actions.apply(image, neutral)
    require(torch.allclose(after, image, atol=1e-6), _difference(after, image))
    strength = actions.magnitude(neutral).abs().max().item()
    require(strength < 1e-5, f"the magnitude of noop is {strength:.2g}")


@law(_KIND)
def pictures_stay_in_range(name: str, **config: Any) -> None:
    """Whatever agents choose, a picture of any size stays a picture of that size with values in [0, 1]."""
    actions, generator = ACTION_SETS.create(name, **config), seeded()
    for size in ((32, 40), (9, 13), (8, 8)):
        pictures = torch.rand(2, 3, *size, generator=generator)
        pictures[:, :, :2] = 0
        pictures[:, :, 2:4] = 1
        for _ in range(4):
            after = actions.apply(pictures, random_action(actions, pictures, generator))
            require(after.shape == pictures.shape,
                    f"pictures {tuple(pictures.shape)} became {tuple(after.shape)}")
            low, high = after.min().item(), after.max().item()
            require(low >= -1e-6 and high <= 1 + 1e-6, f"values reach from {low:.3g} to {high:.3g}")
            pictures = after


@law(_KIND)
def saved_and_loaded_equal(name: str, **config: Any) -> None:
    """Made again from its recipe in JSON, the set does the same; weights of networks in it travel beside."""
    actions, image = ACTION_SETS.create(name, **config), smooth_pictures()
    again = ACTION_SETS.rebuild(json.loads(json.dumps(actions.spec)))
    if isinstance(actions, torch.nn.Module):
        again.load_state_dict(actions.state_dict())
    require(json.dumps(again.spec) == json.dumps(actions.spec), f"the recipe {actions.spec} came back as {again.spec}")
    action = random_action(actions, image, seeded())
    one, other = again.apply(image, action), actions.apply(image, action)
    require(torch.equal(one, other), _difference(one, other))


@law(_KIND)
def mask_is_respected(name: str, **config: Any) -> None:
    """Outside the mask a step changes no bit; inside it does what it would do without one."""
    actions, image, generator = ACTION_SETS.create(name, **config), smooth_pictures(), seeded()
    mask = (torch.rand(2, 1, 32, 40, generator=generator) < 0.5).float()
    action = random_action(actions, image, generator)
    masked = apply_action(actions, image, action, mask)
    free = actions.apply(image, action, mask if actions.binary_mask else None)
    outside = (mask == 0).expand_as(image)
    require(torch.equal(masked[outside], image[outside]), "a pixel outside the mask has changed")
    require(torch.allclose(masked[~outside], free[~outside], atol=1e-6), "the mask changes what is done inside it")


@law(_KIND)
def gradient_reaches_every_scope(name: str, **config: Any) -> None:
    """The result can be differentiated by the actions of every scope, or by the probabilities of their choices."""
    actions, generator = ACTION_SETS.create(name, **config), seeded()
    image = (1 - 0.2 * smooth_pictures()) * torch.logspace(-3, 0, 40)  # from black to white: sets may treat them apart
    soft: dict[str, Tensor] = {}
    for scope, shape in action_shapes(actions, 2, 32, 40).items():
        if actions.num_choices is None:
            soft[scope] = torch.rand(shape, generator=generator) - 0.5
        else:
            count, heads, *grid = shape
            soft[scope] = torch.randn(count, heads, actions.num_choices, *grid, generator=generator).softmax(dim=2)
        soft[scope].requires_grad_()
    result = actions.apply(image, soft)
    require(result.requires_grad, "no gradient passes: compute in torch, without detach or rounding")
    (result ** 2).sum().backward()
    for scope, value in soft.items():
        require(value.grad is not None and torch.isfinite(value.grad).all(),
                f"the gradient of the {scope} actions is missing or not finite")
        assert value.grad is not None
        idle = (value.grad.abs().flatten(2).amax(dim=2) == 0).any(dim=0).nonzero().flatten().tolist()
        require(not idle, f"no gradient reaches the {scope} actions of head {', '.join(map(str, idle))}")


@law(_KIND, _is_categorical)
def certain_probabilities_equal_the_choice(name: str, **config: Any) -> None:
    """Probability one on a choice is that choice."""
    actions, image = ACTION_SETS.create(name, **config), smooth_pictures()
    action = random_action(actions, image, seeded())
    assert actions.num_choices is not None
    certain = {scope: F.one_hot(value, actions.num_choices).movedim(-1, 2).float() for scope, value in action.items()}
    one, other = actions.apply(image, certain), actions.apply(image, action)
    require(torch.allclose(one, other, atol=1e-5), _difference(one, other))


@law(_KIND, _depends_on_the_pixel_alone)
def even_actions_do_the_same_at_any_size(name: str, **config: Any) -> None:
    """Of pointwise sets without an eye on the first picture: the same choice everywhere does the same to a picture
    enlarged pixel by pixel."""
    actions, image = ACTION_SETS.create(name, **config), smooth_pictures()
    action = {scope: value[..., :1, :1].expand_as(value)
              for scope, value in random_action(actions, image, seeded()).items()}
    large = actions.apply(_enlarged(image), action)
    small = _enlarged(actions.apply(image, action))
    require(torch.allclose(large, small, atol=1e-5), _difference(large, small))


def _enlarged(image: Tensor) -> Tensor:
    return image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@law(_KIND)
def scopes_are_all_asked_for(name: str, **config: Any) -> None:
    """An action with a scope missing or too many is refused with the names of the scopes."""
    actions = ACTION_SETS.create(name, **config)
    neutral = actions.noop(2, 32, 40)
    require(validate_action(actions, neutral, (32, 40)) is neutral, "the action of noop is refused")
    wrong: list[Any] = [{}, {**neutral, "pixel": neutral[actions.scopes[0]]}]
    bare = neutral[actions.scopes[0]]
    if len(actions.scopes) == 1:
        require(validate_action(actions, bare, (32, 40))[actions.scopes[0]] is bare, "the bare tensor is refused")
    else:
        wrong.append(bare)
    for action in wrong:
        try:
            validate_action(actions, action, (32, 40))
        except UsageError as error:
            require(actions.scopes[0] in str(error), f"the message does not name the scopes: {error}")
        else:
            require(False, f"an action with the scopes {sorted(action)} is taken")


@law(_KIND)
def sampled_and_scored_action_agree(name: str, **config: Any) -> None:
    """What a policy samples is an action of this set, and scored again it has the same finite log-probability."""
    torch.manual_seed(0)
    image, mask = smooth_pictures(), torch.ones(2, 1, 32, 40)
    policy = stir(MODELS.create("pixel_policy", actions={"name": name, **config},
                                backbone={"name": "compact", "width": 8, "stride": 4}, decision_size=None))
    observation = make_observation(image, 1.0, torch.zeros(2, 0))
    with torch.no_grad():
        action = policy(observation)[0].sample(seeded())
        scores = [policy(observation)[0].log_prob(action) for _ in range(2)]
    _check_sample(policy.actions, action)
    validate_action(policy.actions, action, (32, 40))
    for scope, score in scores[0].items():
        wanted = (2, 1, *policy.actions.agent_grid(scope, 32, 40))
        require(score.shape == wanted, f"log-probabilities of the scope {scope} are {tuple(score.shape)}, not {wanted}")
        require(torch.isfinite(score).all(), f"a log-probability of the scope {scope} is not finite")
        require(torch.allclose(score, scores[1][scope], atol=1e-5), f"scores of the scope {scope} differ")
    start = image if policy.actions.needs_initial_image else None
    after = apply_action(policy.actions, image, action, mask, start)
    require(after.shape == image.shape, f"pictures {tuple(image.shape)} became {tuple(after.shape)}")


def _check_sample(actions: Any, action: Action | Mapping[str, Tensor]) -> None:
    for scope, value in action.items():
        low, high = value.min().item(), value.max().item()
        if actions.num_choices is None:
            require(value.is_floating_point() and low >= -1 and high <= 1,
                    f"sampled {scope} actions reach from {low:.3g} to {high:.3g}, not within [-1, 1]")
        else:
            require(not value.is_floating_point() and low >= 0 and high < actions.num_choices,
                    f"sampled {scope} choices reach from {low:g} to {high:g} of {actions.num_choices}")
