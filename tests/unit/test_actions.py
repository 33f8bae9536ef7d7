"""The laws of action sets: every registered one with its defaults, and the curve in all its variants."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlenhance.agents import A3C, A3CConfig
from rlenhance.agents.rollout import collect_rollout, concat_steps, evaluate_actions
from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws import LAWS
from rlenhance.experiments.laws.actions import random_action
from rlenhance.hub.shipped import locate
from rlenhance.learning.actions import ACTION_SETS, PointwiseActions, apply_action
from rlenhance.learning.actions.bilateral import BilateralActions
from rlenhance.learning.actions.tone import ToneActions
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.full_reference import (
    highlight_protection,
    mean_level,
    relative_color,
    relative_contrast,
)
from rlenhance.learning.models import GreedyEpisode, make_observation
from rlenhance.learning.models.tiled import run_tiled
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.networks import make_model, make_policy, stir

_CURVES = [
    {"kind": kind, "channels": channels, **agents, "momentum": momentum}
    for kind, channels, agents, momentum in itertools.product(
        ("continuous", "categorical"), ("luminance", "chroma", "coupled"),
        ({"agent_stride": 8, "global_agent": True}, {"agent_stride": 1, "global_agent": False},
         {"agent_stride": 0, "global_agent": True}, {"agent_stride": 3, "global_agent": True}), (0.0, 0.4),
    ) if not momentum or (channels == "coupled" and agents["agent_stride"] == 8)
]
_ALL = [(name, {}) for name in ACTION_SETS] + [("curve", config) for config in _CURVES]


def _called(value):
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("law, name, config", [
    (law, name, config) for law in LAWS["action set"] for name, config in _ALL if law.concerns(name, **config)
], ids=_called)
def test_laws(law, name, config):
    """Every registered action set obeys every law."""
    law.check(name, **config)


@pytest.mark.parametrize("name, config", _ALL, ids=_called)
def test_curves_keep_black_and_white(name, config, generator):
    """Where agents bend curves, black and white stay."""
    actions = ACTION_SETS.create(name, **config)
    pictures = torch.rand(2, 3, 9, 13, generator=generator)
    pictures[:, :, :2] = 0
    pictures[:, :, 2:4] = 1
    after = actions.apply(pictures, random_action(actions, pictures, generator))
    assert not isinstance(actions, PointwiseActions) or torch.equal(after[:, :, :4], pictures[:, :, :4])


@pytest.mark.parametrize("channels", ["luminance", "chroma", "coupled"])
def test_local_agents_leave_the_exposure_to_the_picture_agent(channels, image, generator):
    """Local agents that all do the same do nothing: their mean is taken away."""
    curve = ACTION_SETS.create("curve", channels=channels)
    action = random_action(curve, image, generator)
    still = {**action, "local": torch.zeros_like(action["local"])}
    even = {**action, "local": torch.full_like(action["local"], 0.6)}
    assert torch.allclose(curve.apply(image, even), curve.apply(image, still), atol=1e-6)


def test_one_agent_per_pixel():
    """With a stride of one, each pixel has an agent, and an agent changes its own pixel alone."""
    curve = ACTION_SETS.create("curve", agent_stride=1, global_agent=False)
    assert curve.agent_grid("local", 9, 13) == (9, 13)
    picture = torch.full((1, 3, 9, 13), 0.4)
    action = {level: value.clone() for level, value in curve.noop(1, 9, 13).items()}
    action["local"][0, 0, 4, 7] = 1
    changed = (curve.apply(picture, action) - picture).abs().amax(dim=1)[0] > 1e-6
    assert changed.nonzero().tolist() == [[4, 7]]


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_grid_covers_every_pixel(stride):
    """No pixel is left without an agent, and no row of agents without a pixel."""
    curve = ACTION_SETS.create("curve", agent_stride=stride)
    for height, width in ((8, 8), (9, 13), (17, 31)):
        for agents, side in zip(curve.agent_grid("local", height, width), (height, width), strict=True):
            assert (agents - 1) * stride < side <= agents * stride
        assert curve.agent_grid("global", height, width) == (1, 1)


def test_stronger_brightens_and_weaker_darkens(image):
    """The sign of an agent's strength is the sign of the change, and a larger choice is never darker."""
    curve = ACTION_SETS.create("curve", agent_stride=0)
    levels = torch.linspace(-1, 1, 9)
    results = [curve.apply(image, {"global": level.expand(2, 1, 1, 1)}) for level in levels]
    for level, result in zip(levels, results, strict=True):
        strength = curve.magnitude({"global": level.expand(2, 1, 1, 1)}).flatten()[0]
        assert torch.equal((result - image).mean().sign(), strength.sign())
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(results))


