"""The published trainings: --paper-config gives them whole, and what nothing reads is refused."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from rlenhance.agents import Supervised
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.migrate import FORMAT, load_config
from rlenhance.experiments.tasks.restore import RESTORE, supervised_config
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    RestoreNetworkConfig,
    network_arguments,
    training_of,
)
from rlenhance.experiments.tasks.restore_recipes import RECIPES
from rlenhance.io import write
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.models import MODELS
from tests.support.networks import stir

pytestmark = pytest.mark.usefixtures("no_curves")


def command(*words):
    """The exit status of network_train."""
    return train_command(RESTORE, [*map(str, words), "--no-progress", "--device", "cpu"])


def config_of(model, **network):
    """The settings of a network."""
    return RestoreConfig(network=RestoreNetworkConfig(model=model, **network))


@pytest.fixture
def photographs(tmp_path):
    """Good pictures."""
    for number in range(8):
        rng = np.random.default_rng(number)
        write(np.kron(rng.integers(0, 255, (8, 8, 3), np.uint8), np.ones((4, 4, 1), np.uint8)),
              tmp_path / "photographs" / f"{number}.png")
    return tmp_path / "photographs"


SHORT = ("--size", 12, "--batch-size", 2, "--updates", 2, "--widths", 4, "--blocks", 1)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.published])
def test_the_published_training_is_plain_adam(name):
    """Every step has the published rate and the whole gradient, and what is saved is what was trained."""
    settings = supervised_config(training_of(config_of(name, paper_config=True)))
    assert settings.optimizer == OptimizerConfig(RECIPES[name].training.learning_rate, 0, 1.0, 0.0)
    assert settings.ema_decay == 0
    network = nn.Conv2d(3, 3, 1)
    learner = Supervised(network, settings)
    assert learner.trained is network
    rates = [learner.optimizer.rate(progress) for progress in (0.0, 0.5, 1.0)]
    assert rates == [RECIPES[name].training.learning_rate] * 3
    batch = Batch(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16))
    twin = nn.Conv2d(3, 3, 1)
    twin.load_state_dict(network.state_dict())
    adam = torch.optim.Adam(twin.parameters(), lr=RECIPES[name].training.learning_rate)
    losses = learner.step(batch)
    if name == "combined":  # the same step as that of torch.optim.Adam alone on the mean squared error
        (twin(batch.image) - batch.target).pow(2).mean().backward()
        adam.step()
        assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), network.parameters(), strict=True))
        assert losses["loss"] == pytest.approx(losses["loss/mse"])


def test_each_part_of_the_training_has_an_option(photographs, tmp_path):
    """Warm-up, decay, clipping, running mean: as asked for, in the published form and in ours."""
    options = ("--warmup-steps", 7, "--final-lr-ratio", 0.5, "--max-grad-norm", 0.25, "--ema-decay", 0)
    assert command("combined", "--data", photographs, "--out", tmp_path, "--name", "r", *SHORT, *options) == 0
    stored = json.loads((tmp_path / "r" / "config.json").read_text())["recipe"]
    assert stored["warmup_steps"] == 7 and stored["final_lr_ratio"] == 0.5
    assert stored["max_grad_norm"] == 0.25 and stored["ema_decay"] == 0


@pytest.mark.parametrize("words, said", [
    (("prior", "--paper-config"), "no published form"),
    (("gated_pixelrnn", "--scale", 4), "--scale is read by combined, enlarger, and gated_pixelrnn would ignore it"),
    (("convlstm_autoencoder", "--exposure"), "--exposure is read by combined"),
    (("prior", "--blur", 0.1, 0.2), "--blur is read by combined"),
    (("prior", "--noise", 3), "--noise is read by combined"),
    (("combined", "--holes", "brush"), "--holes is read by gated_pixelrnn"),
    (("gated_pixelrnn", "--blocks", 2), "takes 1 and 0 numbers"),
    (("combined", "--widths", 8, 8), "takes 1 and 1 numbers"),
    (("prior", "--widths", 8, 8), "takes 3 and 3 numbers; got 2 and 0"),
    (("combined", "--widths", 0), "must be at least 1"),
    (("combined", "--blur", 0.4, 0.1), "from low to high"),
    (("combined", "--noise", -1), "neither negative"),
    (("combined", "--paper-config", "--exposure"), "has no tone curve"),
    (("combined", "--updates", 2, "--epochs", 2), "give one of them"),
    (("combined", "--monitor", "val/ssim"), "known are val/loss, val/psnr"),
    (("combined", "--ema-decay", 1), "ema_decay"),
])
def test_what_nothing_reads_is_refused(words, said, photographs, tmp_path, capsys):
    """An option that the network ignores, or that contradicts another, ends the command with one line."""
    assert command(*words, "--data", photographs, "--out", tmp_path / "runs") == 2
    shown = capsys.readouterr().err
    assert said in shown and "Traceback" not in shown
    assert not (tmp_path / "runs").exists()


def test_pairs_are_not_shrunk(photographs, tmp_path, capsys):
    """--noise and --blur are for pictures that are shrunk: beside pairs they are refused."""
    for part in ("low", "high"):
        (tmp_path / "pairs" / part).mkdir(parents=True)
        for path in photographs.iterdir():
            (tmp_path / "pairs" / part / path.name).write_bytes(path.read_bytes())
    assert command("combined", "--data", tmp_path / "pairs", "--out", tmp_path, "--noise", 3, *SHORT) == 2
    assert "--noise is made for good pictures" in capsys.readouterr().err


def test_holes_and_masks_go_with_what_there_is(photographs, tmp_path, capsys):
    """Beside good pictures --mask-threshold, beside holes that pairs have --holes, are refused."""
    for option, said in (("--masks", "given"), "pairs"), (("--mask-threshold", 0.1), "is read from pairs"):
        assert command("gated_pixelrnn", "--data", photographs, "--out", tmp_path, "--size", 16, *option) == 2
        assert said in capsys.readouterr().err
    rng = np.random.default_rng(0)
    for number in range(12):
        picture = np.kron(rng.integers(40, 220, (8, 8, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
        write(picture, tmp_path / "beds" / "original_images" / f"bed_{number}.png")
        picture[8:18, 8:18] = 0
        write(picture, tmp_path / "beds" / "occluded_images" / f"occluded_bed_{number}.png")
    assert command("gated_pixelrnn", "--paper-config", "--data", tmp_path / "beds", "--out", tmp_path, "--size", 16,
                   "--holes", "brush") == 2
    assert "--masks drawn or both draws them" in capsys.readouterr().err


def test_resume_refuses_other_settings(photographs, tmp_path, capsys):
    """A run goes on with its own settings; a longer one in epochs or in updates, not in both."""
    assert command("combined", "--data", photographs, "--out", tmp_path, "--name", "r", *SHORT) == 0
    run = tmp_path / "r"
    for words, said in ((("--epochs", 5, "--learning-rate", 0.5), "leave out learning_rate"),
                        (("--epochs", 5, "--warmup-steps", 0), "leave out warmup_steps"),
                        (("--paper-config",), "leave out paper_config"),
                        (("--epochs", 5, "--updates", 9), "give one of them")):
        assert command("--resume", run, *words) == 2
        assert said in capsys.readouterr().err
    assert command("--resume", run, "--epochs", 2) == 0
    assert "6 updates" in capsys.readouterr().out


def test_best_is_where_the_validation_loss_is_lowest(photographs, tmp_path):
    """In the published form best/ follows the loss on the validation pictures; it is the loss that is trained."""
    assert command("combined", "--data", photographs, "--out", tmp_path, "--name", "r", *SHORT[:4], "--updates", 6,
                   *SHORT[6:], "--paper-config", "--eval-interval", 1, "--learning-rate", 0.05) == 0
    rows = (tmp_path / "r" / "metrics.csv").read_text().splitlines()
    names = rows[0].split(",")
    losses = {int(cells[names.index("step")]): float(cells[names.index("val/loss")])
              for cells in (row.split(",") for row in rows[1:]) if cells[names.index("val/loss")]}
    about = json.loads((tmp_path / "r" / "best" / "config.json").read_text())["about"]
    assert len(losses) == 7 and about["step"] == min(losses, key=losses.get)


def test_runs_of_0_2_keep_their_training():
    """There --paper-config was the shape alone: such a run goes on with the shape and the training that it had."""
    stored = {"format": FORMAT, "arguments": {"train": {}, "data": {}, "learners": {}, "network": {
        "model": "gated_pixelrnn", "paper_config": True}}}
    config = load_config(RestoreConfig, stored)
    assert training_of(config) == RECIPES["gated_pixelrnn"].training
    assert network_arguments(config) == {"dilations": (1, 1, 1)}
    combined = load_config(RestoreConfig, {**stored, "arguments": {
        **stored["arguments"], "network": {"model": "combined", "paper_config": True}}})
    assert training_of(combined) == RECIPES["combined"].training and "paper_form" not in network_arguments(combined)


# the published Generator


def paper(scale=1, **config):
    """A small network of the published form whose batch statistics are not those of a new one."""
    torch.manual_seed(0)
    network = MODELS.create("combined", **{"width": 4, "generator_width": 4, "blocks": 2, "scale": scale,
                                           "paper_form": True, **config})
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 16, 20))
    return network.eval()


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_published_generator_has_its_parts(scale, generator):
    """Batch normalisation twice in each residual block, x + residual, no bicubic path; every weight has a gradient."""
    network = paper(scale)
    block = network.generator.blocks[0]
    assert [type(layer) for layer in block.layers] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
    features = torch.rand(1, 4, 8, 8, generator=generator)
    assert torch.equal(block(features), features + block.layers(features))
    image = torch.rand(2, 3, 16, 20, generator=generator)
    result = network.train()(image)
    assert result.shape == (2, 3, 16 * scale, 20 * scale)
    (result * torch.rand(result.shape, generator=generator)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_pictures_do_not_depend_on_their_neighbours(generator):
    """In use the batch statistics are those of training: a picture alone gives what it gives among others."""
    network, image = paper(2), torch.rand(3, 3, 16, 20, generator=generator)
    with torch.inference_mode():
        assert torch.allclose(network(image)[1:2], network(image[1:2]), atol=1e-6)


def test_batch_statistics_are_saved(tmp_path, generator):
    """A checkpoint holds the running means; the network that is read computes the same."""
    network, image = paper(2), torch.rand(1, 3, 16, 20, generator=generator)
    again = load_network(save_checkpoint(tmp_path / "best", network))
    with torch.inference_mode():
        assert torch.equal(again.eval()(image), network(image))


@pytest.mark.parametrize("config", [{}, {"paper_form": False}, {"paper_form": False, "exposure": True}])
def test_a_large_photograph_of_scale_1_is_restored_in_tiles(config, generator, monkeypatch):
    """Without gradients a network of scale 1 works tile by tile; the picture is the same."""
    network = paper(**config)
    if config:
        stir(network, 0.05)
    image = torch.rand(1, 3, 61, 75, generator=generator)
    with torch.inference_mode():
        whole = network(image)
        sizes = []
        monkeypatch.setattr("rlenhance.learning.models.mrpnet_sr.TILE", 16)
        network.backbone.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape))
        assert torch.allclose(network(image), whole, atol=1e-5)
    assert len(sizes) == 20 and max(max(size[-2:]) for size in sizes) <= 16 + 2 * network.receptive_radius


# mixed precision


def mixed(precision, photographs, tmp_path, device="cpu"):
    """A short run in 16 bits: the losses, and the network that it left."""
    assert train_command(RESTORE, list(map(str, (
        "combined", "--paper-config", "--data", photographs, "--out", tmp_path, "--name", precision, *SHORT[:4],
        "--updates", 8, *SHORT[6:], "--eval-interval", 4, "--precision", precision, "--learning-rate", 1e-2,
        "--device", device, "--no-progress")))) == 0
    rows = (tmp_path / precision / "metrics.csv").read_text().splitlines()
    place = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[place]) for row in rows[1:] if row.split(",")[place]]
    return losses, load_network(tmp_path / precision)


def test_bf16_trains_the_published_form_on_a_cpu(photographs, tmp_path):
    """The first loss is that of 32 bits, and it falls; weights stay in 32 bits; the run resumes."""
    losses, network = mixed("bf16", photographs, tmp_path)
    whole, _ = mixed("32", photographs, tmp_path)
    assert len(losses) == 8 and losses[0] == pytest.approx(whole[0], rel=0.02) and losses[0] != whole[0]
    assert losses[-1] < 0.5 * losses[0]
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert network.generator.blocks[0].layers[1].running_mean.abs().max() > 0
    assert command("--resume", tmp_path / "bf16", "--updates", 10) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 needs CUDA")
def test_fp16_trains_the_published_form_on_cuda(photographs, tmp_path):
    """With scaled gradients, as torch.amp has them, the loss falls; no weight becomes infinite."""
    losses, network = mixed("fp16", photographs, tmp_path, "cuda")
    whole, _ = mixed("32", photographs, tmp_path, "cuda")
    assert losses[0] == pytest.approx(whole[0], rel=0.02) and losses[-1] < 0.5 * losses[0]
    assert all(value.isfinite().all() for value in network.state_dict().values())


# a run from its beginning to another


def test_resume_repeats_and_fine_tuning_begins_where_the_run_ended(photographs, tmp_path):
    """A run that was resumed has the weights of one that was not, batch statistics too; --init starts from best/."""
    common = ("--paper-config", "--data", photographs, "--out", tmp_path, *SHORT[:4], *SHORT[6:], "--eval-interval", 2)
    assert command("combined", *common, "--updates", 4, "--name", "whole") == 0
    assert command("combined", *common, "--updates", 2, "--name", "halves") == 0
    assert command("--resume", tmp_path / "halves", "--updates", 4) == 0
    whole, halves = (load_network(tmp_path / name / "last").state_dict() for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert whole["generator.blocks.0.layers.1.num_batches_tracked"] == 4
    assert command("combined", *common, "--updates", 1, "--name", "tuned", "--init", tmp_path / "whole",
                   "--learning-rate", 1e-9) == 0
    best, tuned = (load_network(tmp_path / name).state_dict() for name in ("whole", "tuned"))
    assert all(torch.allclose(best[name], tuned[name], atol=1e-6) for name in best if "weight" in name)
    assert command("combined", *common[1:], "--updates", 1, "--name", "ours", "--init", tmp_path / "whole") == 2
