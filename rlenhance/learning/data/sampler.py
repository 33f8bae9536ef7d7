"""Training batches of random crops. A batch is a function of the step, so a resumed run draws the same ones."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

import cv2
import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.learning.data.batch import Batch
from rlenhance.learning.data.examples import Example, grey, to_planes
from rlenhance.learning.data.image_cache import ImageCache
from rlenhance.learning.data.shards import ShardImage
from rlenhance.learning.data.tfrecords import TFRecordImage

#: Examples of shards that are shuffled together, at least.
WINDOW = 512


class ExampleSampler:
    """Base class: draws samples from examples in a shuffled order, anew in each epoch.

    Every sample has a random stream of its own, keyed by (seed, its number in the run): a sample does not depend on
    the others, nor on how many processes share the batch.

    Args:
        examples: the split to draw from.
        cache: decodes the files.
        size: side of the square crops in pixels.
        seed: of the stream.

    Raises:
        UsageError: no examples, or crops that are too small.
    """

    min_size: ClassVar[int] = 8

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, seed: int = 0):
        if not examples:
            raise UsageError("no examples to draw from")
        if size < self.min_size:
            raise UsageError(f"pictures to train on must be at least {self.min_size} pixels wide; got size {size}")
        self.examples, self.cache, self.size, self.seed = list(examples), cache, size, seed
        self._blocks = blocks_of(examples)
        self._streamed: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0))

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` samples of update `step`, on the CPU; of these only `part`, where processes share them."""
        return Batch.stack([self.sample(step * count + i) for i in range(count)[part]])

    def with_seed(self, seed: int) -> Self:
        """Another stream over the same images; the cache is shared."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def sample(self, number: int) -> Batch:
        """Sample `number` of the run, a batch of one."""
        return self.make(self.examples[self._index(number)], rng_of(self.seed, number))

    def make(self, example: Example, rng: np.random.Generator) -> Batch:
        """A crop of an example, (1, C, size, size); all randomness from `rng`."""
        raise TypeError("a subclass of ExampleSampler defines make, or batch")

    def _index(self, number: int) -> int:
        """Which example sample `number` is cut from."""
        epoch, place = divmod(number, len(self.examples))
        if self._blocks is None:
            return int(shuffled(self.seed, epoch, len(self.examples))[place])
        if self._streamed[0] != (self.seed, epoch):
            self._streamed = (self.seed, epoch), streamed(self.seed, epoch, self._blocks)
        return int(self._streamed[1][place])


def rng_of(*key: int) -> np.random.Generator:
    """The random stream of a key (seed, number)."""
    return np.random.Generator(np.random.Philox(key=list(key)))


@lru_cache(maxsize=4)
def shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of an epoch: a permutation of `count`."""
    return rng_of(seed, 1 << 40 | epoch).permutation(count)


def streamed(seed: int, epoch: int, blocks: Sequence[Sequence[int]]) -> np.ndarray:
    """The order of an epoch that reads few blocks at a time: the blocks are shuffled and joined until they have
    `WINDOW` examples, which are shuffled together."""
    order: list[np.ndarray] = []
    window: list[int] = []
    rng = rng_of(seed, 1 << 42 | epoch)
    for place, number in enumerate(shuffled(seed, epoch, len(blocks))):
        window += blocks[number]
        if len(window) >= WINDOW or place + 1 == len(blocks):
            order.append(rng.permutation(window))
            window = []
    return np.concatenate(order)


def blocks_of(examples: Sequence[Example]) -> list[list[int]] | None:
    """The numbers of the examples of each block of shards; None where not all lie in shards."""
    blocks: dict[Hashable, list[int]] = {}
    for number, example in enumerate(examples):
        image = example.target if example.image is None else example.image
        if not isinstance(image, ShardImage):
            return None
        blocks.setdefault(image.block, []).append(number)
    return list(blocks.values())


