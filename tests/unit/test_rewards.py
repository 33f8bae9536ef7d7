"""Rewards: state terms telescope, nothing for nothing, and what cannot be rewarded is refused."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlenhance.core.arrays import constants
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.laws import cases
from rlenhance.experiments.laws.rewards import make_step
from rlenhance.learning.actions import ACTION_SETS, apply_action, apply_and_measure
from rlenhance.learning.metrics.full_reference import ssim
from rlenhance.learning.ops.image import resize
from rlenhance.learning.rewards import (
    TERMS,
    Reward,
    RewardWeights,
    Transition,
    action_term,
    resize_map,
    state_term,
    term_means,
)

LEVEL = torch.full((1, 1, 1, 1), 0.5)
REFERENCE = [name for name in TERMS if TERMS[name].reference]


def _pictures(generator, size=(32, 32), count=2):
    return torch.rand(count, 3, *size, generator=generator)


def _cost(name, image, origin=None, target=None):
    return TERMS[name].cost(image, make_step(image, image, origin, target)).mean(dim=(1, 2, 3))


@pytest.mark.parametrize("law, name", cases("reward term", TERMS), ids=str)
def test_laws(law, name):
    """Every registered term obeys every law."""
    law.check(name)


def test_mean_of_the_map_is_the_total(generator):
    """Where the sizes divide, the reward of a picture is the mean of its map."""
    before, after, target = (_pictures(generator, (64, 64)) for _ in range(3))
    strength = torch.rand(2, 1, 8, 8, generator=generator)
    reward = Reward(RewardWeights({name: 0.1 + i / 7 for i, name in enumerate(TERMS)}))
    terms = reward.terms(make_step(before, after, None, target, strength))
    assert set(terms) == set(TERMS)
    whole = reward.map(terms, (64, 64))
    assert whole.shape == (2, 1, 64, 64)
    assert torch.allclose(whole.mean(dim=(1, 2, 3)), reward.total(terms), rtol=1e-4, atol=1e-5)


def test_total_is_linear_in_the_weights(generator):
    """Twice the weights, twice the reward; a term alone is rewarded with its mean."""
    before, after, target = (_pictures(generator) for _ in range(3))
    transition = make_step(before, after, None, target)
    one = {name: 0.1 + i / 7 for i, name in enumerate(TERMS)}
    single, double = (Reward(RewardWeights({name: times * weight for name, weight in one.items()})) for times in (1, 2))
    assert torch.allclose(double.total(double.terms(transition)), 2 * single.total(single.terms(transition)), rtol=1e-5)
    for name in TERMS:
        alone = Reward(RewardWeights.only(**{name: 1.0}))
        terms = alone.terms(transition)
        assert list(terms) == [name]
        assert torch.equal(alone.total(terms), terms[name].mean(dim=(1, 2, 3)))


def test_terms_of_weight_zero_are_logged_where_they_can_be(generator):
    """On request every term is computed; terms against a reference only where there is one."""
    image = _pictures(generator)
    reward = Reward(RewardWeights.only(exposure=1), every_term=True)
    assert set(reward.terms(make_step(image, image))) == set(TERMS) - set(REFERENCE)
    assert set(reward.terms(make_step(image, image, target=image))) == set(TERMS)
    assert set(reward.names(True)) == set(TERMS)
    assert set(Reward(reward.weights).terms(make_step(image, image, target=image))) == {"exposure"}


def test_nothing_weighted_is_nothing_earned(generator):
    """With every weight at zero each picture's reward and its map are zero."""
    before, after = _pictures(generator), _pictures(generator)
    reward = Reward(RewardWeights.only(), every_term=True)
    terms = reward.terms(make_step(before, after))
    assert reward.total(terms).tolist() == [0, 0]
    assert (reward.map(terms, (8, 8)) == torch.zeros(2, 1, 8, 8)).all()


def test_reference_is_refused_where_there_is_none():
    """A weight on a term that compares is refused without references, naming it and those that would do."""
    for name in REFERENCE:
        reward = Reward(RewardWeights({name: 1.0}))
        reward.check(has_reference=True)
        with pytest.raises(UsageError, match=f"{name} compare") as caught:
            reward.check(has_reference=False)
        assert all(other in str(caught.value) for other in TERMS if other not in REFERENCE)
    Reward(RewardWeights()).check(has_reference=False)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1, -1e-9, "1", None, True])
@pytest.mark.parametrize("name", list(TERMS))
def test_impossible_weights_are_refused(name, weight):
    """NaN, infinite, negative or no number at all: the text names the term."""
    with pytest.raises(UsageError, match=name):
        RewardWeights({name: weight})


