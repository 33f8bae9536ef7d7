"""Simulated cameras: without noise the picture, with it a noise that processing hides, the same for the same seed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.learning.data import CameraJpegSampler, CameraSettings, Example, ImageCache, SimulatedCamera
from rlenhance.learning.data.simulated_camera import MOSAICS, SMOOTHINGS
from rlenhance.ops.noise_estimation import estimate_sigma, noise_map_from_image

#: A camera whose processing changes nothing.
PLAIN = CameraSettings(1, shot=0, read=0, smoothing="none", chroma_blur=0, chroma_median=0, sharpening=0, quality=0)


def picture(size=(96, 128)):
    """A smooth picture in colours, (H, W, 3) uint8."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return np.stack([120 + 60 * np.sin(x / 25 + c) + 30 * np.cos(y / 20 + c) for c in range(3)], 2).astype(np.uint8)


@pytest.mark.parametrize("mosaic", MOSAICS)
@pytest.mark.parametrize("edge_aware", [False, True])
def test_a_camera_without_noise_and_processing_gives_the_picture(mosaic, edge_aware):
    """Whatever the mosaic, the gains, the matrix and the tone curve: all are undone."""
    camera = replace(PLAIN, mosaic=mosaic, edge_aware=edge_aware, contrast=0.6, saturation=0.6)
    difference = np.abs(camera.reference(picture()) * 255 - picture())
    assert difference.mean() < 0.8
    assert difference[2:-2, 2:-2].max() < 4


def test_reduction_and_exposure():
    camera = replace(PLAIN, reduction=2, exposure=0.5)
    reference = camera.reference(picture((97, 128)))
    assert reference.shape == (49, 64, 3)
    assert reference.mean() < picture().mean() / 255


def test_the_noise_is_that_of_the_sensor():
    """In grey, before any smoothing, the mean of the channels' deviations is about `sensor_noise`."""
    camera = replace(PLAIN, shot=2e-3, read=2e-3, saturation=0, contrast=0, edge_aware=False)
    grey = np.full((128, 128, 3), 124, np.uint8)  # linear light 0.2
    noise = camera.develop(camera.expose(grey, np.random.default_rng(0))) - camera.reference(grey)
    assert 0.5 < noise.std() / camera.sensor_noise < 1  # demosaicing averages
    assert abs(noise.mean()) < 0.1 * noise.std()


@pytest.mark.parametrize("smoothing", SMOOTHINGS[1:])
def test_processing_hides_noise_from_second_differences(smoothing):
    camera = CameraSettings(1, shot=2e-3, read=3e-3, smoothing=smoothing, smoothing_strength=2, quality=92)
    photograph = camera.photograph(picture((256, 256)), np.random.default_rng(0))
    left = (photograph / 255 - camera.reference(picture((256, 256)))).std()
    assert left > 1.5 / 255
    assert estimate_sigma(photograph) < 0.5 * left


def test_noise_grows_with_the_light_before_the_encoding():
    camera = replace(PLAIN, shot=2e-3)
    dark, bright = (camera.expose(np.full((64, 64, 3), level, np.uint8), np.random.default_rng(0)).std(where=where)
                    for level in (60, 220) for where in [np.indices((64, 64)).sum(0) % 2 == 1])  # green alone
    assert bright > 3 * dark


def test_a_photograph_is_a_function_of_the_stream():
    camera = SimulatedCamera()
    first, again, other = (camera(picture(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert first[0].dtype == np.uint8
    assert 0 <= first[1].min() <= first[1].max() <= 1


def test_cameras_differ():
    drawn = [SimulatedCamera().draw(np.random.default_rng(seed)) for seed in range(60)]
    assert {camera.mosaic for camera in drawn} == set(MOSAICS)
    assert {camera.smoothing for camera in drawn} == set(SMOOTHINGS)
    assert {camera.quality == 0 for camera in drawn} == {camera.subsampled for camera in drawn} == {True, False}


@pytest.mark.parametrize("make, text", [
    (lambda: SimulatedCamera(quality=(90.0, 20.0)), "quality must lie"),
    (lambda: SimulatedCamera(jpeg_prob=1.5), "jpeg_prob must lie"),
    (lambda: SimulatedCamera(shot=(0.0, 1e-3)), "log-uniformly"),
    (lambda: CameraSettings(mosaic="RGB"), "mosaic is one of"),
    (lambda: CameraSettings(reduction=0), "reduction is 1 or more"),
])
def test_settings_that_cannot_be_are_named(make, text):
    with pytest.raises(UsageError, match=text):
        make()


def test_training_batches_of_processed_photographs(tmp_path):
    """The same at every call, with the share that is asked for; without it the stream is what it was."""
    cv2.imwrite(str(tmp_path / "good.png"), picture()[:, :, ::-1])
    example = Example("good", "good", tmp_path / "good.png", tmp_path / "good.png")

    def sampler(share):
        return CameraJpegSampler([example], ImageCache(), 32, noise_map_from_image, processed_prob=share, seed=3)

    one, again, dark = sampler(1.0).batch(2, 3), sampler(1.0).batch(2, 3), sampler(0.0).batch(2, 3)
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.target, again.target)
    assert one.check().image.shape == one.target.shape == (3, 3, 32, 32)
    assert not torch.equal(one.image, dark.image)
    with pytest.raises(UsageError, match="processed_prob"):
        sampler(2.0)
