"""Networks that fill holes and enlarge: their laws, their training, the command, the competition's table."""

import json
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rlenhance.agents import Supervised, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.cli.main import main as command
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core.published_weights import read_gated_pixelrnn
from rlenhance.experiments.core.train import train
from rlenhance.experiments.scripts import submission
from rlenhance.experiments.tasks.restore import RESTORE, epoch_means
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    RestoreDataConfig,
    RestoreLearnerConfigs,
    RestoreNetworkConfig,
    RestoreTrainConfig,
)
from rlenhance.experiments.tasks.restore_recipes import RECIPES
from rlenhance.io import read, write
from rlenhance.io.directory import EXIF_IFD
from rlenhance.learning.data import (
    Batch,
    Downscale,
    ImageCache,
    SuperResolutionSampler,
    load_super_resolution,
    open_super_resolution,
)
from rlenhance.learning.hub.checkpoint import load_model, load_network, save_checkpoint
from rlenhance.learning.metrics.full_reference import masked_psnr, psnr
from rlenhance.learning.models import MODELS, GreedyEpisode, MRPNetSR, warm_start
from rlenhance.learning.nn.backbones import BACKBONES, receptive_field
from rlenhance.learning.ops.masked_tensors import harmonic_fill, mask_out
from rlenhance.ops.masks import MASK_GENERATORS
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.upscale import Upscaler
from tests.support.data import make_pairs
from tests.support.networks import stir
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


def smooth(count, size, generator):
    """Smooth pictures."""
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    return F.interpolate(coarse, size, mode="bicubic", align_corners=True).clamp(0, 1)


# the membrane


@pytest.mark.parametrize("kind", ["square", "squares", "brush"])
def test_membrane_is_the_mean_of_its_neighbours(kind, generator):
    """Inside the hole every pixel is the mean of its neighbours in the picture; outside nothing changes."""
    image, mask = torch.rand(3, 3, 40, 44, generator=generator), holes(kind)
    film = harmonic_fill(mask_out(image, mask), mask)
    outside = (mask == 0).expand_as(image)
    assert torch.equal(film[outside], image[outside])
    padded = F.pad(film, (1, 1, 1, 1))
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None]
    count = F.conv2d(F.pad(torch.ones(1, 1, 40, 44), (1, 1, 1, 1)), cross)
    beside = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / count
    assert ((film - beside) * mask).abs().max() < 1e-3
    assert film.min() >= -1e-4 and film.max() <= 1 + 1e-4


def test_rectangles_are_filled_as_other_holes_are(generator):
    """The exact and the iterated solution agree, also at the picture's corner; what was in the hole has no part."""
    image, mask = smooth(2, (40, 44), generator), torch.zeros(2, 1, 40, 44)
    mask[0, 0, 5:25, 8:30], mask[1, 0, 20:, 30:] = 1, 1
    notched = mask.clone()
    notched[:, :, 22, 29] = 1  # no rectangle any more
    film = harmonic_fill(image, mask)
    assert torch.equal(film, harmonic_fill(torch.where(mask > 0, 0.3, image), mask))
    rest = harmonic_fill(torch.where(notched > mask, film, image), mask)
    assert (harmonic_fill(image, notched) - rest).abs().max() < 0.05


def test_a_ramp_is_continued(generator):
    """A picture that rises evenly is filled with what was there."""
    ramp = torch.linspace(0, 1, 40).expand(1, 3, 40, 40)
    mask = holes("squares", 1, (40, 40))
    mask[..., :3], mask[..., -3:] = 0, 0
    assert (harmonic_fill(mask_out(ramp, mask), mask) - ramp).abs().max() < 1e-3


def test_squares_do_not_touch():
    """Several holes of one picture are apart, each a square."""
    for mask in holes("squares", 12, (64, 80)):
        count, _, found, _ = cv2.connectedComponentsWithStats(mask[0].numpy().astype(np.uint8), connectivity=8)
        assert 2 <= count <= 4
        assert all(area == width * height for _, _, width, height, area in found[1:])


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


