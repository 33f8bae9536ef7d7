"""Draws training batches. The stream is a function of the step, so a resumed run draws what it would have drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.data.batch import Batch
from rlenhance.data.examples import Example, grey, to_planes
from rlenhance.data.image_cache import ImageCache


class Sampler:
    """Random crops of random examples.

    Every sample has a random stream of its own, keyed by (seed, its number in the run): what one sample draws does
    not depend on the others, nor on how many processes share the batch.

    Args:
        examples: the split to draw from.
        cache: decodes the files.
        size: side of the square pictures in pixels.
        crop: "whole" takes most of a picture (a random box of at least half its sides) and reduces it to `size`,
            as a policy with a fixed state size sees it; "native" cuts `size` x `size` pixels at full resolution.
        seed: of the stream.
        planes: channels; 1 makes the pictures grey before anything is done to them.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, *, crop: str = "whole",
                 seed: int = 0, planes: int = 3):
        if crop not in ("whole", "native"):
            raise UsageError(f"crop is whole or native; got {crop!r}")
        if not examples:
            raise UsageError("no examples to draw from")
        if size < 8:
            raise UsageError(f"pictures to train on must be at least 8 pixels wide; got size {size}")
        self.examples, self.cache, self.size, self.crop, self.seed = list(examples), cache, size, crop, seed
        self.planes = planes
        self._choosy = not all(example.target_in_reward for example in examples)

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` pictures of update `step`, on the CPU; of these only `part`, where processes share them."""
        return Batch.stack([self._sample(step * count + i) for i in range(count)[part]])

    def with_seed(self, seed: int) -> Sampler:
        """Another stream over the same pictures; the cache is shared."""
        return Sampler(self.examples, self.cache, self.size, crop=self.crop, seed=seed, planes=self.planes)

    def _place(self, number: int) -> int:
        """Which example sample `number` is cut from."""
        epoch, place = divmod(number, len(self.examples))
        return int(_shuffled(self.seed, epoch, len(self.examples))[place])

    def _sample(self, number: int) -> Batch:
        example = self.examples[self._place(number)]
        rng = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        image, target = example.load(self.cache)
        parts = [part for part in (image, target) if part is not None]
        parts = self._cut(parts, rng)
        if self.planes == 1:
            parts = [grey(part) for part in parts]
        if image is None:
            assert example.degradation is not None
            parts = [example.degradation(parts[0], rng), parts[0]]
        parts = [_reduce(part, self.size) for part in parts]
        if rng.random() < 0.5:
            parts = [part[:, ::-1] for part in parts]
        batch = Batch(*(to_planes(part) for part in parts))
        if not self._choosy:
            return batch
        return replace(batch, target_weight=torch.full((1, 1, 1, 1), float(example.target_in_reward)))

    def _cut(self, parts: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """The same random box of each part."""
        height, width = parts[0].shape[:2]
        if self.crop == "native":
            short = max(0, self.size - height), max(0, self.size - width)
            if any(short):  # smaller than the crop: mirrored out
                parts = [cv2.copyMakeBorder(p, 0, short[0], 0, short[1], cv2.BORDER_REFLECT) for p in parts]
                height, width = parts[0].shape[:2]
            box_height = box_width = self.size
        else:
            box_height = max(1, round(height * rng.uniform(0.5, 1)))
            box_width = max(1, round(width * rng.uniform(0.5, 1)))
        top = rng.integers(0, height - box_height + 1)
        left = rng.integers(0, width - box_width + 1)
        return [part[top : top + box_height, left : left + box_width] for part in parts]


class ShardedSampler(Sampler):
    """The same, a portion of the files after the other, so that few pictures need be in memory at a time.

    In an epoch every picture gives `visits` crops: those of the first portion in turn, then those of the next.

    Args:
        examples, cache, size, crop, seed, planes: see `Sampler`.
        portion: examples at a time.
        visits: crops of each in an epoch.

    Raises:
        UsageError: an empty portion, or no visit; see `Sampler`.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, *, portion: int, visits: int,
                 crop: str = "native", seed: int = 0, planes: int = 3):
        super().__init__(examples, cache, size, crop=crop, seed=seed, planes=planes)
        if portion < 1 or visits < 1:
            raise UsageError(f"a portion has at least one picture, and each is visited at least once; got {portion} "
                             f"and {visits}")
        self.portion, self.visits = portion, visits

    @property
    def epoch(self) -> int:
        """Samples in which every picture has been visited its times."""
        return len(self.examples) * self.visits

    def with_seed(self, seed: int) -> ShardedSampler:
        return ShardedSampler(self.examples, self.cache, self.size, portion=self.portion, visits=self.visits,
                              crop=self.crop, seed=seed, planes=self.planes)

    def _place(self, number: int) -> int:
        epoch, place = divmod(number, self.epoch)
        first, inside = divmod(place, self.portion * self.visits)
        first *= self.portion
        count = min(self.portion, len(self.examples) - first)
        return int(_shuffled(self.seed, epoch, len(self.examples))[first + inside % count])


def _reduce(picture: np.ndarray, size: int) -> np.ndarray:
    if picture.shape[:2] == (size, size):
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, 1 << 40 | epoch])).permutation(count)
