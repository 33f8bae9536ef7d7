"""OpenCV filters on batches: images are laid side by side on canvases that stay in the processor's cache.

One call serves several small images, or a band of a large one, and all filters share the reflected borders.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

import cv2
import numpy as np

from rlenhance.core.errors import UsageError

_PIECE = 1 << 15  # pixels of a canvas: it and its results stay in the cache, and OpenCV starts no threads


@dataclass(frozen=True)
class TiledFilter:
    """A filter that runs on a canvas.

    Attributes:
        radius: of its window, in pixels.
        run: `run(canvas, result)` fills `result`, both (h, w) or (h, w, 3) float32; within `radius` pixels of its
            border the result is invalid.
    """

    radius: int
    run: Callable[[np.ndarray, np.ndarray], object]


def filter_radius(size: int) -> int:
    """Half the side of a window, without its middle.

    Raises:
        UsageError: an even size.
    """
    if size < 1 or size % 2 == 0:
        raise UsageError(f"a filter's size is odd, in pixels; got {size}")
    return size // 2


@lru_cache(maxsize=16)
def gaussian_weights(sigma: float, radius: int) -> np.ndarray:
    """A Gaussian at -radius to radius, whose sum is 1: (2 radius + 1,) float32."""
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


@lru_cache(maxsize=32)
def gaussian_tiled(sigma: float, size: int = 5) -> TiledFilter:
    """`filters.gaussian`."""
    if not sigma > 0:
        raise UsageError(f"a Gaussian's sigma must be above 0; got {sigma}")
    radius = filter_radius(size)
    weights = gaussian_weights(sigma, radius)
    return TiledFilter(radius, lambda canvas, result: cv2.sepFilter2D(canvas, -1, weights, weights, result))


@lru_cache(maxsize=32)
def box_tiled(size: int = 5) -> TiledFilter:
    """`filters.box`."""
    return TiledFilter(filter_radius(size), lambda canvas, result: cv2.blur(canvas, (size, size), result))


@lru_cache(maxsize=32)
def median_tiled(size: int = 5) -> TiledFilter | None:
    """`filters.median`; None for windows that OpenCV does not have."""
    if filter_radius(size) > 2:  # OpenCV has no larger ones of float32
        return None
    return TiledFilter(filter_radius(size), lambda canvas, result: cv2.medianBlur(canvas, size, result))


@lru_cache(maxsize=32)
def bilateral_tiled(sigma_color: float, sigma_space: float = 5.0, size: int = 5) -> TiledFilter:
    """`filters.bilateral`, for one or three channels."""
    if not (sigma_color > 0 and sigma_space > 0):
        raise UsageError(f"a bilateral filter's sigmas must be above 0; got {sigma_color} and {sigma_space}")

    def run(canvas: np.ndarray, result: np.ndarray) -> None:
        channels = 3 if canvas.ndim == 3 else 1
        cv2.bilateralFilter(canvas, size, channels * sigma_color, sigma_space, result)

    return TiledFilter(filter_radius(size), run)


@lru_cache(maxsize=32)
def shift_tiled(amount: float) -> TiledFilter:
    """`filters.shift`."""
    step, most = np.float32(amount), np.float32(1 if amount >= 0 else 0)
    inner, outer = (np.minimum, np.maximum) if amount >= 0 else (np.maximum, np.minimum)

    def run(canvas: np.ndarray, result: np.ndarray) -> None:
        np.add(canvas, step, out=result)
        outer(canvas, inner(result, most, out=result), out=result)

    return TiledFilter(0, run)


#: The filters of PixelRL by the names of their tools, see `rlenhance.learning.actions.FilterActions`; None is the
#: identity.
PIXELRL_FILTERS: Mapping[str, TiledFilter | None] = MappingProxyType({
    "darker": shift_tiled(amount=-1 / 255), "nothing": None, "brighter": shift_tiled(amount=1 / 255),
    "gaussian_0.5": gaussian_tiled(sigma=0.5), "bilateral_0.1": bilateral_tiled(sigma_color=0.1),
    "median": median_tiled(), "gaussian_1.5": gaussian_tiled(sigma=1.5),
    "bilateral_1.0": bilateral_tiled(sigma_color=1.0), "box": box_tiled(),
})


def apply_all(image: np.ndarray, forms: Sequence[TiledFilter | None]) -> np.ndarray:
    """The results of K filters, of which None is the identity: (N, C, H, W) float32, C = 1 or 3 -> (N, C, K, H, W)."""
    count, channels, height, width = image.shape
    results = np.empty((count, channels, len(forms), height, width), np.float32)
    radius = _farthest(forms)

    def work(piece: _Piece) -> None:
        result, canvas = piece.canvases(image, radius, 2)
        for index, form in enumerate(forms):
            if form is not None:
                form.run(canvas, result)
            results[piece.pictures, :, index, piece.rows] = piece.cut(canvas if form is None else result, radius)

    _do(work, _pieces(count, height, width))
    return results


def apply_selected(image: np.ndarray, choice: np.ndarray, forms: Sequence[TiledFilter | None]) -> np.ndarray:
    """Every pixel takes the result of its own filter. A filter that no pixel selects is not run.

    Args:
        image: (N, C, H, W) float32, C = 1 or 3.
        choice: (N, 1, H, W) int64, indices into `forms`.
        forms: filters, None for the identity.

    Returns:
        (N, C, H, W) float32.

    Raises:
        UsageError: an index out of range.
    """
    low, high = (choice.min(), choice.max()) if choice.size else (0, 0)
    if low < 0 or high >= len(forms):
        raise UsageError(f"a choice is the place of a filter, 0 to {len(forms) - 1}; got {low} to {high}")
    after = np.empty(image.shape, np.float32)
    radius = _farthest(forms)

    def work(piece: _Piece) -> None:
        numbers = choice[piece.pictures, 0, piece.rows]  # (K, h, W)
        counts = np.bincount(numbers.ravel(), minlength=len(forms))
        results = piece.canvases(image, radius, len(forms) + 1)
        canvas = results[-1]
        for index, form in enumerate(forms):
            if not counts[index]:
                continue
            if form is None:
                results[index] = canvas
            else:
                form.run(canvas, results[index])
        places = numbers * (canvas.shape[0] * canvas.shape[1])
        places += piece.places(radius)
        values = results.reshape(-1, *results.shape[3:]).take(places, axis=0)
        after[piece.pictures, :, piece.rows] = values[:, None] if values.ndim == 3 else values.transpose(0, 3, 1, 2)

    _do(work, _pieces(*image.shape[:1], *image.shape[2:]))
    return after


def _farthest(forms: Sequence[TiledFilter | None]) -> int:
    return max((form.radius for form in forms if form is not None), default=0)


@lru_cache(maxsize=64)
def reflect_indices(length: int, radius: int) -> np.ndarray:
    """Indices of a row padded by `radius` pixels at both ends, by reflection with the period 2 (length - 1)."""
    if length == 1:
        return np.zeros(1 + 2 * radius, np.int64)
    return length - 1 - np.abs(np.arange(-radius, length + radius) % (2 * (length - 1)) - (length - 1))


@dataclass(frozen=True)
class _Piece:
    """Several images, or a band of rows of one: the content of one canvas.

    Attributes:
        pictures, rows: their indices in the batch, and the rows.
        size: height and width of an image.
    """

    pictures: slice
    rows: slice
    size: tuple[int, int]

    def canvases(self, image: np.ndarray, radius: int, count: int) -> np.ndarray:
        """The images side by side, each with its own border, and room for results.

        Returns:
            (count, h + 2 radius, K (W + 2 radius)), and the channels if there are several; only the last canvas is
            filled.
        """
        (height, width), planes = self.size, image[self.pictures].transpose(2, 0, 3, 1)  # (H, K, W, C)
        above, below = self.rows.start - radius, self.rows.stop + radius  # may lie outside
        top, bottom = max(0, above), min(height, below)
        room = np.empty((count, below - above, planes.shape[1], width + 2 * radius, planes.shape[3]), np.float32)
        canvas = room[-1]
        down, across = reflect_indices(height, radius)[self.rows.start :], reflect_indices(width, radius)
        inside = canvas[top - above : bottom - above]
        inside[:, :, radius : radius + width] = planes[top:bottom]
        for edge in (slice(0, radius), slice(radius + width, None)):
            inside[:, :, edge] = inside[:, :, across[edge] + radius]
        for row in (*range(above, top), *range(bottom, below)):
            canvas[row - above] = canvas[down[row - above] - above]
        return room.reshape(count, below - above, -1, *planes.shape[3:] if planes.shape[3] > 1 else ())

    def places(self, radius: int) -> np.ndarray:
        """Where on the canvas its pixels are: (K, h, W)."""
        return _places(self.pictures.stop - self.pictures.start, self.rows.stop - self.rows.start, self.size[1], radius)

    def cut(self, canvas: np.ndarray, radius: int) -> np.ndarray:
        """The valid part of a canvas: (K, C, h, W)."""
        rows, width = self.rows.stop - self.rows.start, self.size[1]
        parts = canvas.reshape(rows + 2 * radius, self.pictures.stop - self.pictures.start, width + 2 * radius, -1)
        return parts[radius : radius + rows, :, radius : radius + width].transpose(1, 3, 0, 2)


@lru_cache(maxsize=8)
def _places(count: int, height: int, width: int, radius: int) -> np.ndarray:
    wide = width + 2 * radius
    rows, pictures, columns = np.ogrid[radius : radius + height, 0:count, radius : radius + width]
    return np.ascontiguousarray((rows * count * wide + pictures * wide + columns).transpose(1, 0, 2))


def _pieces(count: int, height: int, width: int) -> list[_Piece]:
    """Images in groups of about `_PIECE` pixels; larger images in bands of rows."""
    bands = min(height, -(-height * width // _PIECE))
    if bands > 1:
        ends = [height * band // bands for band in range(bands + 1)]
        return [_Piece(slice(number, number + 1), slice(first, last), (height, width))
                for number in range(count) for first, last in pairwise(ends)]
    groups = -(-count // max(1, _PIECE // (height * width)))
    ends = [count * group // groups for group in range(groups + 1)]
    return [_Piece(slice(first, last), slice(0, height), (height, width)) for first, last in pairwise(ends)]


def _do(work: Callable[[_Piece], None], pieces: list[_Piece]) -> None:
    """Process all pieces on as many threads as torch may use, or OpenCV where torch is not loaded: NumPy and OpenCV
    release the interpreter lock."""
    torch = sys.modules.get("torch")
    threads = min(torch.get_num_threads() if torch else cv2.getNumThreads(), len(pieces))
    if threads == 1:
        for piece in pieces:
            work(piece)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, pieces))
