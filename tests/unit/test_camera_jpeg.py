"""Dark photographs as cameras write them: what is made of them, what they should be, and that a denoiser learns it."""

import cv2
import numpy as np
import pytest
import torch

from rlenhance.agents import Supervised, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.denoiser import open_noisy
from rlenhance.experiments.tasks.restore import RESTORE
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    RestoreDataConfig,
    RestoreNetworkConfig,
    RestoreTrainConfig,
)
from rlenhance.learning.data import Batch, CameraJpegSampler, CameraModel, Example, ImageCache, as_jpeg
from rlenhance.learning.data.camera_jpeg import align_pair, brighten_to, matching_curve
from rlenhance.ops.noise_estimation import NOISE_FLOOR, estimate_noise, noise_map, noise_map_from_image
from tests.support.data import make_pairs
from tests.support.networks import make_model

SMALL = {"widths": (8, 8), "down": (1, 1), "up": (1,)}


def scene(size=(64, 80)):
    """A smooth picture with edges, (H, W, 3) uint8."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    planes = [120 + 60 * np.sin(x / 9 + c) + 30 * np.cos(y / 7) + 30 * (x > 40) for c in range(3)]
    return np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)


@pytest.fixture
def example(tmp_path):
    cv2.imwrite(str(tmp_path / "good.png"), scene()[:, :, ::-1])
    return Example("good", "good", tmp_path / "good.png", tmp_path / "good.png")


def test_a_camera_without_faults_only_darkens():
    """No noise, no JPEG: the photograph is the clean dark picture in 8 bits; at full exposure it is the good one."""
    still = CameraModel(shot=(1e-12, 1e-12), read=(1e-9, 1e-9), smoothing_prob=0, jpeg_prob=0)
    photograph, clean = still(scene(), np.random.default_rng(0))
    assert np.abs(photograph / 255 - clean).max() <= 0.5 / 255 + 1e-6
    assert photograph.mean() < scene().mean()
    bright = CameraModel(exposure=(1, 1), shot=(1e-12, 1e-12), read=(1e-9, 1e-9), smoothing_prob=0, jpeg_prob=0)
    assert np.array_equal(bright(scene(), np.random.default_rng(0))[0], scene())


def test_smoothing_and_coding_hide_noise_but_do_not_remove_it():
    """What is left of the noise is far more than what is measured of it: that is why the network has to see it."""
    flat = np.full((256, 256, 3), 90, np.uint8)
    camera = CameraModel(exposure=(1, 1), shot=(1e-9, 1e-9), read=(0.02, 0.02), smoothing_prob=1, blur=(0.8, 0.8),
                         jpeg_prob=1, quality=(85, 85))
    photograph, clean = camera(flat, np.random.default_rng(0))
    left = 255 * (photograph / 255 - clean).std()
    measured = 255 * estimate_noise(photograph).deviation(np.array([90 / 255])).item()
    assert left > 2
    assert measured < 0.6 * left


def test_halved_colours_are_coded_coarser():
    checks = np.zeros((32, 32, 3), np.uint8)
    checks[::2, ::2] = (200, 30, 30)
    whole, halved = (np.abs(as_jpeg(checks, 98, half).astype(int) - checks).mean() for half in (False, True))
    assert whole < halved


def test_a_lift_reaches_its_level_and_rises():
    dark = scene().astype(np.float32) / 255 * 0.2
    lift = brighten_to(dark, 0.4)
    assert abs(lift(dark).mean() - 0.4) < 0.01
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[:, None, None].repeat(3, 2)
    assert (np.diff(lift(ramp), axis=0) >= 0).all()
    assert np.array_equal(brighten_to(scene().astype(np.float32) / 255, 0.2)(ramp), ramp) or lift(ramp)[-1, 0, 0] == 1


def test_a_pair_that_a_curve_relates_has_nothing_to_clean():
    """A dark frame that is its reference through a curve: the curve is found, and the brightened frame is right."""
    reference = scene()
    dark = (reference // 3).astype(np.uint8)
    lift, wanted = align_pair(dark, reference)
    bright = lift(dark.astype(np.float32) / 255)
    assert np.abs(bright - reference / 255.0).mean() < 2 / 255
    assert np.abs(bright - wanted).mean() < 2 / 255


def test_a_pair_shows_the_noise_and_not_the_light():
    """Noise in the dark frame is what differs from what is wanted; light that differs smoothly is not."""
    rng = np.random.default_rng(0)
    y = np.linspace(0, 30, 256, dtype=np.float32)[:, None, None]
    reference = np.full((256, 256, 3), 120, np.float32) + y + 20 * (np.arange(256) % 64 > 32)[None, :, None]
    dark = np.rint(reference * 0.4 + 3 * rng.standard_normal(reference.shape)).clip(0, 255).astype(np.uint8)
    tilted = (reference + 10 * np.linspace(-1, 1, 256)[None, :, None]).clip(0, 255).astype(np.uint8)
    lift, wanted = align_pair(dark, tilted)
    bright = lift(dark.astype(np.float32) / 255)
    slow = cv2.GaussianBlur(bright - wanted, (0, 0), 24)
    assert (bright - wanted).std() > 10 * slow[32:-32, 32:-32].std()


def test_where_a_reference_is_burnt_nothing_is_wanted():
    reference = scene()
    reference[:20] = 255
    dark = (reference // 3).astype(np.uint8)
    lift, wanted = align_pair(dark, reference)
    assert np.allclose(wanted[:20], lift(dark.astype(np.float32) / 255)[:20].clip(0, 1))


def test_curves_rise():
    """Whatever the noise: a brightened frame keeps the order of the dark one."""
    rng = np.random.default_rng(0)
    dark, reference = (rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(2))
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[:, None, None].repeat(3, 2)
    assert (np.diff(matching_curve(dark, reference)(ramp), axis=0) >= -1e-6).all()


def test_the_stream_is_a_function_of_the_step(example):
    """A resumed run draws what it would have drawn, whatever was drawn before."""
    def sampler():
        return CameraJpegSampler([example], ImageCache(), 32, noise_map_from_image, pairs=[example], real=0.5, seed=3)

    first = sampler()
    for step in range(5):
        first.batch(step, 2)
    one, other = first.batch(5, 3), sampler().batch(5, 3)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.target, other.target)
    assert torch.equal(one.noise_std, other.noise_std)
    assert one.check().image.shape == (3, 3, 32, 32)
    assert (one.noise_std > 0).all()
    assert not torch.equal(one.image, sampler().batch(6, 3).image)


@pytest.mark.parametrize("make, text", [
    (lambda e: CameraJpegSampler([e], ImageCache(), 40, noise_map_from_image), "multiple of 16"),
    (lambda e: CameraJpegSampler([], ImageCache(), 32, noise_map_from_image), "no examples"),
    (lambda e: CameraModel(exposure=(0, 1)), "exposure lies in"),
    (lambda e: CameraModel(quality=(0, 10)), "quality between"),
])
def test_settings_that_cannot_be_are_named(example, make, text):
    with pytest.raises(UsageError, match=text):
        make(example)


def test_what_cannot_be_seen_is_assumed():
    """`noise_floor` adds its variance before the curve."""
    picture = np.full((64, 64, 3), 100, np.uint8)
    model = estimate_noise(picture)

    def double(values):
        return 2 * values

    plain, told = noise_map(picture, model, double), noise_map_from_image(picture, double, NOISE_FLOOR)
    assert np.allclose(np.sqrt(told**2 - plain**2), 2 * NOISE_FLOOR, atol=1e-4)


def test_a_batch_that_brings_its_noise_is_taken_as_it_is(example):
    """A denoiser gets better at photographs that were coded, told no more than what can be measured."""
    torch.manual_seed(0)
    cv2.imwrite(str(example.target), np.full((48, 48, 3), 100, np.uint8))
    learner = Supervised(make_model("denoiser", channels=3, **SMALL), SupervisedConfig(
        l1=0, ssim=0, mse_over_noise=100, optimizer=OptimizerConfig(1e-2, 5, 0.1, 1.0), ema_decay=0.9))
    camera = CameraModel(exposure=(0.2, 0.2), read=(4e-3, 4e-3), jpeg_prob=1, quality=(95, 95))
    batch = CameraJpegSampler([example], ImageCache(), 32, noise_map_from_image, camera=camera, seed=1).batch(0, 2)
    losses = [learner.step(batch)["loss/mse_over_noise"] for _ in range(20)]
    assert np.mean(losses[-10:]) < losses[0]
    with pytest.raises(UsageError, match="noise_std must be"):
        Batch(batch.image, batch.target, noise_std=batch.noise_std[..., 1:]).check()


def test_training_with_photographs_and_real_pairs(tmp_path):
    """`--camera-jpeg` and `--pairs`: validation has a level of its own for them."""
    folder = make_pairs(tmp_path / "pairs", scenes=8, size=(48, 48))
    network = RestoreNetworkConfig("denoiser", **SMALL)
    result = train(RESTORE, RestoreConfig(
        RestoreTrainConfig(updates=4, eval_interval=2, batch_size=2, out=tmp_path / "runs", name="run", progress=False,
                           device="cpu"),
        RestoreDataConfig(folder, camera_jpeg=0.5, pairs=folder, size=32), network))
    assert result.scores["denoiser"]["psnr/camera"] > 10
    with pytest.raises(UsageError, match="share in"):
        open_noisy(RestoreConfig(data=RestoreDataConfig(folder, camera_jpeg=2), network=network))
