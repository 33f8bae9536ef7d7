"""Networks that fill holes and enlarge: their laws, the published ones, and their training."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.agents import Supervised, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core.published_weights import read_gated_pixelrnn
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.restore import RESTORE, epoch_means
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    RestoreDataConfig,
    RestoreLearnerConfigs,
    RestoreNetworkConfig,
    RestoreTrainConfig,
)
from rlenhance.experiments.tasks.restore_recipes import RECIPES
from rlenhance.io import write
from rlenhance.learning.data import (
    Batch,
    Downscale,
    ImageCache,
    SuperResolutionSampler,
    load_super_resolution,
    open_super_resolution,
)
from rlenhance.learning.hub.checkpoint import load_model, load_network
from rlenhance.learning.metrics.full_reference import masked_psnr, psnr
from rlenhance.learning.models import MODELS, GreedyEpisode, MRPNetSR, warm_start
from rlenhance.learning.nn.backbones import BACKBONES, receptive_field
from rlenhance.learning.ops.masked_tensors import harmonic_fill, mask_out
from rlenhance.ops.masks import MASK_GENERATORS
from tests.support.data import make_pairs
from tests.support.networks import stir
from tests.support.pictures import smooth
from tests.support.published import made_up_gated
from tests.support.training import resume

SMALL = {"gated_pixelrnn": {"width": 4}, "convlstm_autoencoder": {"widths": (4, 4, 8)},
         "prior": {"widths": (8, 8), "blocks": (1, 1), "train_size": 32}}
fillers = pytest.mark.parametrize("name", list(SMALL))


def make(name, **config):
    """A small network with fresh weights."""
    torch.manual_seed(0)
    return MODELS.create(name, **{**SMALL.get(name, {}), **config})


def holes(kind, count=3, size=(40, 44)):
    """Masks of a kind: (N, 1, H, W)."""
    made = [MASK_GENERATORS[kind](*size, np.random.default_rng(seed)) for seed in range(count)]
    return torch.from_numpy(np.stack(made))[:, None].float()


# networks that fill holes


@fillers
def test_filling_gradient_reaches_every_parameter(name, generator):
    """No weight is idle: the autoencoder's memory looks several times, so that it has something to read."""
    network = stir(make(name)).train()
    image, mask = torch.rand(3, 3, 40, 44, generator=generator), holes("square")
    (network(image, mask) * torch.rand(3, 3, 40, 44, generator=generator)).sum().backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None and value.grad.abs().max() > 0, parameter


def test_published_autoencoder_has_idle_weights(generator):
    """With one look, as it was published, what reads the memory has nothing to read: why ours looks several times."""
    network = make("convlstm_autoencoder", looks=1, skips=False)
    network(torch.rand(3, 3, 40, 44, generator=generator), holes("square")).sum().backward()
    width = network.backbone.memory.width
    assert not network.backbone.memory.gates.weight.grad[:, width:].any()
    assert not network.backbone.memory.gates.weight.grad[width : 2 * width].any()


@fillers
def test_filling_looks_under_no_hole(name, generator):
    """What stands in the hole has no part in what is put there."""
    network, mask = stir(make(name)), holes("brush")
    image = torch.rand(3, 3, 40, 44, generator=generator)
    with torch.inference_mode():
        assert torch.equal(network(image, mask) * mask, network(torch.where(mask > 0, 0.7, image), mask) * mask)


@fillers
def test_filling_needs_its_mask(name, image):
    """Without a mask, or with one that covers everything, the network says so."""
    for mask in (None, torch.ones(2, 1, 32, 40), torch.ones(2, 1, 8, 8)):
        with pytest.raises(UsageError, match="mask"):
            make(name)(image, mask)


@pytest.mark.parametrize("name, side", [("gated_pixelrnn", 38), ("convlstm_autoencoder", 77)])
def test_receptive_field_covers_the_hole(name, side):
    """The middle of a hole of 67/224 of the picture sees beyond its rim; in the published form it does not."""
    field = min(receptive_field(BACKBONES.create(name, channels=4, **{
        "gated_pixelrnn": {"width": 4}, "convlstm_autoencoder": {"widths": (4, 4, 4)}}[name]), 160, 4))
    assert field > side
    published = {key: value for key, value in RECIPES[name].published.arguments.items()
                 if key not in ("sees_mask", "whole_output")}
    published |= {"width": 4} if "pixel" in name else {"widths": (4, 4, 4)}
    assert min(receptive_field(BACKBONES.create(name, channels=4, **published), 160, 4)) < side


