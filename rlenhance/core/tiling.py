"""Large images in overlapping tiles or in bands of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tile:
    """Index expressions `(..., rows, columns)`.

    Attributes:
        inner: the part of the image that this tile computes.
        outer: the part that it has to see: `inner` and its halo.
        crop: `inner` in the coordinates of `outer`.
    """

    inner: Any
    outer: Any
    crop: Any


def tiles(height: int, width: int, side: int, halo: int) -> Iterator[Tile]:
    """Tiles of at most side x side pixels that together cover the image, each with a halo.

    Tiles begin at multiples of `side`: a network whose grid repeats after p pixels sees its grid where it would see it
    in the whole image if `side` and `halo` are multiples of p.

    Args:
        height, width: of the image in pixels.
        side: of a tile in pixels.
        halo: additional pixels on every side that lies inside the image.

    Example:
        >>> [tile.inner[1:] for tile in tiles(3, 5, 4, 2)]
        [(slice(0, 3, None), slice(0, 4, None)), (slice(0, 3, None), slice(4, 5, None))]
    """
    for top in range(0, height, side):
        for left in range(0, width, side):
            spans = [_span(start, side, halo, length) for start, length in ((top, height), (left, width))]
            inner, outer, crop = ((..., *parts) for parts in zip(*spans, strict=True))
            yield Tile(inner, outer, crop)


def _span(start: int, side: int, halo: int, length: int) -> tuple[slice, slice, slice]:
    end, first, last = min(start + side, length), max(0, start - halo), min(start + side + halo, length)
    return slice(start, end), slice(first, last), slice(start - first, end - first)


def bands(height: int, rows: int, every: int = 1) -> Iterator[slice]:
    """Slices of at most `rows` rows that together cover the image, or every second, third, ... of them.

    Example:
        >>> list(bands(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(first, min(first + rows, height)) for first in range(0, height, rows * every))
