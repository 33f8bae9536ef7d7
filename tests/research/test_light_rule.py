"""The light rule: one curve keeps the order and meets its level; well-lit pictures are left; no reference is seen."""

import pytest
import torch

from research import light_rule as rule
from rlenhance.core.arrays import brightness
from rlenhance.learning.rewards import Transition


def _dark(generator, count=2, size=(32, 32)):
    return torch.rand(count, 3, *size, generator=generator) * 0.2


@pytest.mark.parametrize("level", [0.2, 0.42, 0.7])
def test_brighten_meets_the_level(level, generator):
    """Every picture of a batch ends at the level, brighter or darker before; black, white and the order stay."""
    image = torch.cat([_dark(generator), torch.rand(1, 3, 32, 32, generator=generator)])
    image[..., 0, 0], image[..., 0, 1] = 0.0, 1.0
    result = rule.brighten(image, level)
    assert (result.mean(dim=(1, 2, 3)) - level).abs().max() < 1e-3
    assert (result[..., 0, 0] == 0).all() and (result[..., 0, 1] - 1).abs().max() < 1e-6
    order = image[0].flatten().argsort()
    assert (result[0].flatten()[order].diff() >= -1e-6).all()


def test_brighten_is_the_limit_of_small_curve_steps(generator):
    """Many small steps c + A c (1 - c) to the same mean give the same picture."""
    image = _dark(generator, 1)
    stepped = image
    for _ in range(4000):
        stepped = stepped + 0.001 * stepped * (1 - stepped)
    assert (rule.brighten(image, stepped.mean().item()) - stepped).abs().max() < 1e-3


def test_gain_by_brightness_is_linear_between_its_knots(generator):
    """At a knot it is the knot's number, half-way the mean of two."""
    knots = torch.randn(1, rule.KNOTS, generator=generator)
    places = torch.tensor([0.0, 1.0, 3 / (rule.KNOTS - 1), 2.5 / (rule.KNOTS - 1)]).view(1, 1, 1, 4)
    found = rule.by_brightness(places, knots).flatten()
    expected = torch.stack([knots[0, 0], knots[0, -1], knots[0, 3], (knots[0, 2] + knots[0, 3]) / 2])
    assert torch.allclose(found, expected, atol=1e-5)


def test_places_are_compared_with_their_picture(generator):
    """The features have no mean over a picture: the places' gain does not change its level in the logarithm."""
    image = _dark(generator, 3, (64, 48))
    features = rule.place_features(image, rule.brighten(image, rule.LEVEL))
    assert features.shape == (3, len(rule.PLACE), rule.PLACES, rule.PLACES)
    assert features.mean(dim=(2, 3)).abs().max() < 1e-6


def test_a_well_lit_picture_is_expected_as_it_is(generator):
    """At the level nothing is asked for; a dark picture is expected near the level."""
    lit, dark = 0.5 + 0.4 * torch.rand(1, 3, 32, 32, generator=generator), _dark(generator, 1)
    assert torch.equal(rule.rule_target(lit), lit)
    assert (rule.rule_target(dark).mean() - rule.LEVEL).abs() < 0.06


def test_known_targets_follow_the_picture(generator):
    """The same tensor is worked out once, and anew after it was changed in place."""
    image = _dark(generator)
    first = rule.rule_target(image)
    assert rule.rule_target(image) is first
    image.mul_(0.5)
    assert not torch.equal(rule.rule_target(image), first)
    assert torch.equal(rule.rule_target(image), rule.rule_target(image.clone()))


def test_the_reward_is_highest_at_the_rule_and_ignores_the_level(generator):
    """The term gives the whole way to the rule's picture, the same for that picture at half its brightness."""
    image = _dark(generator)
    target = rule.rule_target(image)

    def cost(result):
        step = Transition(image, result, image, torch.zeros(2, 1, 1, 1), {})
        return rule.light_rule(result, step).mean(dim=(1, 2, 3))

    bent = rule.brighten(image, 0.42) * (0.7 + 0.6 * brightness(image))
    assert cost(target).max() < 1e-6 < cost(bent).min() and (cost(bent) < cost(image)).all()
    assert torch.allclose(cost(bent), cost(bent / 2), atol=1e-5)
