"""One picture to learn from: where it lies, and its reference."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.image import limit_side
from rlenhance.data.batch import Batch
from rlenhance.data.degradations import Degradation
from rlenhance.data.image_cache import ImageCache
from rlenhance.data.sources import Source


@dataclass(frozen=True)
class Example:
    """A picture, or a pair.

    Attributes:
        name: what messages and tables call it.
        scene: examples of one scene never stand in two splits.
        image: the picture to enhance; None where `degradation` makes it from the target.
        target: the reference, or None.
        degradation: makes the image from the target, anew at each draw.
        target_in_reward: the reference counts in the reward; without, it serves scores alone.
    """

    name: str
    scene: str
    image: Source | None
    target: Source | None = None
    degradation: Degradation | None = None
    target_in_reward: bool = True

    @property
    def paths(self) -> tuple[Source, ...]:
        """The files behind it, or the places in them."""
        return tuple(path for path in (self.image, self.target) if path is not None)

    def load(self, cache: ImageCache) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(image, target) as uint8 (H, W, 3); the image is None where the degradation has yet to make it."""
        image = None if self.image is None else cache.load(self.image)
        target = None if self.target is None else cache.load(self.target)
        return image, target


def to_planes(part: np.ndarray) -> Tensor:
    """(H, W, C) uint8, or float as a degradation gives it, as (1, C, H, W) float32; 255 of uint8 is 1."""
    plane = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))[None].float()
    return plane / 255 if part.dtype == np.uint8 else plane


def grey(part: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 as its luma (ITU-R BT.601), (H, W, 1); equal channels stay as they are."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY))[:, :, None]


def load_example(example: Example, cache: ImageCache, max_side: int | None = None, planes: int = 3) -> Batch:
    """The whole picture as a batch of one, the same at every call: what a degradation draws depends on the name alone.

    Args:
        max_side: reduce to this longer side in pixels; None keeps the size.
        planes: channels; 1 makes the pictures grey before anything is done to them.
    """
    image, target = (part if part is None or planes == 3 else grey(part) for part in example.load(cache))
    if image is None:
        assert example.degradation is not None and target is not None
        image = example.degradation(target, np.random.default_rng(zlib.crc32(example.name.encode())))
    tensors = [to_planes(part) for part in (image, target) if part is not None]
    return Batch(*(limit_side(tensor, max_side) if max_side else tensor for tensor in tensors))
