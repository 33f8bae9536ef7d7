"""All steps in one pass give what `apply_action` gives step by step, in tiles and in compiled code."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.core.errors import UsageError
from rlenhance.engine import render as sweeps
from rlenhance.engine.episode import CompactPolicy
from rlenhance.experiments.laws.actions import random_action
from rlenhance.learning.actions import ACTION_SETS, FusedRenderer, apply_action, upsample_agents
from rlenhance.learning.models import GreedyEpisode, make_observation
from rlenhance.learning.ops.image import to_array, to_tensor
from tests.support.networks import CHOICE, make_model, make_policy, stir

SETS = [
    ("tone", {}), ("tone", {"agent_stride": 0}), ("curve", {}), ("curve", {"agent_stride": 0}),
    ("curve", {"channels": "chroma"}), ("curve", {"channels": "coupled", "lead_channel": 2, "momentum": 0.4}),
    ("bilateral", {}), ("bilateral", {"agent_stride": 8, "bands": 5}),
    ("bilateral", {"agent_stride": 8, "gain": 0.25}),
    ("curve", {"kind": "categorical"}), ("curve", {"agent_stride": 8, "global_agent": False}),
]
every_set = pytest.mark.parametrize("name, config", SETS, ids=lambda v: v if isinstance(v, str) else str(v))
needs_compiled = pytest.mark.skipif(sweeps.NATIVE is None, reason="the package was installed without a C compiler")
both_ways = pytest.mark.parametrize("way", ["tiles", pytest.param("compiled", marks=needs_compiled)], indirect=True)
every_size = pytest.mark.parametrize("size", [(67, 131), (64, 64), (33, 600), (400, 35)], ids=str)


@pytest.fixture
def way(request, monkeypatch):
    """The named way, whatever the size of the picture, with tiles and cells small enough to meet their borders."""
    if request.param == "tiles":
        monkeypatch.setattr(sweeps, "NATIVE", None)
    monkeypatch.setattr(sweeps, "_TILE", 1000)
    monkeypatch.setattr(sweeps, "_SEGMENT", 10)
    return request.param


def _episode(name, config, generator, steps=8, count=1):
    actions = ACTION_SETS.create(name, **config)
    small = torch.empty(count, 3, 64, 64)
    return actions, [random_action(actions, small, generator) for _ in range(steps)]


def _step_by_step(actions, image, chosen):
    first = image if actions.needs_initial_image else None
    for action in chosen:
        image = apply_action(actions, image, action, None, first)
    return image


@every_set
@every_size
@both_ways
def test_one_pass_is_step_by_step(name, config, size, way, generator):
    """Random actions on pictures of odd sizes: the same result within 1e-5, in [0, 1], black and white kept."""
    actions, chosen = _episode(name, config, generator, count=2)
    image = torch.rand(2, 3, *size, generator=generator)
    image[:, :, :2], image[:, :, 2:4] = 0, 1
    before, sweep = image.clone(), FusedRenderer(actions, chosen)
    result = sweep.image(image)
    assert torch.allclose(result, _step_by_step(actions, image, chosen), rtol=0, atol=1e-5)
    assert result.min() >= 0 and result.max() <= 1
    assert torch.equal(result[:, :, :4], before[:, :, :4]) and torch.equal(image, before)


@every_set
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("strength", [1.0, 0.4, 0.0])
@both_ways
def test_pixels_are_rounded_results(name, config, dtype, strength, way, generator):
    """8 and 16 bit pictures become what the float result rounds to, at any strength; at 0 not a bit changes."""
    actions, chosen = _episode(name, config, generator)
    top = np.iinfo(dtype).max
    picture = np.random.default_rng(3).integers(0, top, (67, 131, 3), dtype=dtype, endpoint=True)
    picture[:2], picture[2:4] = 0, top
    image = to_tensor(picture)
    wanted = to_array(image + strength * (_step_by_step(actions, image, chosen) - image), dtype)
    result = FusedRenderer(actions, chosen).pixels(np.asfortranarray(picture), strength)
    assert result.dtype == dtype
    most = 2 if name == "bilateral" and dtype == np.uint16 else 1  # the compiled guide reads a table of luminances
    assert np.abs(result.astype(int) - wanted).max() <= most
    assert (result != wanted).mean() < (0.01 if dtype == np.uint8 else 0.2)
    assert np.array_equal(result[:4], picture[:4])
    if strength == 0:
        assert np.array_equal(result, picture)


@both_ways
def test_threads_share_the_rows(way, generator, monkeypatch):
    """Several threads give what one gives."""
    actions, chosen = _episode("tone", {}, generator)
    image = torch.rand(1, 3, 600, 900, generator=generator)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(FusedRenderer(actions, chosen).image(image))
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(*results, rtol=0, atol=1e-6)


@every_set
def test_equal_local_agents_count_as_none(name, config, generator):
    """Where no local agent says anything of its own, one number serves the whole picture."""
    actions, chosen = _episode(name, config, generator)
    if "global" not in actions.scopes:
        return
    still = [{**action, "local": torch.zeros_like(action["local"])} if "local" in action else action
             for action in chosen]
    if actions.num_choices is None:
        assert FusedRenderer(actions, still).renderers[0].handles.shape[-2:] == (1, 1)


@pytest.mark.parametrize("agents, size", [(8, 600), (8, 61), (3, 400), (1, 7), (5, 5)])
def test_axis_lies_as_interpolation_does(agents, size):
    """Positions between agents are those of bilinear interpolation between centres; starts part the pixels."""
    axis = sweeps.AxisWeights.of(size, agents, 20)
    values = torch.rand(agents)
    between = torch.lerp(values[axis.before], values[axis.after], torch.from_numpy(axis.part))
    wanted = F.interpolate(values[None, None, None], (1, size), mode="bilinear", align_corners=False).flatten()
    assert torch.allclose(between, wanted, atol=1e-6)
    assert axis.starts[0] == 0 and axis.starts[-1] == size
    lengths = np.diff(axis.starts)
    assert lengths.min() > 0 and lengths.max() <= 20
    assert all(len(set(axis.before[first:last])) == 1
               for first, last in pairwise(axis.starts))


def test_models_sweep_where_nothing_forbids_it(generator, monkeypatch):
    """One pass without mask and gradient, step by step with either, and on the state's own size."""
    model, swept = GreedyEpisode(stir(make_policy({"agent_stride": 8}))), []
    original = FusedRenderer.image
    monkeypatch.setattr(FusedRenderer, "image", lambda self, image: swept.append(image.shape) or original(self, image))
    image = torch.rand(1, 3, 64, 80, generator=generator)
    actions = model.decide(image)
    with torch.inference_mode():
        model(image)
        assert len(swept) == 1
        model(image, mask=torch.ones(1, 1, 64, 80))
        model(image[..., :16, :16])
    model.render(image, actions).sum().backward()  # the policy's weights want a gradient
    assert len(swept) == 1


