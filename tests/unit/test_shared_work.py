"""What a step of an environment computes once, and keeps for other terms and later steps."""

import pytest
import torch

from rlenhance.core.arrays import constants
from rlenhance.learning.actions import ACTION_SETS, apply_action, apply_and_measure
from rlenhance.learning.metrics.full_reference import ssim
from rlenhance.learning.rewards import Reward, RewardWeights, Transition, resize_map, term_means

CURVES = [{"name": "curve"}, {"name": "curve", "momentum": 0.2, "channels": "coupled"},
          {"name": "curve", "channels": "chroma"}, {"name": "tone"}, {"name": "curve", "agent_stride": 0}]


@pytest.mark.parametrize("spec", CURVES, ids=str)
def test_edit_and_magnitude_together_are_each_alone(spec, image, generator):
    """`apply_and_measure` gives the bits of `apply_action` and of `magnitude`, with a mask too."""
    actions = ACTION_SETS.rebuild(dict(spec))
    noop = actions.noop(2, *image.shape[-2:])
    action = {scope: torch.rand(entry.shape, generator=generator) * 2 - 1 for scope, entry in noop.items()}
    for mask in (None, torch.rand(2, 1, *image.shape[-2:], generator=generator)):
        after, magnitude = apply_and_measure(actions, image, action, mask)
        assert torch.equal(after, apply_action(actions, image, action, mask))
        assert torch.equal(magnitude, actions.magnitude(action))


def test_a_feature_is_computed_once_of_an_image(image):
    """Of the initial image once in an episode, of the one after a step once in a step; of others each time."""
    seen = []

    def feature(picture):
        seen.append(picture)
        return picture.mean()

    kept = {}
    steps = [Transition(image, image + 0.1 * step, image, torch.zeros(2, 1, 1, 1), {}, initial_features=kept)
             for step in (1, 2)]
    for step in steps:
        for _ in range(3):
            assert step.shared(feature, step.initial) == image.mean()
            assert step.shared(feature, step.after) == step.after.mean()
    assert [id(picture) for picture in seen] == [id(picture) for picture in (image, steps[0].after, steps[1].after)]
    step.shared(feature, image.clone())
    step.shared(feature, image.clone())
    assert len(seen) == 5


def test_features_of_a_first_image_with_a_gradient_are_not_kept(image):
    """Each step has a graph of its own, through which its gradient passes."""
    first = image.clone().requires_grad_()
    level = {"exposure_level": torch.full((1, 1, 1, 1), 0.5)}
    kept = {}
    for _ in range(2):
        made = Transition(image, image + 0.1, first, torch.zeros(2, 1, 1, 1), level, initial_features=kept)
        total = Reward(RewardWeights()).total(Reward(RewardWeights()).terms(made))
        assert torch.autograd.grad(total.sum(), first)[0].abs().sum() > 0
    assert not kept


@pytest.mark.parametrize("size", [(32, 48), (16, 16), (20, 30), (128, 64)])
def test_a_map_is_the_sum_of_its_enlarged_terms(size, generator):
    """However the sums are ordered: sizes that divide each other, and sizes that do not."""
    weights = RewardWeights({"exposure": 2, "local_exposure": 3, "clipping": 0.5, "contrast": 0.7, "effort": 0})
    shapes = {"exposure": (1, 1), "local_exposure": (4, 4), "clipping": (32, 48), "contrast": (16, 16),
              "smoothness": (4, 6), "effort": (4, 6), "steadiness": (5, 7)}
    terms = {name: torch.randn(2, 1, *shape, generator=generator) for name, shape in shapes.items()}
    made = Reward(weights).map(terms, size)
    expected = sum(weights[name] * resize_map(term, size) for name, term in terms.items() if weights[name])
    assert made.shape == (2, 1, *size)
    assert torch.allclose(made, expected, atol=1e-5)


def test_a_term_without_weight_does_not_spoil_the_sum():
    """It may be NaN: the reward counts the others, and its mean is there for the log."""
    terms = {"exposure": torch.ones(2, 1, 1, 1), "color": torch.full((2, 1, 1, 1), torch.nan)}
    reward = Reward(RewardWeights.only(exposure=3))
    weighted, total = reward.weigh(tuple(terms), term_means(terms))
    assert total.tolist() == [3, 3] == reward.total(terms).tolist()
    assert weighted.shape == (2, 2)


def test_what_is_cached_serves_every_mode(image):
    """A constant or a matrix that was made without gradients takes part in one later."""
    side = 40 + 1  # of which no other test asks
    with torch.inference_mode():
        ssim(torch.rand(1, 3, side, side), torch.rand(1, 3, side, side))
        constants((0.125,), (), image)
    leaf = torch.rand(1, 3, side, side, requires_grad=True)
    (ssim(leaf, torch.rand(1, 3, side, side)).sum() * constants((0.125,), (), leaf)).backward()
    assert leaf.grad.abs().sum() > 0
