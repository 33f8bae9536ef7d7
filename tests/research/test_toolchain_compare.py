"""The comparison of toolchains: searches find the best chains, controls learn what tools gain, all rows are there."""

import json
from pathlib import Path

import pytest
import torch

from research.toolchain_compare import GREEDY, TOOLCHAIN_COMPARISON, ToolchainCompareConfig
from research.toolchain_controls import (
    States,
    chain_states,
    cloning,
    fit_planner,
    fit_table,
    gain_states,
    oracle_states,
    plan_chain,
    regression,
)
from research.toolchain_search import best_fixed_chains, best_own_chains, gains_of, run_chain
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.tasks.toolchain_data import Patches
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import MODELS
from rlenhance.tools import Tool
from tests.support.data import make_pairs


def _tool(name, function, cost=0.1):
    return Tool(name, name, lambda picture: function(torch.from_numpy(picture)).numpy(), cost, 0, batched=function)


TOOLS = (_tool("brighter", lambda image: image + 0.1), _tool("darker", lambda image: image - 0.1),
         _tool("nothing", lambda image: image))


def _patches(offsets, side=16):
    """Flat noise-like patches, each too dark or too bright by an offset: the best chain is known."""
    clean = 0.5 + 0.1 * torch.rand(len(offsets), 3, side, side, generator=torch.Generator().manual_seed(0))
    image = clean + torch.tensor(offsets)[:, None, None, None]
    degrees = torch.zeros(len(offsets), 5, dtype=torch.int64)
    return Patches(image, clean, degrees, tuple(str(number) for number in range(len(offsets))), "made")


def test_the_best_fixed_chain_is_found_and_not_made_longer_than_it_helps():
    """All patches are too dark by 0.2: two times brighter; a third tool would not help."""
    patches = _patches([-0.2] * 4)
    found = best_fixed_chains(TOOLS, patches.image, patches.target, 3)
    assert found.chains == ((), (0,), (0, 0), (0, 0)) and list(found.scores) == sorted(found.scores)
    assert found.scores[2] == pytest.approx(
        psnr(run_chain(TOOLS, patches.image, (0, 0)), patches.target).mean().item())


def test_the_oracle_finds_each_patch_its_own_chain():
    """With a beam that holds every chain it equals trying them all; lengths never lose."""
    patches = _patches([-0.2, 0.1, 0.0])
    found = best_own_chains(TOOLS, patches.image, patches.target, 2, 9)
    assert [own[2][0] for own in found] == [(0, 0), (1,), ()]
    assert [len(own) for own in found] == [3, 3, 3]
    for own, image, target in zip(found, patches.image, patches.target, strict=True):
        scores = [psnr(result[None], target[None]).item() for _, result in own]
        assert scores == sorted(scores)
        assert torch.equal(own[2][1], run_chain(TOOLS, image[None], own[2][0])[0])


def test_gains_are_those_of_the_tools():
    """A tool that changes nothing gains nothing; the right one gains, the wrong one loses."""
    patches = _patches([-0.1])
    gains, results = gains_of(TOOLS, patches.image, patches.target)
    assert gains[0, 0] > 10 and gains[0, 1] < 0 and gains[0, 2] == 0
    assert results.shape == (1, 3, 3, 16, 16)


def test_controls_learn_which_tool_helps():
    """Regression of gains and the cloned oracle find the chains of patches whose damage shows; a price stops them."""
    patches = _patches([-0.2, -0.1, 0.1, 0.2] * 6)
    states = gain_states(TOOLS, patches, 2)
    assert states.spectrum.shape[0] == states.label.shape[0] == 2 * len(patches)
    regressed = fit_planner([tool.name for tool in TOOLS], states, regression, updates=150, seed=0, batch_size=32)
    cloned_states = oracle_states(TOOLS, patches, 2, 9)
    assert set(cloned_states.label.tolist()) == {0, 1, 3}
    cloned = fit_planner([tool.name for tool in TOOLS], cloned_states, cloning, updates=150, seed=0, batch_size=32)
    for planner in (regressed, cloned):
        dark, bright = (plan_chain(planner, TOOLS, patches.image[row : row + 1], 1)[0][0] for row in (0, 3))
        assert (dark, bright) == ("brighter", "darker")
    assert plan_chain(regressed, TOOLS, patches.image[:1], 2, price=1e4) == []
    again = fit_planner([tool.name for tool in TOOLS], states, regression, updates=150, seed=0, batch_size=32)
    assert all(torch.equal(one, two) for one, two in zip(regressed.parameters(), again.parameters(), strict=True))


