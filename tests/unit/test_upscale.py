"""Networks that enlarge: what a new one gives, tiles, what a file keeps, and how pictures are shrunk."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rlenhance import Upscaler
from rlenhance.cli.main import main as command
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.io.directory import EXIF_IFD
from rlenhance.learning.data import Downscale
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from tests.support.networks import stir
from tests.support.pictures import smooth


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("exposure", [False, True])
def test_combined_begins_as_the_bicubic_picture(scale, exposure, generator):
    """Before it has learned anything it enlarges bicubically; afterwards every weight has a gradient."""
    torch.manual_seed(0)
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


@pytest.mark.parametrize("name, config", [
    ("combined", {"generator_width": 4}), ("combined", {"generator_width": 4, "exposure": True}),
    ("combined", {"generator_width": 4, "paper_form": True}), ("enlarger", {})], ids=str)
def test_tiled_equals_whole(tmp_path, name, config, monkeypatch):
    """A photograph enlarged tile by tile is the one enlarged at once; half the scale is its mean."""
    network = stir(MODELS.create(name, width=4, blocks=2, scale=4, **config), 0.05)
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


def test_shrunk_pictures_come_from_their_references(generator):
    """A shrunk picture is the reference made small, up to blur and noise; the same name gives the same one."""
    picture = (255 * smooth(1, (64, 80), generator)[0].permute(1, 2, 0).numpy()).astype(np.uint8)
    small = Downscale(4, max_noise=0.0)(picture, np.random.default_rng(0))
    assert small.shape == (16, 20, 3)
    assert np.abs(small.astype(int) - cv2.resize(picture, (20, 16), interpolation=cv2.INTER_AREA)).mean() < 4


@pytest.mark.parametrize("scale", [2, 4])
def test_a_new_one_gives_the_bicubic_picture(scale: int) -> None:
    """Afterwards every weight has a gradient."""
    network = MODELS.create("enlarger", width=4, blocks=2, scale=scale).eval()
    image = torch.rand(2, 3, 11, 14, generator=torch.Generator().manual_seed(0))
    plain = F.interpolate(image, scale_factor=scale, mode="bicubic").clamp(0, 1)
    assert torch.allclose(network(image), plain, atol=1e-5)
    stir(network).train()(image).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_the_scale_chooses_the_shipped_network() -> None:
    """Also where the scale changes later; a network that was named stays."""
    picture = np.zeros((12, 16, 3), np.uint8)
    four = Upscaler()
    two = four.with_settings(scale=2)
    assert (four.model.scale, two.model.scale, two.with_settings(scale=4).model.scale) == (4, 2, 4)
    assert two(picture).shape == (24, 32, 3) and four(picture).shape == (48, 64, 3)
    assert Upscaler("upscale-x4", scale=2).model.scale == 4


def test_the_published_form_adds_nothing_to_anything() -> None:
    network = MODELS.create("enlarger", width=4, blocks=1, scale=2, paper_form=True)
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    assert torch.equal(network.train()(image := torch.rand(1, 3, 8, 8)), network.generator(image))


def test_other_scales_are_refused() -> None:
    with pytest.raises(UsageError, match="scale is 2 or 4; got 1"):
        MODELS.create("enlarger", scale=1)


def test_sharp_draws_are_reduced_as_programs_do_it() -> None:
    """Their share is what was asked for, and they have neither blur nor noise."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    sharp = np.asarray(Image.fromarray(picture).resize((12, 8), Image.Resampling.BICUBIC))
    rng = np.random.default_rng(1)
    same = [np.array_equal(Downscale(4, sharp=0.75)(picture, rng), sharp) for _ in range(200)]
    assert 0.65 < np.mean(same) < 0.85
    old, new = (Downscale(4, **given)(picture, np.random.default_rng(2)) for given in ({}, {"sharp": 0.0}))
    assert np.array_equal(old, new) and not np.array_equal(old, sharp)
