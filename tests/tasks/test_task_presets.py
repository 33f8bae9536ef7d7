"""Presets: the recipe of the shipped model is the default, options beat it, and what has no effect is refused."""

import json
from pathlib import Path

import pytest

from rlenhance.core.errors import UnknownName
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.config import differing, leaves
from rlenhance.experiments.core.migrate import load_config
from rlenhance.experiments.core.presets import begin_with
from rlenhance.experiments.tasks.denoise import DENOISE
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_report import LowLightReportConfig
from rlenhance.experiments.tasks.presets import DENOISE_PRESETS, LOWLIGHT_PRESETS, preset_reward, with_words
from rlenhance.hub.shipped import FOLDER, list_models
from rlenhance.learning.hub.checkpoint import load_network, read_config
from rlenhance.learning.rewards import RewardWeights
from rlenhance.pipelines.looks import shipped_presets
from tests.support.training import train_lowlight

pytestmark = pytest.mark.usefixtures("no_curves")

SHIPPED = Path(__file__).parents[2] / "docs/results/shipped"
SMALL = ["--updates", "1", "--batch-size", "2", "--state-size", "16", "--horizon", "2", "--no-progress", "--device",
         "cpu"]


def arguments(run):
    """What a run was made with."""
    return json.loads((run / "config.json").read_text())["arguments"]


def trained(words, tmp_path, pairs, small=SMALL):
    """The settings of a run that a command line begins."""
    words = [*words, *small, "--data", str(pairs), "--out", str(tmp_path / "runs"), "--name", "run"]
    assert train_command(LOWLIGHT, words) == 0
    return arguments(tmp_path / "runs/run")


def test_without_options_the_recipe_of_the_shipped_model_is_trained():
    """Actions, controls, reward and well-exposed pictures of docs/results/shipped/natural.json."""
    old = load_config(LOWLIGHT.Config, json.loads((SHIPPED / "natural.json").read_text()))
    now = LOWLIGHT.Config()
    assert [path for path in differing(old, now) if path.split(".")[0] in ("data", "network")] == [
        "data.data", "data.sample_set"]
    assert old.train.reward == now.train.reward and old.train.learner == now.train.learner
    model = read_config(FOLDER / "natural")["model"]
    made = LOWLIGHT.model(now, None).spec
    assert made["actions"] == model["actions"] and made["preferences"] == {
        name: tuple(levels) for name, levels in model["preferences"].items()}


def test_a_policy_of_the_default_obeys_every_preset(tmp_path, pairs):
    """It has every preference that the shipped presets set."""
    run = train_lowlight(pairs, out=tmp_path, name="run", updates=1, batch_size=2, policy=LOWLIGHT.Config().network).run
    known = set(load_network(run / "best").preferences.ranges)
    assert all(set(preset.settings.preference) <= known for preset in shipped_presets()) and list_models("enhance")


@pytest.mark.parametrize("task, name", [(task, name) for task, presets in (
    (LOWLIGHT, LOWLIGHT_PRESETS), (DENOISE, DENOISE_PRESETS)) for name in presets], ids=lambda value: str(value)[:12])
