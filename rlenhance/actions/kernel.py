"""All steps of an episode on a row of pixels while it is in the cache: compiled, for the extra `fast`.

The formulas are those of `Tone.bend` and `Curve.bend`; a test holds them to it. Compiled code is kept on disk, where
numba finds a folder to write to, else in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_HALF, _ONE, _TWO, _THIRD = np.float32(0.5), np.float32(1), np.float32(2), np.float32(1 / 3)
_CONTRACT = {"contract", "arcp", "nsz", "reassoc"}  # fast, but a NaN stays one


def _compiled(function: Callable[..., Any]) -> Any:
    """Compiled on the first call, and read from disk from then on."""
    options: Any = {"nogil": True, "fastmath": _CONTRACT, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to write to
        return numba.njit(**options)(function)


@_compiled
def _tone(image, count, part, rows, step, left, right):  # type: ignore[no-untyped-def]
    """`Tone.bend` on `count` pixels between two columns of the grid: image (3, n), part (n,), rows (T, 4, w)."""
    bend, contrast, highlights, saturation = rows[step, 0, left], rows[step, 1, left], rows[step, 2, left], \
        rows[step, 3, left]
    to_bend, to_contrast, to_highlights, to_saturation = rows[step, 0, right] - bend, \
        rows[step, 1, right] - contrast, rows[step, 2, right] - highlights, rows[step, 3, right] - saturation
    for i in range(count):
        share = part[i]
        red, green, blue = image[0, i], image[1, i], image[2, i]
        level = (red + green + blue) * _THIRD
        largest = max(red, green, blue)
        square = largest * largest
        fourth = square * square
        own = saturation + share * to_saturation
        common = (bend + share * to_bend + (contrast + share * to_contrast) * (_TWO * level - _ONE)
                  - (highlights + share * to_highlights) * (fourth * fourth) - own * level)
        image[0, i] = red + min(max(common + own * red, -_ONE), _ONE) * (red * (_ONE - red))
        image[1, i] = green + min(max(common + own * green, -_ONE), _ONE) * (green * (_ONE - green))
        image[2, i] = blue + min(max(common + own * blue, -_ONE), _ONE) * (blue * (_ONE - blue))


@_compiled
def _curve(image, count, part, rows, step, left, right):  # type: ignore[no-untyped-def]
    """`Curve.bend` on `count` pixels between two columns of the grid: image (3, n), part (n,), rows (T, 3, w)."""
    for channel in range(3):
        bend = rows[step, channel, left]
        to_bend = rows[step, channel, right] - bend
        for i in range(count):
            value = image[channel, i]
            image[channel, i] = value + (bend + part[i] * to_bend) * (value * (_ONE - value))


@_compiled
def _bend(image, count, part, rows, left, right):  # type: ignore[no-untyped-def]
    for step in range(rows.shape[0]):
        if rows.shape[1] == 4:
            _tone(image, count, part, rows, step, left, right)
        else:
            _curve(image, count, part, rows, step, left, right)


@_compiled
def _row(handles, top, bottom, share, rows):  # type: ignore[no-untyped-def]
    """Handles (T, C, h, w) between two rows of the grid: rows (T, C, w)."""
    for step in range(rows.shape[0]):
        for head in range(rows.shape[1]):
            for column in range(rows.shape[2]):
                above = handles[step, head, top, column]
                rows[step, head, column] = above + share * (handles[step, head, bottom, column] - above)


@_compiled
def sweep_planes(source, result, handles, tops, bottoms, shares,  # type: ignore[no-untyped-def]
                 starts, lefts, rights, parts, first, last):
    """Rows `first` to `last` of a picture (3, H, W), float32.

    Args:
        source, result: (3, H, W) float32.
        handles: (T, C, h, w) float32, C = 4 for `Tone` and 3 for `Curve`.
        tops, bottoms, shares: (H,), the rows of the grid that a row of pixels lies between, and where.
        starts: (S + 1,), segments of a row; lefts, rights: (S,), the columns that a segment lies between.
        parts: (W,), where a column of pixels lies between its two columns of the grid.
    """
    rows = np.empty((handles.shape[0], handles.shape[1], handles.shape[3]), np.float32)
    image = np.empty((3, np.max(starts[1:] - starts[:-1])), np.float32)
    for y in range(first, last):
        _row(handles, tops[y], bottoms[y], shares[y], rows)
        for segment in range(len(lefts)):
            start = starts[segment]
            count = starts[segment + 1] - start
            for channel in range(3):
                for i in range(count):
                    image[channel, i] = source[channel, y, start + i]
            _bend(image, count, parts[start:], rows, lefts[segment], rights[segment])
            for channel in range(3):
                for i in range(count):
                    result[channel, y, start + i] = image[channel, i]


@_compiled
def sweep_pixels(source, result, handles, tops, bottoms, shares,  # type: ignore[no-untyped-def]
                 starts, lefts, rights, parts, first, last, top, strength):
    """The same for (H, W, 3) uint8 or uint16, whose largest number is `top`; rounded to the nearest.

    Args:
        top: float32; strength: float32, how much of the change is made, in [0, 1].
    """
    rows = np.empty((handles.shape[0], handles.shape[1], handles.shape[3]), np.float32)
    image = np.empty((3, np.max(starts[1:] - starts[:-1])), np.float32)
    flat = np.empty(image.size, np.float32)
    scale = _ONE / top
    for y in range(first, last):
        _row(handles, tops[y], bottoms[y], shares[y], rows)
        for segment in range(len(lefts)):
            start = starts[segment]
            count = starts[segment + 1] - start
            for i in range(count):
                image[0, i] = np.float32(source[y, start + i, 0]) * scale
                image[1, i] = np.float32(source[y, start + i, 1]) * scale
                image[2, i] = np.float32(source[y, start + i, 2]) * scale
            _bend(image, count, parts[start:], rows, lefts[segment], rights[segment])
            for i in range(count):
                for channel in range(3):
                    flat[3 * i + channel] = image[channel, i]
            before, after = source[y].reshape(-1)[3 * start :], result[y].reshape(-1)[3 * start :]
            for i in range(3 * count):
                old = np.float32(before[i])
                new = old + strength * (flat[i] * top - old)
                after[i] = np.int32(min(max(new + _HALF, _HALF), top + _HALF))
