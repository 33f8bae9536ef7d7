"""A large picture in overlapping tiles: what one tile needs to see, and which part of its result counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tile:
    """Index expressions (..., rows, columns).

    Attributes:
        inner: the part of the picture that this tile gives; like the others an index, `(..., rows, columns)`.
        outer: what it has to see.
        cut: `inner`, seen from `outer`.
    """

    inner: Any
    outer: Any
    cut: Any


def tiles(height: int, width: int, side: int, halo: int) -> Iterator[Tile]:
    """Tiles of side x side pixels, each seeing `halo` pixels more to every side where there are any.

    Tiles begin at multiples of `side`: a network whose grid repeats after p pixels sees its grid where it would see it
    in the whole picture if `side` and `halo` are multiples of p.

    Example:
        >>> [tile.inner[1:] for tile in tiles(3, 5, 4, 2)]
        [(slice(0, 3, None), slice(0, 4, None)), (slice(0, 3, None), slice(4, 5, None))]
    """
    for top in range(0, height, side):
        for left in range(0, width, side):
            spans = [_span(start, side, halo, length) for start, length in ((top, height), (left, width))]
            inner, outer, cut = ((..., *parts) for parts in zip(*spans, strict=True))
            yield Tile(inner, outer, cut)


def _span(start: int, side: int, halo: int, length: int) -> tuple[slice, slice, slice]:
    end, first, last = min(start + side, length), max(0, start - halo), min(start + side + halo, length)
    return slice(start, end), slice(first, last), slice(start - first, end - first)
