"""Noise of large photographs: a denoiser for what a reduced picture shows, and shrinkage of the finer detail."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from rlenhance.core.machine import compiled_functions, release_free_memory, thread_count
from rlenhance.core.pixels import bands

#: Removes noise: (h, w, 3) float32 in [0, 1] -> the same; of a picture that is reduced, with its noise.
Denoise = Callable[[np.ndarray], np.ndarray]
_ROWS, _HALO = 128, 8  # of a band, both multiples of four
_BAND, _FEWEST = 1 << 18, 32  # pixels of a band of a wide picture, about, and its rows at least
_LARGE = 64_000_000  # bytes of a picture beside which freed memory is given back
_AROUND = 6  # rows around a band that pyramid.c needs at each level, at most
# Shares of the noise's deviation in a picture reduced by two, and in the detail that this loses, of its brightness and
# of its colours: chosen on validation frames of exposure stacks, whose noise is smoothed by the camera.
REDUCED, _LIGHT, _COLOR = 0.7, 0.65, 0.8


def halved(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: (H, W, 3) uint8, uint16 or float32 -> (ceil(H / 2), ceil(W / 2), 3) float32 in [0, 1]."""
    height, width = picture.shape[:2]
    result = np.empty((-(-height // 2), -(-width // 2), 3), np.float32)
    for rows in bands(height, _ROWS):
        band = _as_float(picture[rows])
        if len(band) % 2 or width % 2:
            band = cv2.copyMakeBorder(band, 0, len(band) % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        first = rows.start // 2
        result[first : first + len(band) // 2] = cv2.resize(band, (band.shape[1] // 2, len(band) // 2),
                                                            interpolation=cv2.INTER_AREA)
    return result


def reduced_picture(picture: np.ndarray, levels: int) -> np.ndarray:
    """`halved`, `levels` times, in the memory of the result: (H, W, 3) uint8, uint16 or float32 ->
    (ceil(H / 2**levels), ceil(W / 2**levels), 3) float32 in [0, 1]."""
    if NATIVE is None or picture.dtype not in _BYTES or not levels:
        small = _as_float(picture)
        for _ in range(levels):
            small = halved(small)
        return small
    return np.ascontiguousarray(_coarse(np.ascontiguousarray(picture), levels).transpose(0, 2, 1))


def shrink_noise(picture: np.ndarray, noise: np.ndarray, denoise: Denoise, levels: int,
                 strength: float = 1.0, out: np.ndarray | None = None) -> np.ndarray:
    """Remove noise from a pyramid: `denoise` cleans the picture reduced by 2**levels, and what each reduction loses is
    multiplied by the share of its local variance that is not noise (Wiener's gain).

    It works band by band: beside the picture and the result, it takes the memory of some bands and of the reduced
    picture. The bands do not show in the result.

    Args:
        picture: (H, W, 3) uint8, uint16 or float32 in [0, 1].
        noise: (h, w) float32, standard deviation on the scale of [0, 1]; interpolated.
        denoise: see `Denoise`; it has to know that the noise of the reduced picture is `REDUCED`**levels of this.
        levels: how often the picture is halved, 1 or more.
        strength: share of the change that is made.
        out: contiguous, for the result; it may be the picture. None: a new array.

    Returns:
        The same shape and dtype.

    Source: local Wiener filter, Lee 1980; of the bands of a pyramid, Simoncelli and Adelson 1996. The shares are ours.
    """
    result = np.empty(picture.shape, picture.dtype) if out is None else out
    if NATIVE is None or picture.dtype not in _BYTES:
        result[...] = _shrunk(picture, noise, denoise, levels, strength)
        return result
    picture = np.ascontiguousarray(picture)
    release = release_free_memory if picture.nbytes > _LARGE else lambda: None
    release()
    small = reduced_picture(picture, levels)
    clean = denoise(small)
    small, clean = (np.ascontiguousarray(part.transpose(0, 2, 1), np.float32) for part in (small, clean))
    release()
    _Shrinkage(picture, result, small, clean, np.ascontiguousarray(noise, np.float32), levels, strength).run()
    del small, clean
    release()
    return result


class _Band(ctypes.Structure):
    """Arguments of pyramid.c; the caller keeps the arrays alive."""

    _fields_ = [("given", ctypes.c_void_p), ("result", ctypes.c_void_p), *(
        (name, ctypes.c_int64) for name in ("bytes", "first", "last", "top", "bottom", "height", "width", "levels")),
        ("coarse", ctypes.c_void_p), ("clean", ctypes.c_void_p), ("noise", ctypes.c_void_p),
        ("noise_rows", ctypes.c_int64), ("noise_columns", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("strength", "reduced", "light", "color"))]


def _load() -> Any:
    library = compiled_functions()
    if library is not None:
        library.shrink_band.argtypes = [ctypes.POINTER(_Band)]
        library.reduce_band.argtypes = [ctypes.POINTER(_Band), ctypes.c_void_p]
    return library


#: pyramid.c, or None: then NumPy and OpenCV do the same, in the memory of the whole pyramid.
NATIVE = _load()
_BYTES = {np.dtype(np.uint8): 1, np.dtype(np.uint16): 2, np.dtype(np.float32): 4}


def _coarse(picture: np.ndarray, levels: int) -> np.ndarray:
    """`halved`, `levels` times, as (h, 3, w) float32."""
    height, width = picture.shape[:2]
    rows = max(1, min(_ROWS, _BAND // width) >> levels) << levels
    result = np.empty((-(-height >> levels), 3, -(-width >> levels)), np.float32)

    def work(band: slice) -> int:
        about = _Band(picture[band].ctypes.data, None, _BYTES[picture.dtype], band.start, band.stop, 0, 0, height,
                      width, levels)
        return int(NATIVE.reduce_band(about, result[band.start >> levels :].ctypes.data))

    _in_threads(work, list(bands(height, rows)))
    return result


@dataclass(frozen=True)
class _Shrinkage:
    """The work on all bands, see `shrink_noise`; `coarse` and `clean` are (h, 3, w)."""

    picture: np.ndarray
    result: np.ndarray
    coarse: np.ndarray
    clean: np.ndarray
    noise: np.ndarray
    levels: int
    strength: float

    def run(self) -> None:
        height = len(self.picture)
        count = max(1, min(thread_count(), height // (4 * _ROWS)))
        ends = [height * number // count for number in range(count + 1)]
        halo = _AROUND << self.levels
        # rows around each part as they are now: another thread may write over them
        parts = [(top, bottom, self.picture[max(0, top - halo) : top].copy(),
                  self.picture[bottom : bottom + halo].copy()) for top, bottom in pairwise(ends)]
        _in_threads(lambda part: self._part(*part), parts)

    def _part(self, top: int, bottom: int, above: np.ndarray, below: np.ndarray) -> int:
        """Some rows, band by band, with the rows around them."""
        halo = _AROUND << self.levels
        most = min(_ROWS, max(_FEWEST, _BAND // self.picture.shape[1]))
        for rows in (slice(top + band.start, top + band.stop) for band in bands(bottom - top, most)):
            inner = self.picture[rows.start : min(rows.stop + halo, bottom)]
            more = below[: max(0, rows.stop + halo - bottom)]
            given = np.concatenate([above, inner, more])
            first = rows.start - len(above)
            above = given[max(0, rows.stop - halo - first) : rows.stop - first]
            failed = self._band(given, first, rows)
            if failed:
                return failed
        return 0

    def _band(self, given: np.ndarray, first: int, rows: slice) -> int:
        height, width = self.picture.shape[:2]
        about = _Band(given.ctypes.data, self.result[rows].ctypes.data, _BYTES[given.dtype], first, first + len(given),
                      rows.start, rows.stop, height, width, self.levels, self.coarse.ctypes.data,
                      self.clean.ctypes.data, self.noise.ctypes.data, *self.noise.shape, self.strength, REDUCED, _LIGHT,
                      _COLOR)
        return int(NATIVE.shrink_band(about))


def _in_threads(work: Callable[[Any], int], parts: list[Any]) -> None:
    threads = min(thread_count(), len(parts))
    if threads <= 1:
        failures = list(map(work, parts))
    else:
        with ThreadPoolExecutor(threads) as pool:
            failures = list(pool.map(work, parts))
    if any(failures):
        raise MemoryError("no memory for the bands of a picture")


def _shrunk(picture: np.ndarray, noise: np.ndarray, denoise: Denoise, levels: int, strength: float) -> np.ndarray:
    """`shrink_noise` without the compiled functions."""
    small = halved(picture)
    clean = denoise(small) if levels == 1 else _shrunk(small, REDUCED * noise, denoise, levels - 1, 1.0)
    height, width = picture.shape[:2]
    result = np.empty_like(picture)
    for rows in bands(height, _ROWS):
        first, last = max(0, rows.start - _HALO), min(height, rows.stop + _HALO)
        part = slice(first // 2, -(-last // 2))
        band = _as_float(picture[first:last])
        changed = band + strength * _change(band, small[part], clean[part], _rows_of(noise, first, last, height, width))
        changed = changed[rows.start - first : rows.stop - first]
        if np.issubdtype(picture.dtype, np.floating):
            result[rows] = np.clip(changed, 0, 1)
        else:
            top = float(np.iinfo(picture.dtype).max)
            result[rows] = np.clip(np.rint(changed * top), 0, top)
    return result


def _change(band: np.ndarray, small: np.ndarray, clean: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """What is added to a band of a picture: (h, w, 3), its halved rows before and after, and the noise at these."""
    size = band.shape[1], band.shape[0]
    detail: np.ndarray = band - _doubled(small, size)
    light = _mean(detail)
    half = small.shape[1], small.shape[0]
    of_light = _mean_energy(light**2, half)
    of_color = _mean_energy(_mean(detail**2), half) - of_light
    keep_light = _doubled(_gain(of_light, _LIGHT * noise), size)
    keep_color = _doubled(_gain(of_color, _COLOR * noise), size)
    light *= keep_light - keep_color
    detail *= keep_color[..., None] - 1
    detail += light[..., None]
    detail += _doubled(clean - small, size)
    return detail


def _mean(picture: np.ndarray) -> np.ndarray:
    """Mean of the channels: (h, w, 3) -> (h, w)."""
    found: np.ndarray = cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32))
    return found


def _as_float(picture: np.ndarray) -> np.ndarray:
    if np.issubdtype(picture.dtype, np.floating):
        return picture.astype(np.float32, copy=False)
    return picture.astype(np.float32) * np.float32(1 / np.iinfo(picture.dtype).max)


def _rows_of(noise: np.ndarray, first: int, last: int, height: int, width: int) -> np.ndarray:
    """The noise at the halved rows of first to last: bilinear, as for the whole picture."""
    down = ((np.arange(first // 2, -(-last // 2)) + 0.5) * (2 * len(noise) / height) - 0.5).astype(np.float32)
    across = ((np.arange(-(-width // 2)) + 0.5) * (2 * noise.shape[1] / width) - 0.5).astype(np.float32)
    columns, rows = np.meshgrid(across, down)
    return np.asarray(cv2.remap(noise, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _doubled(small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear enlargement by two, cut to a size (width, height)."""
    large = cv2.resize(small, (2 * small.shape[1], 2 * small.shape[0]), interpolation=cv2.INTER_LINEAR)
    return large[: size[1], : size[0]]


def _mean_energy(energy: np.ndarray, half: tuple[int, int]) -> np.ndarray:
    """Means over about 6 x 6 pixels, on the halved grid."""
    if energy.shape[0] % 2 or energy.shape[1] % 2:
        energy = cv2.copyMakeBorder(energy, 0, energy.shape[0] % 2, 0, energy.shape[1] % 2, cv2.BORDER_REPLICATE)
    small = cv2.resize(energy, half, interpolation=cv2.INTER_AREA)
    found: np.ndarray = cv2.blur(small, (3, 3), borderType=cv2.BORDER_REPLICATE)
    return found


def _gain(variance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Share of a local variance that is not noise."""
    gain: np.ndarray = np.maximum(0, 1 - noise**2 / np.maximum(variance, 1e-12)).astype(np.float32)
    return gain
