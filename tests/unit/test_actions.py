"""The laws of action sets: every registered one with its defaults, and the curve in all its variants."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws import LAWS
from rlenhance.experiments.laws.actions import random_action
from rlenhance.learning.actions import ACTION_SETS, PointwiseActions
from rlenhance.learning.metrics.full_reference import (
    highlight_protection,
    mean_level,
    relative_color,
    relative_contrast,
)

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
