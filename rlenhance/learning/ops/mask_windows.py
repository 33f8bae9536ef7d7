"""Bounding windows of masks: results that are needed inside the mask alone are computed inside the windows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskWindows:
    """One window of equal size in each image of a batch.

    Attributes:
        tops, lefts: first row and column of each, in pixels.
        height, width: of all.
        size: (height, width) of the images.
    """

    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    height: int
    width: int
    size: tuple[int, int]

    @classmethod
    def from_mask(cls, mask: Tensor) -> MaskWindows:
        """The smallest windows of one size that hold every mask.

        Args:
            mask: (N, 1, H, W), 1 where pixels are missing; an empty mask gets a window of one pixel.
        """
        inside = mask[:, 0] > 0.5
        size = (mask.shape[-2], mask.shape[-1])
        spans = [_spans(inside.any(dim=dim).tolist()) for dim in (2, 1)]
        height, width = (max((stop - start for start, stop in span), default=1) for span in spans)
        tops, lefts = (tuple(min(start, side - length) for start, _ in span)
                       for span, side, length in zip(spans, size, (height, width), strict=True))
        return cls(tops, lefts, height, width, size)

    def expanded(self, margin: int) -> MaskWindows:
        """Windows with `margin` more pixels to each side, moved inward where they would cross the image's border."""
        height, width = (min(side, length + 2 * margin)
                         for side, length in zip(self.size, (self.height, self.width), strict=True))
        tops = tuple(min(max(0, top - margin), self.size[0] - height) for top in self.tops)
        lefts = tuple(min(max(0, left - margin), self.size[1] - width) for left in self.lefts)
        return MaskWindows(tops, lefts, height, width, self.size)

    def relative_to(self, outer: MaskWindows) -> MaskWindows:
        """The same windows in the coordinates of others that contain them."""
        return MaskWindows(tuple(a - b for a, b in zip(self.tops, outer.tops, strict=True)),
                           tuple(a - b for a, b in zip(self.lefts, outer.lefts, strict=True)),
                           self.height, self.width, (outer.height, outer.width))

    def cells(self, stride: int) -> MaskWindows:
        """The windows on a map with one cell per stride x stride pixels: they contain every cell that these touch."""
        size = tuple(-(-side // stride) for side in self.size)
        tops, lefts = (tuple(start // stride for start in starts) for starts in (self.tops, self.lefts))
        height, width = (max((-(-(start + side) // stride) - start // stride for start in starts), default=1)
                         for starts, side in ((self.tops, self.height), (self.lefts, self.width)))
        return MaskWindows(tuple(min(top, size[0] - height) for top in tops),
                           tuple(min(left, size[1] - width) for left in lefts), height, width, (size[0], size[1]))

    def crop(self, planes: Tensor) -> Tensor:
        """The values inside the windows: (N, ..., H, W) -> (N, ..., height, width)."""
        if self._one:
            return planes[self._place(0)]
        return torch.stack([planes[index][self._place(index)] for index in range(len(self.tops))])

    def paste(self, part: Tensor, onto: Tensor) -> Tensor:
        """A copy of `onto` (N, ..., H, W) with `part` (N, ..., height, width) in the windows."""
        result = onto.clone()
        if self._one:
            result[self._place(0)] = part
        else:
            for index in range(len(self.tops)):
                result[index][self._place(index)] = part[index]
        return result

    @classmethod
    def concat(cls, parts: Sequence[MaskWindows]) -> MaskWindows:
        """The windows of several batches as one batch; all have one size."""
        return cls(sum((part.tops for part in parts), ()), sum((part.lefts for part in parts), ()),
                   parts[0].height, parts[0].width, parts[0].size)

    @property
    def _one(self) -> bool:
        return len(set(self.tops)) <= 1 and len(set(self.lefts)) <= 1

    def _place(self, index: int) -> Any:
        top, left = (self.tops[index], self.lefts[index]) if self.tops else (0, 0)
        return (..., slice(top, top + self.height), slice(left, left + self.width))


def _spans(lines: Sequence[Sequence[bool]]) -> list[tuple[int, int]]:
    """First index and end of the True values of each line; (0, 1) where there are none."""
    spans = []
    for line in lines:
        there = [place for place, inside in enumerate(line) if inside]
        spans.append((there[0], there[-1] + 1) if there else (0, 1))
    return spans
