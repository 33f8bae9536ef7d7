"""What a denoiser begins with, and the options of its training."""

import dataclasses

import pytest
import torch

from experiments.tasks.denoiser import DENOISER, DenoiserDataConfig, DenoiserRunConfig
from rlenhance.core.errors import UsageError
from rlenhance.hub.checkpoint import save_checkpoint
from rlenhance.models import MODELS, warm_start
from rlenhance.models.warm_start import denoiser_weights
from tests.support.networks import make_model, stir

BACKBONE = {"name": "gru_unet", "widths": (8, 8), "blocks": (1, 1)}


def _policy(**changes):
    return MODELS.create("filter_policy", backbone=BACKBONE, horizon=1, noise=(5, 55), **changes)


def test_a_denoiser_begins_with_the_estimate_of_a_policy(tmp_path):
    """The way back from a warm start gives the same weights; a policy without an estimate has none to give."""
    denoiser, other = (stir(make_model("denoiser", channels=1, widths=(8, 8), down=(1, 1), up=(1,)), size)
                       for size in (0.05, 0.2))
    policy = _policy(channels=1, estimate=True, noise_conditioned=True)
    save_checkpoint(tmp_path / "policy", warm_start(policy, denoiser))
    DENOISER.initialize(other, tmp_path / "policy")
    for name, value in denoiser.state_dict().items():
        assert torch.allclose(other.state_dict()[name], value), name
    with pytest.raises(UsageError, match="begins with the estimate of a gru_unet"):
        denoiser_weights(_policy(channels=1, estimate=False))


@pytest.mark.parametrize("option", ["camera", "camera_jpeg"])
def test_shares_are_shares(option):
    """A share outside [0, 1] is named with its option before a picture is read."""
    config = dataclasses.replace(DenoiserRunConfig(), data=DenoiserDataConfig(**{option: 1.5}))
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} is a share in .0, 1.; got 1.5"):
        DENOISER.dataset(config)


def test_a_wider_network_begins_as_the_narrower_one(tmp_path, generator):
    """It denoises as that does, and its new channels are not dead: their weights get a gradient."""
    small, large = (stir(make_model("denoiser", channels=1, widths=widths, down=(1, 1, 1), up=(1, 1)), 0.1)
                    for widths in ((16, 16, 16), (16, 24, 32)))
    save_checkpoint(tmp_path / "small", small)
    large.network.head.load_state_dict(small.network.head.state_dict())
    DENOISER.initialize(large, tmp_path / "small")
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
    DENOISER.initialize(colour, tmp_path / "grey")
    image = torch.rand(1, 3, 32, 32, generator=generator)
    with torch.no_grad():
        result, mean = colour.denoise(image, 0.1), image.mean(dim=1, keepdim=True)
        assert torch.allclose(result.mean(dim=1, keepdim=True), grey.denoise(mean, 0.1 / 3**0.5), atol=1e-5)
    assert torch.allclose(result - result.mean(dim=1, keepdim=True), image - mean, atol=1e-5)