def test_every_feature_of_the_pyramid_sees_the_whole_picture():
    """Its field is the picture, whatever its size."""
    backbone = BACKBONES.create("pyramid", widths=(8, 8), blocks=(1, 1), stride=1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert receptive_field(backbone, 48) == (48, 48)


def test_the_prior_begins_as_the_membrane(generator):
    """Before it has learned anything the prior is the membrane, at its own size and at others."""
    for size in ((32, 32), (50, 41), (90, 37), (24, 30)):
        image, mask = smooth(3, size, generator), holes("square", size=size)
        with torch.inference_mode():
            filled = harmonic_fill(mask_out(image, mask), mask).clamp(0, 1)
            assert torch.equal(make("prior").eval()(image, mask), filled)


def test_the_prior_is_the_same_in_the_mirror(generator):
    """In use its residual is the mean with the mirrored picture's."""
    network, image, mask = stir(make("prior")), smooth(3, (32, 32), generator), holes("square", size=(32, 32))
    with torch.inference_mode():
        result, mirrored = network(image, mask), network(image.flip(3), mask.flip(3)).flip(3)
    assert torch.allclose(result, mirrored, atol=1e-5)


@fillers
def test_filling_learns(name, generator):
    """A few updates of the learner bring the loss in the holes down; the running mean is what is kept."""
    config = SupervisedConfig(l1=1.0, ssim=0.2, ssim_radius=3, ema_decay=0.5 if name == "prior" else 0.0,
                              optimizer=OptimizerConfig(1e-2, 0))
    learner = Supervised(make(name), config)
    target = 0.3 + 0.1 * smooth(2, (32, 32), generator)
    target[:, 0] += 0.3
    mask = holes("square", 2, (32, 32))
    target = torch.where(mask > 0, target + 0.15, target)
    batch = Batch(mask_out(target, mask), target, mask)
    losses = [learner.step(batch)["train/l1"] for _ in range(12)]
    assert min(losses[-3:]) < 0.8 * losses[0]
    again = Supervised(make(name), config)
    again.network.load_state_dict(learner.network.state_dict())
    again.load_state_dict(learner.state_dict())
    assert again.step(batch)["loss"] == pytest.approx(learner.step(batch)["loss"], rel=1e-4)


@pytest.mark.parametrize("name", ["gated_pixelrnn", "convlstm_autoencoder", "combined"])
def test_policies_begin_with_supervised_backbones(name, image):
    """Each is a policy's backbone, and a warm start carries its weights over, with a mask or without."""
    config = {"combined": {"width": 8}}.get(name, {})
    network = stir(make(name, **config))
    recipe = {key: value for key, value in network.backbone.spec.items() if key not in ("channels", "context")}
    masked = name != "combined"
    policy = MODELS.create("pixel_policy", actions={"name": "curve", "agent_stride": 1}, backbone=recipe,
                           uses_mask=masked,
                           decision_size=16)
    warm_start(policy, network)
    own = policy.backbone.state_dict()
    assert all(torch.equal(own[part], value) for part, value in network.backbone.state_dict().items())
    mask = torch.ones(2, 1, 32, 40)
    assert torch.isfinite(GreedyEpisode(policy)(image, mask)).all()
    other = MODELS.create("pixel_policy", actions={"name": "curve", "agent_stride": 1}, backbone=recipe,
                          uses_mask=not masked, decision_size=16)
    assert torch.isfinite(GreedyEpisode(warm_start(other, network))(image, None if masked else mask)).all()


def test_hole_losses_are_means_over_the_hole(generator):
    """The loss in a hole does not depend on how much picture is around it."""
    config = SupervisedConfig(l1=1.0, ssim=0.0, mse=1.0)
    values = []
    for size in (32, 64):
        target, mask = torch.full((1, 3, size, size), 0.5), torch.zeros(1, 1, size, size)
        mask[..., 4:12, 4:12] = 1

        class Fixed(torch.nn.Linear):
            def forward(self, image, mask):
                return torch.where(mask > 0, self.bias[0] * 0 + 0.7, image)

        log = Supervised(Fixed(1, 1), config).step(Batch(mask_out(target, mask), target, mask))
        values.append((log["loss/l1"], log["loss/mse"]))
    for value in values:
        assert value == pytest.approx((0.2, 0.04))


def test_hole_psnr_counts_the_hole_alone(generator):
    """PSNR in the hole is that of the pixels in it."""
    image, target = torch.rand(2, 3, 16, 16, generator=generator), torch.rand(2, 3, 16, 16, generator=generator)
    mask = torch.zeros(2, 1, 16, 16)
    mask[..., 4:9, 2:7] = 1
    assert torch.allclose(masked_psnr(image, target, mask), psnr(image[..., 4:9, 2:7], target[..., 4:9, 2:7]))


def test_published_weights_compute_what_they_did(tmp_path, generator):
    """The imported network equals the published one, computed step by step with its batch normalisations."""
    tensors = made_up_gated()
    torch.save(tensors, tmp_path / "model_epoch190.pth")
    network = read_gated_pixelrnn(tmp_path / "model_epoch190.pth")

    def conv(features, name, padding=1):
        return F.conv2d(features, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=padding)

    def norm(features, name):
        mean, variance, scale, shift = (tensors[f"{name}.{part}"][:, None, None] for part in
                                        ("running_mean", "running_var", "weight", "bias"))
        return (features - mean) / torch.sqrt(variance + 1e-5) * scale + shift

    image, mask = torch.rand(1, 3, 24, 28, generator=generator), holes("square", 1, (24, 28))
    first = features = conv(torch.cat([mask_out(image, mask), mask], dim=1), "input_conv", 3)
    hidden = cell = torch.zeros_like(first)
    for i in range(3):
        features = torch.tanh(norm(conv(features, f"layers.{i}.conv_f"), f"layers.{i}.bn_f")) * \
            torch.sigmoid(norm(conv(features, f"layers.{i}.conv_g"), f"layers.{i}.bn_g"))
        enter, forget, leave, value = conv(torch.cat([features, hidden], dim=1), "convlstm.conv").chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(value)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        features = features + hidden + first
    for i in range(2):
        inner = torch.relu(norm(conv(features, f"res_blocks.{i}.block.0"), f"res_blocks.{i}.block.1"))
        features = torch.relu(features + norm(conv(inner, f"res_blocks.{i}.block.3"), f"res_blocks.{i}.block.4"))
    wanted = torch.sigmoid(conv(torch.relu(conv(features, "output_conv.0")), "output_conv.2", 0))
    with torch.inference_mode():
        assert torch.allclose(network(image, mask), torch.where(mask > 0, wanted, image), atol=1e-5)
    del tensors["input_conv.bias"]
    torch.save(tensors, tmp_path / "model_epoch190.pth")
    with pytest.raises(UsageError, match=r"lacks input_conv\.bias"):
        read_gated_pixelrnn(tmp_path / "model_epoch190.pth")


# pictures and training


@pytest.fixture
def originals(tmp_path):
    """original_images/ beside occluded_images/: pictures of coloured parts, each with a black square."""
    rng = np.random.default_rng(0)
    for number in range(14):
        picture = np.kron(rng.integers(40, 220, (8, 8, 3), np.uint8), np.ones((6, 6, 1), np.uint8))
        write(picture, tmp_path / "beds" / "original_images" / f"bed_{number}.png")
        top, left = rng.integers(0, 33, 2)
        picture = picture.copy()
        picture[top : top + 15, left : left + 15] = 0
        write(picture, tmp_path / "beds" / "occluded_images" / f"occluded_bed_{number}.png")
    return tmp_path / "beds"


def train_restore(model, data, tmp_path, **settings):
    """A run of seconds; each setting finds its part of the configuration."""
    settings = {"out": tmp_path / "runs", "device": "cpu", "progress": False, "model": model, "data": data} | settings
    return train(RESTORE, RestoreConfig(*(
        part(**{field.name: settings.pop(field.name) for field in fields(part) if field.name in settings})
        for part in (RestoreTrainConfig, RestoreDataConfig, RestoreNetworkConfig, RestoreLearnerConfigs))))


def test_holes_are_trained_resumed_and_kept(originals, tmp_path, capsys):
    """A run logs its epochs, draws samples and curves, keeps checkpoints, and goes on where it stopped."""
    result = train_restore("gated_pixelrnn", originals, tmp_path, size=32, widths=(4,), name="short", epochs=2,
                           batch_size=4, checkpoint_epochs=1)
    assert "near-duplicates" in capsys.readouterr().out
    lines = (result.run / "epochs.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["epoch", "learning_rate", "l1", "ssim", "total"] and len(lines) == 3
    assert all(float(value) > 0 for value in lines[1].split("\t"))
    assert sorted(path.name for path in (result.run / "checkpoints").iterdir()) == ["epoch-0001", "epoch-0002"]
    assert (result.run / "curves.png").is_file() and list((result.run / "samples").glob("completed-*.png"))
    network = load_network(result.run)
    assert network.train_size == 32 and network.backbone.dilations == (2, 4, 8)
    config = json.loads((result.run / "config.json").read_text())
    assert config["recipe"]["learning_rate"] == 1e-4 and config["recipe"]["loss"] == {"l1": 0.8, "ssim": 0.2}
    again = resume(RESTORE, result.run, epochs=3)
    assert again.fitted.updates == 3 * result.fitted.updates // 2
    with pytest.raises(UnknownName, match="combined"):
        train_restore("pixel_rnn", originals, tmp_path)
    with pytest.raises(UsageError, match=r"mse=0\.8"):
        train_restore("prior", originals, tmp_path, loss=("msse=1",))


def test_the_prior_learns_what_stands_in_the_holes(originals, tmp_path):
    """Trained for a moment the prior is saved, loads as a model, and is not far from the membrane."""
    result = train_restore("prior", originals, tmp_path, size=32, widths=(8, 8), blocks=(1, 1), updates=4,
                           batch_size=2, eval_interval=2)
    assert result.scores["prior"]["psnr"] == pytest.approx(result.scores["without a network"]["psnr"], abs=2)
    assert load_model(result.run).train_size == 32


@pytest.mark.parametrize("scale", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_combined_is_trained_on_pairs_and_on_good_pictures(scale, tmp_path, pairs):
    """Folders of a competition (train/train, train/gt, val) and good pictures alone both train; sizes must fit."""
    home = tmp_path / "competition"
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2)):
        for number in range(count):
            large = np.kron(rng.integers(0, 200, (8, 8, 3), np.uint8), np.ones((6, 6, 1), np.uint8))
            write(large, home / part / "gt" / f"{number}.png")
            write(np.ascontiguousarray(large[::scale, ::scale]), home / part / "train" / f"{number}.png")
    common = {"size": 12, "batch_size": 2, "updates": 2, "widths": (4,), "blocks": (1,), "eval_interval": 1}
    result = train_restore("combined", home, tmp_path, name="pairs", scale=scale, exposure=True, **common)
    network = load_network(result.run)
    assert isinstance(network, MRPNetSR) and network.scale == scale and network.exposure
    made = make_pairs(tmp_path / "more") / "high"
    alone = train_restore("combined", made, tmp_path, name="alone", scale=scale, **common)
    assert alone.fitted.updates == 2
    with pytest.raises(UsageError, match="bad files"):
        train_restore("combined", home, tmp_path, name="wrong", scale=4, **common)


def test_crops_of_pairs_belong_together(tmp_path):
    """The crop of a small picture and of its reference show the same part, turned alike."""
    for number in range(4):
        large = np.kron(np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8),
                        np.ones((2, 2, 1), np.uint8))
        write(large, tmp_path / "gt" / f"{number}.png")
        write(np.ascontiguousarray(large[::2, ::2]), tmp_path / "input" / f"{number}.png")
    splits = open_super_resolution(tmp_path)
    batch = SuperResolutionSampler(splits.train, ImageCache(), 8, Downscale(2)).batch(0, 6)
    assert torch.equal(batch.target[..., ::2, ::2], batch.image)
    loaded = load_super_resolution(splits.train[0], ImageCache(), Downscale(2))
    assert torch.equal(loaded.target[..., ::2, ::2], loaded.image)


def test_epochs_are_means_of_their_updates():
    """An epoch's line is the mean over its updates, with the rate of its end; a part of an epoch has none."""
    rows = [{"step": step, "loss": float(step), "optim/lr": 1 / step} for step in range(1, 6)]
    assert [(row["epoch"], row["loss"], row["optim/lr"]) for row in epoch_means(rows, 2)] == [
        (1, 1.5, 0.5), (2, 3.5, 0.25)]


def test_every_network_of_its_own_settings_exists():
    """What network_train trains is a model."""
    assert set(RECIPES) <= set(MODELS)