def made_up_gated(width=48):
    """A file of the gated PixelRNN's names and shapes."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"input_conv": (width, 4, 7, 7), "convlstm.conv": (4 * width, 2 * width, 3, 3),
              "output_conv.0": (32, width, 3, 3), "output_conv.2": (3, 32, 1, 1)}
    norms = {}
    for i in range(3):
        for part in "fg":
            shapes[f"layers.{i}.conv_{part}"] = (width, width, 3, 3)
            norms[f"layers.{i}.bn_{part}"] = width
    for i in range(2):
        for j in (0, 3):
            shapes[f"res_blocks.{i}.block.{j}"] = (width, width, 3, 3)
            norms[f"res_blocks.{i}.block.{j + 1}"] = width
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = 0.05 * torch.randn(shape, generator=generator)
        found[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    for name, count in norms.items():
        found |= {f"{name}.{part}": torch.rand(count, generator=generator) + 0.5
                  for part in ("weight", "bias", "running_mean", "running_var")}
        found[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return found


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


# the combined network


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("exposure", [False, True])
def test_combined_begins_as_the_bicubic_picture(scale, exposure, generator):
    """Before it has learned anything it enlarges bicubically; afterwards every weight has a gradient."""
    network = MODELS.create("combined", width=4, generator_width=4, blocks=2, scale=scale, exposure=exposure).eval()
    image = smooth(2, (17, 22), generator)
    plain = image if scale == 1 else F.interpolate(image, scale_factor=scale, mode="bicubic").clamp(0, 1)
    assert torch.allclose(network(image), plain, atol=1e-5)
    result = stir(network).train()(image)
    assert result.shape == (2, 3, 17 * scale, 22 * scale)
    (result * torch.rand(result.shape, generator=generator)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_combined_refuses_what_does_not_fit(image):
    """Other scales, and a mask where the size changes, are refused with the way out."""
    with pytest.raises(UsageError, match="scale is 1, 2, 4; got 3"):
        MODELS.create("combined", scale=3)
    with pytest.raises(UsageError, match="leave it out"):
        MODELS.create("combined", width=4, scale=2)(image, torch.ones(2, 1, 32, 40))


@pytest.fixture
def enlarger(tmp_path):
    """A checkpoint of a small network of scale 4 whose weights are all at work."""
    network = stir(MODELS.create("combined", width=4, generator_width=4, blocks=2, scale=4), 0.05)
    return save_checkpoint(tmp_path / "enlarger", network)


@pytest.mark.parametrize("exposure", [False, True])
def test_tiled_equals_whole(tmp_path, exposure, monkeypatch):
    """A photograph enlarged tile by tile is the one enlarged at once, at every kind of number."""
    network = stir(MODELS.create("combined", width=4, generator_width=4, blocks=2, scale=4, exposure=exposure), 0.05)
    upscaler = Upscaler(save_checkpoint(tmp_path / "best", network))
    picture = np.random.default_rng(0).integers(0, 65536, (70, 53, 3)).astype(np.uint16)
    whole = upscaler(picture)
    monkeypatch.setattr("rlenhance.pipelines.upscale._TILE", 16)
    assert whole.shape == (280, 212, 3) and whole.dtype == np.uint16
    assert np.abs(upscaler(picture).astype(int) - whole).max() <= 2
    halved = Upscaler(tmp_path / "best", scale=2)(picture)
    means = whole.reshape(140, 2, 106, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(halved - means).max() <= 2


def test_upscale_keeps_what_the_file_says(tmp_path, enlarger, capsys):
    """The command keeps depth, metadata, transparency and grey; the size in EXIF is the new one."""
    rng = np.random.default_rng(1)
    write(rng.integers(0, 65536, (20, 24, 3)).astype(np.uint16), tmp_path / "in" / "deep.tif")
    exif = Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(EXIF_IFD).update({0xA002: 24, 0xA003: 20, 0x829A: 0.5})
    Image.fromarray(rng.integers(0, 99, (20, 24, 3), np.uint8)).save(tmp_path / "in" / "told.jpg", exif=exif)
    veiled = rng.integers(0, 256, (20, 24, 4), np.uint8)
    veiled[:8, :, 3], veiled[8:, :, 3] = 0, 255
    Image.fromarray(veiled).save(tmp_path / "in" / "veiled.png")
    Image.fromarray(rng.integers(0, 99, (20, 24), np.uint8)).save(tmp_path / "in" / "grey.png")
    assert command(["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(enlarger)]) == 0
    photos = {name: read(tmp_path / "out" / name) for name in ("deep.tif", "told.jpg", "veiled.png", "grey.png")}
    assert all(photo.pixels.shape == (80, 96, 3) for photo in photos.values())
    assert photos["deep.tif"].pixels.dtype == np.uint16 and photos["grey.png"].grey
    told = Image.Exif()
    told.load(b"Exif\0\0" + photos["told.jpg"].metadata.exif)
    assert told[271] == "Maker" and (told.get_ifd(EXIF_IFD)[0xA002], told.get_ifd(EXIF_IFD)[0xA003]) == (96, 80)
    assert told.get_ifd(EXIF_IFD)[0x829A] == 0.5
    alpha = photos["veiled.png"].alpha
    assert (alpha[:32] == 0).all() and (alpha[40:] == 255).all()
    assert np.array_equal(photos["veiled.png"].pixels[:32:4, ::4], veiled[:8, :, :3])


def test_upscale_refuses_in_words(tmp_path, enlarger, capsys):
    """A scale that is none, a model that does not enlarge, a result that is too large: one line each."""
    write(np.zeros((20, 24, 3), np.uint8), tmp_path / "night.png")
    plain = save_checkpoint(tmp_path / "plain", MODELS.create("combined", width=4, generator_width=4, blocks=1))
    for words, said in ((["--scale", "3", "--model", str(enlarger)], "scale must be 2 or 4"),
                        (["--model", str(plain)], "not to upscale: rlenhance denoise is the command for it"),
                        (["--model", str(enlarger), "--max-megapixels", "0.001"], "megapixels")):
        assert command(["upscale", str(tmp_path / "night.png"), *words]) == 2
        shown = capsys.readouterr()
        assert said in shown.err + shown.out and "Traceback" not in shown.err
    assert not (tmp_path / "night_upscaled.png").exists()


def test_enhance_names_the_command_that_fits(tmp_path, enlarger):
    """A network that changes the size, or fills holes, is none that enhances: the right command is named."""
    with pytest.raises(UsageError, match="rlenhance upscale"):
        Enhancer(enlarger)
    with pytest.raises(UsageError, match="rlenhance complete"):
        Enhancer(save_checkpoint(tmp_path / "filler", make("gated_pixelrnn")))


# pictures and training


def test_shrunk_pictures_come_from_their_references(generator):
    """A shrunk picture is the reference made small, up to blur and noise; the same name gives the same one."""
    picture = (255 * smooth(1, (64, 80), generator)[0].permute(1, 2, 0).numpy()).astype(np.uint8)
    small = Downscale(4, max_noise=0.0)(picture, np.random.default_rng(0))
    assert small.shape == (16, 20, 3)
    assert np.abs(small.astype(int) - cv2.resize(picture, (20, 16), interpolation=cv2.INTER_AREA)).mean() < 4


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


# the competition's table


def test_the_table_round_trips(tmp_path, capsys):
    """Pictures in natural order, IDs of five digits, every eighth grey value; what is written is read back."""
    rng = np.random.default_rng(0)
    pictures = {number: rng.integers(0, 256, (12, 20, 3), np.uint8) for number in (2, 10, 1)}
    for number, picture in pictures.items():
        write(picture, tmp_path / "restored" / f"test_{number}_upscaled.png")
    write(pictures[1], tmp_path / "restored" / "test_1.png")
    out = submission.main(submission.Arguments(tmp_path / "restored", tmp_path / "sub" / "s.csv", suffix="_upscaled"))
    lines = out.read_text().splitlines()
    assert lines[0].startswith("ID,pixel_0,pixel_1,") and lines[0].endswith(",pixel_29")
    assert [line.split(",")[0] for line in lines[1:]] == ["gt_00001", "gt_00002", "gt_00010"]
    table = submission.read_table(out)
    grey = cv2.cvtColor(pictures[10], cv2.COLOR_RGB2GRAY).ravel()
    assert np.array_equal(table["gt_00010"], grey[::8])
    submission.write_table(tmp_path / "again.csv", table)
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()


def test_the_table_refuses_in_words(tmp_path):
    """Numbers that stand for two pictures, sizes that differ, and foreign files are named."""
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "a" / "x_1.png")
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "a" / "y_01.png")
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "b" / "x_1.png")
    write(np.zeros((9, 8, 3), np.uint8), tmp_path / "b" / "x_2.png")
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "c" / "x.png")
    for folder, said in (("a", "already"), ("b", "one size"), ("c", "no number"), ("d", "no such folder")):
        with pytest.raises(UsageError, match=said):
            submission.main(submission.Arguments(tmp_path / folder, tmp_path / "s.csv"))
    for text in ("a,b\n1,2\n", "ID,pixel_0\ngt_00001,256\n", "ID,pixel_0\n1,2\n", "ID,pixel_0\ngt_00001,1,2\n"):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(UsageError, match=r"t\.csv"):
            submission.read_table(tmp_path / "t.csv")
