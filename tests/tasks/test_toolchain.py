"""Training a policy over tools: a run, its scores, resuming; the commands' refusals."""

import json
from dataclasses import replace

import pytest
import torch

from rlenhance.agents.dqn import DQNConfig
from rlenhance.agents.vine import VineConfig
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.toolchain import (
    TOOLCHAIN,
    ToolchainConfig,
    ToolchainDataConfig,
    ToolchainNetworkConfig,
    ToolchainTrainConfig,
    open_toolchain,
    run_chains,
)
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, read_config
from tests.support.training import resume


def small(tmp_path, learner="dqn", **network):
    """A run of two updates."""
    made = ToolchainConfig(
        ToolchainTrainConfig(learner=learner, out=tmp_path, name="run", updates=2, batch_size=4, eval_interval=1,
                             val_patches=4, device="cpu", progress=False),
        ToolchainDataConfig(tools=("median", "unsharp", "bilateral"), patches=8),
        ToolchainNetworkConfig(**{"horizon": 2, "hidden": 16, **network}))
    return replace(made, learners=replace(made.learners, dqn=DQNConfig(gradient_steps=2, states=8),
                                           vine=VineConfig(gradient_steps=2, states=8)))


@pytest.mark.parametrize("learner, network", [("dqn", {"price": 0.1}), ("a3c", {"regions": 2}),
                                              ("vine", {"price_range": (0.0, 0.1, 1.0), "budget": 3.0})])
def test_a_run_holds_a_policy_that_plans(learner, network, tmp_path, capsys):
    """Its best checkpoint knows the tools; its scores are what its chains come to; it goes on."""
    result = train(TOOLCHAIN, small(tmp_path, learner, **network))
    told = capsys.readouterr().out
    assert ("the best tool for each" in told) == ("regions" not in network) and "s per megapixel" in told
    scores, policy = result.scores[learner], load_network(result.run / "best")
    assert policy.tools == ("median", "unsharp", "bilateral") and policy.in_decibels == (learner == "dqn")
    assert json.loads((result.run / "config.json").read_text())["task"] == "toolchain"
    data = open_toolchain(small(tmp_path, learner, **network))
    batch = Batch(data.validation.image, data.validation.target)
    chains = run_chains(policy, data.env, batch)
    assert chains.cost.mean().item() == pytest.approx(scores["val/cost"], abs=1e-6)
    assert chains.gain.mean().item() == pytest.approx(scores["val/score_gain"], abs=1e-4)
    paid = 0.1 * scores["val/cost"] * (learner != "a3c")
    assert scores["val/return"] == pytest.approx(scores["val/score_gain"] - paid, abs=1e-4)
    assert resume(TOOLCHAIN, result.run, updates=3).fitted.updates == 3
    assert read_config(result.run / "best")["purpose"] == "restore"


def test_patches_are_drawn_in_passes(tmp_path):
    """A pass visits every patch once; the draw depends on its number alone."""
    source = open_toolchain(small(tmp_path)).source
    first = torch.cat([source.batch(step, 4).image for step in range(2)])
    assert len({each.numpy().tobytes() for each in first}) == 8
    assert torch.equal(source.batch(1, 4).image, first[4:])
    assert torch.equal(source.batch(1, 4, slice(1)).image, first[4:5])
    assert not torch.equal(source.with_seed(5).batch(0, 4).image, first[:4])


def test_words_that_cannot_be_used_are_refused(tmp_path, capsys):
    """In one line, with status 2."""
    for words, text in ((["--tools", "magic"], "magic"), (["--price-range", "0", "1"], "lowest, default and highest"),
                        (["--tools", "rl-restore"], "not shipped"), (["--regions", "2"], "use a3c")):
        assert train_command(TOOLCHAIN, [*words, "--out", str(tmp_path), "--patches", "2", "--no-progress"]) == 2
        assert text in capsys.readouterr().err
