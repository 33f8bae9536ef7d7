"""All steps of an episode in one pass over the pixels, many times faster than step by step.

Tests compare the result with `apply_action`. There are no masks and no gradients. render.c does the work, compiled when
the package was installed or its wheel was built; without it NumPy does, in tiles.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from rlenhance.core.machine import compiled_functions, thread_count
from rlenhance.core.pixels import resize_planes, resized_planes, to_pixels, to_planes
from rlenhance.ops.plane_statistics import GUIDE_SIDE, guide_coefficients

_TILE = 1 << 14  # pixels per thread that NumPy edits at once: they stay in the cache
_SEGMENT = 512  # pixels that render.c edits at once, at most
_LANES = 16  # pixels that render.c may read beyond the last
_FINE = 65_535  # values of a channel of a float picture that the guide distinguishes
_COARSE = 4  # pixels per agent along each side from which this is faster


class PixelFormula(Protocol):
    """How parameters change pixels: `rlenhance.engine.edits.Edits`, or an action set of torch behind the same form.

    Attributes:
        compiled: whether render.c has the formula.
        band_heads: numbers of an agent per band of the luminance guide; 0: the parameters depend on none.
    """

    @property
    def compiled(self) -> bool: ...

    @property
    def band_heads(self) -> int: ...

    def guide(self, first: np.ndarray) -> np.ndarray | None: ...

    def at_pixels(self, parameters: np.ndarray, guide: np.ndarray | None) -> np.ndarray: ...

    def apply_parameters(self, image: np.ndarray, parameters: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class AxisWeights:
    """Linear interpolation weights of the pixels of one side between the centres of agents.

    Attributes:
        before, after: (size,), the agents on either side of a pixel.
        part: (size,) float32, weight of the agent `after`.
        starts: first pixels of the cells (runs between the same two agents, of limited length), then `size`.
    """

    before: np.ndarray
    after: np.ndarray
    part: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, size: int, agents: int, longest: int) -> AxisWeights:
        """For `size` pixels and `agents` agents, in cells of at most `longest` pixels."""
        place = np.float32(agents / size) * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
        place = np.clip(place, 0, agents - 1)
        before = place.astype(np.int64)
        begins = [0, *(np.flatnonzero(np.diff(before)) + 1), size]
        starts = [start for first, last in pairwise(begins) for start in range(first, last, longest)]
        return cls(before, np.minimum(before + 1, agents - 1), (place - before).astype(np.float32),
                   np.array([*starts, size], dtype=np.int64))


@dataclass(frozen=True)
class GridWeights:
    """Bilinear interpolation weights of the pixels of a picture, for render.c.

    Attributes:
        arrays: kept alive for `places`.
        places: addresses of the arrays.
        segments: cells of a row.
    """

    arrays: list[np.ndarray]
    places: list[int]
    segments: int

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, height: int, width: int, rows: int, columns: int, longest: int) -> GridWeights:
        """For height x width pixels and rows x columns agents, in segments of at most `longest` pixels."""
        down, across = AxisWeights.of(height, rows, height), AxisWeights.of(width, columns, longest)
        firsts = across.starts[:-1]
        arrays = [np.ascontiguousarray(array) for array in (
            down.before, down.after, down.part, across.starts, across.before[firsts], across.after[firsts],
            np.pad(across.part, (0, _LANES)))]
        return cls(arrays, [array.ctypes.data for array in arrays], len(firsts))


class RenderPlan(ctypes.Structure):
    """Arguments of render.c that all rows share; the caller keeps the arrays alive."""

    _fields_ = [("handles", ctypes.c_void_p), ("steps", ctypes.c_int64), ("heads", ctypes.c_int64),
                ("grid_rows", ctypes.c_int64), ("grid_columns", ctypes.c_int64), ("tops", ctypes.c_void_p),
                ("bottoms", ctypes.c_void_p), ("shares", ctypes.c_void_p), ("starts", ctypes.c_void_p),
                ("lefts", ctypes.c_void_p), ("rights", ctypes.c_void_p), ("parts", ctypes.c_void_p),
                ("segments", ctypes.c_int64), ("height", ctypes.c_int64), ("width", ctypes.c_int64)]


class RenderGuide(ctypes.Structure):
    """What `BilateralActions` need beside the plan: the guide's coefficients on their grid, interpolated."""

    _fields_ = [("slope", ctypes.c_void_p), ("offset", ctypes.c_void_p), ("guide_columns", ctypes.c_int64),
                ("tops", ctypes.c_void_p), ("bottoms", ctypes.c_void_p), ("shares", ctypes.c_void_p),
                ("lefts", ctypes.c_void_p), ("rights", ctypes.c_void_p), ("parts", ctypes.c_void_p),
                ("levels", ctypes.c_void_p), ("table_top", ctypes.c_float), ("kinds", ctypes.c_int64)]

    @classmethod
    def of(cls, small: np.ndarray, height: int, width: int, top: int, kinds: int) -> RenderGuide:
        """The guide of a picture of height x width pixels.

        Args:
            small: the picture at `GUIDE_SIDE`, (3, h, w).
            top: values of a channel that the table of levels distinguishes.
            kinds: of handles, 2 or 3, as many of each as there are bands.
        """
        slope, offset = (np.ascontiguousarray(part[0], np.float32) for part in guide_coefficients(small))
        down, across = AxisWeights.of(height, slope.shape[0], height), AxisWeights.of(width, slope.shape[1], width)
        arrays = [slope, offset, down.before, down.after, down.part, across.before, across.after, across.part,
                  _levels(top)]
        places = [array.ctypes.data for array in arrays]
        found = cls(*places[:2], slope.shape[1], *places[2:], float(top), kinds)
        found.arrays = arrays  # kept alive for the addresses
        return found


