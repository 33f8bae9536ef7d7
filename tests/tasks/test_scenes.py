"""Scenes lit unevenly: what the local agents are worth."""

import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.tasks.relit_scenes import real_scenes, relit_scenes
from rlenhance.learning.actions import apply_action
from rlenhance.learning.data import RELIGHT_KINDS, Batch
from rlenhance.learning.models import GreedyEpisode
from tests.support.networks import make_policy, stir


@pytest.mark.parametrize("curve", [{}, {"kind": "categorical"}, {"channels": "chroma"}], ids=str)
def test_without_local_agents_every_place_gets_the_same_curve(curve, generator):
    """With local=False equal pixels stay equal, with the local agents they do not; the global agent acts on."""
    policy = stir(make_policy(curve, decision_size=16), 0.2)
    image = torch.rand(1, 3, 1, 2, generator=generator).repeat(1, 1, 32, 16)
    image[..., 16:, 16:] *= 0.3  # the agents see two different halves below
    on, off = GreedyEpisode(policy).run(image), GreedyEpisode(policy, local=False).run(image)
    same_above = (off.image[..., :16, 0::2] - off.image[..., :1, :1]).abs().max()
    assert same_above < 1e-5 < (on.image[..., :16, 0::2] - on.image[..., :1, :1]).abs().max()
    assert not torch.allclose(off.image, image, atol=1e-3)
    whole = image
    for action in off.actions:  # the strengths are those of the global agent alone
        strength = policy.actions.magnitude(action)
        assert torch.allclose(strength, strength[..., :1, :1].expand_as(strength), atol=1e-5)
        whole = apply_action(policy.actions, whole, action)
    assert torch.allclose(whole, off.image, atol=1e-5)  # in one pass over the pixels, or step by step


def test_local_agents_alone_cannot_be_taken_away():
    """A policy without a global agent is refused; one without local agents has none to lose."""
    with pytest.raises(UsageError, match="no global agent"):
        GreedyEpisode(make_policy({"global_agent": False}), local=False)
    policy, image = stir(make_policy({"agent_stride": 0})), torch.full((1, 3, 16, 16), 0.2)
    assert torch.equal(GreedyEpisode(policy, local=False)(image), GreedyEpisode(policy)(image))


@pytest.fixture
def good(generator):
    """Two well-exposed pictures of different sizes."""
    coarse = 0.2 + 0.6 * torch.rand(2, 3, 4, 4, generator=generator)
    return [torch.nn.functional.interpolate(coarse[i : i + 1], size) for i, size in enumerate(((32, 48), (40, 32)))]


def test_relit_scenes_know_their_truth(good):
    """Every kind of light has every way; relighting costs, curves give some of it back, the free one the most."""
    tables = relit_scenes(stir(make_policy()), good)
    assert tuple(tables) == RELIGHT_KINDS
    for rows in tables.values():
        assert list(rows) == ["input", "best uniform curve", "best free curve", "local agents off", "local agents on"]
        assert all(list(row) == ["pictures", "psnr", "gt_mean_psnr", "ssim"] and row["pictures"] == 2
                   for row in rows.values())
        assert rows["input"]["psnr"] <= rows["best uniform curve"]["psnr"] <= rows["best free curve"]["psnr"] < 60
        assert rows["local agents off"]["psnr"] <= rows["best free curve"]["psnr"]  # one curve, for every policy
    assert tables == relit_scenes(stir(make_policy()), good)
    assert relit_scenes(make_policy(), []) == {}


def test_real_scenes_stand_in_thirds_by_their_contrast(good):
    """The flattest pictures are the low third; those without a reference are left out."""
    flat = [Batch(0.3 + amount * (image - 0.5), image) for image in good[:1] for amount in (0.4, 0.1, 0.2, 0.3)]
    policy = stir(make_policy({"agent_stride": 0}))
    tables = real_scenes(policy, [*flat, Batch(good[0])])
    assert {name: rows["input"]["pictures"] for name, rows in tables.items()} == {
        "low contrast": 2, "middle contrast": 1, "high contrast": 1}
    alone = real_scenes(policy, [flat[0]])["low contrast"]
    assert alone["input"] == tables["high contrast"]["input"]
    assert alone["local agents on"] == alone["local agents off"]  # there are none
    assert real_scenes(policy, [Batch(good[0])]) == {}


def test_scenes_are_for_policies_with_a_picture_agent(good):
    """Without one there is nothing to compare the local agents with."""
    policy = make_policy({"global_agent": False})
    for compared in (relit_scenes, real_scenes):
        with pytest.raises(UsageError, match="no global agent"):
            compared(policy, [])
