"""Harmonic inpainting: Laplace's equation inside a mask, solved exactly or nearly so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from rlenhance.core.errors import UsageError

_LARGEST = 512  # longest side in pixels of a rectangle that is solved by dense matrices
_APART = 16  # parts up to which each is solved by itself; of more, all that are no rectangles are solved as one
_COARSEST = 16  # pixels: below, nothing is halved any more
_ROUNDS = 120  # of conjugate gradients on each size
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32)


def harmonic_fill(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with every missing pixel at the mean of its neighbours; no flux passes the borders of the picture.

    Rectangles that do not touch are solved exactly, by their eigenvectors; other masks by conjugate gradients from a
    coarse solution, to less than a 255th.

    Args:
        picture: (H, W, 3) float32, any range; its values inside the mask are ignored.
        mask: (H, W) bool, True where pixels are missing; some are not.

    Returns:
        (H, W, 3) float32; pixels outside the mask are not changed.

    Raises:
        UsageError: a mask of another shape.

    Source: Laplace's equation with the five-point stencil, as in Perez, Gangnet and Blake 2003, section 2, without
    guidance.

    Example:
        >>> mask = np.zeros((8, 8), bool)
        >>> mask[2:5, 2:5] = True
        >>> ramp = np.tile(np.arange(8, dtype=np.float32)[:, None], (8, 1, 3)).reshape(8, 8, 3)
        >>> bool(np.allclose(harmonic_fill(ramp * ~mask[..., None], mask), ramp, atol=1e-5))
        True
    """
    if mask.shape != picture.shape[:2]:
        raise UsageError(f"mask must be {picture.shape[:2]}, True where pixels are missing; got {mask.shape}")
    result = np.array(picture, np.float32)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    others = []
    for label, (left, top, width, height, area) in enumerate(boxes[1:count].tolist(), start=1):
        if width * height == area and max(width, height) <= _LARGEST:
            rows, columns = slice(top, top + height), slice(left, left + width)
            result[rows, columns] = _exact(picture, rows, columns)
        else:
            others.append((label, _around((left, top, width, height))))
    if len(others) > _APART:
        others = [(0, _around(cv2.boundingRect(mask.astype(np.uint8))))]
    for label, place in others:
        hole = mask[place]
        filled = _solved(np.where(hole[..., None], np.float32(0), result[place]), hole, _degree(mask.shape, place))
        np.copyto(result[place], filled, where=((labels[place] == label) if label else hole)[..., None])
    return result


def _around(box: Sequence[int]) -> tuple[slice, slice]:
    """A box (left, top, width, height), and a pixel more on each side."""
    left, top, width, height = box
    return slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)


def _exact(picture: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """The solution inside one rectangle: (h, w, 3)."""
    height, width = picture.shape[:2]
    known = np.zeros((picture.shape[2], rows.stop - rows.start, columns.stop - columns.start), np.float32)
    ends = rows.start > 0, rows.stop < height, columns.start > 0, columns.stop < width
    if ends[0]:
        known[:, 0] += picture[rows.start - 1, columns].T
    if ends[1]:
        known[:, -1] += picture[rows.stop, columns].T
    if ends[2]:
        known[:, :, 0] += picture[rows, columns.start - 1].T
    if ends[3]:
        known[:, :, -1] += picture[rows, columns.stop].T
    (down, left), (across, right) = (_modes(length, *pair) for length, pair in
                                     ((known.shape[1], ends[:2]), (known.shape[2], ends[2:])))
    solved = left @ ((left.T @ known @ right) / (down[:, None] + across)) @ right.T
    return np.asarray(solved.transpose(1, 2, 0))


@lru_cache(maxsize=256)
def _modes(length: int, before: bool, after: bool) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of the second difference of a row whose ends are fixed or free, float32."""
    matrix = 2 * np.eye(length) - np.eye(length, k=1) - np.eye(length, k=-1)
    matrix[0, 0] -= 0 if before else 1
    matrix[-1, -1] -= 0 if after else 1
    values, vectors = np.linalg.eigh(matrix)
    return values.astype(np.float32), vectors.astype(np.float32)


def _degree(size: tuple[int, int], place: tuple[slice, slice]) -> np.ndarray:
    """The number of neighbours of each pixel of a part of the picture, (h, w, 1) float32: fewer at its borders."""
    counts = []
    for side, span in zip(size, place, strict=True):
        lines = np.arange(span.start, min(span.stop, side))
        counts.append((lines > 0).astype(np.float32) + (lines < side - 1))
    return (counts[0][:, None] + counts[1])[..., None]


def _solved(picture: np.ndarray, mask: np.ndarray, degree: np.ndarray | None = None) -> np.ndarray:
    """The solution for masks of any shape: conjugate gradients, started from the solution at half the size.

    Args:
        picture: (h, w, 3) float32, 0 inside the mask.
        mask: (h, w) bool.
        degree: see `_degree`; None: a whole picture's.
    """
    height, width = mask.shape
    if degree is None:
        degree = _degree(mask.shape, (slice(0, height), slice(0, width)))
    missing = mask[..., None].astype(np.float32)
    if min(height, width) > _COARSEST:
        size = -(-width // 2), -(-height // 2)
        share = _halved(1 - missing, size)
        small, untouched = _halved(picture, size) / np.maximum(share, 0.25), share[..., 0] <= 0
        if not untouched.all() and untouched.any():
            small = _solved(small, untouched)
        start = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        start = np.broadcast_to(picture.sum(axis=(0, 1)) / max(1, mask.size - int(mask.sum())), picture.shape)
    guess, channels = start * missing, picture.shape[2]
    missing = np.repeat(missing, channels, axis=2)
    degree = np.repeat(degree, channels, axis=2)
    rest = missing * (_beside(picture) - (degree * guess - _beside(guess)))
    way, size_now = rest.copy(), float(np.vdot(rest, rest))
    degree *= missing
    enough = 1e-10 * channels * int(mask.sum())
    for _ in range(_ROUNDS):
        if size_now < enough:
            break
        turned = degree * way
        turned -= np.multiply(missing, beside := _beside(way), out=beside)
        step = size_now / max(float(np.vdot(way, turned)), 1e-20)
        guess = cv2.scaleAdd(way, step, guess, dst=guess)
        rest = cv2.scaleAdd(turned, -step, rest, dst=rest)
        before, size_now = size_now, float(np.vdot(rest, rest))
        way = cv2.scaleAdd(way, size_now / max(before, 1e-20), rest, dst=way)
    return np.asarray(picture + guess)


def _halved(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Means of 2x2 pixels, of fewer at odd ends: (h, w, C) -> (size[1], size[0], C)."""
    height, width = maps.shape[:2]
    even = cv2.copyMakeBorder(maps, 0, 2 * size[1] - height, 0, 2 * size[0] - width, cv2.BORDER_REPLICATE)
    small: np.ndarray = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
    return small.reshape(size[1], size[0], maps.shape[2])


def _beside(maps: np.ndarray) -> np.ndarray:
    """The sum of the four neighbours; outside the picture they count as 0."""
    return cv2.filter2D(maps, -1, _CROSS, borderType=cv2.BORDER_CONSTANT)
