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


def even_side(length: int, most: int, multiple: int = 1) -> int:
    """The side of tiles of at most `most` pixels, about, that share a length evenly, as a multiple of `multiple`.

    Example:
        >>> even_side(1000, 768, 8)
        504
    """
    return -(-length // -(-length // most) // multiple) * multiple


def tiles(height: int, width: int, side: int | tuple[int, int], halo: int) -> Iterator[Tile]:
    """Tiles of at most side x side pixels that together cover the image, each with a halo.

    Tiles begin at multiples of `side`: a network whose grid repeats after p pixels sees its grid where it would see it
    in the whole image if `side` and `halo` are multiples of p.

    Args:
        height, width: of the image in pixels.
        side: of a tile in pixels, or its height and width.
        halo: additional pixels on every side that lies inside the image.

    Example:
        >>> [tile.inner[1:] for tile in tiles(3, 5, 4, 2)]
        [(slice(0, 3, None), slice(0, 4, None)), (slice(0, 3, None), slice(4, 5, None))]
    """
    down, across = (side, side) if isinstance(side, int) else side
    for top in range(0, height, down):
        for left in range(0, width, across):
            spans = [_span(top, down, halo, height), _span(left, across, halo, width)]
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
