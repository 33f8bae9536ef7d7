"""Data of super-resolution: small, blurred, noisy images and the full ones that they were."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rlenhance.core.errors import UsageError
from rlenhance.learning.data.batch import Batch
from rlenhance.learning.data.datasets import open_clean, open_dataset
from rlenhance.learning.data.examples import Example, to_planes
from rlenhance.learning.data.image_cache import ImageCache
from rlenhance.learning.data.sampler import ExampleSampler, random_box
from rlenhance.learning.data.splits import Splits


@dataclass(frozen=True)
class Downscale:
    """The degradation of a small, cheap camera: blur, fewer pixels, noise, 8 bits.

    Attributes:
        scale: ratio of the sides of the good and the small image.
        max_blur, min_blur: range of the Gaussian blur's standard deviation, in pixels of the small image; drawn
            uniformly.
        max_noise: largest standard deviation of the noise, in 255ths; drawn uniformly from 0.
        sharp: share of the draws that are reduced by antialiased bicubic interpolation alone, as programs do it: no
            blur, no noise.
    """

    scale: int = 4
    max_blur: float = 0.4
    min_blur: float = 0.15
    max_noise: float = 8.0
    sharp: float = 0.0

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 whose sides `scale` divides -> (H / scale, W / scale, 3) uint8."""
        size = picture.shape[1] // self.scale, picture.shape[0] // self.scale
        if self.sharp and rng.random() < self.sharp:
            return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        blur = self.scale * rng.uniform(self.min_blur, self.max_blur)
        soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur, borderType=cv2.BORDER_REFLECT)
        small = np.asarray(cv2.resize(soft, size, interpolation=cv2.INTER_AREA))
        small = small + rng.uniform(0, self.max_noise) * rng.standard_normal(small.shape, dtype=np.float32)
        return np.rint(small.clip(0, 255)).astype(np.uint8)


def open_super_resolution(folder: Path | str) -> Splits:
    """The splits of a folder of pairs (train/{train,gt}, val, test, ...), or of a folder of good images alone.

    Good images are downscaled when they are drawn.

    Raises:
        UsageError: see `open_dataset` and `open_clean`.
    """
    found = open_dataset(folder)
    return found if found.has_references else open_clean(folder)


def load_super_resolution(example: Example, cache: ImageCache, downscale: Downscale) -> Batch:
    """The whole image, the same at every call: (1, 3, H, W) and its reference, (1, 3, scale H, scale W)."""
    image, target = example.load(cache)
    assert target is not None
    if image is None or example.image == example.target:
        height, width = (side - side % downscale.scale for side in target.shape[:2])
        target = target[:height, :width]
        image = downscale(target, np.random.default_rng(zlib.crc32(example.name.encode())))
    return Batch(to_planes(image), to_planes(target))


class SuperResolutionSampler(ExampleSampler):
    """Draws crops (N, 3, size, size) with targets `scale` times as large, mirrored and turned at random.

    Args:
        examples: the split; good images (image and target are the same file) are downscaled.
        cache, size, seed: see `ExampleSampler`; `size` is that of the small crop.
        downscale: makes the small image.

    Raises:
        UsageError: an image that is smaller than a crop; see `ExampleSampler`.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, downscale: Downscale, *,
                 seed: int = 0):
        super().__init__(examples, cache, size, seed)
        self.downscale = downscale

    def make(self, example: Example, rng: np.random.Generator) -> Batch:
        image, target = example.load(self.cache)
        assert target is not None
        scale, size = self.downscale.scale, self.size
        small = target.shape[0] // scale, target.shape[1] // scale
        if min(small) < size:
            raise UsageError(f"{example.target}: {target.shape[1]}x{target.shape[0]} pixels, and crops of {size} at "
                             f"scale {scale} need {size * scale} along each side: choose a smaller size")
        rows, columns = random_box(small, (size, size), rng)
        d4 = int(rng.integers(8))
        crop = _d4(target[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale], d4)
        if image is None or example.image == example.target:
            return Batch(to_planes(self.downscale(crop, rng)), to_planes(crop))
        return Batch(to_planes(_d4(image[rows, columns], d4)), to_planes(crop))


def _d4(pixels: np.ndarray, element: int) -> np.ndarray:
    """Turned by `element` % 4 quarter turns and, from 4 on, mirrored."""
    pixels = np.rot90(pixels, element % 4)
    return np.ascontiguousarray(pixels[:, ::-1] if element >= 4 else pixels)
