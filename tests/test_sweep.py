"""All steps in one pass give what `advance` gives step by step, in tiles and, where it is installed, in the kernel."""

import importlib.util
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.actions import ACTION_SETS, Sweep, advance, spread
from rlenhance.actions import sweep as sweeps
from rlenhance.actions.sweep import KERNEL, Kernel
from rlenhance.images import to_array, to_tensor
from rlenhance.models import UnrolledPolicy, observe
from tests.test_actions import random_action
from tests.test_models import make_policy, stir

INSTALLED = importlib.util.find_spec("numba") is not None
SETS = [
    ("tone", {}), ("tone", {"agent_stride": 0}), ("curve", {}), ("curve", {"agent_stride": 0}),
    ("curve", {"channels": "chroma"}), ("curve", {"channels": "coupled", "lead": 2, "momentum": 0.4}),
    ("curve", {"kind": "categorical"}), ("curve", {"agent_stride": 8, "picture_agent": False}),
]
every_set = pytest.mark.parametrize("name, config", SETS, ids=lambda v: v if isinstance(v, str) else str(v))
both_ways = pytest.mark.parametrize("way", ["tiles", "kernel"] if INSTALLED else ["tiles"], indirect=True)
every_size = pytest.mark.parametrize("size", [(67, 131), (64, 64), (33, 600), (400, 35)], ids=str)


@pytest.fixture
def way(request, monkeypatch):
    """The named way, whatever the size of the picture, with tiles and cells small enough to meet their borders."""
    price = 0 if request.param == "kernel" else 10**12
    monkeypatch.setattr(sweeps, "KERNEL", Kernel(price, price))
    monkeypatch.setattr(sweeps, "_TILE", 1000)
    monkeypatch.setattr(sweeps, "_SEGMENT", 10)
    return request.param


def _episode(name, config, generator, steps=8, count=1):
    actions = ACTION_SETS.create(name, **config)
    small = torch.empty(count, 3, 64, 64)
    return actions, [random_action(actions, small, generator) for _ in range(steps)]


def _step_by_step(actions, image, chosen):
    for action in chosen:
        image = advance(actions, image, action)
    return image


@every_set
@every_size
@both_ways
def test_one_pass_is_step_by_step(name, config, size, way, generator):
    """Random actions on pictures of odd sizes: the same result within 1e-5, in [0, 1], black and white kept."""
    actions, chosen = _episode(name, config, generator, count=2)
    image = torch.rand(2, 3, *size, generator=generator)
    image[:, :, :2], image[:, :, 2:4] = 0, 1
    before, sweep = image.clone(), Sweep(actions, chosen)
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
    result = Sweep(actions, chosen).pixels(np.asfortranarray(picture), strength)
    assert result.dtype == dtype
    assert np.abs(result.astype(int) - wanted).max() <= 1
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
            results.append(Sweep(actions, chosen).image(image))
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(*results, rtol=0, atol=1e-6)


@every_set
def test_equal_local_agents_count_as_none(name, config, generator):
    """Where no local agent says anything of its own, one number serves the whole picture."""
    actions, chosen = _episode(name, config, generator)
    if "picture" not in actions.levels:
        return
    still = [{**action, "local": torch.zeros_like(action["local"])} if "local" in action else action
             for action in chosen]
    if actions.choices is None:
        assert Sweep(actions, still).handles.shape[-2:] == (1, 1)


@pytest.mark.parametrize("agents, size", [(8, 600), (8, 61), (3, 400), (1, 7), (5, 5)])
def test_axis_lies_as_interpolation_does(agents, size):
    """Positions between agents are those of bilinear interpolation between centres; starts part the pixels."""
    axis = sweeps.Axis.of(size, agents, 20)
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
    model, swept = UnrolledPolicy(stir(make_policy({"agent_stride": 8}))), []
    original = Sweep.image
    monkeypatch.setattr(Sweep, "image", lambda self, image: swept.append(image.shape) or original(self, image))
    image = torch.rand(1, 3, 64, 80, generator=generator)
    actions = model.decide(image)
    with torch.inference_mode():
        model(image)
        assert len(swept) == 1
        model(image, mask=torch.ones(1, 1, 64, 80))
        model(image[..., :16, :16])
    model.render(image, actions).sum().backward()  # the policy's weights want a gradient
    assert len(swept) == 1


def test_kernel_waits_for_work(monkeypatch):
    """It is loaded or compiled once the pixels repay it, and never where it is not installed."""
    kernel = Kernel(load=100, build=1000)
    monkeypatch.setattr(sweeps.importlib, "import_module", lambda name: pytest.fail("loaded"))
    assert kernel.worth(99, "sweep_pixels") is None

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(sweeps.importlib, "import_module", missing)
    assert kernel.worth(10_000, "sweep_pixels") is None
    assert KERNEL.load < KERNEL.build


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="the extra `fast` is not installed")
def test_kernel_without_a_folder_to_keep_it(tmp_path):
    """Where compiled code cannot be kept, it is compiled for the process and works."""
    program = ("import sys, numpy as np\n"
               "from numba.core.dispatcher import Dispatcher\n"
               "def refuse(self):\n"
               "    raise RuntimeError('cannot cache function: no locator available')\n"
               "Dispatcher.enable_caching = refuse\n"
               "from rlenhance.actions import ACTION_SETS, sweep\n"
               "sweep.KERNEL.build = 0\n"
               "tone = ACTION_SETS.create('tone')\n"
               "picture = np.full((64, 64, 3), 90, np.uint8)\n"
               "result = sweep.Sweep(tone, [tone.neutral(1, 64, 64)] * 2).pixels(picture)\n"
               "sys.exit(not (result == picture).all() or not sweep.KERNEL._ready)")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("agents, size", [((8, 8), (64, 64)), ((3, 5), (17, 64)), ((1, 7), (9, 70)), ((4, 4), (4, 4))])
def test_spreading_is_the_same_without_gradients(agents, size, generator):
    """The short way of spreading few numbers is bilinear interpolation as well."""
    handles = torch.rand(2, 4, *agents, generator=generator)
    with torch.no_grad():
        short = spread(handles, size)
    wanted = F.interpolate(handles, size, mode="bilinear", align_corners=False)
    assert torch.allclose(short, wanted, atol=1e-6) and torch.allclose(spread(handles, size), wanted)


def test_deciding_is_the_same_without_gradients(generator):
    """What is computed in a shorter way where no gradient is needed comes to the same actions."""
    backbone = {"name": "compact", "width": 16, "stride": 8, "dilations": (1, 2, 3)}
    policy = stir(make_policy({"agent_stride": 8}, backbone=backbone, state_size=64))
    image = torch.rand(1, 3, 80, 90, generator=generator)
    plain = UnrolledPolicy(policy).decide(image)
    with torch.inference_mode():
        short = UnrolledPolicy(policy).decide(image)
    for one, other in zip(plain, short, strict=True):
        assert all(torch.allclose(one[level], other[level], atol=1e-5) for level in one)
        assert one["local"].std() > 1e-3


def test_the_greedy_action_needs_no_values(generator):
    """`act` is the mode of the distribution."""
    for curve in ({}, {"kind": "categorical"}):
        policy = stir(make_policy(curve))
        observation = observe(torch.rand(2, 3, 16, 16, generator=generator), 1.0, policy.preferences.encode(None, 2))
        action, _ = policy.act(observation)
        mode = policy(observation)[0].mode()
        assert all(torch.equal(action[level], mode[level]) for level in mode)
