"""Tiles leave no trace: pixel-wise policies on large pictures, the reduced state, and edges of light."""

import numpy as np
import pytest
import torch

from rlenhance.learning.actions import ACTION_SETS, FusedRenderer
from rlenhance.learning.models import GreedyEpisode
from rlenhance.learning.models import episode as unrolled_module
from rlenhance.learning.models.tiled import can_tile, receptive_radius, run_tiled
from rlenhance.learning.ops.image import resize, resized_tensor, to_tensor
from tests.support.networks import CHOICE, make_model, make_policy, stir

NETWORKS = [
    ({"name": "fcn", "width": 6}, {"name": "curve", "agent_stride": 1, "global_agent": False}),
    ({"name": "fcn", "width": 6, "dilations": (1, 3)}, {"name": "curve", "agent_stride": 1}),
    ({"name": "compact", "width": 8, "stride": 4}, {"name": "tone", "agent_stride": 4}),
    ({"name": "pixelrnn", "width": 8}, {"name": "curve", "agent_stride": 8}),
    ({"name": "mrpnet", "width": 8}, {"name": "tone", "agent_stride": 1}),
]
every_network = pytest.mark.parametrize("backbone, actions", NETWORKS, ids=lambda spec: spec["name"])


def _policy(backbone, actions, **config):
    return stir(make_model("pixel_policy", backbone=backbone, actions=actions, decision_size=None, horizon=3,
                           preferences=CHOICE, auto=("exposure_level",), **config))


@every_network
def test_tiled_is_whole(backbone, actions, generator):
    """Several sizes of tiles on odd pictures: the same within 1e-5, though they are much smaller than the picture."""
    policy = _policy(backbone, actions)
    image = 0.5 * torch.rand(1, 3, 71, 90, generator=generator)
    assert can_tile(policy, 71, 90)
    model = GreedyEpisode(policy)
    with torch.inference_mode():
        whole = model.run(image).image
        encoded = policy.preferences.resolve_auto(policy.preferences.encode(None, 1), image)
        for tile in (24, 40):
            tiled = run_tiled(policy, image, encoded, 3, tile)
            assert torch.allclose(tiled, whole, rtol=0, atol=1e-5)
    assert (whole - image).abs().max() > 0.01


def test_large_pictures_are_tiled_where_they_can_be(generator, monkeypatch):
    """Without gradient and mask; what stands on other cells, or reduces the picture first, is played whole."""
    asked, policy = [], _policy(*NETWORKS[1])
    monkeypatch.setattr(unrolled_module, "TILE", 16)
    monkeypatch.setattr(unrolled_module, "run_tiled", lambda *words, **more: asked.append(1) or words[1])
    image = torch.rand(1, 3, 20, 30, generator=generator)
    GreedyEpisode(policy)(image)
    with torch.inference_mode():
        GreedyEpisode(policy)(image, mask=torch.ones(1, 1, 20, 30))
        GreedyEpisode(policy)(image[..., :16, :16])
        GreedyEpisode(make_policy({"agent_stride": 8}, decision_size=None))(image)
        GreedyEpisode(make_policy())(image)
        assert asked == []
        GreedyEpisode(policy)(image)
    assert asked == [1]


@pytest.mark.parametrize("dilations, seen", [((1,), 2), ((1, 2, 3, 4, 3, 2), 16)], ids=str)
def test_a_network_knows_its_reach(dilations, seen):
    """The sum of its holes, and one for the head: never less, and not much more."""
    assert seen <= receptive_radius(_policy({"name": "fcn", "width": 4, "dilations": dilations},
                                            NETWORKS[0][1])) <= seen + 8


@pytest.mark.parametrize("dtype, size", [(np.uint8, (480, 640)), (np.uint16, (301, 517))], ids=str)
def test_the_state_in_use_is_the_state_in_training(dtype, size, generator):
    """A photograph reduced from its file, and as the environment reduces it: within 1e-5; in two strides, as training
    pictures are kept: within a level of 8 bits."""
    y, x = np.mgrid[: size[0], : size[1]]
    photo = np.stack([x % 97 + y % 31, (x * y) % 113, x // 7 % 89], axis=2) * (np.iinfo(dtype).max // 255)
    photo = photo.astype(dtype)
    used, trained = resized_tensor(photo, 64), resize(to_tensor(photo), 64)
    assert (used - trained).abs().max() < 1e-5
    assert (resize(resize(to_tensor(photo), (256, 256)), 64) - used).abs().mean() < 1 / 255


def _edge(width=1024):
    """A lamp's bright half beside a dark sky, (64, width, 3), and which columns are the sky's."""
    picture = np.full((64, width, 3), 20, np.uint8)
    picture[:, width // 2 :] = 200
    return picture


@pytest.mark.parametrize("swing", [0.02, 0.25], ids=["as natural", "as relight"])
def test_an_edge_of_light_makes_no_step(swing):
    """At a lamp beside the sky, with agents as far apart as those of the shipped models, the sky changes one way only,
    and no more from one pixel to the next than rounding makes. (How far it changes: docs/roadmap.md.)"""
    tone = ACTION_SETS.create("tone", agent_stride=8)
    action = {"global": torch.full((1, 4, 1, 1), 0.0), "local": torch.zeros(1, 4, 8, 8)}
    action["local"][:, 0, :, 4:] = -swing
    result = FusedRenderer(tone, [action] * 8).pixels(_edge()).astype(float)
    sky, lamp = result[32, :512, 0], result[32, 512:, 0]
    assert np.abs(np.diff(sky)).max() <= 1 and np.abs(np.diff(lamp)).max() <= 1
    assert (np.diff(sky) <= 0).all()
