"""Training data of the denoiser: dark camera JPEGs, brightened, so that a tone curve has amplified their noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.learning.data.batch import Batch
from rlenhance.learning.data.examples import Example, to_planes
from rlenhance.learning.data.image_cache import ImageCache
from rlenhance.learning.data.sampler import ExampleSampler, pad_to, random_box, rng_of
from rlenhance.learning.data.simulated_camera import SimulatedCamera, as_jpeg

#: (H, W, 3) float32 in [0, 1] -> the same, brightened by a curve.
ToneCurve = Callable[[np.ndarray], np.ndarray]
#: A photograph in [0, 1] -> its noise map, (1, 1, h, w).
NoiseMeasure = Callable[[np.ndarray], np.ndarray]
#: A dark photograph, uint8, and the curve that brightens it -> the noise map after that, (1, 1, h, w).
NoiseEstimator = Callable[[np.ndarray, ToneCurve], np.ndarray]
_STEPS = 8  # iterations of the curve
_POOL, _BATCHES_PER_IMAGE = 16, 3  # images that crops are cut from, and batches after which one is replaced
_NOISELESS = 0.15  # share of the processed photographs without noise, for which the photograph is the target
_SLOW = 16.0  # pixels: smoother differences of real pairs are not noise
_CLIPPED = 250  # a reference at or above this value holds no information


@dataclass(frozen=True)
class CameraModel:
    """The degradation of a camera in the dark: less light, shot and read noise, smoothing, 8 bits, JPEG.

    Each range is drawn from for every image, the first three log-uniformly.

    Attributes:
        exposure: light, relative to the clean image.
        shot: variance of the noise per unit of light, in units of full scale.
        read: standard deviation of the noise without light.
        smoothing_prob: probability that the noise is smoothed, chroma more than luma.
        blur: standard deviation of that Gaussian smoothing, in pixels.
        jpeg_prob: probability of JPEG compression; otherwise the image has 8 bits.
        quality: of the JPEG.
        subsampling_prob: probability that the JPEG's chroma has half the size.
    """

    exposure: tuple[float, float] = (1 / 16, 1.0)
    shot: tuple[float, float] = (1e-5, 1e-3)
    read: tuple[float, float] = (1e-4, 1.5e-3)
    smoothing_prob: float = 0.5
    blur: tuple[float, float] = (0.4, 1.0)
    jpeg_prob: float = 0.85
    quality: tuple[float, float] = (70.0, 98.0)
    subsampling_prob: float = 0.8

    def __post_init__(self) -> None:
        if not (0 < self.exposure[0] <= self.exposure[1] <= 1 and 1 <= self.quality[0] <= self.quality[1] <= 100):
            raise UsageError(f"exposure lies in (0, 1], quality between 1 and 100, the lower one first; got "
                             f"{self.exposure} and {self.quality}")

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 -> the photograph, uint8, and the same without noise, float32 in [0, 1]."""
        exposure, shot, read = (np.exp(rng.uniform(*np.log(ends))) for ends in (self.exposure, self.shot, self.read))
        light = linear_from_srgb(picture.astype(np.float32) / 255) * np.float32(exposure)
        noise = np.sqrt(shot * light + read**2) * rng.standard_normal(light.shape, dtype=np.float32)
        if rng.random() < self.smoothing_prob:
            noise = smooth_noise(noise, rng.uniform(*self.blur), rng.uniform(0, 2))
        photograph = np.rint(255 * srgb_from_linear((light + noise).clip(0, 1))).astype(np.uint8)
        if rng.random() < self.jpeg_prob:
            quality = round(rng.uniform(*self.quality))
            photograph = as_jpeg(photograph, quality, bool(rng.random() < self.subsampling_prob))
        return photograph, srgb_from_linear(light)


def smooth_noise(noise: np.ndarray, width: float, more: float) -> np.ndarray:
    """Noise through a Gaussian filter; the difference between the channels through a second one of `more` pixels."""
    noise = cv2.GaussianBlur(noise, (0, 0), width)
    if more < 0.3:
        return noise
    common = noise.mean(axis=2, keepdims=True)
    return common + cv2.GaussianBlur(noise - common, (0, 0), more)


def brighten_to(picture: np.ndarray, level: float) -> ToneCurve:
    """The curve that brings a dark image's mean to `level`: c + A c (1 - c), eight times, the same A in [0, 1]."""
    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if _apply_curve(small, middle).mean() < level else (low, middle)
    return lambda values: _apply_curve(values, low)


def _apply_curve(values: np.ndarray, amount: float) -> np.ndarray:
    for _ in range(_STEPS):
        values = values + np.float32(amount) * values * (1 - values)
    return values


def matching_curve(dark: np.ndarray, reference: np.ndarray) -> ToneCurve:
    """The monotone curve of each channel that brings a dark frame nearest to its reference, slightly smoothed.

    Args:
        dark, reference: (H, W, 3) uint8.
    """
    from scipy.ndimage import gaussian_filter1d  # here: they cost start-up time
    from scipy.optimize import isotonic_regression

    tables = []
    for channel in range(3):
        values = dark[:, :, channel].ravel()
        counts = np.bincount(values, minlength=256)
        there = counts.nonzero()[0]
        means = np.bincount(values, reference[:, :, channel].ravel(), minlength=256)[there] / counts[there]
        fitted = isotonic_regression(means, weights=counts[there]).x / 255
        tables.append(gaussian_filter1d(np.interp(np.arange(256), there, fitted), 2.0, mode="nearest"))

    def lift(values: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(255 * values[:, :, c], np.arange(256), tables[c]) for c in range(3)],
                        axis=2).astype(np.float32)

    return lift


