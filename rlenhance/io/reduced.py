"""Photographs made small, for what needs no more: a JPEG is decoded at the size that comes next above it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError, one_line, refuse_os_errors
from rlenhance.io import jpeg
from rlenhance.io.exif import Exposure, exposure_of
from rlenhance.io.limits import DAMAGE, MEGAPIXELS, check_size, most_bytes

_JPEG = b"\xff\xd8\xff"
#: By how much a JPEG is reduced while it is decoded -> the flag of OpenCV.
_FACTORS = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2,
            1: cv2.IMREAD_COLOR}


@refuse_os_errors()
def read_reduced(path: Path, side: int, *, megapixels: float = MEGAPIXELS,
                 seconds: float | None = None) -> tuple[np.ndarray, Exposure | None, tuple[int, int]]:
    """A photograph as a square of area means, as it lies in its file, and how it was exposed.

    The colours of a JPEG are those of the file: its profile is not looked at.

    Args:
        path: the file.
        side: of the square, in pixels, whatever the sides of the photograph are.
        megapixels, seconds: see `rlenhance.io.read`. With a limit of time the photograph is decoded whole.

    Returns:
        (side, side, 3) uint8, RGB; the exposure, None where the file does not state it; its (width, height).

    Raises:
        UsageError: see `rlenhance.io.read`.
    """
    about, data = os.stat(path), b""
    if stat.S_ISREG(about.st_mode) and about.st_size <= most_bytes(_JPEG, megapixels) and seconds is None:
        with open(path, "rb") as file:
            data = file.read() if file.read(3) == _JPEG else b""
    if not data:
        from rlenhance.io.files import read

        photo = read(path, megapixels=megapixels, seconds=seconds)
        pixels = photo.visible_pixels
        pixels = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8)
        return _squared(pixels, side), exposure_of(photo.metadata.exif), pixels.shape[1::-1]
    data = _JPEG + data
    try:
        data, block, _ = jpeg.bounded(data)
        size = jpeg.size(data)
        check_size(str(path), *size, megapixels)
        factor = next(factor for factor in _FACTORS if min(size) >= 2 * factor * side or factor == 1)
        found = cv2.imdecode(np.frombuffer(data, np.uint8), _FACTORS[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
        if found is None or not jpeg.is_complete(data):
            raise ValueError("its end is missing")
    except UsageError:
        raise
    except (*DAMAGE, cv2.error) as error:
        raise UsageError(f"{path}: damaged or truncated ({one_line(error)})") from error
    return _squared(np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB)), side), exposure_of(block), size


def _squared(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA))
