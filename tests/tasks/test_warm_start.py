"""The two PixelRNNs and MRPNet under policies: features of their own runs, heads that start neutral."""

import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlenhance.agents import A3C
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.backbones import backbone_spec, backbone_words
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.completion import COMPLETION
from rlenhance.experiments.tasks.completion_network import CompletionNetworkConfig, begin_with_run, make_network
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig, make_policy
from rlenhance.io import write
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.models import MODELS, build_model, warm_start
from rlenhance.learning.models.completion_policy import completion_input
from rlenhance.learning.models.policy import make_observation
from rlenhance.learning.models.warm_start import backbone_recipe
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.ops.masked_tensors import mask_out
from rlenhance.learning.rewards import RewardWeights
from tests.support.networks import stir

pytestmark = pytest.mark.usefixtures("no_curves")

#: Networks of network_train, none of the shape that is the default, and as published.
RUNS = {
    "gated": ("gated_pixelrnn", {"width": 8, "dilations": (1, 1, 1)}),
    "gated-published": ("gated_pixelrnn", {"width": 8, "dilations": (1, 1, 1), "batch_norm": True}),
    "convlstm": ("convlstm_autoencoder", {"widths": (8, 8, 12), "looks": 2}),
    "convlstm-published": ("convlstm_autoencoder", {"widths": (8, 8, 8), "looks": 1, "skips": False,
                                                    "sees_mask": False}),
    "mrpnet": ("combined", {"width": 12, "generator_width": 8, "blocks": 1}),
    "convlstm-enhancing": ("picture_to_picture", {"network": {"name": "convlstm_autoencoder", "widths": (8, 8, 8)}}),
}
every_run = pytest.mark.parametrize("run", list(RUNS))


def made(run):
    """A run's network, with weights that are all at work."""
    torch.manual_seed(1)
    name, config = RUNS[run]
    return stir(MODELS.create(name, **config)).eval()


@pytest.fixture
def folder(tmp_path):
    """name -> the folder of that run."""
    return lambda run: save_checkpoint(tmp_path / f"restore-{run}/best", made(run)).parent


@pytest.fixture
def beds(tmp_path):
    """Six good pictures of 64x64."""
    rng = np.random.default_rng(0)
    for index in range(6):
        coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        write(np.kron(coarse, np.ones((8, 8, 1), np.uint8)), tmp_path / f"beds/{index}.png")
    return tmp_path / "beds"


def small(run, settings):
    """The settings of a network with the backbone of a run."""
    recipe = backbone_recipe(made(run).backbone)
    return replace(settings, backbone=recipe["name"], backbone_args=backbone_words(recipe))


def own_features(network, image, mask):
    """What the run's head sees of a picture."""
    planes = [image] if network.backbone.spec["channels"] == 3 else [image, mask]
    return network.backbone(torch.cat(planes, dim=1))[0]


@every_run
def test_enhancement_begins_with_the_features_and_a_neutral_policy(run, image):
    """The features are those of the picture without a hole, whatever is asked for and however many steps remain; the
    policy acts as a new one: alike in every picture, and at every place."""
    source, config = made(run), small(run, PolicyConfig(state_size=16, horizon=2))
    policy = make_policy(config, RewardWeights.parse(("exposure=10",))).eval()
    observation = make_observation(image, 0.4, torch.full((2, 6), 0.7))
    before, action = build_model(policy)(image), policy.act(observation)[0]
    assert all((value == value[:1, :, :1, :1]).all() for value in action.values())
    warm_start(policy, source)
    hole = image.new_zeros(2, 1, *image.shape[-2:])
    features, _ = policy.backbone(image, policy.global_features(observation))
    assert torch.allclose(features, own_features(source, image, hole), atol=1e-5)
    assert torch.equal(build_model(policy)(image), before)