@pytest.mark.parametrize("level", [0, 1, -0.5, float("nan"), float("inf"), "0.5"])
def test_impossible_levels_are_refused(level):
    """A level outside (0, 1) is refused."""
    with pytest.raises(UsageError, match="exposure level"):
        RewardWeights(exposure_level=level)


def test_unknown_terms_are_answered_with_the_nearest():
    """A misspelt term is answered with the right spelling, from Python and from the command line."""
    for ask in (lambda: RewardWeights({"exposur": 1}), lambda: RewardWeights.only(exposur=1),
                lambda: RewardWeights.parse(["exposur=1"]), lambda: RewardWeights()["exposur"]):
        with pytest.raises(UnknownName, match="did you mean exposure"):
            ask()
    with pytest.raises(UnknownName, match="did you mean exposure"):  # whatever its weight
        RewardWeights({"exposur": float("nan")})
    assert "exposur" not in RewardWeights()


@pytest.mark.parametrize("words", [["exposure"], ["exposure=much"], ["exposure="], ["exposure=nan"], ["exposure=-1"],
                                   ["exposure=1", "exposure=2"]])
def test_words_of_another_form_are_refused(words):
    """What is not name=weight, said once, with a number that may be, is refused naming the term."""
    with pytest.raises(UsageError, match="exposure"):
        RewardWeights.parse(words)


def test_words_and_python_mean_the_same():
    """What the command line says, Python says alike; the rest keeps its default."""
    parsed = RewardWeights.parse(["color=0.25", "exposure=0"], exposure_level=0.4)
    assert parsed.to_dict() == RewardWeights({"color": 0.25, "exposure": 0}, exposure_level=0.4).to_dict()
    assert all(parsed[name] == TERMS[name].default for name in TERMS if name not in ("color", "exposure"))
    assert list(parsed) == list(TERMS) and len(parsed) == len(list(TERMS))


def test_weights_survive_a_config_file():
    """Written to JSON and read again, the weights are the same."""
    kept = json.loads(json.dumps(RewardWeights({"color": 0.3}, exposure_level=0.4).to_dict()))
    again = RewardWeights(kept["weights"], exposure_level=kept["exposure_level"])
    assert again.to_dict() == kept


def test_only_turns_every_other_term_off():
    """These terms and no other."""
    weights = RewardWeights.only(color=0.5, ssim=2, exposure_level=0.3)
    assert weights.active == {"color": 0.5, "ssim": 2.0}
    assert weights.needs_reference == ["ssim"]
    assert weights.exposure_level == 0.3


def test_a_term_of_ones_own_works(generator):
    """A registered function is a term like the others, with its weight, map and default, until it is removed."""
    @state_term("redness", default=0.25)
    def redness(image, transition):
        """Mean of the red channel."""
        return image[:, :1]

    @action_term("boldness", default=0.5)
    def boldness(strength, previous):
        """Largest strength."""
        return strength.abs().amax(dim=(1, 2, 3), keepdim=True)

    try:
        before, after = _pictures(generator), _pictures(generator)
        reward = Reward(RewardWeights.only(redness=2, boldness=1))
        terms = reward.terms(make_step(before, after, magnitude=torch.full((2, 1, 4, 4), 0.5)))
        expected = 2 * (before - after)[:, 0].mean(dim=(1, 2)) - 0.5
        assert torch.allclose(reward.total(terms), expected, atol=1e-6)
        assert RewardWeights()["redness"] == 0.25
        with pytest.raises(UsageError, match="registered already"):
            state_term("redness")(redness)
    finally:
        TERMS.remove("redness")
        TERMS.remove("boldness")
    assert "redness" not in RewardWeights()
    with pytest.raises(UsageError, match="negative"):
        state_term("redness", default=-1)


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7])
def test_exposure_rewards_the_asked_level_most(level):
    """No grey earns more than the one whose exposure is the asked level, and the way there is uphill."""
    greys = torch.linspace(0.02, 0.7, 60).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    transition = make_step(greys, greys)
    transition.preferences = {"exposure_level": torch.full((1, 1, 1, 1), level)}
    cost = TERMS["exposure"].cost(greys, transition).flatten()
    best = cost.argmin()
    assert cost[best] < 0.01
    assert greys[best].mean().item() == pytest.approx(0.93 * level, abs=0.01)
    assert (cost[: best + 1].diff() < 0).all() and (cost[best:].diff() > 0).all()


def test_local_exposure_tolerates_regions_near_the_level(generator):
    """Regions within the margin cost nothing, far ones do."""
    near = 0.5 + 0.2 * (2 * _pictures(generator) - 1)
    assert (_cost("local_exposure", near) == 0).all()
    assert (_cost("local_exposure", near * 0.1) > 0).all()


