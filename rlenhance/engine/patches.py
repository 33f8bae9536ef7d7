"""Overlapping patches of a picture: their geometry, and in NumPy, band by band, extracted and folded without seams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from rlenhance.core.arrays import Array, namespace_of
from rlenhance.core.errors import UsageError

_PER_BAND = 256  # patches


class Band(NamedTuple):
    """Some rows of the patches of a picture.

    Attributes:
        number: of the band.
        rows: of its patches among all.
        top: first pixel row in the padded picture.
        shape: patches along both sides.
        side, stride: of the patches in pixels.
    """

    number: int
    rows: slice
    top: int
    shape: tuple[int, int]
    side: int
    stride: int

    def cut(self, padded: np.ndarray) -> np.ndarray:
        """The patches of a padded picture (C, H, W): (M, C, side, side), row by row."""
        (rows, columns), last = self.shape, self.top + self.shape[0] * self.stride
        part = padded[:, self.top : last + self.side - self.stride]
        windows = sliding_window_view(part, (self.side, self.side), axis=(1, 2))[:, :: self.stride, :: self.stride]
        return windows.transpose(1, 2, 0, 3, 4).reshape(rows * columns, -1, self.side, self.side)


@dataclass(frozen=True)
class PatchGeometry:
    """Square patches on a regular grid. Patch k of a side covers the pixels [k stride - overlap / 2, (k + 1) stride +
    overlap / 2), so that the cells [k stride, (k + 1) stride) tile the picture.

    Args:
        patch_size: side of a patch in pixels, at least 4.
        overlap: pixels that neighbouring patches share, even, at most half a patch.

    Raises:
        UsageError: a patch size or an overlap outside these limits.
    """

    patch_size: int = 24
    overlap: int = 8

    def __post_init__(self) -> None:
        if self.patch_size < 4 or not 0 <= self.overlap <= self.patch_size // 2 or self.overlap % 2:
            raise UsageError(f"patches have at least 4 pixels along each side and an even overlap of at most half of "
                             f"them, as in 24 and 8; got patch_size {self.patch_size} and overlap {self.overlap}")

    @property
    def stride(self) -> int:
        """Pixels from one patch to the next."""
        return self.patch_size - self.overlap

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Number of patches along each side of a picture."""
        return -(-height // self.stride), -(-width // self.stride)

    def fade(self, place: Array) -> Array:
        """Weight along a side of the pixels whose middles are at `place`; those of overlapping patches sum to 1."""
        return (namespace_of(place).minimum(place, self.patch_size - place) / max(0.5, self.overlap)).clip(max=1)


class Patches(PatchGeometry):
    """Patches of an array, band by band."""

    def padded(self, image: np.ndarray) -> np.ndarray:
        """A picture (C, H, W), reflected at its borders so that patches cover it."""
        before = self.overlap // 2
        sides = [(before, count * self.stride - side + before)
                 for side, count in zip(image.shape[1:], self.grid(*image.shape[1:]), strict=True)]
        return np.pad(image, ((0, 0), *sides), mode="reflect")

    def bands(self, size: tuple[int, ...]) -> Iterator[Band]:
        """Bands of about 256 patches, from top to bottom."""
        rows, columns = self.grid(*size)
        step = max(1, _PER_BAND // columns)
        for number, first in enumerate(range(0, rows, step)):
            last = min(first + step, rows)
            yield Band(number, slice(first * columns, last * columns), first * self.stride, (last - first, columns),
                       self.patch_size, self.stride)

    def fold(self, parts: Iterable[tuple[Band, np.ndarray]], size: tuple[int, ...]) -> np.ndarray:
        """A picture (C, *size) from its patches: the mean under a window that fades over the overlap.

        Args:
            parts: the bands and their patches (M, C, side, side).
            size: (height, width).
        """
        row = self.fade(np.arange(self.patch_size, dtype=np.float32) + 0.5)
        grid, total = self.grid(*size), np.zeros((0, 0, 0), np.float32)
        for band, patches in parts:
            if not total.size:
                total = np.zeros((patches.shape[1], *(each * self.stride + self.overlap for each in grid)), np.float32)
            self._add(total[:, band.top :], (patches * (row[:, None] * row)).reshape(*band.shape, *patches.shape[1:]))
        for axis, each in enumerate(grid, start=1):
            share = np.zeros(total.shape[axis], np.float32)
            for first in range(each):
                share[first * self.stride :][: self.patch_size] += row
            total /= share.reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        start = self.overlap // 2
        return total[:, start : start + size[0], start : start + size[1]]

    def _add(self, total: np.ndarray, patches: np.ndarray) -> None:
        """Add patches (rows, columns, C, side, side) to their places in (C, H, W); every second one at a time, since
        those do not overlap."""
        for down in range(min(2, len(patches))):
            for across in range(min(2, patches.shape[1])):
                some = patches[down::2, across::2]
                place = total[:, down * self.stride :, across * self.stride :]
                channel, line, pixel = place.strides
                windows = as_strided(place, (*some.shape[:2], *some.shape[2:]),
                                     (2 * self.stride * line, 2 * self.stride * pixel, channel, line, pixel))
                windows += some