class Sampler(ExampleSampler):
    """Random crops of random examples, with the example's degradation.

    Args:
        examples, cache, size, seed: see `ExampleSampler`.
        crop: "whole" takes most of an image (a random box of at least half its sides) and reduces it to `size`,
            as a policy with a fixed state size sees it; "native" cuts `size` x `size` pixels at full resolution.
        planes: channels; 1 converts to grey before the degradation.

    Raises:
        UsageError: another crop; see `ExampleSampler`.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, *, crop: str = "whole",
                 seed: int = 0, planes: int = 3):
        super().__init__(examples, cache, size, seed)
        if crop not in ("whole", "native"):
            raise UsageError(f"crop is whole or native; got {crop!r}")
        self.crop, self.planes = crop, planes
        self._weighted = not all(example.target_in_reward for example in examples)

    def make(self, example: Example, rng: np.random.Generator) -> Batch:
        image, target = example.load(self.cache)
        parts = self._cut([part for part in (image, target) if part is not None], rng)
        if self.planes == 1:
            parts = [grey(part) for part in parts]
        if image is None:
            assert example.degradation is not None
            parts = [example.degradation(parts[0], rng), parts[0]]
        parts = [_reduce(part, self.size) for part in parts]
        if rng.random() < 0.5:
            parts = [part[:, ::-1] for part in parts]
        batch = Batch(*(to_planes(part) for part in parts))
        if not self._weighted:
            return batch
        return replace(batch, target_weight=torch.full((1, 1, 1, 1), float(example.target_in_reward)))

    def _cut(self, parts: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """The same random box of each part."""
        if self.crop == "native":
            parts, size = [pad_to(part, self.size) for part in parts], (self.size, self.size)
        else:
            height, width = parts[0].shape[:2]
            size = max(1, round(height * rng.uniform(0.5, 1))), max(1, round(width * rng.uniform(0.5, 1)))
        box = random_box(parts[0].shape, size, rng)
        return [part[box] for part in parts]


class ShardedSampler(Sampler):
    """The same, one shard of the examples after the other, so that few images are in memory at a time.

    In an epoch every image gives `visits` crops: those of the first shard in turn, then those of the next. A shard is a
    number of files, of which a file of records has many images and any other file one.

    Args:
        examples, cache, size, crop, seed, planes: see `Sampler`.
        portion: files of a shard.
        visits: crops of each example in an epoch.

    Raises:
        UsageError: an empty shard, or no visit; see `Sampler`.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, *, portion: int, visits: int,
                 crop: str = "native", seed: int = 0, planes: int = 3):
        super().__init__(examples, cache, size, crop=crop, seed=seed, planes=planes)
        if portion < 1 or visits < 1:
            raise UsageError(f"a portion has at least one file, and each picture is visited at least once; got "
                             f"{portion} and {visits}")
        self.portion, self.visits = portion, visits
        self._files = [np.array(members) for members in by_file(examples)]
        self._order: tuple[tuple[int, int], np.ndarray, np.ndarray] = ((-1, -1), np.empty(0), np.empty(0))

    @property
    def epoch(self) -> int:
        """Number of samples in an epoch."""
        return len(self.examples) * self.visits

    def _index(self, number: int) -> int:
        epoch, place = divmod(number, self.epoch)
        order, ends = self._shards(epoch)
        shard = int(np.searchsorted(ends * self.visits, place, side="right"))
        first = int(ends[shard - 1]) if shard else 0
        return int(order[first + (place - first * self.visits) % (int(ends[shard]) - first)])

    def _shards(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """All examples in the order of an epoch, and where in it each shard ends; kept for one epoch."""
        known, order, ends = self._order
        if known != (self.seed, epoch):
            files = [self._files[number] for number in shuffled(self.seed, epoch, len(self._files))]
            shards = [np.concatenate(files[first : first + self.portion])
                      for first in range(0, len(files), self.portion)]
            if len(self._files) < len(self.examples):  # the images of a file are not beside each other
                rng = rng_of(self.seed, 1 << 41 | epoch)
                shards = [rng.permutation(shard) for shard in shards]
            order, ends = np.concatenate(shards), np.cumsum([len(shard) for shard in shards])
            self._order = ((self.seed, epoch), order, ends)
        return order, ends


def by_file(examples: Sequence[Example]) -> list[list[int]]:
    """The numbers of the examples of each file; only files of records have several."""
    files: dict[Path | int, list[int]] = {}
    for number, example in enumerate(examples):
        image = example.target if example.image is None else example.image
        files.setdefault(image.file if isinstance(image, (TFRecordImage, ShardImage)) else number, []).append(number)
    return list(files.values())


def random_box(shape: Sequence[int], size: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a box of `size` (height, width) at a random place of an image of `shape` (H, W, ...)."""
    top, left = (int(rng.integers(0, whole - side + 1)) for whole, side in zip(shape, size, strict=False))
    return slice(top, top + size[0]), slice(left, left + size[1])


def pad_to(pixels: np.ndarray, size: int) -> np.ndarray:
    """An image (H, W, C) mirrored at its lower and right border until both sides have `size` pixels."""
    below, right = (max(0, size - side) for side in pixels.shape[:2])
    return np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REFLECT)) if below or right else pixels


def _reduce(pixels: np.ndarray, size: int) -> np.ndarray:
    if pixels.shape[:2] == (size, size):
        return pixels
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