def test_a_regression_learns_what_its_own_chains_meet():
    """The states of a planner's chains begin with the patches, follow its choices, and end where it stops."""
    patches = _patches([-0.2, -0.1, 0.0])
    wanted = {0: 0, 1: 0, 2: len(TOOLS)}  # patch -> what the planner takes

    def planner(observation):
        places = [min(range(3), key=lambda row: (patches.target[row] - image).std().item())
                  for image in observation["image"]]
        return torch.nn.functional.one_hot(torch.tensor([wanted[place] for place in places]), len(TOOLS) + 1)

    met = chain_states(TOOLS, patches, 2, planner)
    assert len(met.label) == 3 + 2
    expected = States.of(patches.image, gains_of(TOOLS, patches.image, patches.target)[0])
    assert torch.allclose(met.spectrum[:3], expected.spectrum) and torch.allclose(met.label[:3], expected.label)
    second = gains_of(TOOLS, patches.image[:2] + 0.1, patches.target[:2])[0]
    assert torch.allclose(met.label[3:], second, atol=1e-3)
    joined = States.join([met, expected])
    assert len(joined.label) == len(joined.spectrum) == 8


def test_the_table_has_a_chain_for_each_estimated_damage():
    """Two kinds of damage that show get chains of their own."""
    patches = _patches([-0.2, 0.2] * 16)
    patches.degrees[::2, 0], patches.degrees[1::2, 0] = 1, 10
    table = fit_table(TOOLS, patches, (), 2, updates=150, width=3)
    assert table.choose(patches.image[:1]) == (0, 0) and table.choose(patches.image[1:2]) == (1, 1)


@pytest.fixture
def kit(tmp_path):
    """A checkpoint of two small tools that change something, and pictures."""
    network = MODELS.create("small_tools", names=("a", "b"), width=8)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.02)
    make_pairs(tmp_path / "pairs", 16, (96, 96))
    return save_checkpoint(tmp_path / "kit", network), tmp_path / "pairs"


def test_the_comparison_has_every_row_and_goes_on(kit, tmp_path, capsys):
    """Chains, the table, controls with seeds and prices, oracles and a network in one pass; nothing is done twice."""
    config = ToolchainCompareConfig(
        data=(kit[1],), weights=kit[0], patches=4, train_patches=(12, 16), rounds=1, updates=3, seeds=2, prices=(5.0,),
        hidden=16, dropout=0.1, levels=("moderate", "mild"), out=tmp_path / "out", models=(f"one pass={kit[0]}",))
    comparison = compare(TOOLCHAIN_COMPARISON, config)
    assert list(comparison.rows) == [
        "input", "random chain", "best fixed chain, 1", "best fixed chain, 2", "best chain by estimated damage",
        "oracle, 1 step", "oracle, 2 steps", GREEDY, f"{GREEDY}, price 5", f"{GREEDY}, 16 patches",
        "regression on its own chains", "oracle cloned", "oracle cloned, 16 patches", "one pass"]
    means = {name: row.mean("moderate", "psnr") for name, row in comparison.rows.items()}
    assert means["oracle, 2 steps"] >= means["oracle, 1 step"] >= means["input"]
    assert all(means["oracle, 2 steps"] >= value - 1e-4 for name, value in means.items()
               if name not in ("one pass",))
    text = (tmp_path / "out/table.md").read_text()
    assert "Share of the way" in text or means["oracle, 2 steps"] == means["best fixed chain, 2"]
    rows = json.loads((tmp_path / "out/table.json").read_text())["rows"]
    details = rows[GREEDY]["conditions"]["moderate"][0]["details"]
    assert set(details) == {"tools", "cost", "different", "commonest", "share"}
    written = Path(tmp_path / "out/scores.json").read_text()
    compare(TOOLCHAIN_COMPARISON, config)
    assert Path(tmp_path / "out/scores.json").read_text() == written


@pytest.mark.parametrize("words, message", [
    ({"levels": ("mixed",)}, "--levels are among"), ({"patches": 0}, "--patches must be at least 1"),
    ({"seeds": 0}, "name another --baseline"), ({"train_patches": (5, 5)}, "--train-patches are different"),
    ({"rounds": -1}, "--rounds must be at least 0")])
def test_settings_without_sense_are_refused(words, message, tmp_path):
    """Before any picture is read."""
    with pytest.raises(UsageError, match=message):
        compare(TOOLCHAIN_COMPARISON, ToolchainCompareConfig(out=tmp_path, **words))


def test_a_policy_over_other_tools_is_refused(kit, tmp_path):
    """A policy chooses among the tools that it was trained with."""
    policy = save_checkpoint(tmp_path / "policy", MODELS.create("tool_gains", tools=("median",)))
    with pytest.raises(UsageError, match="chooses among median"):
        compare(TOOLCHAIN_COMPARISON, ToolchainCompareConfig(data=(kit[1],), weights=kit[0], out=tmp_path / "out",
                                                             models=(str(policy),)))
