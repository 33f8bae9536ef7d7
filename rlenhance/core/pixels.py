"""Pictures as NumPy arrays: photographs (H, W, 3), uint8, uint16 or float, and planes (N, C, H, W), float32 in [0, 1].

Large ones are worked on in overlapping tiles or in bands of rows. `rlenhance.learning.ops.image` has the same
convention for tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError

_BAND_PIXELS = 1 << 21  # of a picture that are reduced at a time
_DARKENS, _BRIGHTENS = (0.15, 0.35, 0.95), (1.0, 0.55, 0.05)  # blue, orange; white does nothing


def check_picture(picture: np.ndarray) -> None:
    """Refuse what is not an array (H, W, 3), with a UsageError."""
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
        raise UsageError(f"a picture must be an array (H, W, 3); got {getattr(picture, 'shape', type(picture))}")


def check_planes(planes: np.ndarray, *, margin: float = 0.0, channels: Sequence[int] = (3,)) -> np.ndarray:
    """The planes, if they follow the convention.

    Args:
        planes: (N, C, H, W) float in [0, 1].
        margin: how far values may lie outside [0, 1], as noise that was not clipped does.
        channels: allowed values of C.

    Raises:
        UsageError: another rank, number of channels or dtype, size zero, or values outside [0, 1], or not finite.
    """
    if not isinstance(planes, np.ndarray) or planes.ndim != 4 or planes.shape[1] not in channels or \
            not np.issubdtype(planes.dtype, np.floating):
        seen = f"{tuple(planes.shape)} {planes.dtype}" if hasattr(planes, "shape") else repr(planes)
        raise UsageError(f"planes must be (N, {' or '.join(map(str, channels))}, H, W) float in [0, 1]; got {seen}: "
                         f"use rlenhance.core.pixels.to_planes")
    if 0 in planes.shape:
        raise UsageError(f"the picture is empty: shape {tuple(planes.shape)}")
    low, high = planes.min(), planes.max()
    if not (low >= -margin - 1e-4 and high <= 1 + margin + 1e-4):
        beyond = f" (noise may reach {margin:g} beyond)" if margin else ""
        raise UsageError(f"image values must lie in [0, 1]{beyond}; got {low:.4g} to {high:.4g}")
    return planes


def blended(before: np.ndarray, after: np.ndarray, strength: float) -> np.ndarray:
    """A change at a strength: two pictures (H, W, 3) of one type, uint8, uint16 or float in [0, 1] -> the same."""
    if strength == 1:
        return after
    if np.issubdtype(before.dtype, np.floating):
        return np.asarray(before + strength * (after - before)).astype(before.dtype)
    return cv2.addWeighted(after, strength, before, 1 - strength, 0)


def to_planes(picture: np.ndarray) -> np.ndarray:
    """A photograph (H, W, 3), uint8, uint16 or float in [0, 1], as planes (1, 3, H, W) float32.

    Raises:
        UsageError: another shape or dtype.

    Example:
        >>> float(to_planes(np.full((2, 2, 3), 255, np.uint8)).mean())
        1.0
    """
    check_picture(picture)
    if picture.dtype == np.uint8 or picture.dtype == np.uint16:
        scaled = picture.astype(np.float32) / np.iinfo(picture.dtype).max
    elif np.issubdtype(picture.dtype, np.floating):
        scaled = picture.astype(np.float32)
    else:
        raise UsageError(f"a picture must be uint8, uint16 or float in [0, 1]; got {picture.dtype}")
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))[None]


def to_pixels(planes: np.ndarray, dtype: type = np.uint8) -> np.ndarray:
    """Planes (1, 3, H, W) or (3, H, W), clipped to [0, 1], as a photograph (H, W, 3) of uint8, uint16 or float32.

    Raises:
        UsageError: a batch of several pictures.
    """
    if planes.ndim == 4:
        if planes.shape[0] != 1:
            raise UsageError(f"this takes one picture; got a batch of {planes.shape[0]}: index it first")
        planes = planes[0]
    picture = planes.clip(0, 1).astype(np.float32, copy=False).transpose(1, 2, 0)
    if np.issubdtype(dtype, np.floating):
        return np.ascontiguousarray(picture.astype(dtype))
    return np.ascontiguousarray(np.rint(picture * np.float32(np.iinfo(dtype).max)).astype(dtype))


def resize_planes(planes: np.ndarray, size: tuple[int, int] | int) -> np.ndarray:
    """Area interpolation: (N, C, H, W) -> (N, C, *size); regions overlap where sizes do not divide.

    Args:
        planes: float32.
        size: (height, width), or the side of a square, in pixels.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    height, width = planes.shape[-2:]
    if (height, width) == (rows, columns):
        return planes
    if height % rows == 0 and width % columns == 0:
        cells = planes.reshape(*planes.shape[:2], rows, height // rows, columns, width // columns)
        return np.asarray(cells.mean(axis=(3, 5), dtype=np.float32))
    down, across = mean_matrix(height, rows), mean_matrix(width, columns)
    if height > 4 * rows:  # each pixel is added once: many times faster than a product with the zeros of the matrix
        parts = [planes[..., i * height // rows : -(-(i + 1) * height // rows), :] for i in range(rows)]
        return np.asarray(np.stack([part.mean(axis=-2, dtype=np.float32) for part in parts], axis=-2) @ across.T)
    return np.asarray(down @ planes.astype(np.float32, copy=False) @ across.T)


@lru_cache(maxsize=32)
def mean_matrix(inputs: int, outputs: int) -> np.ndarray:
    """(outputs, inputs) float32: row i averages pixels floor(i inputs / outputs) to ceil((i + 1) inputs / outputs)."""
    rows = np.zeros((outputs, inputs), np.float32)
    for i in range(outputs):
        first, last = i * inputs // outputs, -(-(i + 1) * inputs // outputs)
        rows[i, first:last] = 1 / (last - first)
    rows.flags.writeable = False
    return rows


def resized_planes(picture: np.ndarray, size: int) -> np.ndarray:
    """`resize_planes(to_planes(picture), size)`, up to rounding, without the large planes: (1, 3, size, size) float32.

    Args:
        picture: (H, W, 3), uint8, uint16 or float in [0, 1].
        size: side in pixels.

    Raises:
        UsageError: as `to_planes` and `check_planes`.
    """
    check_picture(picture)
    if picture.dtype not in (np.uint8, np.uint16) or 0 in picture.shape or max(picture.shape) > 16_384:
        return resize_planes(check_planes(to_planes(picture)), size)  # sums of up to 256 numbers of 16 bit are exact
    height, width = picture.shape[:2]
    rows = np.empty((size, width, 3), np.float32)
    means = np.empty((size, size, 3), np.float32)
    for i in range(size):
        part = picture[i * height // size : -(-(i + 1) * height // size)]
        rows[i] = cv2.reduce(part, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[0]
    for i in range(size):
        part = rows[:, i * width // size : -(-(i + 1) * width // size)]
        means[:, i] = cv2.reduce(part, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[:, 0]
    return to_planes(means / np.iinfo(picture.dtype).max)


def largest_channel(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W); ten times as fast as `picture.max(axis=2)`."""
    return np.asarray(np.maximum(np.maximum(picture[..., 0], picture[..., 1]), picture[..., 2]))


def pad_planes(planes: np.ndarray, multiple: int) -> np.ndarray:
    """Pad (N, C, H, W) at the right and bottom by replication, until both sides are multiples of `multiple`."""
    bottom, right = (-side % multiple for side in planes.shape[-2:])
    return np.pad(planes, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge") if bottom or right else planes


def pixel_unshuffle(planes: np.ndarray, factor: int) -> np.ndarray:
    """Cells of factor x factor pixels as channels, as torch orders them: (N, C, H, W) -> (N, C factor^2, h, w); both
    sides are multiples of the factor."""
    count, channels, height, width = planes.shape
    cells = planes.reshape(count, channels, height // factor, factor, width // factor, factor)
    return cells.transpose(0, 1, 3, 5, 2, 4).reshape(count, -1, height // factor, width // factor)


def pixel_shuffle(cells: np.ndarray, factor: int) -> np.ndarray:
    """What `pixel_unshuffle` did, undone: (N, C factor^2, h, w) -> (N, C, factor h, factor w)."""
    count, channels, rows, columns = cells.shape
    planes = cells.reshape(count, channels // factor**2, factor, factor, rows, columns)
    return planes.transpose(0, 1, 4, 2, 5, 3).reshape(count, -1, factor * rows, factor * columns)


def area_means(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Means over size[0] x size[1] regions, (H, W) or (H, W, C) -> (*size) or (*size, C) float32.

    Regions overlap where sizes do not divide, as those of `resize_planes`; this is faster for large maps.
    """
    if maps.shape[0] % size[0] == 0 and maps.shape[1] % size[1] == 0:
        return cv2.resize(maps.astype(np.float32, copy=False), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    sums = cv2.integral(maps, sdepth=cv2.CV_64F)
    spans = []
    for side, count in zip(maps.shape, size, strict=False):
        places = np.arange(count + 1)
        spans.append((places[:-1] * side // count, -(-places[1:] * side // count)))
    (top, bottom), (left, right) = spans
    sums = sums[bottom] - sums[top]
    sums = sums[:, right] - sums[:, left]
    areas = (bottom - top)[:, None] * (right - left)
    return np.asarray(sums / (areas if sums.ndim == 2 else areas[..., None]), np.float32)


def reduced_by_area(picture: np.ndarray, most: int) -> np.ndarray:
    """A picture (H, W, 3) of more than `most` pixels as area means, (h, w, 3) float32 in [0, 1]; others as they are.

    A band of rows is reduced at a time, so that a large picture needs little memory.
    """
    height, width = picture.shape[:2]
    if height * width <= most:
        return picture
    factor = (most / (height * width)) ** 0.5
    rows, columns = max(1, int(height * factor)), max(1, int(width * factor))
    whole = np.float32(np.iinfo(picture.dtype).max) if np.issubdtype(picture.dtype, np.integer) else np.float32(1)
    result = np.empty((rows, columns, 3), np.float32)
    step = max(1, _BAND_PIXELS * rows // (height * width))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        spans = [(i * height // rows, -(-(i + 1) * height // rows)) for i in range(first, last)]
        start = spans[0][0]
        band = picture[start : spans[-1][1]].astype(np.float32) / whole
        across = area_means(band, (len(band), columns))
        for i, (top, bottom) in zip(range(first, last), spans, strict=True):
            result[i] = across[top - start : bottom - start].mean(axis=0)
    return result


def enlarge_planes(planes: np.ndarray, scale: int) -> np.ndarray:
    """Bicubic enlargement, as torch has it: (N, C, H, W) float32 -> (N, C, scale H, scale W), not clipped."""
    size = planes.shape[3] * scale, planes.shape[2] * scale
    large = [cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC) for plane in planes.reshape(-1, *planes.shape[2:])]
    return np.stack(large).reshape(*planes.shape[:2], *size[::-1])


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


def linear_from_srgb(value: np.ndarray) -> np.ndarray:
    """Decode sRGB (IEC 61966-2-1): values in [0, 1] to linear light in [0, 1], float32."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_from_linear(value: np.ndarray) -> np.ndarray:
    """Encode linear light in [0, 1] as sRGB (IEC 61966-2-1), float32."""
    curve = 1.055 * np.maximum(value, 0) ** (1 / 2.4) - 0.055
    return np.where(value <= 0.0031308, value * 12.92, curve).astype(np.float32)


def magnitude_colors(magnitude: np.ndarray, size: tuple[int, int], limit: float = 1.0) -> np.ndarray:
    """Action magnitudes as colours, one block per agent: (C, h, w) -> (*size, 3) float32 in [0, 1].

    White is no change, orange brightens, blue darkens. Channels are averaged.

    Args:
        magnitude: (C, h, w), see `rlenhance.learning.actions.ActionSet.magnitude`.
        size: (height, width) in pixels.
        limit: magnitude of the full colour.
    """
    amount = (magnitude.mean(axis=0) / limit).clip(-1, 1)[..., None]
    colors = np.ones((*amount.shape[:2], 3), np.float32)
    for sign, color in ((-1, _DARKENS), (1, _BRIGHTENS)):
        colors = colors + (sign * amount).clip(0, None) * (np.array(color, np.float32) - 1)
    rows, columns = (np.arange(pixels) * agents // pixels for pixels, agents in zip(size, amount.shape, strict=False))
    return np.asarray(colors[rows][:, columns], np.float32)