def test_strength_spans_the_stated_range():
    """The ends of an action are the ends of A."""
    curve = ACTION_SETS.create("curve", agent_stride=0, low=-0.25, high=0.75)
    for end, strength in ((-1.0, -0.25), (1.0, 0.75)):
        assert curve.magnitude({"global": torch.full((1, 1, 1, 1), end)}).item() == pytest.approx(strength)
    categorical = ACTION_SETS.create("curve", agent_stride=0, low=-0.25, high=0.75, kind="categorical")
    for end, strength in ((0, -0.25), (26, 0.75)):
        assert categorical.magnitude({"global": torch.full((1, 1, 1, 1), end)}).item() == pytest.approx(strength)


@pytest.mark.parametrize("lead_channel", [0, 1, 2])
def test_coupling_mixes_the_lead_in(lead_channel, image, generator):
    """At one each channel follows its own head, at zero all follow the lead, and in between it is their mixture."""
    own, follow, mixed = (ACTION_SETS.create("curve", channels="coupled", coupling=share, lead_channel=lead_channel)
                          for share in (1.0, 0.0, 0.3))
    action = random_action(own, image, generator)
    free = own.magnitude(action)
    for channel in range(3):
        single = ACTION_SETS.create("curve")
        alone = single.magnitude({level: value[:, channel : channel + 1] for level, value in action.items()})
        assert torch.allclose(free[:, channel : channel + 1], alone, atol=1e-6)
    led = free[:, lead_channel : lead_channel + 1].expand_as(free)
    assert torch.allclose(follow.magnitude(action), led, atol=1e-6)
    assert torch.allclose(mixed.magnitude(action), 0.3 * free + 0.7 * led, atol=1e-6)


def test_chroma_is_bounded(image, generator):
    """Red and blue never leave green by more than the bound, and green follows the common head."""
    curve = ACTION_SETS.create("curve", channels="chroma", chroma=0.2)
    strength = curve.magnitude(random_action(curve, image, generator))
    assert (strength - strength[:, 1:2]).abs().max() <= 0.2 + 1e-6
    assert (strength - strength[:, 1:2]).abs().max() > 0.01


@pytest.mark.parametrize("momentum", [0.1, 0.5, 0.9])
def test_momentum_keeps_a_share_of_the_picture_before(momentum, image, generator):
    """A step with momentum is the stated mixture of before and after the step without."""
    plain, slow = (ACTION_SETS.create("curve", momentum=share) for share in (0.0, momentum))
    action = random_action(plain, image, generator)
    expected = momentum * image + (1 - momentum) * plain.apply(image, action)
    assert torch.allclose(slow.apply(image, action), expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [
    {"kind": "both"}, {"channels": "hue"}, {"agent_stride": -1}, {"agent_stride": 0, "global_agent": False},
    {"low": 0.1}, {"high": 1.5}, {"low": float("nan")}, {"coupling": 1.5}, {"momentum": 1.0}, {"chroma": 0.6},
    {"lead_channel": 3}, {"num_bins": 1},
])
def test_impossible_curves_are_refused(wrong):
    """A setting outside its range is refused, naming the value."""
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        ACTION_SETS.create("curve", **wrong)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
@settings(max_examples=200, deadline=None)
def test_tone_keeps_the_order_of_grey(handles):
    """Whatever a tone agent does, a grey that was brighter than another stays so, but for a hundredth of an 8-bit
    level."""
    grey = torch.linspace(0, 1, 257).expand(1, 3, 1, 257)
    tone = ACTION_SETS.create("tone", agent_stride=0)
    after = tone.apply(grey, {"global": torch.tensor(handles).view(1, 4, 1, 1)})
    assert (after.cummax(dim=-1).values - after).max() <= 3e-5


@pytest.mark.parametrize("handle, measure", [(0, mean_level), (1, relative_contrast), (2, highlight_protection),
                                             (3, relative_color)])
