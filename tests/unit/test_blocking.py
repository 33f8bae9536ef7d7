"""The seams of patches: nothing where there are none, more where they show, and the reward of taking them away."""

import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.envs import PixelEnv
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.blocking import blocking_excess, blocking_map, blocking_ratio
from rlenhance.learning.ops.patch_grid import PatchGrid
from rlenhance.learning.rewards import Reward, RewardWeights, Transition

GEOMETRIES = [(16, 4), (24, 8), (16, 0), (8, 4)]
every_geometry = pytest.mark.parametrize("block, overlap", GEOMETRIES)


def _seamed(image, blocks, generator, height=0.1):
    """The same with every patch's cell lifted a little."""
    rows, columns = blocks.grid(*image.shape[-2:])
    lift = height * torch.rand(len(image), 1, rows, columns, generator=generator)
    lift = lift.repeat_interleave(blocks.stride, 2).repeat_interleave(blocks.stride, 3)
    return image + lift[..., : image.shape[-2], : image.shape[-1]]


@every_geometry
def test_pictures_without_seams_score_nothing(block, overlap, generator):
    """Flat ones and even ramps exactly, noise and scenes nearly; ratios are 1 there."""
    geometry = block - overlap, overlap
    flat = torch.full((1, 3, 50, 70), 0.3)
    ramp = (torch.arange(50.0)[:, None] / 200 + torch.arange(70.0) / 100).expand(1, 3, -1, -1)
    for picture in (flat, ramp):
        assert blocking_excess(picture, *geometry).abs().max() < 1e-6
        assert blocking_ratio(picture, *geometry).item() == pytest.approx(1, abs=1e-4)
    noise = torch.rand(4, 3, 200, 180, generator=generator)
    assert blocking_excess(noise, *geometry).abs().max() < 0.005  # of a mean jump of a third
    assert (blocking_ratio(noise, *geometry) - 1).abs().max() < 0.015


@every_geometry
def test_seams_score_higher(block, overlap, generator, image):
    """Lifted cells show, the more the higher; a reading at another phase sees less."""
    blocks, picture = PatchGrid(block, overlap), torch.nn.functional.interpolate(image, (90, 110), mode="bilinear")
    scores = [blocking_excess(_seamed(picture, blocks, generator.manual_seed(1), height), blocks.stride, overlap)
              for height in (0, 0.05, 0.1, 0.2)]
    assert (torch.stack(scores).diff(dim=0) > 0).all()
    seamed = _seamed(picture, blocks, generator)
    ratio, before = (blocking_ratio(image, blocks.stride, overlap) for image in (seamed, picture))
    assert (ratio > 1.05 * before).all()
    shifted = torch.roll(seamed, (overlap // 2 + 1,) * 2, (2, 3))
    assert (blocking_excess(shifted, blocks.stride, overlap) < blocking_excess(seamed, blocks.stride, overlap)).all()


def test_the_edges_of_the_window_count(generator):
    """Jumps where patches begin and end are seams as those in the middle of the overlap are."""
    flat = torch.zeros(1, 1, 48, 48)
    for line in range(1, 13):
        step = flat + (torch.arange(48) >= 12 + line).float()  # one jump, across the line 12 + line
        assert (blocking_excess(step, 12, 4).item() > 0) == (line in (2, 10, 12))


@every_geometry
def test_the_map_moves_with_the_picture(block, overlap, generator):
    """Moved by a stride, the map is moved by a stride; turned, it is turned; its mean is the number."""
    stride = block - overlap
    picture = torch.rand(2, 3, 6 * stride, 6 * stride, generator=generator)
    whole = blocking_map(picture, stride, overlap)
    assert whole.shape == (2, 1, 6 * stride, 6 * stride)
    assert torch.allclose(whole.mean(dim=(1, 2, 3)), blocking_excess(picture, stride, overlap), atol=1e-6)
    moved = blocking_map(torch.roll(picture, (stride, 2 * stride), (2, 3)), stride, overlap)
    inner = (..., slice(stride, 3 * stride), slice(stride, 3 * stride))  # first and last patches meet fewer
    assert torch.allclose(torch.roll(moved, (-stride, -2 * stride), (2, 3))[inner], whole[inner], atol=1e-5)
    assert torch.allclose(blocking_map(picture.mT, stride, overlap), whole.mT, atol=1e-6)
    assert torch.allclose(blocking_map(picture.flip(3), stride, overlap), whole.flip(3), atol=1e-6)


def test_small_pictures_have_no_seams():
    """A picture that one patch covers says nothing; geometry that cannot be is refused."""
    assert (blocking_map(torch.rand(1, 3, 6, 12), 12, 4) == 0).all()
    assert blocking_excess(torch.rand(2, 3, 1, 1), 12, 4).tolist() == [0, 0]
    assert blocking_excess(torch.rand(1, 3, 2, 2), 12, 0).item() == 0
    for stride, overlap in ((0, 0), (8, 3), (4, 6), (8, -2)):
        with pytest.raises(UsageError, match="stride"):
            blocking_map(torch.rand(1, 3, 8, 8), stride, overlap)


def test_the_reward_is_what_was_smoothed_away(generator, image):
    """The term pays the decrease, place by place, and telescopes; without patches it is 0."""
    blocks = PatchGrid(16, 4)
    seamed, half = _seamed(image, blocks, generator, 0.2), _seamed(image, blocks, generator.manual_seed(0), 0.1)
    levels = {"exposure_level": torch.full((1, 1, 1, 1), 0.5)}
    reward = Reward(RewardWeights.only(blocking=1.0))

    def paid(before, after, blocks=blocks):
        return reward.terms(Transition(before, after, seamed, torch.zeros(2, 1, 1, 1), levels, patch_grid=blocks))

    there = paid(seamed, image)["blocking"]
    assert there.shape == (2, 1, 32, 40) and (there.mean(dim=(1, 2, 3)) > 0).all()
    assert torch.allclose(there, paid(seamed, half)["blocking"] + paid(half, image)["blocking"], atol=1e-6)
    assert (paid(seamed, image, None)["blocking"] == 0).all()


def test_the_environment_tells_the_term_where_patches_are(generator, image):
    """An action set with `blocks` has its seams judged; others have none."""
    for blocks in (None, PatchGrid(16, 4)):
        actions = ACTION_SETS.create("curve", agent_stride=1)
        if blocks:
            object.__setattr__(actions, "blocks", blocks)
        env = PixelEnv(actions, Reward(RewardWeights.only(blocking=1.0)), horizon=1)
        env.reset(options={"batch": Batch(_seamed(image, PatchGrid(16, 4), generator))})
        action = torch.rand(env.action_space.shape, generator=generator) if isinstance(env.action_space.shape, tuple) \
            else {level: torch.rand(space.shape, generator=generator) for level, space in env.action_space.items()}
        _, total, _, _, info = env.step(action)
        assert bool((info["reward_map"] != 0).any()) == (blocks is not None)
        assert torch.allclose(info["reward_map"].mean(dim=(1, 2, 3)), total, atol=1e-6)
