"""The tools' own small networks: identity at the start, one checkpoint, damage by name; they learn, and resume."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rlenhance.agents.tools_learner import ToolsConfig, ToolsLearner
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.clean_pictures import load_clean
from rlenhance.experiments.tasks.small_tools import (
    BLIND,
    DEGREES,
    SMALL_TOOLS,
    ToolsNetworkConfig,
    ToolsRunConfig,
    ToolsTrainConfig,
    make_batch,
    tool_degrees,
    validate,
)
from rlenhance.experiments.tasks.toolchain_data import draw_patches
from rlenhance.learning.data import Batch
from rlenhance.learning.data.mixed_damage import SEVERITY
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.models import MODELS, TOOL_NAMES
from tests.support.data import make_pairs

NAMES = ("deblur-strong", "denoise-strong")


def _tools(**settings):
    torch.manual_seed(0)
    return MODELS.create("small_tools", **{"names": NAMES, "width": 8, **settings})


def _clean(count, side=32):
    waves = torch.arange(side * side * 3 * count).reshape(count, 3, side, side) * 0.013
    return 0.5 + 0.4 * waves.sin()


def test_fresh_tools_change_nothing_and_are_small():
    """Tools begin as the identity, for any size; a shipped tool has at most 25 thousand parameters."""
    network, image = _tools().eval(), torch.rand(2, 3, 17, 22)
    assert all(torch.equal(network.apply_tool(name, image), image) for name in NAMES)
    whole = MODELS.create("small_tools")
    assert whole.names == TOOL_NAMES
    assert sum(p.numel() for p in whole.tools[TOOL_NAMES[0]].parameters()) <= 25_000


def test_a_tool_sees_no_further_than_it_says():
    """A change of one pixel moves no pixel beyond the radius, and the chain is its tools one after the other."""
    network = _tools().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    image, other = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.5)
    other[..., 31, 32] = 0.9
    rows = (network.tools[NAMES[0]](image) - network.tools[NAMES[0]](other)).abs().amax(dim=(0, 1, 3)).nonzero()
    assert 0 < (rows - 31).abs().max() <= network.tool_radius
    by_hand = network.apply_tool(NAMES[1], network.apply_tool(NAMES[0], image))
    assert torch.equal(network(image), by_hand)
    assert torch.equal(network(image, preference={"tool": 1}), network.apply_tool(NAMES[1], image))


@pytest.mark.parametrize("settings", [{"names": ()}, {"chain": ("sharpen",)}])
def test_tools_that_do_not_exist_are_refused(settings):
    """No tools, or a chain of others."""
    with pytest.raises(UsageError, match="names must hold"):
        _tools(**settings)


def test_each_tool_learns_on_its_own_damage():
    """Degrees lie in the tool's range, with small traces of the others; the blind tool gets the whole level."""
    rng = np.random.default_rng(0)
    for name, ranges in DEGREES.items():
        degrees = tool_degrees(name, 200, "moderate", rng)
        for column, (least, most) in enumerate(ranges):
            drawn = degrees[:, column]
            assert (drawn >= least).all() and drawn.max() <= (most or 2)
        assert not degrees[:, 3:].any()
    low, high = SEVERITY["severe"]
    severity = tool_degrees(BLIND, 50, "severe", rng)[:, :3].sum(axis=1) - 2
    assert low <= severity.min() and severity.max() <= high


def test_tools_learn_and_chains_teach_the_best_tool():
    """Forty steps raise the PSNR of every tool on its crops; the joint part has a loss of its own."""
    network = _tools()
    batch = make_batch(_clean(24), NAMES, "moderate", np.random.default_rng(0))
    before = validate(network, batch)
    learner = ToolsLearner(network, ToolsConfig(joint_from=0.5, ema_decay=0.0))
    log = [learner.step(batch, step / 40) for step in range(40)]
    after = validate(learner.network, batch)
    assert all(after[f"val/psnr/{name}"] > before[f"val/psnr/{name}"] + 0.1 for name in NAMES)
    assert after["val/oracle"] > before["val/oracle"]
    assert ["loss/chains" in entry for entry in log] == [False] * 20 + [True] * 20


def test_a_batch_for_other_tools_is_refused():
    """Crops come in equal parts for each tool and the chains, with references."""
    learner = ToolsLearner(_tools())
    for batch in (Batch(_clean(4), _clean(4)), Batch(_clean(3))):
        with pytest.raises(UsageError, match="tools learn from crops"):
            learner.step(batch)


def test_a_run_trains_and_goes_on(tmp_path):
    """A run leaves a checkpoint with all its tools, and goes on from where it ended; unknown tools are refused."""
    def config(**words):
        return ToolsRunConfig(ToolsTrainConfig(out=tmp_path, name="run", batch_size=2, eval_interval=1, progress=False,
                                               **words),
                              network=ToolsNetworkConfig(("denoise-weak", BLIND), 8))

    train(SMALL_TOOLS, config(updates=1))
    assert load_network(tmp_path / "run/best").names == ("denoise-weak", BLIND)
    train(SMALL_TOOLS, config(updates=2, resume=tmp_path / "run"))
    assert (tmp_path / "run/metrics.csv").read_text().count("\n2,") == 1
    with pytest.raises(UsageError, match="--tools are among"):
        SMALL_TOOLS.dataset(ToolsRunConfig(network=ToolsNetworkConfig(("polish",))))


def test_patches_are_the_same_at_every_call_and_of_their_split(tmp_path):
    """Held-out patches do not depend on the seed; training patches do. More patches begin with the same ones."""
    make_pairs(tmp_path / "pairs", 14)
    data = load_clean([Path(tmp_path / "pairs")])
    few, many = (draw_patches(data, "test", count, "mild", seed, 24) for count, seed in ((3, 0), (5, 7)))
    assert torch.equal(few.image, many.image[:3]) and few.ids == many.ids[:3]
    assert set(many.pictures) <= {example.scene for example in data.splits.test}
    own, other = (draw_patches(data, "train", 2, "mild", seed, 24) for seed in (0, 1))
    assert not torch.equal(own.image, other.image) and own.image.shape == (2, 3, 24, 24)
    with pytest.raises(UsageError, match="at least 1"):
        draw_patches(data, "test", 0, "mild")
