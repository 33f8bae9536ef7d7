"""Examples, where an image and its reference are stored, and the batches of whole images that evaluation loads."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.learning.data.batch import Batch
from rlenhance.learning.data.degradations import Degradation
from rlenhance.learning.data.image_cache import ImageCache, Source
from rlenhance.learning.ops.image import limit_side

T = TypeVar("T")
_SCENE = re.compile(r"^(s\d+)_")
_ROLE = re.compile(r"^(low|high|normal|input|gt)(?=\d)")  # low00001.png beside normal00001.png


@dataclass(frozen=True)
class Example:
    """An image, or a pair of an image and its reference.

    Attributes:
        name: its name in messages and tables.
        scene: examples of one scene are never in two splits.
        image: the image to enhance; None where `degradation` makes it from the target.
        target: the reference, or None.
        degradation: makes the image from the target, anew at each draw.
        target_in_reward: the reference counts in the reward; False: it serves scores alone.
    """

    name: str
    scene: str
    image: Source | None
    target: Source | None = None
    degradation: Degradation | None = None
    target_in_reward: bool = True

    @property
    def paths(self) -> tuple[Source, ...]:
        """Its files, or the images inside files."""
        return tuple(path for path in (self.image, self.target) if path is not None)

    def load(self, cache: ImageCache) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(image, target) as uint8 (H, W, 3); the image is None where the degradation is to make it."""
        image = None if self.image is None else cache.load(self.image)
        target = None if self.target is None else cache.load(self.target)
        return image, target


def scene_of(name: str) -> str:
    """The scene that a file name states (`s012_0034` -> `s012`), else the name itself."""
    match = _SCENE.match(name)
    return match.group(1) if match else _ROLE.sub("", name)


def to_planes(pixels: np.ndarray) -> Tensor:
    """(H, W, C) uint8, or float as a degradation gives it, as (1, C, H, W) float32; 255 of uint8 is 1."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float()
    return tensor / 255 if pixels.dtype == np.uint8 else tensor


def grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 as its luma (ITU-R BT.601), (H, W, 1); equal channels stay as they are."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY))[:, :, None]


def load_example(example: Example, cache: ImageCache, max_side: int | None = None, planes: int = 3) -> Batch:
    """The whole image as a batch of one, the same at every call: a degradation is seeded by the example's name.

    Args:
        max_side: reduce to this longer side in pixels; None keeps the size.
        planes: channels; 1 converts to grey before the degradation.
    """
    image, target = (part if part is None or planes == 3 else grey(part) for part in example.load(cache))
    if image is None:
        assert example.degradation is not None and target is not None
        image = example.degradation(target, np.random.default_rng(zlib.crc32(example.name.encode())))
    tensors = [to_planes(part) for part in (image, target) if part is not None]
    return Batch(*(limit_side(tensor, max_side) if max_side else tensor for tensor in tensors))


class EvalSplit(Sequence[Batch]):
    """The whole images of a split, one batch each, decoded on access: memory does not grow with the split.

    Args:
        examples, cache: the split, and what decodes its files.
        side, planes: `max_side` and `planes` of `load_example`.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, side: int | None, planes: int = 3):
        self._examples, self._cache, self._side, self._planes = examples, cache, side, planes

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return EvalSplit(self._examples[index], self._cache, self._side, self._planes)
        return load_example(self._examples[index], self._cache, self._side, self._planes)


def load_split(examples: Sequence[Example], cache: ImageCache, *, limit: int | None = None,
               side: int | None = None, planes: int = 3) -> EvalSplit:
    """The whole images of a split; `limit` takes that many, evenly spread over the list.

    Args:
        side, planes: see `EvalSplit`.
    """
    return EvalSplit(evenly_spread(examples, limit), cache, side, planes)


def evenly_spread(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most `limit` items, evenly spread over the sequence; all of them where there is no limit (None or 0)."""
    return [items[i * len(items) // limit] for i in range(limit)] if limit and len(items) > limit else items