def test_tone_handles_move_what_they_are_named_after(handle, measure, generator):
    """Turned up, each handle raises its measure, whatever picture it is turned on."""
    tone = ACTION_SETS.create("tone", agent_stride=0)
    pictures = torch.rand(8, 3, 8, 8, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3) * 0.8 + 0.1
    actions = [tone.noop(8, 32, 32)["global"] for _ in range(2)]
    actions[1][:, handle] += 0.3
    low, high = (measure(tone.apply(pictures, {"global": action})) for action in actions)
    assert (high > low).all()


def test_tone_arguments_are_refused():
    """Ranges that would leave [0, 1] or swap greys are named."""
    for config in ({"agent_stride": -1}, {"low": 0.1}, {"contrast": 0.6}, {"highlights": 0.6}, {"saturation": 1.5}):
        with pytest.raises(UsageError):
            ACTION_SETS.create("tone", **config)


POLICIES = [({"name": "curve"}, "compact", "scheduled"), ({"name": "tone"}, "compact", "predicted"),
            ({"name": "curve", "channels": "chroma"}, "pixelrnn", "scheduled")]
every_policy = pytest.mark.parametrize("actions, backbone, deviation", POLICIES, ids=str)


def _policy(actions, backbone, deviation, seed=0):
    """A policy that is not neutral, with 4x4 local agents."""
    return stir(make_model("pixel_policy", actions={**actions, "agent_stride": 4}, std_mode=deviation, horizon=2,
                           backbone={"name": backbone, "width": 8}, decision_size=16), 0.2)


def _shift(policy, by):
    """Add a number to all local means before the squashing."""
    with torch.no_grad():
        policy.heads["local"].bias[: policy.actions.action_dim] += by


@pytest.mark.parametrize("name", list(ACTION_SETS))
def test_sets_say_whether_the_common_mean_of_local_agents_shows(name, image):
    """Every set with continuous agents of both scopes: a number added to all local ones before the squashing changes
    the picture exactly where `local_zero_mean` is false."""
    try:
        actions = ACTION_SETS.create(name)
    except TypeError:
        pytest.skip("needs arguments")
    if actions.num_choices is not None or set(actions.scopes) != {"global", "local"}:
        assert actions.num_choices is not None or not actions.local_zero_mean
        return
    generator = torch.Generator().manual_seed(0)
    raw = {scope: torch.randn(len(image), actions.action_dim, *actions.agent_grid(scope, *image.shape[-2:]),
                              generator=generator) for scope in actions.scopes}
    one = apply_action(actions, image, {scope: value.tanh() for scope, value in raw.items()})
    raw["local"] = raw["local"] + 0.7
    other = apply_action(actions, image, {scope: value.tanh() for scope, value in raw.items()})
    assert torch.allclose(one, other, rtol=0, atol=1e-5) == actions.local_zero_mean


@every_policy
def test_a_common_local_mean_changes_neither_picture_nor_score_nor_gradient(actions, backbone, deviation, image):
    """The policy with a shifted local head is the same policy, however far it is shifted."""
    policy, shifted = (_policy(actions, backbone, deviation) for _ in range(2))
    _shift(shifted, -5.0)
    learner = A3C(policy, Reward(RewardWeights()), A3CConfig())
    preference = policy.preferences.encode(None, len(image))
    rollout = collect_rollout(policy, learner.env, Batch(image), preference, torch.Generator().manual_seed(1))
    scores, gradients = [], []
    for each in (policy, shifted):
        distribution, _ = evaluate_actions(each, rollout)
        score = distribution.log_prob(concat_steps(rollout.actions))
        weights = torch.linspace(-1, 1, score["local"].numel()).view_as(score["local"])
        parameters = [value for name, value in each.named_parameters() if not name.startswith("values")]
        gradients.append(torch.autograd.grad((weights * score["local"]).sum() + score["global"].sum(), parameters))
        scores.append(score)
    for scope in policy.actions.scopes:
        assert torch.allclose(scores[0][scope], scores[1][scope], rtol=1e-4, atol=1e-3)
    size = max(gradient.abs().max() for gradient in gradients[0])
    assert all(torch.allclose(*pair, rtol=0, atol=1e-3 * size) for pair in zip(*gradients, strict=True))
    with torch.inference_mode():
        pictures = [GreedyEpisode(each)(image) for each in (policy, shifted)]
        assert torch.allclose(*pictures, rtol=0, atol=1e-5)


