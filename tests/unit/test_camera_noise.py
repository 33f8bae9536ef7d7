"""Noise that a camera's processing has hidden is seen, clean pictures have none, and both are said in words."""

import numpy as np
import pytest

from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts import fit_camera_noise
from rlenhance.io import read
from rlenhance.learning.data import CameraSettings, as_jpeg, sample_photographs
from rlenhance.ops.camera_noise import (
    NUM_STATISTICS,
    SeenNoise,
    block_means,
    estimate_camera_noise,
    noise_statistics,
    perceptron,
    see_noise,
)
from rlenhance.ops.noise_estimation import estimate_sigma, noise_map
from rlenhance.pipelines.denoise import Denoiser
from tests.support.data import make_pairs


def smooth(size=(256, 320)):
    """A smooth picture in colours, (H, W, 3) uint8."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return np.stack([120 + 60 * np.sin(x / 45 + c) + 30 * np.cos(y / 40 + c) for c in range(3)], 2).astype(np.uint8)


@pytest.fixture(scope="module")
def photographs():
    return [read(example.target).pixels for example in (sample_photographs().val or sample_photographs().train)[:4]]


@pytest.mark.parametrize("smoothing", ["bilateral", "means"])
@pytest.mark.parametrize("quality", [0, 92])
def test_hidden_noise_is_seen(smoothing, quality):
    """Within an octave of what was left, where second differences see less than half of it."""
    camera = CameraSettings(1, shot=3e-3, read=4e-3, smoothing=smoothing, smoothing_strength=2, quality=quality)
    photograph = camera.photograph(smooth(), np.random.default_rng(0))
    left = (photograph / 255 - camera.reference(smooth())).std()
    assert estimate_sigma(photograph) < 0.5 * left
    assert 0.5 < estimate_camera_noise(photograph).level / left < 2


@pytest.mark.parametrize("sigma", [3, 10, 25])
def test_even_noise_is_seen_too(sigma):
    noisy = (smooth() + sigma * np.random.default_rng(0).standard_normal((256, 320, 3))).clip(0, 255)
    assert 255 * estimate_camera_noise(noisy.astype(np.uint8)).level == pytest.approx(sigma, rel=0.5)


def test_the_estimate_is_that_of_the_pixels_whatever_their_type():
    noisy = (smooth() + 8 * np.random.default_rng(0).standard_normal((256, 320, 3))).clip(0, 255).astype(np.uint8)
    levels = [estimate_camera_noise(picture).level for picture in (
        noisy, noisy.astype(np.uint16) * 257, noisy.astype(np.float32) / 255)]
    assert levels == pytest.approx([levels[0]] * 3, rel=1e-3)


def test_a_large_picture_is_sampled():
    noisy = (smooth() + 8 * np.random.default_rng(0).standard_normal((256, 320, 3))).clip(0, 255).astype(np.uint8)
    large = np.tile(noisy, (6, 6, 1))
    assert estimate_camera_noise(large).level == pytest.approx(estimate_camera_noise(noisy).level, rel=0.25)


def test_statistics_have_a_row_for_each_bin_and_know_the_grid_of_a_jpeg():
    picture = smooth()
    seen, coded = noise_statistics(picture), noise_statistics(as_jpeg(picture, 70))
    assert seen.values.shape == (len(seen.bins), NUM_STATISTICS)
    assert np.isfinite(seen.values).all()
    assert len(block_means(picture[:, :, 0].astype(np.float32))) == 16 * 20 == sum(map(len, seen.bins))
    assert (np.diff(seen.lumas) > 0).all()
    assert coded.grid > seen.grid


def test_pictures_without_a_usable_place_have_no_noise():
    for shape, value in (((40, 40, 3), 0), ((80, 90, 3), 255), ((1, 1, 3), 7), ((64, 64, 3), 100)):
        found = estimate_camera_noise(np.full(shape, value, np.uint8))
        assert found.level < 1 / 255
        assert np.isfinite(noise_map(np.full(shape, value, np.uint8), found)).all()
    with pytest.raises(UsageError, match="must be an array"):
        estimate_camera_noise(np.zeros((80, 80), np.uint8))


def test_the_deviation_follows_the_brightness():
    found = estimate_camera_noise(smooth())
    values = np.broadcast_to(np.linspace(0, 1, 5)[None, :, None], (1, 5, 3))
    assert found.deviation(values).shape == (1, 5, 3)
    assert (found.deviation(values) >= 0).all()


def test_what_was_seen_is_said(photographs):
    """A clean photograph is not changed, the same object; noise has its kind, its level and its coding in words."""
    for clean in photographs:
        seen = see_noise(clean)
        assert seen.kind == "none" or seen.level < 4
    flat = smooth()
    assert see_noise(flat).words == "no noise seen"
    assert Denoiser().clean_seen(flat, see_noise(flat)) is flat
    noisy = (flat + 12 * np.random.default_rng(0).standard_normal(flat.shape)).clip(0, 255).astype(np.uint8)
    fine = see_noise(noisy)
    assert fine.kind == "fine"
    assert fine.words.startswith("noise 1")
    camera = CameraSettings(1, shot=3e-3, read=4e-3, smoothing_strength=2, quality=92)
    found = see_noise(camera.photograph(flat, np.random.default_rng(0)), coded=True)
    assert found.kind == "camera"
    assert found.words == f"camera noise {found.level:.1f}/255, coded"
    assert SeenNoise("named", 6).words == "noise 6/255, named"
    assert set(found.facts) == {"noise", "kind", "coded", "words"}


def test_the_estimate_is_fitted_and_goes_on(tmp_path):
    """What a call has collected is read by the next; the weights are those of `perceptron`."""
    pairs = make_pairs(tmp_path / "pairs", scenes=8, size=(160, 192))
    for path in (pairs / "low").glob("*"):  # else too dark to be brightened
        assert read(path).pixels.mean() > 8
    arguments = fit_camera_noise.Arguments(pairs, pairs, tmp_path / "out", examples=2, validation=1, chunk=1, steps=5,
                                           width=4)
    rows = fit_camera_noise.main(arguments)
    assert all(np.isfinite(list(row.values())).all() for row in rows.values())
    stored = sorted(tmp_path.glob("out/*-1.npz"))
    assert len(stored) == 3
    assert fit_camera_noise.main(arguments) == rows
    with np.load(tmp_path / "out/camera_noise.npz", allow_pickle=False) as weights:
        assert perceptron(weights, np.zeros((3, NUM_STATISTICS), np.float32)).shape == (3,)
