"""Noise that is added: from its stream alone, with its deviation, and named where it cannot be."""

import numpy as np
import pytest

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.learning.data import NOISES, parse_noise
from tests.support.pictures import scene


@pytest.mark.parametrize("name", list(NOISES))
def test_noise_comes_from_its_stream_alone(name):
    """The same stream spoils alike, another one does not (JPEG draws nothing); 8 bits are 8 bits."""
    picture = np.repeat(scene()[:, :, None], 3, axis=2)
    noise = NOISES.create(name)
    first, again, other = (noise(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.float32 and np.array_equal(first, again)
    assert np.array_equal(first, other) == (name == "jpeg") and not np.array_equal(first, picture / 255)
    rounded = NOISES.create(name, eight_bit=True)(picture, np.random.default_rng(1)) * 255
    assert np.allclose(rounded, rounded.round(), atol=1e-4) and rounded.min() >= 0 and rounded.max() <= 255


def test_gaussian_noise_has_its_deviation_and_is_not_clipped():
    """25 means 25/255 everywhere; white pictures get brighter than white."""
    white = np.full((128, 128, 1), 255, np.uint8)
    result = parse_noise("25")(white, np.random.default_rng(0))
    assert result.std() == pytest.approx(25 / 255, rel=0.03) and result.max() > 1.2
    drawn = [parse_noise("blind")(white, np.random.default_rng(seed)).std() * 255 for seed in range(20)]
    assert 4 < min(drawn) < 20 and 40 < max(drawn) < 57


def test_sensor_noise_grows_with_the_light():
    """A tenth of white's deviation in the dark; half the variance in the middle."""
    noise = parse_noise("poisson_gaussian:20")
    deviations = [noise(np.full((128, 128, 1), level, np.uint8), np.random.default_rng(0)).std() * 255
                  for level in (0, 128, 255)]
    assert deviations == pytest.approx([2, 14.2, 20], rel=0.05)


def test_salt_and_pepper_hits_its_share():
    """Of every hundred values, so many are black or white, half and half."""
    result = parse_noise("salt_pepper:10")(np.full((200, 200, 1), 128, np.uint8), np.random.default_rng(0))
    assert (result == 0).mean() == pytest.approx(0.05, abs=0.005)
    assert (result == 1).mean() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("text, error, says", [
    ("gausian", UnknownName, "unknown noise 'gausian': did you mean gaussian"),
    ("gaussian:x", UsageError, "a number or a range, as in 25 or 5-55; got 'x'"),
    ("120", UsageError, "between 0 and 100 255ths"), ("-3", UsageError, "noise level"), ("nan", UnknownName, "nan"),
    ("30-20", UsageError, "the lower one first"), ("jpeg:0", UsageError, "between 1 and 100 of quality"),
])
def test_noise_that_cannot_be_is_named(text, error, says):
    """A kind, a number, a range."""
    with pytest.raises(error, match=says):
        parse_noise(text)
