"""Shadows that hold next to nothing."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rlenhance.ops.lost_shadows import has_lost_shadows, plain_shadows
from rlenhance.pipelines.enhance import Enhancer


def _blocks():
    """A wall of 60 beside blocks of 8x8 pixels with values of 0 to 2, in false colours: (96, 128, 3) uint8."""
    cells = np.random.default_rng(0).integers(0, 3, (12, 16, 3), dtype=np.uint8)
    picture = cells.repeat(8, axis=0).repeat(8, axis=1)
    picture[:, :48] = (60, 58, 55)
    return picture


def test_blocks_become_plain_and_grey_and_what_is_light_stays_to_the_bit():
    picture = _blocks()
    plain = plain_shadows(picture)
    assert (plain[:, :40] == 257 * picture[:, :40].astype(np.uint16)).all()
    dark, before = plain[16:80, 72:112] / 257, picture[16:80, 72:112].astype(float)
    assert np.ptp(dark, axis=2).mean() < 0.15 * np.ptp(before, axis=2).mean()  # nearly grey
    assert dark.std() < 0.6 * before.mean(axis=2).std()
    assert dark.mean() == pytest.approx(before.mean(), abs=0.1)


def test_a_picture_without_such_shadows_stays_as_it_is():
    rng = np.random.default_rng(1)
    picture = rng.integers(5, 256, (40, 50, 3), dtype=np.uint8)
    assert (plain_shadows(picture) == 257 * picture.astype(np.uint16)).all()
    assert not has_lost_shadows(picture)
    assert has_lost_shadows(_blocks())
    assert not has_lost_shadows(257 * _blocks().astype(np.uint16))  # of 16 bits nothing is lost


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (257, 5)])
def test_every_size_works(size):
    assert plain_shadows(np.ones((*size, 3), np.uint8)).shape == (*size, 3)


def test_an_enhanced_photograph_shows_no_blocks_where_nothing_was_recorded():
    """Strength 1 and less: the steps at the blocks' borders, beside those within, are those of a smooth surface."""
    picture = cv2.resize(_blocks(), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    for strength in (1.0, 0.5):
        enhancer = Enhancer(denoise=0.0, white="keep", strength=strength)
        result = enhancer(picture)
        assert result.dtype == np.uint8
        steps = np.abs(np.diff(result[32:160, 144:224].astype(float).mean(axis=2), axis=1))
        raised = np.abs(np.diff(enhancer.with_decision(_without(enhancer, picture))(picture)
                                [32:160, 144:224].astype(float).mean(axis=2), axis=1))
        assert steps.max() < 0.6 * raised.max()


def _without(enhancer, picture):
    return replace(enhancer.decide(picture), plain_shadows=False)


def test_noise_removal_draws_no_pattern_in_what_is_plain_already():
    """A network that is told of noise in smooth shadows drew a grid of two pixels into them, with coloured fringes."""
    picture = cv2.resize(_blocks(), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    light = picture[:, :80].astype(int) + np.random.default_rng(2).integers(-6, 7, (192, 80, 3))
    picture[:, :80] = light.astype(np.uint8)  # noise that is worth removing
    for denoise in (None, 1.0):
        result = Enhancer(denoise=denoise, white="keep")(picture)
        plain = Enhancer(denoise=0.0, white="keep")(picture)
        at = np.s_[32:160, 144:224]
        assert np.abs(_detail(result[at])).mean() < np.abs(_detail(plain[at])).mean() + 0.2
        assert np.ptp(result[at].astype(int), axis=2).mean() < np.ptp(plain[at].astype(int), axis=2).mean() + 1
    assert np.abs(result[:, :70].astype(int) - plain[:, :70]).mean() > 1  # there was noise to remove


def _detail(part):
    """Second differences along both axes, of every channel."""
    return np.diff(np.diff(part.astype(float), 2, axis=0), 2, axis=1)
