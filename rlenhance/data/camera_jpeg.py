"""Dark photographs as cameras write them, brightened: their noise was smoothed, coded as JPEG and bent by a curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.color import linear_from_srgb, srgb_from_linear
from rlenhance.core.errors import UsageError
from rlenhance.data.batch import Batch
from rlenhance.data.examples import Example, to_planes
from rlenhance.data.image_cache import ImageCache

#: (H, W, 3) float32 in [0, 1] -> the same, brightened.
ToneCurve = Callable[[np.ndarray], np.ndarray]
#: A dark photograph, uint8, and how it is brightened -> the map of the noise after that, (1, 1, h, w).
NoiseEstimator = Callable[[np.ndarray, ToneCurve], Tensor]
_STEPS = 8  # of the curve
_RECENT, _EACH = 16, 3  # pictures that crops are cut from at a time, and batches after which one of them is replaced
_SLOW = 16.0  # pixels: differences of real pairs that are smoother than this are no noise
_BURNT = 250  # a reference at or above says nothing of what is there


@dataclass(frozen=True)
class CameraModel:
    """How a good picture becomes a dark photograph: less light, shot and read noise, smoothing, 8 bits, JPEG.

    Ranges are drawn from for every picture, the first three log-uniformly.

    Attributes:
        exposure: light, relative to the good picture.
        shot: variance of the noise per unit of light, in units of full scale.
        read: its deviation without light.
        smoothed: share of the pictures whose noise was smoothed, colours more than brightness.
        width: of that smoothing in pixels, a Gaussian's deviation.
        coded: share of the pictures that were JPEGs; the others have 8 bits.
        quality: of the JPEG.
        halved: share of the JPEGs whose colours have half the size.
    """

    exposure: tuple[float, float] = (1 / 16, 1.0)
    shot: tuple[float, float] = (1e-5, 1e-3)
    read: tuple[float, float] = (1e-4, 1.5e-3)
    smoothed: float = 0.5
    width: tuple[float, float] = (0.4, 1.0)
    coded: float = 0.85
    quality: tuple[float, float] = (70.0, 98.0)
    halved: float = 0.8

    def __post_init__(self) -> None:
        if not (0 < self.exposure[0] <= self.exposure[1] <= 1 and 1 <= self.quality[0] <= self.quality[1] <= 100):
            raise UsageError(f"exposure lies in (0, 1], quality between 1 and 100, the lower one first; got "
                             f"{self.exposure} and {self.quality}")

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 -> the photograph, uint8, and what it would be without any noise, float32 in [0, 1]."""
        exposure, shot, read = (np.exp(rng.uniform(*np.log(ends))) for ends in (self.exposure, self.shot, self.read))
        light = linear_from_srgb(picture.astype(np.float32) / 255) * np.float32(exposure)
        noise = np.sqrt(shot * light + read**2) * rng.standard_normal(light.shape, dtype=np.float32)
        if rng.random() < self.smoothed:
            noise = _smoothed(noise, rng.uniform(*self.width), rng.uniform(0, 2))
        photograph = np.rint(255 * srgb_from_linear((light + noise).clip(0, 1))).astype(np.uint8)
        if rng.random() < self.coded:
            photograph = as_jpeg(photograph, round(rng.uniform(*self.quality)), bool(rng.random() < self.halved))
        return photograph, srgb_from_linear(light)


def _smoothed(noise: np.ndarray, width: float, more: float) -> np.ndarray:
    """Noise through a Gaussian; what differs between the channels through one that is wider by `more` pixels."""
    noise = cv2.GaussianBlur(noise, (0, 0), width)
    if more < 0.3:
        return noise
    common = noise.mean(axis=2, keepdims=True)
    return common + cv2.GaussianBlur(noise - common, (0, 0), more)


