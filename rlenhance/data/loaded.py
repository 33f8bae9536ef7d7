"""The pictures of a split, whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlenhance.data.batch import Batch
from rlenhance.data.examples import Example, load_example
from rlenhance.data.image_cache import ImageCache


class EvalSplit(Sequence[Batch]):
    """The pictures of a split, one batch each, decoded when they are asked for: a large set fills no memory."""

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
    """The pictures of a split; `limit` takes that many, evenly spread over the list.

    Args:
        side: reduce to this longer side in pixels; None keeps the size.
        planes: channels; 1 makes the pictures grey.
    """
    if limit and len(examples) > limit:
        examples = [examples[i * len(examples) // limit] for i in range(limit)]
    return EvalSplit(examples, cache, side, planes)
