"""Filters chosen by pixels: convex, equal in torch, compiled and NumPy, and independent of tiles and threads."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.core.errors import UsageError
from rlenhance.engine import pixel_kernels
from rlenhance.experiments.laws.actions import random_action
from rlenhance.hub.open import open_network
from rlenhance.learning.actions import KernelActions
from rlenhance.learning.data import MixedNoise
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.hub.export import export_checkpoint
from rlenhance.learning.models import MODELS


def neighbourhood(image, side):
    """Lowest and highest value around every pixel."""
    padded = F.pad(image, (side // 2,) * 4, mode="replicate")
    return -F.max_pool2d(-padded, side, 1), F.max_pool2d(padded, side, 1)


@pytest.mark.parametrize("side", [3, 5, 7])
def test_actions_choose_convex_filters(side, generator):
    """Weights are not negative and have the sum 1; a flat surface stays; nothing leaves its neighbourhood."""
    actions, image = KernelActions(side), torch.rand(2, 3, 9, 13, generator=generator)
    action = random_action(actions, image, generator)
    weights = actions.weights(action)
    assert weights.min() >= 0 and torch.allclose(weights.sum(dim=1), torch.ones(2, 9, 13), atol=1e-6)
    flat = torch.full_like(image, 0.3)
    assert torch.equal(actions.apply(flat, action), flat)
    low, high = neighbourhood(image, side)
    after = actions.apply(image, action)
    assert (after >= low - 1e-6).all() and (after <= high + 1e-6).all() and not torch.equal(after, image)


def test_each_number_of_an_action_is_one_neighbour():
    """Row by row: all weight on one number takes that neighbour, and at a border the edge."""
    actions, image = KernelActions(3), torch.arange(12.0).view(1, 1, 3, 4) / 12
    for place in range(9):
        action = torch.full((1, 9, 3, 4), -1.0)
        action[:, place] = 1
        down, across = place // 3 - 1, place % 3 - 1
        taken = F.pad(image, (1, 1, 1, 1), mode="replicate")[..., 1 + down : 4 + down, 1 + across : 5 + across]
        assert torch.allclose(actions.apply(image, {"local": action}), taken, atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 4, 9])
def test_other_sides_are_refused(side):
    """By the action set and by the network, with those that there are."""
    with pytest.raises(UsageError, match="3, 5 or 7"):
        KernelActions(side)
    with pytest.raises(UsageError, match="3, 5 or 7"):
        MODELS.create("kernel_denoiser", side=side)


@pytest.fixture(scope="module", params=[{}, {"levels": 2, "side": 3, "width": 16}, {"levels": 3, "side": 7}], ids=str)
def networks(request, tmp_path_factory):
    """A network whose filters differ from pixel to pixel: in torch, and as it is used without."""
    torch.manual_seed(0)
    network = MODELS.create("kernel_denoiser", **request.param).eval()
    for head in network.network.heads:
        head.weight.data.mul_(30)
    folder = tmp_path_factory.mktemp("kernels")
    save_checkpoint(folder, network)
    export_checkpoint(folder)
    return network, open_network(folder)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (37, 51), (8, 9), (1, 5)])
def test_use_equals_torch(networks, size, compiled, monkeypatch):
    """Compiled and in NumPy, for pictures of any size, with one number or a map of the noise."""
    network, exported = networks
    if not compiled:
        monkeypatch.setattr(pixel_kernels, "NATIVE", None)
    rng = np.random.default_rng(0)
    image = rng.random((2, 3, *size), np.float32)
    for noise in (np.full((1, 1, 1, 1), 0.1, np.float32), 0.2 * rng.random((2, 1, *size), np.float32)):
        with torch.no_grad():
            wanted = network.denoise(torch.from_numpy(image), torch.from_numpy(noise))
        assert np.abs(exported.denoise(image, noise) - wanted.numpy()).max() < 1e-5


def test_threads_do_not_show(networks, monkeypatch):
    """The same bits with one thread and with four."""
    image = np.random.default_rng(1).random((1, 3, 170, 190), np.float32)
    found = []
    for count in (1, 4):
        monkeypatch.setattr(pixel_kernels, "thread_count", lambda count=count: count)
        found.append(networks[1].denoise(image, 0.1))
    assert np.array_equal(*found)


def test_a_network_of_filters_invents_nothing(networks, generator):
    """Flat pictures stay within rounding, and all values stay about in the range of the picture."""
    network = networks[0]
    with torch.no_grad():
        flat = torch.tensor([0.2, 0.5, 0.7])[None, :, None, None].expand(1, 3, 24, 32).contiguous()
        assert torch.allclose(network.denoise(flat, 0.2), flat, atol=1e-5)
        noisy = 0.4 + 0.1 * torch.rand(1, 3, 40, 48, generator=generator)
        after = network.denoise(noisy, 0.2)
        assert after.min() > 0.3 and after.max() < 0.6


def test_tiles_do_not_show(networks, generator):
    """The receptive radius is what a result depends on."""
    network, image = networks[0], torch.rand(1, 3, 200, 184, generator=generator)
    with torch.no_grad():
        assert torch.allclose(network.denoise_tiled(image, 0.1, side=64), network.denoise(image, 0.1), atol=1e-5)


def test_mixed_noise_is_as_strong_as_it_says(generator):
    """White and correlated noise alike, where nothing is coded; clean crops stay, and their map is almost zero."""
    clean = torch.full((32, 3, 64, 64), 0.5)
    plain = {"clean_prob": 0.0, "dark_prob": 0.0, "jpeg_prob": 0.0, "rounded_prob": 0.0}
    for white in (1.0, 0.0):
        noisy, told = MixedNoise((2, 20), white_prob=white, **plain)(clean, generator)
        seen = (noisy - clean).std(dim=(1, 2, 3))
        assert torch.allclose(seen, told[:, 0, 0, 0], rtol=0.12)
    noisy, told = MixedNoise(clean_prob=1.0)(clean, generator)
    assert (noisy - clean).abs().max() < 2 / 255 and told.max() <= 1 / 255


def test_mixed_noise_repeats():
    """The same generator, the same crops; and what is coded lies in [0, 1] on 255 steps."""
    clean = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    made = [MixedNoise(jpeg_prob=1.0, clean_prob=0.0, dark_prob=0.0)(clean, torch.Generator().manual_seed(5))[0]
            for _ in range(2)]
    assert torch.equal(*made) and torch.allclose(made[0] * 255, (made[0] * 255).round(), atol=1e-3)
    with pytest.raises(UsageError, match="noise levels"):
        MixedNoise((0, 20))
