"""Training a policy over tools: a run, its scores, resuming; the commands' refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlenhance.agents.dqn import DQNConfig
from rlenhance.agents.vine import VineConfig
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
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
from rlenhance.experiments.tasks.toolchain import ToolchainNetworkConfig as Network
from rlenhance.experiments.tasks.toolchain import ToolchainTrainConfig as Train
from rlenhance.io import Photo, read, write
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, read_config, save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.learning.ops.image import to_tensor
from rlenhance.pipelines import tool_choice
from rlenhance.pipelines.restore import PhotoRestorer
from rlenhance.pipelines.tool_choice import ToolChoice
from rlenhance.tools import toolkit
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


KIT = ("median", "unsharp", "bilateral")


def noisy(height=96, width=96):
    """(H, W, 3) uint8."""
    down, across = np.mgrid[:height, :width]
    clean = 90 + 60 * np.sin(down / 9)[..., None] * np.cos(across / 7)[..., None] + np.zeros(3)
    return (clean + np.random.default_rng(0).normal(0, 12, clean.shape)).clip(0, 255).astype(np.uint8)


def run_of(tmp_path, tools=KIT, learner="dqn", updates=3):
    """A short training run."""
    config = ToolchainConfig(
        Train(learner=learner, out=tmp_path, name="run", updates=updates, batch_size=4, eval_interval=3, val_patches=4,
              device="cpu", progress=False), ToolchainDataConfig(tools=tools, patches=8), Network(horizon=2, hidden=16))
    return train(TOOLCHAIN, config).run


@pytest.mark.parametrize("learner", ["dqn", "a3c"])
def test_a_trained_policy_repairs(learner, tmp_path, monkeypatch, capsys):
    """The command runs it over its kit; behind an open gate the chain of one patch is the policy's own plan."""
    run, pixels = run_of(tmp_path, learner=learner), noisy()
    source = write(pixels, tmp_path / "old.png")
    assert main(["restore", str(source), "--model", str(run), "--budget", "best"]) == 0
    assert "old_restored.png" in capsys.readouterr().out
    policy = load_network(run / "best")
    torch.nn.init.normal_(policy.advantages.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    torch.nn.init.constant_(policy.values.bias, 3.0)  # of values: some tool gains
    monkeypatch.setattr(tool_choice, "_LEAST", 0.0)
    restorer = PhotoRestorer(save_checkpoint(tmp_path / "other" / "best", policy).parent)
    monkeypatch.setattr(ToolChoice, "_least_first", lambda self, gains, quality: 0.0)
    photo, decision = restorer.process(Photo(pixels))
    tools = [tool for name in KIT for tool in toolkit("opencv") if tool.name == name]
    plan = restorer.model.plan(to_tensor(pixels), tools)
    assert decision["chain"] == [name for name, _ in plan] and len(plan) <= 2
    if plan:
        assert np.abs(photo.pixels / 255 - plan[-1][1][0].permute(1, 2, 0).numpy()).max() < 0.6 / 255


def test_scores_are_of_the_step(tmp_path):
    """A policy sees the last tool and the share of its horizon that is left; what brightened is none of its tools."""
    seen = []
    policy = MODELS.create("toolchain_policy", tools=KIT, horizon=3, hidden=8)
    folder = save_checkpoint(tmp_path / "run" / "best", policy).parent
    restorer = PhotoRestorer(folder)
    restorer.network.module.forward = lambda observation: seen.append(observation) or torch.zeros(
        len(observation["image"]), 4)
    patches, kit = np.random.default_rng(0).random((2, 3, 96, 96), dtype=np.float32), restorer._tools
    for done in ([], [restorer._brighten], [restorer._brighten, kit[1]], [kit[0], kit[2]], kit + kit):
        restorer.choice._scores(patches, done)
    assert [round(each["remaining"][0].item(), 3) for each in seen] == [1, 1, 0.667, 0.333, 0]
    assert [each["last_tools"][0, :, 0, 0].tolist().index(1) if each["last_tools"].any() else None
            for each in seen] == [None, None, 1, 2, 2]
    assert restorer.choice.steps == 3 and restorer.with_settings(steps=5).choice.steps == 5
    assert restorer.with_settings(budget="fast").choice.steps == 2


def test_tools_of_a_stranger_are_not_run(tmp_path, monkeypatch, capsys):
    """What a checkpoint or a run names runs nowhere, be it a function or a command, until the user names it."""
    (tmp_path / "brown.py").write_text("from pathlib import Path\nPath('imported').touch()\ndef brown(picture):\n"
                                       "    return picture * 0.9\n")
    monkeypatch.chdir(tmp_path)
    command = f"touch {tmp_path / 'mark'} {{in}} {{out}}"
    source = write(noisy(), tmp_path / "old.png")
    for text in (command, "brown:brown"):
        planner = MODELS.create("toolchain_policy", tools=("median", text), hidden=8)
        folder = save_checkpoint(tmp_path / "stranger" / "best", planner).parent
        with pytest.raises(UsageError, match=r"name each tool that you trust"):
            PhotoRestorer(folder)
        assert main(["restore", str(source), "-m", str(folder)]) == 2 and "(--tool)" in capsys.readouterr().err
    assert not (tmp_path / "mark").exists() and not (tmp_path / "imported").exists()
    assert main(["restore", str(source), "-m", str(folder), "--tool", "brown:brown", "--tool", "median"]) == 0
    assert (tmp_path / "imported").exists() and read(tmp_path / "old_restored.png").pixels.shape == (96, 96, 3)
    run = run_of(tmp_path, ("median", "brown:brown"))
    again = ["--resume", str(run), "--updates", "4", "--no-progress"]
    capsys.readouterr()
    assert train_command(TOOLCHAIN, again) == 2
    assert "--tools median brown:brown" in capsys.readouterr().err
    assert train_command(TOOLCHAIN, [*again, "--tools", "median", "brown:brown"]) == 0
    with pytest.raises(UsageError, match="run folder"):
        train(TOOLCHAIN, replace(ToolchainConfig(), train=Train(resume=run, device="cpu")))