def test_contrast_rewards_order_not_inversion(image):
    """Unchanged contrast costs nothing, nor does more of it; an inverted or flattened picture does."""
    assert (_cost("contrast", image, image) == 0).all()
    assert (_cost("contrast", (2 * image).clamp(max=1), image) < 1e-3).all()
    assert (_cost("contrast", 1 - image, image) > 0.01).all()
    flat = image.mean(dim=(2, 3), keepdim=True).expand_as(image)
    assert (_cost("contrast", flat, image) > 0.001).all()


def test_clipping_counts_what_is_newly_lost(generator):
    """What is not burnt costs nothing, what was lost before is forgiven, what is newly lost costs its share."""
    image = 0.1 + 0.8 * _pictures(generator)
    assert (_cost("clipping", image, image * 0.9) == 0).all()
    burnt = image.clone()
    burnt[..., :8, :] = 1
    black = image.clone()
    black[..., :8, :] = 0
    for lost in (burnt, black):
        assert torch.allclose(_cost("clipping", lost, image), torch.full((2,), 0.25))
        assert (_cost("clipping", lost, lost) == 0).all()


def test_color_is_zero_for_grey(generator):
    """A picture whose channels have one mean is grey to the term; a tint costs."""
    grey = _pictures(generator)[:, :1].expand(-1, 3, -1, -1)
    assert _cost("color", grey).abs().max() < 1e-10
    assert (_cost("color", grey * torch.tensor([1.0, 0.8, 0.6])[:, None, None]) > 1e-3).all()


def test_chromaticity_is_blind_to_light(image):
    """Twice the light nearly keeps the shares of the colours; swapped channels do not."""
    brighter, swapped = _cost("chromaticity", 2 * image, image), _cost("chromaticity", image.flip(1), image)
    assert (_cost("chromaticity", image, image) == 0).all()
    assert (brighter < swapped).all()


def test_noise_is_what_was_added(image, generator):
    """Smoothing costs nothing, added noise does."""
    noisy = (image + 0.1 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    assert (_cost("noise", resize(resize(noisy, (8, 10)), (32, 40)), noisy) < 1e-3).all()
    assert (_cost("noise", noisy, image) > 0.01).all()


@pytest.mark.parametrize("name", [name for name in REFERENCE if name != "reference_color"])  # many pictures share it
def test_nothing_beats_the_reference(name, generator):
    """A term against a reference costs least at the reference, and less the nearer a picture comes to it."""
    target, other = _pictures(generator), _pictures(generator)
    costs = torch.stack([_cost(name, target + share * (other - target), target=target)
                         for share in (0.0, 0.1, 0.3, 1.0)])
    assert (costs.diff(dim=0) > 0).all()


def test_psnr_term_is_the_gain_in_decibel(generator):
    """Halving the error everywhere is rewarded with the decibels that it is."""
    target = _pictures(generator) * 0.5
    reward = Reward(RewardWeights.only(psnr=1))
    terms = reward.terms(make_step(target + 0.2, target + 0.1, target=target))
    assert torch.allclose(terms["psnr"].flatten(), torch.full((2,), 20 * torch.tensor(2.0).log10().item()), atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_resized_maps_keep_their_mean(height, width, down, across, enlarge):
    """Enlarged or reduced by whole factors, a map has the mean it had."""
    small, large = (height, width), (height * down, width * across)
    before, after = (small, large) if enlarge else (large, small)
    value = torch.rand(2, 1, *before, generator=torch.Generator().manual_seed(height * 7 + width))
    resized = resize_map(value, after)
    assert resized.shape == (2, 1, *after)
    assert torch.allclose(resized.mean(dim=(1, 2, 3)), value.mean(dim=(1, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("size, larger", [((4, 4), (64, 64)), ((16, 3), (16, 51)), ((5, 7), (15, 7)), ((4, 6), (6, 9))])
def test_enlarged_maps_repeat_their_cells(size, larger, generator):
    """Larger, a map has at each pixel the mean over that pixel's area, whether the sizes divide or not."""
    value = torch.randn(2, 1, *size, generator=generator)
    assert torch.equal(resize_map(value, larger), torch.nn.functional.adaptive_avg_pool2d(value, larger))


def test_an_asked_exposure_is_the_mean_brightness(generator):
    """Where a user has named the level, a picture of that mean costs nothing, whatever its median."""
    lamps = torch.zeros(1, 3, 16, 16)
    lamps[..., :4] = 0.8
    asked = {"exposure_level": torch.full((1, 1, 1, 1), 0.2), "exposure_level_auto": torch.zeros(1, 1, 1, 1)}
    cost = TERMS["exposure"].cost
    step = Transition(lamps, lamps, lamps, torch.zeros(1, 1, 1, 1), asked)
    assert cost(lamps, step).item() == pytest.approx(0, abs=1e-6)
    step.preferences["exposure_level_auto"].fill_(1)
    assert cost(lamps, step).item() > 0.05


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