def test_every_preset_is_a_configuration_and_stands_in_the_help(task, name, capsys):
    """Its settings exist, and help shows them as defaults."""
    config = begin_with(task.Config, name)
    assert config.train.preset == name
    assert set(task.Config.presets[name].settings) <= {path for path, _ in leaves(config)}
    assert train_command(task, ["--preset", name, "--help-all"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert task.Config.presets[name].about in shown and f"default: {config.network.backbone})" in shown
    with pytest.raises(UnknownName, match=f"did you mean {name}"):
        begin_with(task.Config, f"{name}x")


def test_pixelrl_is_the_form_of_the_paper():
    """Nine filters, a convolutional GRU at every step, no estimate, discount 0.95, a reward map of 33 pixels."""
    config = begin_with(DENOISE.Config, "pixelrl")
    policy, a3c = DENOISE.model(config, DENOISE.dataset(config)), config.learners.a3c
    assert len(policy.actions.tools) == 9 and not policy.spec["estimate"] and policy.horizon == 5
    assert policy.backbone.spec["name"] == "gru_fcn" and policy.backbone.spec["memory"] == "every"
    assert (a3c.gamma, a3c.reward_map_kernel, a3c.rollouts_per_image) == (0.95, 33, 1)


def test_a_named_option_beats_the_preset_and_terms_that_are_not_named_keep_its_weight(tmp_path, pairs):
    """Wherever the preset stands on the command line; config.json holds what was meant."""
    stored = trained(["--reward", "color=0.5", "clipping=1", "--preset", "natural"], tmp_path, pairs)
    weights = RewardWeights.parse(stored["train"]["reward"])
    assert (weights["exposure"], weights["contrast"], weights["clipping"], weights["color"]) == (10, 0, 1, 0.5)
    assert stored["train"]["preset"] == "natural" and stored["network"]["controls"] is True


@pytest.mark.parametrize("words, changed", [
    (["--actions", "curve"], {"actions": "curve", "controls": False}),
    (["--preset", "rellie", "--actions", "tone", "--agent-stride", "4"], {
        "actions": "tone", "controls": False, "agent_stride": 4, "curve": "continuous", "momentum": 0.0,
        "global_agent": True}),
])
def test_another_action_set_leaves_out_what_the_preset_says_of_its_own(words, changed, tmp_path, pairs):
    """Only what is named beside it must fit."""
    network = trained(words, tmp_path, pairs)["network"]
    assert {name: network[name] for name in changed} == changed


@pytest.mark.parametrize("words, told", [
    (["--preset", "natual"], "did you mean natural"),
    (["--actions", "curve", "--controls"], "--controls need agents that can follow them: --actions bilateral or tone"),
    (["--momentum", "0.2"], "the action set tone has no momentum: leave it out"),
    (["--no-vary-exposure"], "--controls vary the exposure"),
    (["--no-controls", "--smoothness", "0.1"], "it needs --controls"),
    (["--sample-set", "four"], "--data and --sample-set"),
    (["--patience", "-1"], "--patience must not be negative"),
])
def test_options_without_effect_are_refused(words, told, tmp_path, pairs, capsys):
    """With the way out, before anything is written."""
    words = [*words, "--data", str(pairs), "--out", str(tmp_path / "runs")]
    assert train_command(LOWLIGHT, words) == 2
    assert told in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "runs").exists()


def test_a_resumed_run_keeps_its_preset(tmp_path, pairs, capsys):
    """Another one is refused by name; one of version 0.2, which had none, says so."""
    stored = trained(["--preset", "curve"], tmp_path, pairs)
    run = str(tmp_path / "runs/run")
    assert train_command(LOWLIGHT, ["--resume", run, "--preset", "natural"]) == 2
    assert "leave out" in capsys.readouterr().err
    assert train_command(LOWLIGHT, ["--resume", run, "--updates", "2", "--no-progress", "--device", "cpu"]) == 0
    older = {**stored, "train": {k: v for k, v in stored["train"].items() if k not in ("preset", "patience")},
             "data": {k: v for k, v in stored["data"].items() if k != "sample_set"}}
    config = load_config(LOWLIGHT.Config, {"format": 2, "arguments": older})
    assert (config.train.preset, config.train.patience, config.data.sample_set) == ("", 0, "four")
    assert config.network == load_config(LOWLIGHT.Config, {"format": 2, "arguments": stored}).network


def test_settings_that_an_older_run_does_not_hold_are_those_it_was_made_with():
    """Not the defaults of today."""
    config = load_config(LOWLIGHT.Config, {"arguments": {"train": {"seed": 5}, "data": {}, "network": {}}})
    assert (config.network.actions, config.network.controls, config.train.reward) == ("curve", False, ())
    assert not config.data.train_on_references and config.train.preset == ""
    assert load_config(DENOISE.Config, {"arguments": {"train": {}}}).train.preset == ""


def test_comparisons_and_reports_begin_with_the_same_recipes():
    """Their policies, and the reward that needs no reference, are those that training alone has."""
    for name in LowLightCompareConfig.presets:
        one, compared = begin_with(LOWLIGHT.Config, name), begin_with(LowLightCompareConfig, name)
        told = begin_with(LowLightReportConfig, name).comparison
        assert one.network == compared.network == told.network and one.data == compared.data
        assert one.train.reward == preset_reward(name) and told.preset == name
        assert LOWLIGHT_COMPARISON.of(compared).check() is None


def test_words_of_a_reward_on_top_of_others():
    """A term that is named again has its new weight, in its new place; one named twice is still refused later."""
    assert with_words(("a=1", "b=2"), ("b=3", "c=4")) == ("a=1", "b=3", "c=4")
    assert with_words(("a=1",), ("b=3", "b=4")) == ("a=1", "b=3", "b=4")
