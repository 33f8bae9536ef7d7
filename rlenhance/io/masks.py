"""Read masks and regions from image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.files import read
from rlenhance.io.photo import Photo
from rlenhance.ops.masks import THRESHOLD


def read_mask(path: Path, size: tuple[int, int] | None = None,
              open_photo: Callable[[Path], Photo] = read) -> np.ndarray:
    """Read a mask: (H, W) bool, True where it is white.

    Args:
        size: (height, width) that it must have; None: any.
        open_photo: reads it, with limits of its own.

    Raises:
        UsageError: it cannot be read; see `mask_from`.
    """
    return mask_from(open_photo(path).pixels, path, size)


def mask_from(pixels: np.ndarray, path: Path | str, size: tuple[int, int] | None = None) -> np.ndarray:
    """The mask of a decoded file: (H, W) bool, True where it is white.

    Args:
        pixels: (H, W, 3) uint8 or uint16.
        path: the file, for messages.
        size: (height, width) that it must have; None: any.

    Raises:
        UsageError: it has another size; nothing in it is white, or everything.
    """
    limit = THRESHOLD * (257 if pixels.dtype == np.uint16 else 1)
    mask = pixels.sum(axis=2, dtype=np.uint32) > 3 * limit
    if size is not None and mask.shape != tuple(size):
        raise UsageError(f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} and the picture {size[1]}x{size[0]} "
                         f"(upright): give a mask of the picture's size")
    if not mask.any() or mask.all():
        raise UsageError(f"{path}: {'everything' if mask.all() else 'nothing'} is white (above {THRESHOLD}); white "
                         f"marks what is filled, black what stays")
    return mask


def read_region(path: Path, open_photo: Callable[[Path], Photo] = read) -> np.ndarray:
    """Read a region: (H, W) float32 in [0, 1], 1 where it is white.

    Args:
        path: the file.
        open_photo: reads it, with limits of its own.

    Raises:
        UsageError: it cannot be read.
    """
    pixels = open_photo(path).pixels
    return pixels.sum(axis=2, dtype=np.uint32) / np.float32(3 * np.iinfo(pixels.dtype).max)
