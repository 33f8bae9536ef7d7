"""The laws of action sets: every registered one with its defaults, and the curve in all its variants."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rlenhance.actions import ACTION_SETS, PointwiseActions, apply_action, validate_action
from rlenhance.core.errors import UsageError
from rlenhance.metrics.full_reference import highlight_protection, mean_level, relative_color, relative_contrast
from tests.support.actions import action_shapes, random_action

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
    return value if isinstance(value, str) else "-".join(str(part) for part in value.values())


every = pytest.mark.parametrize("name, config", _ALL, ids=_called)
every_categorical = pytest.mark.parametrize("name, config", [
    (name, config) for name, config in _ALL if ACTION_SETS.create(name, **config).num_choices is not None
], ids=_called)

# others count windows and ways in pixels, and every pixel or patch is an agent
every_pointwise = pytest.mark.parametrize("name, config", [
    (name, config) for name, config in _ALL if isinstance(ACTION_SETS.create(name, **config), PointwiseActions)
], ids=_called)


@every
def test_neutral_action_changes_nothing(name, config, image):
    """The neutral action leaves every pixel as it was, and its strength is zero."""
    actions = ACTION_SETS.create(name, **config)
    neutral = actions.noop(2, 32, 40)
    assert {level: tuple(value.shape) for level, value in neutral.items()} == action_shapes(actions, 2, 32, 40)
    assert torch.allclose(actions.apply(image, neutral), image, atol=1e-6)
    assert actions.magnitude(neutral).abs().max() < 1e-5


@every
@pytest.mark.parametrize("size", [(32, 40), (9, 13), (8, 8)])
def test_pictures_stay_in_range(name, config, size, generator):
    """Whatever the agents choose on a picture of any size, it stays a picture; where they bend curves, black and white
    stay."""
    actions = ACTION_SETS.create(name, **config)
    pictures = torch.rand(2, 3, *size, generator=generator)
    pictures[:, :, :2] = 0
    pictures[:, :, 2:4] = 1
    before = pictures
    for _ in range(4):
        pictures = actions.apply(pictures, random_action(actions, pictures, generator))
        assert pictures.shape == before.shape
        assert pictures.min() >= -1e-6 and pictures.max() <= 1 + 1e-6
    assert not isinstance(actions, PointwiseActions) or torch.equal(pictures[:, :, :4], before[:, :, :4])


@every
def test_spec_rebuilds_the_same_set(name, config, image, generator):
    """An action set made again from its recipe does the same; the weights of one that has networks travel beside."""
    actions = ACTION_SETS.create(name, **config)
    again = ACTION_SETS.rebuild(actions.spec)
    if isinstance(actions, torch.nn.Module):
        again.load_state_dict(actions.state_dict())
    action = random_action(actions, image, generator)
    assert again.spec == actions.spec
    assert torch.equal(again.apply(image, action), actions.apply(image, action))


@every
def test_mask_protects_bit_by_bit(name, config, image, generator):
    """Outside the mask a step changes no bit; inside it does what it would do without one."""
    actions = ACTION_SETS.create(name, **config)
    mask = (torch.rand(2, 1, 32, 40, generator=generator) < 0.5).float()
    action = random_action(actions, image, generator)
    masked = apply_action(actions, image, action, mask)
    free = actions.apply(image, action, mask if actions.needs_initial_image else None)
    outside = (mask == 0).expand_as(image)
    assert torch.equal(masked[outside], image[outside])
    assert torch.allclose(masked[~outside], free[~outside], atol=1e-6)


@every
def test_gradient_reaches_every_level(name, config, image, generator):
    """What an agent of any level does can be differentiated: the action, or the probabilities of its choices."""
    actions = ACTION_SETS.create(name, **config)
    soft_action = {}
    for level, shape in action_shapes(actions, 2, 32, 40).items():
        if actions.num_choices is None:
            soft_action[level] = torch.rand(shape, generator=generator) - 0.5
        else:
            count, heads, *grid = shape
            soft_action[level] = torch.randn(count, heads, actions.num_choices, *grid,
                                             generator=generator).softmax(dim=2)
        soft_action[level].requires_grad_()
    (actions.apply(image, soft_action) ** 2).sum().backward()
    for level, value in soft_action.items():
        assert torch.isfinite(value.grad).all(), level
        assert (value.grad.abs().flatten(2).amax(dim=2) > 0).all(), level


@every_categorical
def test_certain_probabilities_equal_the_choice(name, config, image, generator):
    """Probability one on a choice is that choice."""
    actions = ACTION_SETS.create(name, **config)
    action = random_action(actions, image, generator)
    certain = {level: F.one_hot(value, actions.num_choices).movedim(-1, 2).float() for level, value in action.items()}
    assert torch.allclose(actions.apply(image, certain), actions.apply(image, action), atol=1e-5)


@every_pointwise
def test_even_actions_do_the_same_at_any_size(name, config, image, generator):
    """The same choice everywhere does the same to a picture enlarged pixel by pixel: actions are spread, not sized."""
    actions = ACTION_SETS.create(name, **config)
    action = {level: value[..., :1, :1].expand_as(value)
              for level, value in random_action(actions, image, generator).items()}
    large = actions.apply(image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), action)
    small = actions.apply(image, action)
    assert torch.allclose(large, small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), atol=1e-5)


@every
def test_levels_are_all_asked_for(name, config, image):
    """An action with a level missing or too many is refused with the names of the levels."""
    actions = ACTION_SETS.create(name, **config)
    neutral = actions.noop(2, 32, 40)
    assert validate_action(actions, neutral, (32, 40)) is neutral
    for wrong in ({}, {**neutral, "pixel": neutral[actions.scopes[0]]}):
        with pytest.raises(UsageError, match=actions.scopes[0]):
            validate_action(actions, wrong, (32, 40))
    bare = neutral[actions.scopes[0]]
    if len(actions.scopes) == 1:
        assert validate_action(actions, bare, (32, 40))[actions.scopes[0]] is bare
    else:
        with pytest.raises(UsageError, match="mapping"):
            validate_action(actions, bare, (32, 40))


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
