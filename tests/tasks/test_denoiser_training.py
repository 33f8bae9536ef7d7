"""What a denoiser begins with, and the options of its training."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from rlenhance.agents import SupervisedConfig
from rlenhance.agents.supervised import supervised_losses
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.denoiser import initialize
from rlenhance.experiments.tasks.denoiser_command import DENOISER, DenoiserRunConfig, current_words, spread_folders
from rlenhance.experiments.tasks.restore import RESTORE
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    RestoreDataConfig,
    RestoreLearnerConfigs,
    RestoreNetworkConfig,
    RestoreTrainConfig,
)
from rlenhance.io import write
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, load_training, read_config, save_checkpoint
from rlenhance.learning.models import MODELS, warm_start
from rlenhance.learning.models.warm_start import denoiser_weights
from tests.support.networks import make_model, stir
from tests.support.training import resume

pytestmark = pytest.mark.usefixtures("no_curves")

BACKBONE = {"name": "gru_unet", "widths": (8, 8), "blocks": (1, 1)}


def _policy(**changes):
    return MODELS.create("filter_policy", backbone=BACKBONE, horizon=1, noise=(5, 55), **changes)


def test_a_denoiser_begins_with_the_estimate_of_a_policy(tmp_path):
    """The way back from a warm start gives the same weights; a policy without an estimate has none to give."""
    denoiser, other = (stir(make_model("denoiser", channels=1, widths=(8, 8), down=(1, 1), up=(1,)), size)
                       for size in (0.05, 0.2))
    policy = _policy(channels=1, estimate=True, noise_conditioned=True)
    save_checkpoint(tmp_path / "policy", warm_start(policy, denoiser))
    initialize(other, tmp_path / "policy")
    for name, value in denoiser.state_dict().items():
        assert torch.allclose(other.state_dict()[name], value), name
    with pytest.raises(UsageError, match="begins with the estimate of a gru_unet"):
        denoiser_weights(_policy(channels=1, estimate=False))


@pytest.mark.parametrize("option", ["camera", "camera_jpeg"])
def test_shares_are_shares(option):
    """A share outside [0, 1] is named with its option before a picture is read."""
    config = dataclasses.replace(DenoiserRunConfig(), data=RestoreDataConfig(**{option: 1.5}))
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} is a share in .0, 1.; got 1.5"):
        DENOISER.dataset(config)


def test_a_wider_network_begins_as_the_narrower_one(tmp_path, generator):
    """It denoises as that does, and its new channels are not dead: their weights get a gradient."""
    small, large = (stir(make_model("denoiser", channels=1, widths=widths, down=(1, 1, 1), up=(1, 1)), 0.1)
                    for widths in ((16, 16, 16), (16, 24, 32)))
    save_checkpoint(tmp_path / "small", small)
    large.network.head.load_state_dict(small.network.head.state_dict())
    initialize(large, tmp_path / "small")
    large.network.stem.load_state_dict(small.network.stem.state_dict())
    image = torch.rand(1, 1, 32, 32, generator=generator)
    with torch.no_grad():
        assert torch.allclose(large.denoise(image, 0.1), small.denoise(image, 0.1), atol=1e-5)
    large.denoise(image, 0.1).sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in large.parameters())


def test_a_network_for_colour_begins_with_the_mean_of_the_channels(tmp_path, generator):
    """It denoises the mean as the grey network does at the noise of the mean, and leaves the channels' differences."""
    grey, colour = (stir(make_model("denoiser", channels=channels, widths=(16, 16), down=(1, 1), up=(1,)), 0.1)
                    for channels in (1, 3))
    save_checkpoint(tmp_path / "grey", grey)
    initialize(colour, tmp_path / "grey")
    image = torch.rand(1, 3, 32, 32, generator=generator)
    with torch.no_grad():
        result, mean = colour.denoise(image, 0.1), image.mean(dim=1, keepdim=True)
        assert torch.allclose(result.mean(dim=1, keepdim=True), grey.denoise(mean, 0.1 / 3**0.5), atol=1e-5)
    assert torch.allclose(result - result.mean(dim=1, keepdim=True), image - mean, atol=1e-5)