@needs_compiled
def test_compiled_code_is_cheap():
    """What the package compiles is what runs: an eighth of a megapixel is bent in one call."""
    tone, calls = ACTION_SETS.create("tone"), []
    sweep = FusedRenderer(tone, [tone.noop(1, 64, 64)] * 2)
    sweep.renderers[0]._run = lambda *words: calls.append(words)
    sweep.pixels(np.zeros((400, 300, 3), np.uint16))
    assert [words[0].__name__ for words in calls] == ["render_words"]


@both_ways
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_result_does_not_depend_on_its_tiles(way, dtype, generator, monkeypatch):
    """Whatever the tiles, the threads, and the blocks of rows: the same pixels, to the last bit."""
    actions, chosen = _episode("tone", {}, generator)
    size = (531, 500, 3) if way == "compiled" else (61, 90, 3)  # more than one thread, and more than one tile
    picture = np.random.default_rng(4).integers(0, np.iinfo(dtype).max, size, dtype=dtype)
    threads, results = torch.get_num_threads(), []
    try:
        for count, tile, segment in ((1, 1 << 20, 512), (2, 1000, 10), (3, 2000, 77)):
            torch.set_num_threads(count)
            monkeypatch.setattr(sweeps, "_TILE", tile)
            monkeypatch.setattr(sweeps, "_SEGMENT", segment)
            results.append(FusedRenderer(actions, chosen).pixels(picture))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("agents, size", [((8, 8), (64, 64)), ((3, 5), (17, 64)), ((1, 7), (9, 70)), ((4, 4), (4, 4))])