def as_jpeg(picture: np.ndarray, quality: int, halved: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 as a JPEG of that quality gives it back; `halved`: its colours have half the size (4:2:0)."""
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if halved else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]),
                            [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[:, :, ::-1])


def brighten_to(picture: np.ndarray, level: float) -> ToneCurve:
    """The curve that brings a dark picture's mean to a level: c + A c (1 - c), eight times, the same A in [0, 1]."""
    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if _bent(small, middle).mean() < level else (low, middle)
    return lambda values: _bent(values, low)


def _bent(values: np.ndarray, amount: float) -> np.ndarray:
    for _ in range(_STEPS):
        values = values + np.float32(amount) * values * (1 - values)
    return values


def matching_curve(dark: np.ndarray, reference: np.ndarray) -> ToneCurve:
    """The rising curve of each channel that brings a dark frame nearest to its reference, slightly rounded.

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
    """A real dark frame's curve to its reference, and what the brightened frame should be: (H, W, 3) float32.

    That is the reference, but for what differs smoothly between them, which is light and no noise; where the reference
    is burnt out it is the brightened frame itself.
    """
    lift = matching_curve(dark, reference)
    bright, wanted = lift(dark.astype(np.float32) / 255), reference.astype(np.float32) / 255
    where = reference.max(axis=2, keepdims=True) < _BURNT
    known = where.astype(np.float32)
    slow = _blurred(known * (bright - wanted)) / np.maximum(_blurred(known), 1e-3)[:, :, None]
    return lift, np.where(where, wanted + slow, bright).clip(0, 1)


def _blurred(values: np.ndarray) -> np.ndarray:
    """What is smooth in (H, W, C), found at an eighth of the size."""
    height, width = values.shape[:2]
    small = cv2.resize(values, (-(-width // 8), -(-height // 8)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), _SLOW / 8), (width, height), interpolation=cv2.INTER_LINEAR)


class CameraJpegSampler:
    """Draws crops of brightened dark photographs, and of what they would be without the noise.

    An example with a picture and another reference is a real pair (`align_pair`); of any other the reference is
    spoiled (`CameraModel`). Pictures are worked on whole, and each serves a number of batches in a row; the stream is a
    function of the step, so a resumed run draws what it would have drawn.

    Args:
        examples: good pictures.
        cache: decodes the files.
        size: side of the square crops in pixels, a multiple of 16.
        seen: measures the noise of a photograph and follows it through a curve.
        pairs: real pairs.
        real: share of the pictures that are real pairs, where there are some.
        camera: makes the photographs.
        seed: of the stream.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, seen: NoiseEstimator, *,
                 pairs: Sequence[Example] = (), real: float = 0.3, camera: CameraModel | None = None, seed: int = 0):
        if size < 16 or size % 16:
            raise UsageError(f"crops of coded pictures have a side that is a multiple of 16; got {size}")
        if not examples:
            raise UsageError("no examples to draw from")
        self.examples, self.pairs, self.cache, self.size, self.seen = list(examples), list(pairs), cache, size, seen
        self.real, self.camera, self.seed = real if pairs else 0.0, camera or CameraModel(), seed
        self._picture = lru_cache(2 * _RECENT)(self._make)

    def batch(self, step: int, count: int) -> Batch:
        """`count` crops for update `step`, with the map of their noise."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, 1 << 41 | step]))
        crops = []
        for place in rng.integers(_RECENT, size=count):
            crops.append(self._crop(step // _EACH + int(place), rng))
        return Batch.stack(crops)

    def _crop(self, number: int, rng: np.random.Generator) -> Batch:
        image, target, noise = self._picture(number)
        height, width = image.shape[-2:]
        top, left = (int(rng.integers(length - self.size + 1)) for length in (height, width))
        if rng.random() < 0.75:  # as the tiles of a photograph lie: on the grid of its JPEG
            top, left = top // 16 * 16, left // 16 * 16
        place = (..., slice(top, top + self.size), slice(left, left + self.size))
        return Batch(image[place], target[place], noise_std=noise[place])

    def _make(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """The whole picture, what it should be, and the map: (1, 3, H, W) twice and (1, 1, H, W)."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, 1 << 42 | number]))
        if rng.random() < self.real:
            image, target = self.pairs[rng.integers(len(self.pairs))].load(self.cache)
            assert image is not None and target is not None
            photograph = image
            lift, wanted = align_pair(image, target)
        else:
            good = self.examples[rng.integers(len(self.examples))].load(self.cache)[1]
            assert good is not None
            short = [max(0, self.size - length) for length in good.shape[:2]]
            good = cv2.copyMakeBorder(good, 0, short[0], 0, short[1], cv2.BORDER_REFLECT) if any(short) else good
            photograph, still = self.camera(good, rng)
            lift = brighten_to(still, rng.uniform(0.3, 0.55))
            wanted = lift(still)
        bright = lift(photograph.astype(np.float32) / 255)
        noise = self.seen(photograph, lift)
        return to_planes(bright), to_planes(wanted), torch.nn.functional.interpolate(
            noise, size=bright.shape[:2], mode="bilinear", align_corners=False)