@every_run
def test_completion_begins_with_the_features_and_the_prior(run, image, folder):
    """The features are those of picture and mask, also after the picture has changed; the prior's picture stays."""
    source, hole = load_network(folder(run)), torch.zeros(2, 1, 32, 40)
    hole[:, :, 8:20, 10:26] = 1
    policy = make_network(small(run, CompletionNetworkConfig(horizon=2)), A3C, 32).eval()
    begin_with_run(policy, folder(run))
    start = policy.prefill(image, hole)
    features, _ = policy.backbone(completion_input(image, hole, start), torch.full((2, 1), 0.4))
    seen = 0 * hole if run in ("convlstm-published", "convlstm-enhancing") else hole
    assert torch.allclose(features, own_features(source, image, seen), atol=1e-5)
    assert torch.equal(build_model(policy)(mask_out(image, hole), hole), policy.prefill(mask_out(image, hole), hole))


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in ("pixelrnn",)])
def test_completion_takes_every_backbone_without_a_memory(backbone, image):
    """Each of them fills pictures of any size in the end; one with a memory is refused by its name."""
    hole = torch.zeros(2, 1, 32, 40)
    hole[:, :, 5:19, 10:27] = 1
    policy = stir(make_network(CompletionNetworkConfig(backbone=backbone, horizon=2, strides=(2,)), A3C, 32)).eval()
    filled = build_model(policy)(mask_out(image, hole), hole)
    assert torch.isfinite(filled).all() and torch.equal(filled * (1 - hole), image * (1 - hole))
    with pytest.raises(UsageError, match="pixelrnn carries a memory"):
        make_network(CompletionNetworkConfig(backbone="pixelrnn"), A3C, 32)
    with pytest.raises(UsageError, match="--widths are those of gru_unet"):
        make_network(CompletionNetworkConfig(backbone="mrpnet", widths=(8, 8)), A3C, 32)


def test_what_the_policy_cannot_see_is_refused():
    """A supervised network that was conditioned on more than the policy sees is no warm start for it."""
    policy = make_network(CompletionNetworkConfig(backbone="mrpnet"), A3C, 32)
    with pytest.raises(UsageError, match="the supervised run also sees statistics"):
        warm_start(policy, MODELS.create("restorer", backbone={"name": "mrpnet"}))
    noisy = MODELS.create("restorer", backbone={"name": "mrpnet"}, noise_conditioned=True)
    with pytest.raises(UsageError, match="the supervised run also sees noise"):
        warm_start(make_policy(PolicyConfig(backbone="mrpnet"), RewardWeights()), noisy)


trained = pytest.mark.parametrize("run", [
    pytest.param(name, marks=[pytest.mark.slow] if "-" in name or name == "convlstm" else []) for name in RUNS])
COMMON = ["--device", "cpu", "--no-progress", "--batch-size", "2", "--eval-interval", "1", "--horizon", "1"]


@trained
def test_lol_train_takes_the_runs_own_shape(run, folder, pairs, tmp_path, capsys):
    """No further option is needed; the run goes on without the first one; it enhances, and is exported."""
    source, words = folder(run), ["--data", str(pairs), "--out", str(tmp_path), "--name", "warm", *COMMON,
                                  "--state-size", "8", "--a3c.rollouts-per-image", "2"]
    assert train_command(LOWLIGHT, [*words, "--updates", "1", "--warm-start", str(source)]) == 0, capsys.readouterr()
    network, stored = made(run), json.loads((tmp_path / "warm/config.json").read_text())
    assert stored["arguments"]["network"]["backbone"] == network.backbone.spec["name"]
    shutil.rmtree(source)
    assert train_command(LOWLIGHT, ["--resume", str(tmp_path / "warm"), "--updates", "2"]) == 0, capsys.readouterr()
    photo = write(np.full((40, 60, 3), 40, np.uint8), tmp_path / "dark.png")
    assert main(["enhance", str(photo), "-o", str(tmp_path / "bright.png"), "--model", str(tmp_path / "warm")]) == 0
    if run == "gated" and all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")):
        assert main(["export", "--onnx", str(tmp_path / "m.onnx"), "--model", str(tmp_path / "warm")]) == 0