def test_a_run_of_version_0_2_goes_on(tmp_path):
    """Its settings had a task of their own, and its trained weights were those of the inner network."""
    rng = np.random.default_rng(0)
    for number in range(9):
        write(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8), tmp_path / f"flat/p{number}.png")
    config = RestoreConfig(
        RestoreTrainConfig(name="run", out=tmp_path / "runs", updates=2, batch_size=2, progress=False, device="cpu"),
        RestoreDataConfig(tmp_path / "flat", size=16, quantized_prob=0.5),
        RestoreNetworkConfig("denoiser", widths=(8, 8), down=(1, 1), up=(1,)),
        RestoreLearnerConfigs(learning_rate=2e-3, final_lr_ratio=1.0))
    run = train(RESTORE, config).run
    whole = resume(RESTORE, shutil.copytree(run, tmp_path / "runs/whole"), updates=4).run
    stored, last = json.loads((run / "config.json").read_text()), run / "last"
    old_train = {name: value for name, value in stored["arguments"]["train"].items()
                 if name not in ("epochs", "val_images", "checkpoint_epochs")}
    stored |= {"task": "denoiser", "arguments": {
        "train": {**old_train, "learner": "denoising", "eval_interval": 500}, "network": {
            "channels": 3, "widths": [8, 8], "down": [1, 1], "up": [1]},
        "data": {"data": [str(tmp_path / "flat")], "crop": 16, "camera_jpeg": 0.0, "pairs": None, "max_side": 0},
        "learners": {"denoising": {
            "noise": [0.0, 75.0], "signal_dependent_prob": 0.25, "quantized_prob": 0.5, "ema_decay": 0.999,
            "optimizer": {"learning_rate": 2e-3, "warmup_steps": 200, "final_lr_ratio": 1.0, "max_grad_norm": 1.0}}}}}
    (run / "config.json").write_text(json.dumps(stored))
    state = load_training(last)
    inner = {name.removeprefix("network."): value for name, value in state["trained"].items()}
    save_checkpoint(last, load_network(last), read_config(last)["about"], {**state, "trained": inner})
    assert resume(DENOISER, run, updates=4).fitted.updates == 4
    assert (run / "last/model.safetensors").read_bytes() == (whole / "last/model.safetensors").read_bytes()
    assert json.loads((run / "config.json").read_text())["task"] == "restore"


def test_several_folders_and_options_of_others():
    """`--data A B` is `--data A --more B`; what another network reads is refused."""
    assert " ".join(spread_folders(["--data", "a", "b", "c", "--seed", "1"])) == "--data a --more b c --seed 1"
    with pytest.raises(UsageError, match="--blur is read by combined, enlarger, and denoiser would ignore it"):
        DENOISER.check(DenoiserRunConfig(data=RestoreDataConfig(blur=(0.1, 0.2))), {})
    with pytest.raises(UsageError, match="--channels is read by denoiser, and prior would ignore it"):
        RESTORE.check(RestoreConfig(network=RestoreNetworkConfig("prior", channels=1)), {})
    with pytest.raises(UsageError, match="divides by the noise, which prior does not know"):
        RESTORE.check(RestoreConfig(network=RestoreNetworkConfig("prior"), learners=RestoreLearnerConfigs(
            loss=("mse_over_noise=1",))), {})


def test_an_option_of_version_0_2_is_named_once_and_works(capsys):
    """On standard error, with the name of today."""
    words = current_words(["--crop", "16", "--denoising.noise", "0", "50", "--denoising.optimizer.learning_rate=0.1"])
    assert words == ["--size", "16", "--noise-levels", "0", "50", "--learning-rate=0.1"]
    named = capsys.readouterr().err.splitlines()
    assert len(named) == 3 and named[0] == "--crop is called --size now; the old name goes with the next version"


def test_the_loss_goes_over_to_the_squared_difference(generator):
    """In the middle of the run both count half; at 0 Charbonnier's is smooth, far from it the absolute difference."""
    config = SupervisedConfig(l1=0, ssim=0, charbonnier=2, mse=3, to_mse=True)
    batch = Batch(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    begin, middle, end = ({name: value.item() for name, value in supervised_losses(
        config, torch.full((1, 3, 16, 16), 0.5), batch, progress)[0].items()} for progress in (0.0, 0.5, 1.0))
    assert begin == {"loss/charbonnier": pytest.approx(1, rel=1e-3)} and end == {"loss/mse": pytest.approx(0.75)}
    assert middle == {"loss/charbonnier": pytest.approx(0.5, rel=1e-3), "loss/mse": pytest.approx(0.375)}
    output = torch.zeros(1, 3, 16, 16, requires_grad=True)
    supervised_losses(config, output, batch)[0]["loss/charbonnier"].backward()
    assert output.grad is not None and torch.equal(output.grad, torch.zeros_like(output))
    with pytest.raises(UsageError, match="to_mse goes over to the squared difference, and it has no weight"):
        SupervisedConfig(to_mse=True)
    with pytest.raises(UsageError, match="that of these images is not known"):
        supervised_losses(SupervisedConfig(mse_over_noise=1), batch.image, batch)