@lru_cache(maxsize=2)
def _levels(top: int) -> np.ndarray:
    """`log_luminance` by 3 largest + sum of the channels, in 1 / top: (6 top + 1,) float32."""
    value = np.arange(6 * top + 1, dtype=np.float64) / (6 * top)
    return (np.log2(1 + 255 * value) / 8).astype(np.float32)


def _load() -> Any:
    """The compiled functions, or None without them."""
    library = compiled_functions()
    if library is None:
        return None
    rows: list[Any] = [ctypes.POINTER(RenderPlan), ctypes.POINTER(RenderGuide), ctypes.c_int64, ctypes.c_int64,
                       ctypes.c_void_p, ctypes.c_void_p]
    library.render_planes.argtypes = rows
    for name in ("render_bytes", "render_words"):
        getattr(library, name).argtypes = [*rows, ctypes.c_float, ctypes.c_float]
    return library


#: render.c, or None: then NumPy edits in tiles, some twenty times slower.
NATIVE = _load()


class Renderer:
    """Applies the T actions of an episode to each part of a picture while it is in the cache.

    Args:
        formula: of the action set.
        handles: (T, C, h, w) float32, the parameters of the agents.
    """

    def __init__(self, formula: PixelFormula, handles: np.ndarray):
        self.formula = formula
        if (handles == handles[..., :1, :1]).all():  # all agents agree
            handles = handles[..., :1, :1]
        self.handles = np.ascontiguousarray(handles, np.float32)

    def is_faster(self, height: int, width: int) -> bool:
        """Whether agents are coarse enough for this to be faster than step by step."""
        rows, columns = self.handles.shape[-2:]
        return (rows, columns) == (1, 1) or (rows * _COARSE <= height and columns * _COARSE <= width)

    def planes(self, planes: np.ndarray) -> np.ndarray:
        """All steps for planes (3, H, W) float32, of any size."""
        planes = np.ascontiguousarray(planes, np.float32)
        height, width = planes.shape[1:]
        result = np.empty_like(planes)
        if self._compiled:
            guide = RenderGuide.of(resize_planes(planes[None], GUIDE_SIDE)[0], height, width, _FINE,
                                   self.formula.band_heads) if self.formula.band_heads else None
            self._run(NATIVE.render_planes, (height, width), guide, planes.ctypes.data, result.ctypes.data)
            return result
        for rows, edit in self._tiles(planes.shape[1:], planes):
            result[:, rows] = edit(planes[:, rows])
        return result

    def pixels(self, picture: np.ndarray, strength: float = 1.0, out: np.ndarray | None = None) -> np.ndarray:
        """All steps for one picture (H, W, 3), uint8 or uint16: the same shape and dtype, rounded to the nearest.

        Args:
            strength: share of the change that is applied, in [0, 1].
            out: contiguous, for the result; it may be the picture. None: a new array.
        """
        picture = np.ascontiguousarray(picture)
        height, width = picture.shape[:2]
        result = np.empty_like(picture) if out is None else out
        if self._compiled:
            function = NATIVE.render_bytes if picture.dtype == np.uint8 else NATIVE.render_words
            top = int(np.iinfo(picture.dtype).max)
            guide = RenderGuide.of(resized_planes(picture, GUIDE_SIDE)[0], height, width, top,
                                   self.formula.band_heads) if self.formula.band_heads else None
            self._run(function, (height, width), guide, picture.ctypes.data, result.ctypes.data, float(top), strength)
            return result
        first = to_planes(picture)[0] if self.formula.band_heads else None
        for rows, edit in self._tiles((height, width), first):
            before = to_planes(picture[rows])[0]
            after = edit(before)
            result[rows] = to_pixels(after if strength == 1 else before + np.float32(strength) * (after - before),
                                     picture.dtype.type)
        return result

    def _tiles(self, size: tuple[int, ...], first: np.ndarray | None) -> Iterator[tuple[slice, Any]]:
        """Bands of rows, each with the function that edits it.

        Args:
            size: of the picture, (H, W).
            first: (3, H, W), for guided actions alone.
        """
        height, width = size
        guide = self.formula.guide(first) if self.formula.band_heads and first is not None else None
        single = self.handles.shape[-2:] == (1, 1)
        down = AxisWeights.of(height, self.handles.shape[-2], max(1, thread_count() * _TILE // width))
        across = AxisWeights.of(width, self.handles.shape[-1], width)
        wide = self.handles if single else _between(self.handles[..., across.before], self.handles[..., across.after],
                                                    across.part)
        for first_row, last_row in pairwise(down.starts.tolist()):
            above, below = wide[:, :, down.before[first_row], None], wide[:, :, down.after[first_row], None]
            share = down.part[first_row:last_row, None]
            own = None if guide is None else guide[:, first_row:last_row]

            def edit(planes: np.ndarray, above: np.ndarray = above, below: np.ndarray = below,
                     share: np.ndarray = share, own: np.ndarray | None = own) -> np.ndarray:
                for upper, lower in zip(above, below, strict=True):
                    parameters = upper if single else _between(upper, lower, share)
                    planes = self.formula.apply_parameters(planes, self.formula.at_pixels(parameters, own))
                return planes

            yield slice(first_row, last_row), edit

    @property
    def _compiled(self) -> bool:
        return NATIVE is not None and self.formula.compiled

    def _run(self, function: Callable[..., int], size: tuple[int, ...], guide: RenderGuide | None, *more: Any) -> None:
        """Blocks of rows on several threads; ctypes releases the interpreter lock."""
        height, width = size
        frame = GridWeights.of(height, width, *self.handles.shape[2:], _SEGMENT)
        plan = RenderPlan(self.handles.ctypes.data, *self.handles.shape, *frame.places, frame.segments, height, width)
        threads = max(1, min(thread_count(), height, -(-height * width // (1 << 18))))
        ends = [height * number // threads for number in range(threads + 1)]

        def work(first: int, last: int) -> int:
            return function(plan, guide, first, last, *more)

        if threads == 1:
            failures = [work(0, height)]
        else:
            with ThreadPoolExecutor(threads) as pool:
                failures = list(pool.map(work, ends[:-1], ends[1:]))
        if any(failures):
            raise MemoryError("no memory for the rows of handles")


def _between(first: np.ndarray, last: np.ndarray, part: np.ndarray) -> np.ndarray:
    return np.asarray(first + part * (last - first))