def test_spreading_is_the_same_without_gradients(agents, size, generator):
    """The short way of spreading few numbers is bilinear interpolation as well."""
    handles = torch.rand(2, 4, *agents, generator=generator)
    with torch.no_grad():
        short = upsample_agents(handles, size)
    wanted = F.interpolate(handles, size, mode="bilinear", align_corners=False)
    assert torch.allclose(short, wanted, atol=1e-6) and torch.allclose(upsample_agents(handles, size), wanted)


@pytest.mark.parametrize("actions", [{"name": "tone"}, {"name": "tone", "agent_stride": 0}, {"name": "curve"},
                                     {"name": "curve", "channels": "chroma"}], ids=str)
@pytest.mark.parametrize("dilations, stride, state_size", [((1, 2, 3), 8, 64), ((2,), 8, 60), ((1,), 4, 32)], ids=str)
def test_the_quick_way_to_decide_is_the_same(actions, dilations, stride, state_size, generator):
    """What is computed in a shorter way where no gradient is needed comes to the same actions within 1e-5."""
    backbone = {"name": "compact", "width": 16, "stride": stride, "dilations": dilations}
    actions = {"agent_stride": stride, **actions}
    policy = stir(make_model("pixel_policy", actions=actions, backbone=backbone, decision_size=state_size,
                             preferences=CHOICE, auto=("exposure_level",)))
    image = 0.4 * torch.rand(1, 3, 80, 90, generator=generator)
    model = GreedyEpisode(policy)
    for preference in (None, {"exposure_level": 0.6}):
        plain = model.decide(image, preference=preference)
        assert CompactPolicy.supports(policy.spec)
        with torch.inference_mode():
            quick = model.decide(image, preference=preference)
        for one, other in zip(plain, quick, strict=True):
            assert all(torch.allclose(one[level], other[level], rtol=0, atol=1e-5) for level in one)
    assert plain[0][policy.actions.scopes[-1]].abs().max() > 1e-3


@pytest.mark.parametrize("config", [
    {"backbone": {"name": "fcn"}}, {"curve": {"kind": "categorical"}}, {"std_mode": "predicted"}, {"uses_mask": True},
    {"curve": {"agent_stride": 8}}, {"sees_initial_image": True}, {"decision_size": None},
], ids=str)
def test_the_quick_way_knows_its_limits(config):
    """Every other policy is left to torch."""
    assert not CompactPolicy.supports(make_policy(**config).spec)
    assert CompactPolicy.supports(make_policy().spec)


def test_weights_that_do_not_fit_are_named():
    """Weights of another policy never give numbers; the message names the first that does not fit."""
    policy = make_policy()
    weights = {name: value.numpy() for name, value in policy.state_dict().items()}
    CompactPolicy(policy.spec, weights)
    with pytest.raises(UsageError, match=r"backbone\.stem\.weight has the shape none"):
        CompactPolicy(policy.spec, {name: value for name, value in weights.items() if name != "backbone.stem.weight"})
    with pytest.raises(UsageError, match="do not fit together"):
        CompactPolicy(policy.spec, {name: value[..., None] for name, value in weights.items()})


def test_the_greedy_action_needs_no_values(generator):
    """`act` is the mode of the distribution."""
    for curve in ({}, {"kind": "categorical"}):
        policy = stir(make_policy(curve))
        observation = make_observation(torch.rand(2, 3, 16, 16, generator=generator), 1.0,
                                       policy.preferences.encode(None, 2))
        action, _ = policy.act(observation)
        mode = policy(observation)[0].mode()
        assert all(torch.equal(action[level], mode[level]) for level in mode)
