"""Small, soft, noisy pictures and the full ones that they were: what an upscaling network learns from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.data.batch import Batch
from rlenhance.data.clean import open_clean
from rlenhance.data.examples import Example, to_planes
from rlenhance.data.folders import open_dataset
from rlenhance.data.image_cache import ImageCache
from rlenhance.data.splits import Splits


@dataclass(frozen=True)
class Downscale:
    """What a small, cheap camera does: blur, fewer pixels, noise, 8 bits.

    Attributes:
        scale: pixels of the good picture per pixel along each side.
        softest, sharpest: range of the Gaussian blur's deviation, in pixels of the small picture; drawn uniformly.
        strongest: the noise's largest standard deviation, in 255ths; drawn uniformly from 0.
    """

    scale: int = 4
    softest: float = 0.4
    sharpest: float = 0.15
    strongest: float = 8.0

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 whose sides `scale` divides -> (H / scale, W / scale, 3) uint8."""
        blur = self.scale * rng.uniform(self.sharpest, self.softest)
        soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur, borderType=cv2.BORDER_REFLECT)
        size = picture.shape[1] // self.scale, picture.shape[0] // self.scale
        small = np.asarray(cv2.resize(soft, size, interpolation=cv2.INTER_AREA))
        small = small + rng.uniform(0, self.strongest) * rng.standard_normal(small.shape, dtype=np.float32)
        return np.rint(small.clip(0, 255)).astype(np.uint8)


def open_super_resolution(folder: Path | str) -> Splits:
    """The splits of a folder of pairs (train/{train,gt}, val, test, ...), or of one of good pictures alone.

    Good pictures are shrunk when they are drawn.

    Raises:
        UsageError: see `open_dataset` and `open_clean`.
    """
    found = open_dataset(folder)
    return found if found.has_references else open_clean(folder)


def check_sizes(splits: Splits, cache: ImageCache, scale: int) -> None:
    """Decode every file once.

    Raises:
        UsageError: names the first pairs whose reference is not `scale` times as large, or a file that is damaged.
    """
    faults = list(splits.unmatched)
    for part in splits.parts.values():
        for example in part:
            sizes = [cache.info(path).size for path in example.paths]
            if example.image != example.target and len(sizes) == 2:
                wanted = sizes[0][0] * scale, sizes[0][1] * scale
                if sizes[1] != wanted:
                    faults.append(f"{example.target}: {sizes[1][1]}x{sizes[1][0]}, and {scale} times its input is "
                                  f"{wanted[1]}x{wanted[0]}")
    if faults:
        more = f"\n  and {len(faults) - 8} more" if len(faults) > 8 else ""
        shown = "\n  ".join(faults[:8])
        raise UsageError(f"{splits.source}: {len(faults)} bad files:\n  {shown}{more}")


def load_super_resolution(example: Example, cache: ImageCache, shrink: Downscale) -> Batch:
    """The whole picture, the same at every call: (1, 3, H, W) and its reference, (1, 3, scale H, scale W)."""
    image, target = example.load(cache)
    assert target is not None
    if image is None or example.image == example.target:
        height, width = (side - side % shrink.scale for side in target.shape[:2])
        target = target[:height, :width]
        image = shrink(target, np.random.default_rng(zlib.crc32(example.name.encode())))
    return Batch(to_planes(image), to_planes(target))


class SuperResolutionSampler:
    """Draws crops: `batch(step, count)` gives a `Batch` of (N, 3, size, size) and references `scale` times as large.

    Every sample has a random stream of its own, keyed by (seed, its number).

    Args:
        examples: the split; good pictures (image and target are the same file) are shrunk.
        cache: decodes the files.
        size: side of the small pictures in pixels.
        shrink: how, and by how much.
        seed: of the stream.

    Raises:
        UsageError: no examples, or a picture that is too small.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, shrink: Downscale, *, seed: int = 0):
        if not examples:
            raise UsageError("no examples to draw from")
        if size < 8:
            raise UsageError(f"pictures to train on must be at least 8 pixels wide; got size {size}")
        self.examples, self.cache, self.size, self.shrink, self.seed = list(examples), cache, size, shrink, seed

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` pictures of update `step`, on the CPU; of these only `part`, where processes share them."""
        return Batch.stack([self._sample(step * count + i) for i in range(count)[part]])

    def _sample(self, number: int) -> Batch:
        epoch, place = divmod(number, len(self.examples))
        order = np.random.Generator(np.random.Philox(key=[self.seed, 1 << 40 | epoch])).permutation(len(self.examples))
        example = self.examples[order[place]]
        rng = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        image, target = example.load(self.cache)
        assert target is not None
        scale, side = self.shrink.scale, self.size
        height, width = target.shape[0] // scale, target.shape[1] // scale
        if min(height, width) < side:
            raise UsageError(f"{example.target}: {target.shape[1]}x{target.shape[0]} pixels, and crops of {side} at "
                             f"scale {scale} need {side * scale} along each side: choose a smaller --size")
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        way = int(rng.integers(8))
        good = _turned(target[top * scale : (top + side) * scale, left * scale : (left + side) * scale], way)
        if image is None or example.image == example.target:
            return Batch(to_planes(self.shrink(good, rng)), to_planes(good))
        return Batch(to_planes(_turned(image[top : top + side, left : left + side], way)), to_planes(good))


def _turned(part: np.ndarray, way: int) -> np.ndarray:
    """Mirrored and turned in one of eight ways."""
    part = np.rot90(part, way % 4)
    return np.ascontiguousarray(part[:, ::-1] if way >= 4 else part)