def align_pair(dark: np.ndarray, reference: np.ndarray) -> tuple[ToneCurve, np.ndarray]:
    """The curve of a real dark frame to its reference, and the target of the brightened frame: (H, W, 3) float32.

    The target is the reference plus the smooth part of the difference, which is light and not noise; where the
    reference is clipped it is the brightened frame itself.
    """
    lift = matching_curve(dark, reference)
    bright, wanted = lift(dark.astype(np.float32) / 255), reference.astype(np.float32) / 255
    where = reference.max(axis=2, keepdims=True) < _CLIPPED
    known = where.astype(np.float32)
    slow = _blurred(known * (bright - wanted)) / np.maximum(_blurred(known), 1e-3)[:, :, None]
    return lift, np.where(where, wanted + slow, bright).clip(0, 1)


def _blurred(values: np.ndarray) -> np.ndarray:
    """The smooth part of (H, W, C), computed at an eighth of the size."""
    height, width = values.shape[:2]
    small = cv2.resize(values, (-(-width // 8), -(-height // 8)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), _SLOW / 8), (width, height), interpolation=cv2.INTER_LINEAR)


class CameraJpegSampler(ExampleSampler):
    """Draws crops of brightened dark photographs, with their noise map and the same without noise as target.

    An example of `pairs` is a real pair (`align_pair`); any other's target is degraded by `camera`, or photographed by
    `processed`, of whose photographs every second one is left as bright as it is, and some have no noise, so that what
    the noise map says of these in error is not believed. Images are processed whole, and each serves a number of
    batches in a row.

    Args:
        examples: clean images.
        cache, size, seed: see `ExampleSampler`; `size` is a multiple of 16.
        noise_map: measures the noise of a photograph and propagates it through a curve.
        measure: measures that of a photograph as it is: of those that are processed, and of every second real pair
            after its curve; None: `noise_map` does.
        pairs: real pairs.
        real: probability of a real pair, where there are some.
        camera: makes the photographs.
        processed: makes those that are processed as cameras do.
        processed_prob: probability of these, among the photographs that are made.

    Raises:
        UsageError: another size, or no probability; see `ExampleSampler`.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, noise_map: NoiseEstimator, *,
                 measure: NoiseMeasure | None = None, pairs: Sequence[Example] = (), real: float = 0.3,
                 camera: CameraModel | None = None, processed: SimulatedCamera | None = None,
                 processed_prob: float = 0.0, seed: int = 0):
        if not 0 <= processed_prob <= 1:
            raise UsageError(f"processed_prob is a probability; got {processed_prob:g}")
        if size < 16 or size % 16:
            raise UsageError(f"crops of coded pictures have a side that is a multiple of 16; got {size}")
        super().__init__(examples, cache, size, seed)
        self.noise_map, self.measure, self.pairs = noise_map, measure, list(pairs)
        self.real, self.camera = real if pairs else 0.0, camera or CameraModel()
        self.processed, self.processed_prob = processed or SimulatedCamera(), processed_prob
        self._photograph = lru_cache(2 * _POOL)(self._make_photograph)

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        rng = rng_of(self.seed, 1 << 41 | step)
        numbers = [step // _BATCHES_PER_IMAGE + int(place) for place in rng.integers(_POOL, size=count)]
        return Batch.stack([self._crop(number, rng) for number in numbers][part])

    def with_seed(self, seed: int) -> Self:
        other = super().with_seed(seed)
        other._photograph = lru_cache(2 * _POOL)(other._make_photograph)
        return other

    def _crop(self, number: int, rng: np.random.Generator) -> Batch:
        image, target, noise = self._photograph(number)
        rows, columns = random_box(image.shape[-2:], (self.size, self.size), rng)
        if rng.random() < 0.75:  # aligned to the grid of the JPEG, as tiles of a photograph are
            rows, columns = (slice(start, start + self.size) for start in (rows.start // 16 * 16,
                                                                           columns.start // 16 * 16))
        box = (..., rows, columns)
        return Batch(image[box], target[box], noise_std=noise[box])

    def _make_photograph(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """The whole image, its target, and the noise map: (1, 3, H, W) twice and (1, 1, H, W)."""
        rng, as_it_is = rng_of(self.seed, 1 << 42 | number), False
        if rng.random() < self.real:
            photograph, reference = self.pairs[rng.integers(len(self.pairs))].load(self.cache)
            assert photograph is not None and reference is not None
            curve, target = align_pair(photograph, reference)
            as_it_is = self.measure is not None and rng.random() < 0.5
        else:
            clean = self.examples[rng.integers(len(self.examples))].load(self.cache)[1]
            assert clean is not None
            as_it_is = bool(self.processed_prob) and rng.random() < self.processed_prob
            photograph, noiseless = self._process(clean, rng) if as_it_is else self.camera(
                pad_to(clean, self.size), rng)
            level = 0.0 if as_it_is and rng.random() < 0.5 else rng.uniform(0.3, 0.55)
            curve = brighten_to(noiseless, level)
            target = curve(noiseless)
        bright = curve(photograph.astype(np.float32) / 255)
        noise = self.measure(bright) if as_it_is and self.measure else self.noise_map(photograph, curve)
        return to_planes(bright), to_planes(target), torch.nn.functional.interpolate(
            torch.from_numpy(noise), size=bright.shape[:2], mode="bilinear", align_corners=False)

    def _process(self, clean: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A photograph of `processed`, some without noise, and its reference."""
        camera, picture = self.processed.draw(rng), pad_to(clean, self.size * self.processed.reduction)
        if rng.random() < _NOISELESS:
            photograph = camera.photograph(picture, None)
            return photograph, photograph.astype(np.float32) / 255
        return camera.photograph(picture, rng), camera.reference(picture)
