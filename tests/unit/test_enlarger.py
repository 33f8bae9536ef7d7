"""The small network that enlarges: what a new one gives, tiles, the published form, and how its pictures are shrunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rlenhance import Upscaler
from rlenhance.core.errors import UsageError
from rlenhance.learning.data import Downscale
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from tests.support.networks import stir


@pytest.mark.parametrize("scale", [2, 4])
def test_a_new_one_gives_the_bicubic_picture(scale: int) -> None:
    """Afterwards every weight has a gradient."""
    network = MODELS.create("enlarger", width=4, blocks=2, scale=scale).eval()
    image = torch.rand(2, 3, 11, 14, generator=torch.Generator().manual_seed(0))
    plain = F.interpolate(image, scale_factor=scale, mode="bicubic").clamp(0, 1)
    assert torch.allclose(network(image), plain, atol=1e-5)
    stir(network).train()(image).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_tiles_make_the_whole(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler(save_checkpoint(tmp_path / "run", stir(MODELS.create("enlarger", width=4, blocks=2), 0.05)))
    picture = np.random.default_rng(0).integers(0, 256, (50, 41, 3), dtype=np.uint8)
    whole = upscaler(picture)
    monkeypatch.setattr("rlenhance.pipelines.upscale._TILE", 16)
    assert whole.shape == (200, 164, 3) and np.abs(upscaler(picture).astype(int) - whole).max() <= 1


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
