"""Messages lead to what works: the command that fits a network, and controls that change something."""

import shlex

import numpy as np
import pytest
import torch

from rlenhance.cli.learn import fine_tuning
from rlenhance.cli.main import main as command
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.collapse import collapse_warning, share_metrics
from rlenhance.experiments.scripts import package_model
from rlenhance.experiments.tasks.controllability import without_effect
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate
from rlenhance.hub.shipped import list_models
from rlenhance.io import write
from rlenhance.learning.data import ImageCache, load_split, sample_photographs
from rlenhance.learning.hub.checkpoint import load_model, save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.learning.rewards import RewardWeights
from rlenhance.web.model_catalog import choices
from tests.support.networks import make_model, make_tone, stir

pytestmark = pytest.mark.usefixtures("no_curves")

SMALL = {"width": 4, "generator_width": 4, "blocks": 1}


@pytest.fixture
def dark_file(tmp_path, monkeypatch):
    """A dark photograph in the folder one stands in."""
    monkeypatch.chdir(tmp_path)
    return write(np.random.default_rng(0).integers(0, 60, (40, 56, 3), dtype=np.uint8), tmp_path / "night.png")


@pytest.mark.parametrize("model", ["natural", "balanced"])
def test_the_training_that_learn_offers_begins(pairs, tmp_path, model):
    """From thirty edits on; of the reward, the distance from the edits and the small costs of actions are left."""
    words = shlex.split(fine_tuning(model, 30).splitlines()[1])
    assert words[:3] == ["python", "-m", "rlenhance.experiments.lol_train"]
    words[words.index("pairs")] = str(pairs)
    small = ["--out", str(tmp_path), "--updates", "1", "--batch-size", "2", "--no-progress", "--device", "cpu"]
    assert train_command(LOWLIGHT, [*words[3:], *small]) == 0
    kept = RewardWeights.parse(read_object(tmp_path / "my-look/config.json")["arguments"]["train"]["reward"])
    assert {name for name in kept if kept[name]} == {"squared_error", "effort", "steadiness"}


@pytest.mark.parametrize("network, said", [
    (lambda: make_model("gated_pixelrnn"), "python -m rlenhance.experiments.complete_compare --data DIR --models run"),
    (lambda: MODELS.create("combined", scale=4, **SMALL), "rlenhance upscale DIR -o OUT --model run"),
])
def test_evaluate_names_the_command_that_scores_the_network(dark_file, pairs, network, said):
    """A network that fills holes or enlarges is not scored as one that enhances."""
    save_checkpoint(dark_file.parent / "run", network())
    with pytest.raises(UsageError, match="this command scores enhanced pictures") as error:
        evaluate(EvaluateConfig(dark_file.parent / "run", data=pairs, split="val"))
    assert said.replace("run", str(dark_file.parent / "run")) in str(error.value)


@pytest.mark.parametrize("exposure, said", [
    (True, "a model to enhance (its scale is 1), not to upscale: rlenhance enhance is the command for it"),
    (False, "rlenhance denoise is the command for it, or rlenhance enhance --denoiser run behind another"),
])
def test_upscale_of_a_network_of_scale_one_names_its_command(dark_file, capsys, exposure, said):
    """By what the network is for; the command that is named takes it."""
    save_checkpoint(dark_file.parent / "run", MODELS.create("combined", exposure=exposure, **SMALL))
    assert command(["upscale", "night.png", "--model", "run"]) == 2
    assert said in capsys.readouterr().err
    assert command(["enhance" if exposure else "denoise", "night.png", "--model", "run"]) == 0
    assert exposure or command(["enhance", "night.png", "--denoiser", "run"]) == 0


def test_the_alarm_of_a_constant_has_no_number_that_was_not_measured():
    """A policy over filters has no tone curve to be told from."""
    found = collapse_warning(share_metrics(torch.tensor([0.999, 0.001])))
    assert "99.9% of the agents take one action" in found and "dB" not in found and "45" not in found


def test_a_control_that_changes_nothing_is_named(dark_file, capsys):
    """A note with the flag and the models that follow it; where it does something, none."""
    assert command(["enhance", "night.png", "--smoothness", "1"]) == 0
    said = capsys.readouterr().err
    assert "note: --smoothness changes nothing that shows with balanced; with --model relight it does" in said
    assert command(["enhance", "night.png", "--model", "relight", "--smoothness", "1", "-o", "x.png"]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_control_that_changes_nothing_is_not_offered(capsys):
    """Neither by the list of models nor by the page."""
    assert command(["models", "--purpose", "enhance"]) == 0
    lines = {line.split(" ")[0].rstrip(":"): line for line in capsys.readouterr().out.splitlines() if line[0] != " "}
    page = {choice.model: choice.ranges for choice in choices(None, None).values()}
    for name, follows in (("natural", False), ("relight", True)):
        assert ("--smoothness" in lines[name]) == follows == ("smoothness" in page[name])
        assert "--color" in lines[name] and "color" in page[name]


def test_shipped_models_say_which_controls_change_nothing():
    """What their configs say is what is measured."""
    pictures = load_split(sample_photographs().val[:3], ImageCache(0), side=64)
    for model in list_models("enhance"):
        if model.info.preferences:
            assert tuple(without_effect(load_model(model.name), pictures)) == model.info.without_effect, model.name


def test_packaging_measures_it():
    """A policy whose local agents do nothing has no use for smoothness; one whose agents act has."""
    assert "smoothness" in package_model.facts(make_tone())["without_effect"]
    assert "smoothness" not in package_model.facts(stir(make_tone(), 0.3)).get("without_effect", [])


def test_the_training_that_enhance_names_makes_a_policy_that_takes_weights(dark_file, pairs, capsys):
    """The command of the message trains, and its run follows --reward at use time."""
    save_checkpoint(dark_file.parent / "rellie", MODELS.create("rellie", width=4, horizon=2))
    weights = ["--reward", "exposure=1.2", "color=0.5"]
    assert command(["enhance", "night.png", "--model", "rellie", *weights]) == 2
    line = capsys.readouterr().err.split("python -m rlenhance.experiments.lol_train ")[1].partition(";")[0]
    assert line.split() == weights
    words = [*line.split(), "--data", str(pairs), "--name", "own", "--updates", "1", "--batch-size", "2",
             "--state-size", "16", "--horizon", "2", "--no-progress", "--device", "cpu"]
    assert train_command(LOWLIGHT, words) == 0
    assert command(["enhance", "night.png", "--model", "runs/lol/own", *weights]) == 0
    assert "exposure 1.2 -> --exposure-shift +0.20" in capsys.readouterr().out