@every_policy
def test_the_bias_of_the_local_head_gets_no_gradient_from_its_loss(actions, backbone, deviation, image):
    """A number that all local means share has no effect, so whatever is asked of the local agents does not move it."""
    policy = _policy(actions, backbone, deviation)
    learner = A3C(policy, Reward(RewardWeights()), A3CConfig())
    rollout = collect_rollout(policy, learner.env, Batch(image), policy.preferences.encode(None, len(image)),
                              torch.Generator().manual_seed(1))
    distribution, _ = evaluate_actions(policy, rollout)
    score = distribution.log_prob(concat_steps(rollout.actions))["local"]
    (torch.randn(score.shape, generator=torch.Generator().manual_seed(2)) * score).sum().backward()
    head = policy.heads["local"]
    mean = head.bias.grad[: policy.actions.action_dim]
    assert mean.abs().max() < 1e-4 * head.weight.grad.abs().max()


def test_local_agents_alone_keep_their_mean(image):
    """Without a global agent the mean of the local ones is what brightens the picture."""
    policy = make_policy({"global_agent": False})
    _shift(policy, 0.5)
    distribution, _, _ = policy(make_observation(image, 1.0, image.new_zeros(len(image), 0)))
    assert not policy.actions.local_zero_mean and distribution.scopes["local"].mean.mean() > 0.3


@pytest.mark.parametrize("shift", [0.0, 9.0])
def test_tiles_share_one_mean(shift, generator):
    """The mean is that of all cells and not of a tile's; a head that has drifted makes no difference."""
    policy = stir(make_model("pixel_policy", backbone={"name": "compact", "width": 8, "stride": 4}, horizon=3,
                             actions={"name": "tone", "agent_stride": 4}, decision_size=None))
    _shift(policy, shift)
    image = torch.rand(1, 3, 71, 90, generator=generator) * torch.linspace(0.1, 1, 90)
    with torch.inference_mode():
        whole = GreedyEpisode(policy).run(image).image
        tiled = run_tiled(policy, image, policy.preferences.encode(None, 1), 3, 24)
    assert torch.allclose(tiled, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["natural", "reference", "relight"])
def test_shipped_models_give_the_same_pictures(name, generator, monkeypatch):
    """Centred or not, in torch and in the NumPy form for small pictures: the same picture within rounding."""
    policy = load_network(locate(name)).eval()
    image = torch.rand(1, 3, 12, 12, generator=generator)
    image = 0.4 * torch.nn.functional.interpolate(image, (96, 128), mode="bilinear")
    results = []
    for centered in (True, False):
        monkeypatch.setattr(ToneActions, "local_zero_mean", centered)
        model = GreedyEpisode(policy)
        with torch.inference_mode():
            results += [model(image), model.render(image, model.decide(image))]
    assert all(torch.allclose(result, results[0], rtol=0, atol=2e-6) for result in results[1:])


def test_gains_of_bands_multiply_keep_the_hue_and_never_exceed_white():
    """Two gains one after the other are the gain of their product; a dark pixel gets the gain itself."""
    actions = BilateralActions(gain=0.5)
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    image[..., 0, 0], image[..., 0, 1] = 1.0, 1e-3

    def with_gain(picture, stops):
        parameters = torch.zeros(1, 3, 8, 8)
        parameters[:, 2] = 2.0 ** (4 * stops) - 1
        return actions.apply_parameters(picture, parameters)

    once, twice = with_gain(image, 0.7), with_gain(with_gain(image, 0.3), 0.4)
    assert torch.allclose(once, twice, atol=1e-5)
    assert torch.allclose(with_gain(once, -0.7), image, atol=1e-4)
    assert once.max() <= 1 + 1e-6 and torch.allclose(once[..., 0, 1], image[..., 0, 1] * 2**0.7, rtol=1e-3)
    assert torch.allclose(once / once.amax(1, keepdim=True), image / image.amax(1, keepdim=True), atol=1e-5)
    idle = actions.at_pixels(actions.parameters(actions.noop(1, 8, 8)), torch.rand(1, 1, 8, 8))
    assert torch.equal(idle[:, 2], torch.zeros(1, 8, 8))
