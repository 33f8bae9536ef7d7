"""Policies over filters on pictures of any size: tiles leave no trace; grey ones take colours channel by channel."""

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import FILTERS, PIXELRL_TOOLS
from rlenhance.learning.hub.explain_filters import map_tools
from rlenhance.learning.models import MODELS, GreedyEpisode
from rlenhance.learning.models.tiled import episode_radius, run_filters_tiled
from rlenhance.learning.ops.filters import find_tiled_filter
from rlenhance.ops.filters_batched import PIXELRL_FILTERS
from rlenhance.pipelines.denoise import Denoiser
from tests.support.networks import stir

UNET = {"name": "gru_unet", "widths": (8, 8), "blocks": (1, 1)}
NETWORKS = {
    "gru_unet": {"backbone": UNET},
    "gru_unet that looks at each step": {"backbone": {**UNET, "memory": "every"}},
    "gru_unet without memory": {"backbone": {**UNET, "memory": "none"}},
    "gru_unet of three views": {"backbone": UNET, "noise": (5, 55), "num_tta_views": 3},
    "gru_fcn in colour": {"backbone": {"name": "gru_fcn", "width": 6, "dilations": (1, 2)}, "channels": 3},
    "gru_fcn that is not told": {"backbone": {"name": "gru_fcn", "width": 6, "stride": 2}, "noise_conditioned": False,
                                 "estimate": False},
    "pixelrl": None,
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def make_policy(name="gru_unet", **config):
    """A policy whose choices are of all kinds, reproducibly."""
    torch.manual_seed(3)
    given = NETWORKS[name]
    if given is None:
        return stir(MODELS.create("pixelrl", width=6, horizon=3, channels=1, **config)).eval()
    return stir(MODELS.create("filter_policy", **{"horizon": 3, "channels": 1, **given, **config})).eval()


def played_in_tiles(policy, image, tile):
    """The picture at the end, and the choices of all steps, (T, N, 1, H, W)."""
    choices = torch.full((policy.horizon, len(image), 1, *image.shape[2:]), -1)

    def see(place, step, choice):
        choices[(step, *place)] = choice

    return run_filters_tiled(policy, image, policy.preferences.encode(None, len(image)), policy.horizon, tile,
                             see), choices


@every_network
def test_tiled_is_whole(name, generator):
    """Small tiles of odd pictures: the same choices but where two tools are level, and the same picture within 1e-5."""
    policy = make_policy(name)
    image = torch.rand(2, policy.channels, 67, 94, generator=generator)
    with torch.inference_mode():
        episode = GreedyEpisode(policy).run(image)
        chosen = torch.stack([action["local"] for action in episode.actions])
        result, choices = played_in_tiles(policy, image, 32)
    same = choices == chosen  # a tie may fall otherwise
    assert same.float().mean() > 0.9995
    gap = (policy.postprocess(result, image) - episode.image).abs()
    assert (gap < 1e-5).float().mean() > 0.999
    assert len(chosen.unique()) > 1


@every_network
def test_a_pixel_sees_no_farther_than_its_reach(name, generator):
    """What is changed beyond it changes nothing; and something within it does."""
    policy = make_policy(name)
    first, _ = episode_radius(policy)
    image = torch.rand(1, policy.channels, 80, 80, generator=generator)
    noise, left = policy.noise_level(image), torch.ones(1, 1)

    def chances(picture):
        state = policy.initial_state(picture, noise)
        return policy({"image": picture, "remaining": left}, state)[0].scopes["local"].log_probs[0, 0]

    place = 40 // policy.grid_period * policy.grid_period
    other = image.clone()
    other[..., place : place + policy.grid_period, place : place + policy.grid_period] = 1.0
    with torch.no_grad():
        changed = (chances(image) != chances(other)).any(dim=0)
    rows = changed.any(dim=1).nonzero().flatten()
    assert len(rows)
    assert rows.min() >= place - first * policy.grid_period and rows.max() < place + (first + 1) * policy.grid_period


def test_large_pictures_are_tiled_in_use(generator, monkeypatch):
    """In inference mode the model goes tile by tile, and gives what it gives otherwise."""
    from rlenhance.learning.models import tiled

    policy = make_policy()
    image = torch.rand(1, 1, 60, 75, generator=generator)
    with torch.no_grad():
        whole = GreedyEpisode(policy)(image)
    monkeypatch.setattr(tiled, "FILTER_TILE", 8)
    with torch.inference_mode():
        tiled = GreedyEpisode(policy)(image)
    assert (tiled - whole).abs().max() < 1e-5 or ((tiled - whole).abs() > 1e-5).float().mean() < 5e-4


def test_a_tool_that_does_not_tell_how_far_it_looks_is_run_on_the_whole(generator):
    """One of the user's own may see the whole picture: no tiles."""
    FILTERS.register("even")(lambda image: image.mean(dim=(2, 3), keepdim=True).expand_as(image))
    try:
        policy = make_policy(tools=("nothing", "even", "box"))
        assert episode_radius(policy) is None
        image = torch.rand(1, 1, 33, 40, generator=generator)
        with torch.inference_mode():
            encoded = policy.preferences.encode(None, 1)
            assert torch.equal(policy.postprocess(run_filters_tiled(policy, image, encoded, 3, 16), image),
                               GreedyEpisode(policy)(image))
    finally:
        FILTERS.remove("even")


def test_grey_policies_take_colours_channel_by_channel(generator):
    """As if each were a picture; grey in three channels stays grey; observations of environments are refused."""
    policy = make_policy()
    model, image = GreedyEpisode(policy), torch.rand(2, 3, 20, 26, generator=generator)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            expected = torch.cat([model(image[:, channel : channel + 1]) for channel in range(3)], dim=1)
            assert torch.allclose(model(image), expected, atol=1e-6)
            grey = image[:, :1]
            assert torch.equal(model(grey.expand(-1, 3, -1, -1)), model(grey).expand(-1, 3, -1, -1))
    with pytest.raises(UsageError, match="use a model for colour, make it grey"):
        policy({"image": image, "remaining": torch.ones(2, 1)})


def test_which_filter_won_is_told_of_tiles_and_of_colours(generator, monkeypatch):
    """The map of a picture in tiles is that of the whole; of colours, the winner among the channels."""
    from rlenhance.learning.models import tiled

    policy = make_policy()
    grey = np.repeat(torch.rand(50, 66, 1, generator=generator).numpy(), 3, axis=2)
    colours = torch.rand(20, 26, 3, generator=generator).numpy()
    whole, found = map_tools(GreedyEpisode(policy), grey), map_tools(GreedyEpisode(policy), colours)
    monkeypatch.setattr(tiled, "FILTER_TILE", 8)
    tiled = map_tools(GreedyEpisode(policy), grey)
    assert (tiled.winner == whole.winner).mean() > 0.999 and np.allclose(tiled.shares, whole.shares, atol=1e-3)
    assert found.winner.shape == (20, 26) and np.allclose(found.shares.sum(axis=1), 1)


def test_photographs_of_one_pixel_and_in_sixteen_bits(tmp_path, generator):
    """Every file goes through."""
    from rlenhance.learning.hub.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "policy", make_policy())
    enhancer = Denoiser(tmp_path / "policy")
    for pixels in (np.full((1, 1, 3), 90, np.uint8), np.full((1, 7, 3), (9, 80, 200), np.uint8),
                   (torch.rand(9, 11, 3, generator=generator).numpy() * 65535).astype(np.uint16)):
        result = enhancer(pixels)
        assert result.shape == pixels.shape and result.dtype == pixels.dtype


def test_the_filters_of_pixelrl_are_the_tools_of_that_name():
    """The table without torch has the same forms under the same names."""
    assert tuple(PIXELRL_FILTERS) == PIXELRL_TOOLS
    for name, form in PIXELRL_FILTERS.items():
        assert form is (None if name == "nothing" else find_tiled_filter(FILTERS[name]))
