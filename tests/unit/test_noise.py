"""Noise of a photograph: what was made is found again, and a curve makes of it what it really does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.data import Darken
from rlenhance.ops.noise_estimation import NoiseModel, estimate_noise, estimate_sigma, noise_map, upsample_map


@pytest.fixture
def scene():
    """A smooth picture of many levels with a textured corner, (192, 256, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0.15, 0.9, (1, 3, 4, 5)))
    smooth = F.interpolate(coarse, (192, 256), mode="bicubic", align_corners=False)[0].permute(1, 2, 0).numpy()
    smooth[:64, :64] += 0.1 * rng.standard_normal((64, 64, 3))
    return np.rint(255 * smooth.clip(0.02, 0.98)).astype(np.uint8)


@pytest.mark.parametrize("shot, read", [(1e-3, 2e-3), (4e-3, 1e-3), (2e-4, 5e-3)])
@pytest.mark.parametrize("exposure", [1.0, 0.25])
def test_the_noise_that_was_made_is_found(scene, shot, read, exposure):
    """Shot and read noise of a sensor are told apart, within a quarter of the deviation at every level."""
    noisy = Darken(exposure, exposure, shot, read, bits=14)(scene, np.random.default_rng(1))
    found, made = estimate_noise(noisy), NoiseModel(shot, read)
    levels = np.linspace(0.1, 0.9, 5) if exposure == 1 else np.linspace(0.08, 0.45, 5)
    assert np.allclose(found.deviation(levels), made.deviation(levels), rtol=0.25)


def test_even_noise_fits_too(scene):
    """Noise that is the same at every encoded value, as in the literature, gives an even map."""
    noisy = scene / 255 + 0.05 * np.random.default_rng(1).standard_normal(scene.shape)
    found = estimate_noise(noisy).deviation(np.linspace(0.15, 0.85, 5))
    assert np.allclose(found, 0.05, rtol=0.15)


@pytest.mark.parametrize("sigma", [0, 5, 25, 60])
def test_one_number_for_even_noise(scene, sigma):
    """Even noise is found within a tenth and half a step, in 8 bit, 16 bit, float and grey."""
    noisy = scene[..., :1] / 255 + sigma / 255 * np.random.default_rng(2).standard_normal(scene.shape)
    assert 255 * estimate_sigma(noisy) == pytest.approx(sigma, rel=0.1, abs=0.5)
    assert 255 * estimate_sigma(noisy[..., 0]) == pytest.approx(sigma, rel=0.12, abs=0.5)
    if sigma < 30:  # more is clipped
        for dtype in (np.uint8, np.uint16):
            whole = np.rint(noisy.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)
            assert 255 * estimate_sigma(whole) == pytest.approx(sigma, rel=0.12, abs=0.6)


def test_pictures_without_a_usable_place_have_no_noise():
    """Black, white, tiny pictures: nothing to measure, nothing to fail at."""
    for shape, value in (((40, 40, 3), 0), ((9, 1, 3), 255), ((1, 1, 3), 7)):
        picture = np.full(shape, value, np.uint8)
        assert estimate_sigma(picture) == 0
        assert estimate_noise(picture).shot == 0
        assert np.isfinite(noise_map(picture, estimate_noise(picture))).all()


def test_a_large_picture_is_sampled(scene):
    """Of many pixels a part is looked at, and says the same."""
    noisy = Darken(1.0, 1.0, 1e-3, 2e-3)(np.tile(scene, (7, 8, 1)), np.random.default_rng(1))
    level = np.array([0.5])
    assert estimate_noise(noisy).deviation(level) == pytest.approx(NoiseModel(1e-3, 2e-3).deviation(level), rel=0.2)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3), np.int32), np.full((4, 4), np.nan), np.zeros((0, 4, 3)),
                                   "photo"])
def test_what_is_no_picture_is_refused(wrong):
    """Another kind of number, NaN, nothing at all: named at the door."""
    with pytest.raises(UsageError, match="picture must be"):
        estimate_noise(wrong)


def _tone(action):
    tone = ACTION_SETS.create("tone", agent_stride=0)

    def curve(picture):
        image = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        for _ in range(2):
            image = tone.apply(image, {"global": torch.tensor(action)[None, :, None, None]})
        return image[0].permute(1, 2, 0).numpy()

    return curve


@pytest.mark.parametrize("action", [(0.8, 0.0, 0.0, 0.0), (0.3, 0.6, 0.8, 0.9)], ids=["brighter", "all handles"])
def test_noise_follows_the_curve(action):
    """The map equals the deviation that the curve really gives to many noisy copies, where channels mix too."""
    rng, model, curve = np.random.default_rng(3), NoiseModel(5e-4, 1e-3), _tone(action)
    colours = np.repeat(rng.uniform(0.05, 0.7, (1, 12, 3)).astype(np.float32), 4000, axis=0)
    deviation = model.deviation(colours)
    copies = curve(colours + deviation * rng.standard_normal(colours.shape).astype(np.float32))
    real = np.sqrt(copies.var(axis=0).mean(axis=1))
    found = noise_map(colours[:4], model, curve, reduced=1)[0, 0, 0]
    np.testing.assert_allclose(found, real, rtol=0.08)


def test_no_curve_leaves_the_noise(scene):
    """Without a curve the map is that of the picture; brightening raises it in the dark."""
    model = NoiseModel(1e-3, 1e-3)
    plain, same = noise_map(scene, model), noise_map(scene, model, lambda picture: picture)
    assert plain.shape == (1, 1, 48, 64)
    assert np.allclose(plain, same, rtol=1e-3)
    assert noise_map(scene // 4, model, _tone((1.0, 0.0, 0.0, 0.0))).mean() > 1.5 * noise_map(scene // 4, model).mean()


def test_maps_grow_in_parts_as_in_whole():
    """A part of an enlarged map is that part of the whole, and the whole is bilinear."""
    small, size = np.random.default_rng(0).random((1, 1, 7, 9), np.float32), (27, 35)
    whole = upsample_map(small, size)
    wanted = F.interpolate(torch.from_numpy(small), size, mode="bilinear", align_corners=False)
    assert np.allclose(whole, wanted, atol=1e-6)
    assert np.array_equal(upsample_map(small, size, (slice(5, 20), slice(11, 35))), whole[..., 5:20, 11:35])
    even = np.full((1, 1, 1, 1), 0.1, np.float32)
    assert np.array_equal(upsample_map(even, (3, 2)), np.broadcast_to(even, (1, 1, 3, 2)))


def test_a_border_in_one_colour_hides_no_noise():
    """A caption bar under a noisy picture leaves the estimate where it was."""
    rng = np.random.default_rng(5)
    scene = np.linspace(60, 160, 256)[None, :, None] + np.linspace(-20, 20, 256)[:, None, None]
    noisy = np.clip(np.rint(scene + rng.normal(0, 5, (256, 256, 3))), 0, 255).astype(np.uint8)
    barred = noisy.copy()
    barred[-24:] = 128
    assert estimate_sigma(barred) == pytest.approx(estimate_sigma(noisy), rel=0.1)
    assert 255 * estimate_sigma(noisy) == pytest.approx(5, rel=0.15)
