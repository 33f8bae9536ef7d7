"""Colours through a 3D table, interpolated linearly along each axis: by lookup.c where it was compiled, or NumPy."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from rlenhance.core.machine import compiled_functions


def corners(colors: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The eight entries of a table around each colour, and their shares: (P, 3) -> (8, P), (8, P)."""
    place = colors * np.float32(size - 1)
    low = np.minimum(place.astype(np.int32), size - 2)
    part = place - low
    first = low[:, 0] + size * (low[:, 1] + size * low[:, 2])
    places = np.empty((8, len(colors)), np.int32)
    shares = np.empty((8, len(colors)), np.float32)
    red, green, blue = part.T
    for corner in range(8):
        up = corner & 1, corner >> 1 & 1, corner >> 2
        places[corner] = first + (up[0] + size * (up[1] + size * up[2]))
        shares[corner] = (red if up[0] else 1 - red) * (green if up[1] else 1 - green) * (blue if up[2] else 1 - blue)
    return places, shares


def look_up(table: np.ndarray, colors: np.ndarray, known: np.ndarray | None = None,
            made: np.ndarray | None = None) -> np.ndarray:
    """Colours of a table, interpolated linearly along each axis and cut to [0, 1]; by lookup.c where it was compiled.

    Args:
        table: (size^3, 3) float32.
        colors: (P, 3) float32 in [0, 1]; with `known` codes, uint8 or uint16.
        known: the colour of each code, float32 in [0, 1].
        made: (P, 3), where the result goes; None: a new array.

    Returns:
        (P, 3) of the type of the colours.
    """
    made = np.empty_like(colors) if made is None else made
    coded = colors.dtype.kind == "u" and known is not None and len(known) == np.iinfo(colors.dtype).max + 1
    compiled = NATIVE.get(colors.dtype.name) if coded or (colors.dtype == np.float32 and known is None) else None
    if compiled is None or not (colors.flags.c_contiguous and made.flags.c_contiguous and made.dtype == colors.dtype):
        return look_up_plainly(table, colors, known, made)
    entries = np.zeros((len(table), 4), np.float32)
    entries[:, :3] = table
    curve = None if known is None else np.ascontiguousarray(known, np.float32)
    about = _Table(entries.ctypes.data, None if curve is None else curve.ctypes.data, round(len(table) ** (1 / 3)))
    compiled(ctypes.byref(about), colors.ctypes.data, made.ctypes.data, len(colors))
    return made


def look_up_plainly(table: np.ndarray, colors: np.ndarray, known: np.ndarray | None, made: np.ndarray) -> np.ndarray:
    """What `look_up` gives, in NumPy."""
    places, shares = corners(colors if known is None else known[colors], round(len(table) ** (1 / 3)))
    result = np.einsum("kp,kpc->pc", shares, table[places]).clip(0, 1)
    made[:] = result if known is None else np.rint((len(known) - 1) * result)
    return made


class _Table(ctypes.Structure):
    """The struct of lookup.c."""

    _fields_ = [("entries", ctypes.c_void_p), ("curve", ctypes.c_void_p), ("size", ctypes.c_int64)]


def _load() -> dict[str, Any]:
    """The compiled functions by the type of the colours; none where they were not compiled."""
    library, found = compiled_functions(), {}
    for kind, name in (("uint8", "bytes"), ("uint16", "words"), ("float32", "floats")):
        if library is not None and hasattr(library, f"look_up_{name}"):
            function = getattr(library, f"look_up_{name}")
            function.argtypes, function.restype = [ctypes.c_void_p] * 3 + [ctypes.c_int64], None
            found[kind] = function
    return found


#: By `_load`.
NATIVE: dict[str, Any] = _load()
