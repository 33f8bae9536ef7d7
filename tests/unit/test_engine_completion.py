"""Completing photographs without torch equals what torch computes."""

import json

import numpy as np
import pytest
import torch

from rlenhance import Completer
from rlenhance.core.errors import UsageError
from rlenhance.engine.completion import ResidualCompletion
from rlenhance.engine.tool_gains import ToolGains
from rlenhance.experiments.laws.law import stir
from rlenhance.experiments.laws.models import make_model
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import locate
from rlenhance.learning.hub.checkpoint import load_model, load_network, save_checkpoint
from rlenhance.learning.hub.torch_network import TorchNetwork, TorchPlanner
from rlenhance.learning.ops.masked_tensors import downscale_masked as reduced_tensors
from rlenhance.ops.masks import MASK_GENERATORS, downscale_masked
from rlenhance.tools import Tool


def masked_planes(height, width, kind="brush", seed=0):
    """A smooth picture, (1, 3, H, W), and a mask, (1, 1, H, W), both float32."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.2, 0.7, width, dtype=np.float32) + np.linspace(0, 0.2, height, dtype=np.float32)[:, None]
    image = np.stack([ramp, ramp[:, ::-1], ramp]) + rng.normal(0, 0.02, (3, height, width)).astype(np.float32)
    return image[None].clip(0, 1), MASK_GENERATORS[kind](height, width, rng)[None, None].astype(np.float32)


@pytest.mark.parametrize("size", [(128, 128), (131, 158), (60, 45), (192, 300)])
def test_the_shipped_network_fills_as_in_torch(size):
    """At its own size, below and above it; other pixels do not change by a bit."""
    engine, theirs = open_network(locate("completer")), TorchNetwork(load_model(locate("completer")))
    assert isinstance(engine, ResidualCompletion) and engine.train_size == theirs.train_size == 128
    image, mask = masked_planes(*size)
    known = image * (1 - mask)
    ours = engine(known, mask)
    assert np.abs(ours - theirs(known, mask)).max() < 0.5 / 255
    assert np.array_equal(ours * (1 - mask), known)


def test_a_run_of_other_widths_needs_no_export(tmp_path):
    """Also one without the mirrored picture; a config that does not fit the weights is refused."""
    network = stir(make_model("prior", widths=(8, 12, 16), blocks=(1, 1, 2), train_size=64, flip_ensemble=False)).eval()
    folder = save_checkpoint(tmp_path / "run", network)
    image, mask = masked_planes(70, 81, "squares")
    ours = open_network(folder)
    assert isinstance(ours, ResidualCompletion) and ours.train_size == 64
    assert np.abs(ours(image, mask) - TorchNetwork(network)(image, mask)).max() < 0.5 / 255
    config = json.loads((folder / "config.json").read_text())
    weights = {name: value.float().numpy() for name, value in network.state_dict().items()}
    for changed in ({"widths": (8, 12, 20)}, {"blocks": (1, 1, 1)}):
        with pytest.raises(UsageError, match="weights and config do not fit together"):
            ResidualCompletion({**config["model"], **changed}, weights)


@pytest.mark.parametrize("given", [None, np.zeros((1, 1, 4, 4)), np.ones((1, 1, 48, 40))])
def test_a_mask_that_does_not_fit_is_refused(given):
    """None, one of another size, and one that leaves nothing."""
    with pytest.raises(UsageError, match="mask"):
        open_network(locate("completer"))(masked_planes(48, 40)[0], given)


def test_masked_pictures_are_reduced_as_in_torch():
    """To sizes that divide and to others."""
    image, mask = masked_planes(60, 90)
    for size in ((30, 45), (31, 44), (60, 90)):
        small, hole = downscale_masked(image[0].transpose(1, 2, 0), mask[0, 0] > 0, size)
        theirs = reduced_tensors(torch.from_numpy(image), torch.from_numpy(mask), size)
        assert np.array_equal(hole, theirs[1][0, 0].numpy() > 0)
        assert np.allclose(small.transpose(2, 0, 1), theirs[0][0].numpy(), atol=1e-6)


def test_a_photograph_is_completed_as_with_torch():
    """The whole command's result with the network alone, at full size, is within a 255th."""
    image, mask = masked_planes(240, 310, "square")
    picture = np.rint(255 * image[0].transpose(1, 2, 0)).astype(np.uint8)
    ours = Completer("completer", texture=0.0)
    theirs = ours.with_settings()
    theirs.network = TorchNetwork(ours.model)
    assert type(ours.network) is ResidualCompletion
    one, other = (completer(picture, mask=mask[0, 0] > 0).astype(int) for completer in (ours, theirs))
    assert np.abs(one - other).max() <= 1


@pytest.fixture
def planes():
    """(N, 3, H, W) float32, one of them grey."""
    planes = np.random.default_rng(0).random((3, 3, 40, 56), dtype=np.float32)
    planes[1] = planes[1, :1]
    return planes


def test_the_planner_is_that_of_torch(planes):
    """Gains and quality of the shipped planner, for pictures in colour and grey ones, and of any size."""
    engine, network = open_network(locate("tool-gains")), load_network(locate("tool-gains"))
    assert isinstance(engine, ToolGains) and engine.tools == network.tools
    for part in (planes, planes[:, :, :9]):
        with torch.no_grad():
            wanted = network.assess(torch.from_numpy(part))
        for ours, theirs in zip(engine.assess(part), wanted, strict=True):
            assert np.abs(ours - theirs.numpy()).max() < 1e-3
        assert np.array_equal(engine.scores(part), engine.assess(part)[0])


def test_a_planner_of_torch_has_the_same_interface(tmp_path, planes):
    """Scores over stopping are those of the network; what was done is told to a policy."""
    gains = stir(make_model("tool_gains", tools=("median", "unsharp"), grey=True))
    wrapped, own = TorchPlanner(gains), open_network(save_checkpoint(tmp_path / "run", gains))
    assert wrapped.predicts and own.predicts and wrapped.horizon is own.horizon is None
    assert np.abs(wrapped.scores(planes, [], 1.0) - own.scores(planes)).max() < 1e-4
    policy = TorchPlanner(stir(make_model("toolchain_policy", tools=("median", "unsharp"))))
    assert not policy.predicts and policy.horizon
    assert np.abs(policy.scores(planes, ["median"], 0.5) - policy.scores(planes, [], 1.0)).max() > 1e-4


def test_weights_that_do_not_fit_are_refused():
    """By the weight's name."""
    with pytest.raises(UsageError, match="the weight mean has the shape none"):
        ToolGains({"name": "tool_gains", "tools": ["median"]}, {})


def test_tools_take_arrays_and_tensors(planes):
    """A tensor's result is a tensor with the same numbers, whatever the gradient."""
    tool = Tool("darker", "made darker", lambda picture: picture / 2, 0.0, 0)
    given = torch.from_numpy(planes).requires_grad_()
    assert np.array_equal(tool.batch(given).numpy(), tool.batch(planes)) and not tool.batch(given).requires_grad
    assert np.array_equal(tool.batch(planes), planes / 2)
