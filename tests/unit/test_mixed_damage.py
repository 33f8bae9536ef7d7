"""Mixed damage: RL-Restore's combinations, the same for the same seed, and stronger for higher degrees."""

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.learning.data import DAMAGES, LEVELS, MixedDamage, damage
from rlenhance.learning.data.mixed_damage import ENDS, SEVERITY, WIDE, combinations
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.tools.named import trial_picture


def smooth(count=1, side=63):
    picture = torch.from_numpy(trial_picture(side).transpose(2, 0, 1).copy())[None]
    return torch.nn.functional.avg_pool2d(picture, 5, 1, 2).expand(count, -1, -1, -1)


@pytest.mark.parametrize("level", LEVELS)
def test_reproducible(level):
    """The same seed gives the same pictures; another one does not. They have 8 bits."""
    clean = smooth(4)
    (one, degrees), (other, same), (third, _) = (MixedDamage(level)(clean, np.random.default_rng(seed))
                                                 for seed in (1, 1, 2))
    assert torch.equal(one, other) and torch.equal(degrees, same) and not torch.equal(one, third)
    assert one.shape == clean.shape and degrees.shape == (4, len(DAMAGES)) and degrees.dtype == torch.int64
    assert one.min() >= 0 and one.max() <= 1 and torch.allclose((255 * one).round() / 255, one)


@pytest.mark.parametrize("level", list(SEVERITY))
def test_degrees_are_the_published_combinations(level):
    """All combinations of ten degrees whose sum, less 2, lies in the level; each is as likely."""
    low, high = SEVERITY[level]
    drawn = MixedDamage(level).draw(20_000, np.random.default_rng(0))
    sums = drawn.sum(axis=1) - 2
    assert sums.min() == low and sums.max() == high and not drawn[:, 3:].any() and drawn[:, :3].min() >= 1
    seen, counts = np.unique(drawn[:, :3], axis=0, return_counts=True)
    assert len(seen) == len(combinations(level)) and counts.max() < 3 * 20_000 / len(seen)


def test_the_wide_level_has_every_damage_and_none():
    """Each damage as often as it is said, and pictures without any."""
    drawn = MixedDamage("wide").draw(20_000, np.random.default_rng(0))
    untouched = (drawn == 0).all(axis=1).mean()
    assert 1 / 6 < untouched < 0.25
    assert np.allclose((drawn > 0).mean(axis=0), 5 / 6 * np.array(WIDE), atol=0.02) and drawn.max() == 10


def test_no_damage_is_no_change():
    """Degrees of 0 leave a picture of 8 bits as it is."""
    clean = (255 * smooth()).round() / 255
    assert torch.equal(damage(clean, np.zeros((1, 5), np.int64), np.random.default_rng(0)), clean)


@pytest.mark.parametrize("column", range(len(DAMAGES)))
def test_higher_degrees_do_more_harm(column):
    """The distance to the clean picture grows with the degree of each damage."""
    scores = []
    for degree in (1, 5, 10):
        degrees = np.zeros((8, len(DAMAGES)), np.int64)
        degrees[:, column] = degree
        scores.append(psnr(damage(smooth(8), degrees, np.random.default_rng(0)), smooth(8)).mean().item())
    assert scores[0] > scores[1] > scores[2], (DAMAGES[column], scores)


def test_the_ends_are_the_published_ones():
    """Blur 0 to 5 pixels, noise 0 to 50/255, quality 100 to 10, ten degrees each."""
    assert all(len(ends) == 11 for ends in ENDS.values())
    assert [(ENDS[name][0], ENDS[name][-1]) for name in DAMAGES[:3]] == [(0, 5), (0, 50), (100, 10)]


def test_bad_levels_and_degrees():
    """They are refused with what there is."""
    with pytest.raises(UsageError, match="mild"):
        MixedDamage("strong")
    for degrees in (np.zeros((2, 5), int), np.full((1, 5), 11), np.full((1, 5), -1), np.zeros((1, 3), int)):
        with pytest.raises(UsageError, match="degrees must be"):
            damage(smooth(), degrees, np.random.default_rng(0))
    with pytest.raises(UsageError, match="to_tensor"):
        MixedDamage()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), np.random.default_rng(0))
