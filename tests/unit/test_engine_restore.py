"""What `rlenhance restore` computes without torch equals what torch computes."""

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.engine.tool_gains import ToolGains
from rlenhance.experiments.laws.law import stir
from rlenhance.experiments.laws.models import make_model
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import locate
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.hub.torch_network import TorchPlanner
from rlenhance.tools import Tool


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