@trained
def test_complete_train_takes_the_runs_own_shape(run, folder, beds, tmp_path, capsys):
    """As above, for holes."""
    source, words = folder(run), ["--data", str(beds), "--out", str(tmp_path), "--name", "warm", *COMMON,
                                  "--size", "32", "--window", "24", "--val-images", "1"]
    assert train_command(COMPLETION, [*words, "--updates", "1", "--warm-start", str(source)]) == 0, capsys.readouterr()
    shutil.rmtree(source)
    assert train_command(COMPLETION, ["--resume", str(tmp_path / "warm"), "--updates", "2"]) == 0, capsys.readouterr()
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 24:44] = 255
    write(np.repeat(mask[..., None], 3, axis=2), tmp_path / "mask.png")
    assert main(["complete", str(beds / "0.png"), "--mask", str(tmp_path / "mask.png"), "-o",
                 str(tmp_path / "full.png"), "--model", str(tmp_path / "warm")]) == 0


@pytest.mark.parametrize("task", [LOWLIGHT, COMPLETION], ids=["lol_train", "complete_train"])
def test_options_that_contradict_the_run_are_refused_by_name(task, folder, tmp_path, capsys):
    """Also where one asks for the default; the same as the run's is taken; a learner without a policy is refused."""
    source = folder("gated")
    for words, reason in ((["--backbone", "mrpnet"], "--backbone mrpnet: --warm-start"),
                          (["--backbone", task.Config().network.backbone], "brings its own backbone"),
                          (["--backbone-args", "width=16", "dilations=1,1,1"], "--backbone-args width=16:"),
                          (["--backbone", "gated_pixelrnn", "--backbone-args", "depth=2"], "takes width=48, dilations"),
                          (["--learner", "supervised"], "supervised learns none")):
        assert train_command(task, ["--warm-start", str(source), *words]) == 2
        assert reason in capsys.readouterr().err
    wanted = ["--backbone", "gated_pixelrnn", "--backbone-args", "width=8"]
    assert train_command(task, ["--data", str(tmp_path / "none"), "--warm-start", str(source), *wanted]) == 2
    assert "--data" in (error := capsys.readouterr().err) or "none" in error


@pytest.mark.parametrize("task", [LOWLIGHT, COMPLETION], ids=["lol_train", "complete_train"])
def test_a_wrong_run_is_told_which_runs_serve(task, tmp_path, capsys):
    """And how one is made; a prior is told its own option."""
    rellie = save_checkpoint(tmp_path / "rellie/best", MODELS.create("rellie")).parent
    prior = save_checkpoint(tmp_path / "prior/best", MODELS.create("prior", widths=(8, 8), blocks=(1, 1))).parent
    for run, kind in ((rellie, "ReLLIE"), (prior, "ResidualCompleter")):
        assert train_command(task, ["--warm-start", str(run)]) == 2
        error = capsys.readouterr().err
        assert f"holds a {kind}" in error and "python -m rlenhance.experiments.network_train gated_pixelrnn" in error
        assert ("--prior" in error) == (task is COMPLETION and run == prior)


def test_arguments_of_backbones_are_read_as_they_are_written():
    """What is written is read again, of every backbone; mistakes are told."""
    for name in BACKBONES:
        recipe = backbone_recipe(BACKBONES.create(name))
        again = backbone_spec(name, backbone_words(recipe))
        assert json.dumps(again) == json.dumps(recipe)
    assert backbone_spec("fcn", ("dilations=1",)) == {"name": "fcn", "dilations": (1,)}
    for words, reason in ((("width",), "takes width=64"), (("width=8,8",), "a value is written as in"),
                          (("width=a b",), "a value is written as in"), (("channels=4",), "takes width=64")):
        with pytest.raises(UsageError, match=reason):
            backbone_spec("fcn", words)
