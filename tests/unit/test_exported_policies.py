"""Policies over filters and over codes of patches, and the small tools: exported, they are what torch computes."""

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import to_planes
from rlenhance.engine.filters import FilterEpisode, later_reach, unet_reach
from rlenhance.engine.graph import NUMPY
from rlenhance.engine.networks import load
from rlenhance.engine.patches import Patches
from rlenhance.experiments.laws.law import stir
from rlenhance.hub.info import read_config, read_weights
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import locate
from rlenhance.learning.actions import LatentActions
from rlenhance.learning.hub.checkpoint import load_model, save_checkpoint
from rlenhance.learning.hub.export import export_checkpoint
from rlenhance.learning.models.tiled import episode_radius
from rlenhance.learning.ops.patch_grid import PatchGrid
from tests.support.networks import make_model

UNET = {"name": "gru_unet", "widths": (4, 4), "blocks": (1, 1)}
backends = pytest.mark.parametrize("backend", [None, NUMPY])


def noisy(height=45, width=38, grey=False, seed=0):
    """(1, 3, H, W) float32 with some noise."""
    rng = np.random.default_rng(seed)
    clean = 0.5 + 0.3 * np.sin(np.arange(width) / 5) * np.cos(np.arange(height)[:, None] / 7)
    picture = clean[..., None] + 0.06 * rng.standard_normal((height, width, 1 if grey else 3))
    return to_planes(np.repeat(picture, 3, axis=2) if grey else picture).clip(0, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The engine's network and torch's model for what makes a network; each is exported once."""
    folders = {}

    def pair(make, backend=None, **config):
        key = make, tuple(config.items())
        if key not in folders:
            folders[key] = save_checkpoint(tmp_path_factory.mktemp("exported") / "run", make(**config))
            assert export_checkpoint(folders[key])
        folder = folders[key]
        return load(folder, read_config(folder), read_weights(folder), backend), load_model(folder)

    return pair


def filter_policy(**config):
    """A policy whose choices are of all kinds."""
    return stir(make_model("filter_policy", **{"backbone": UNET, "num_tta_views": 4, "channels": 1, "horizon": 4,
                                                "noise": (5, 55), **config}), 0.3)


@backends
@pytest.mark.parametrize("config", [{}, *(pytest.param(config, marks=pytest.mark.slow) for config in (
    {"num_tta_views": 8, "channels": 3}, {"noise_conditioned": False}, {"estimate": False}))])
def test_filters_chosen_are_those_of_torch(config, backend, exported):
    """Nearly all pixels are equal, in pictures of any size, grey and in colour; the others had two equal choices."""
    engine, model = exported(filter_policy, backend, **config)
    for planes in (noisy(), noisy(136, 150, grey=True)):
        with torch.inference_mode():
            wanted = model(torch.from_numpy(planes)).numpy()
        found = engine(planes)
        assert found.shape == wanted.shape and (np.abs(found - wanted) > 1e-5).mean() < 1e-3
        assert np.abs(found - planes).max() > 0.02


def test_named_noise_is_used(exported):
    """As in torch; what the policy was not trained for is refused."""
    engine, model = exported(filter_policy)
    planes = noisy(grey=True)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(planes), preference={"noise": 40.0}).numpy()
    assert (np.abs(engine(planes, preference={"noise": 40.0}) - wanted) > 1e-5).mean() < 1e-3
    assert np.abs(engine(planes) - wanted).max() > 1e-3
    with pytest.raises(UsageError, match="noise 70 is outside of what this policy was trained for"):
        engine(planes, preference={"noise": 70.0})


def test_tiles_of_an_episode_leave_no_trace(exported, monkeypatch):
    """Each step computes what later ones have to see, and not more."""
    engine, _ = exported(filter_policy)
    planes = noisy(150, 131, grey=True)
    whole = engine(planes)
    monkeypatch.setattr("rlenhance.engine.filters._TILE", 32)
    assert (np.abs(engine(planes) - whole) > 1e-5).mean() < 1e-3


@pytest.mark.parametrize("blocks", [(1, 1), (1, 2, 1), (2, 1)])
def test_the_reach_is_that_of_the_network(blocks):
    """As measured with numbers that spread."""
    policy = stir(make_model("filter_policy", backbone={**UNET, "widths": (4,) * len(blocks), "blocks": blocks}))
    assert (unet_reach(blocks), later_reach(policy.grid_period)) == episode_radius(policy)


def test_what_cannot_be_exported_stays_with_torch(tmp_path):
    """A policy that looks at each step anew has no graphs, and still opens."""
    folder = save_checkpoint(tmp_path / "run", make_model("filter_policy", backbone={**UNET, "memory": "every"}))
    assert export_checkpoint(folder) == [] and not isinstance(open_network(folder), FilterEpisode)


def latent_policy():
    """A policy that moves codes and opens its gates."""
    return stir(make_model("pixel_policy", actions={
        "name": "latent", "block": 24, "overlap": 8, "latent_dim": 16, "width": 4, "widths": (4, 4), "down": (1, 1),
        "up": (1,), "codes": 32, "groups": 2, "axes": 2, "neighbours": 3, "parts": 2, "own_shares": (0.0, 0.5)},
        backbone={"name": "compact", "width": 8}, horizon=2, decision_size=None, std_mode="predicted",
        sees_initial_image=True), 0.2)


def test_moves_of_codes_are_those_of_torch(exported):
    """Within 1/255, with the noise measured or named, and with further episodes."""
    engine, model = exported(latent_policy)
    assert isinstance(model.policy.actions, LatentActions)
    for planes, noise, iterations in ((noisy(), None, 0), (noisy(70, 61), 30.0, 1)):
        model.iterations = iterations
        model.policy.actions.noise_std = None if noise is None else noise / 255
        with torch.inference_mode():
            wanted = model(torch.from_numpy(planes)).numpy()
        found = engine(planes, preference=None if noise is None else {"noise": noise}, iterations=iterations)
        assert np.abs(found - wanted).max() < 0.5 / 255 and np.abs(found - planes).max() > 2 / 255


@pytest.mark.parametrize("size", [(50, 37), (5, 3), (16, 400)])
def test_patches_are_those_of_the_grid(size):
    """Cut, and folded again, band by band."""
    image, grid, patches = np.random.default_rng(0).random((3, *size), dtype=np.float32), PatchGrid(24, 8), \
        Patches(24, 8)
    padded, bands = patches.padded(image), list(patches.bands(size))
    found = np.concatenate([band.cut(padded) for band in bands])
    assert np.array_equal(found, grid.extract(torch.from_numpy(image)[None]).numpy())
    assert np.abs(patches.fold(((band, band.cut(padded)) for band in bands), size) - image).max() < 1e-6
    changed = found * np.random.default_rng(1).random((len(found), 1, 1, 1), dtype=np.float32)
    whole = patches.fold(((band, changed[band.rows]) for band in bands), size)
    assert np.abs(whole - grid.fold(torch.from_numpy(changed), size)[0].numpy()).max() < 1e-6


def small_tools():
    """Two of them."""
    return stir(make_model("small_tools", names=("one", "two"), width=4, chain=("two", "one")), 0.2)


@backends
def test_small_tools_are_those_of_torch(backend, exported):
    """Each tool, and the chain, for pictures of odd sides."""
    engine, model = exported(small_tools, backend)
    planes = noisy(33, 41)
    for preference in ({"tool": 0}, {"tool": 1}, None):
        with torch.inference_mode():
            wanted = model(torch.from_numpy(planes), preference=preference).numpy()
        assert np.abs(engine(planes, preference=preference) - wanted).max() < 1e-4


@pytest.mark.parametrize("name", ["filters-grey", "rse-faces", "tools"])
def test_shipped_ones_are_opened_without_torch(name):
    """Their exports lie beside their weights, and equal torch."""
    place, planes = locate(name), noisy(26, 33, grey=name == "filters-grey")
    with torch.inference_mode():
        wanted = load_model(place)(torch.from_numpy(planes)).numpy()
    assert (np.abs(open_network(place)(planes) - wanted) > 1 / 255).mean() < 1e-3
