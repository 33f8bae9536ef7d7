"""Files: read into a picture, written atomically."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import EXTENSIONS as EXTENSIONS
from rlenhance.io.decode import decode as decode_bytes
from rlenhance.io.encode import encode as encode
from rlenhance.io.limits import MEGAPIXELS
from rlenhance.io.photo import Photo as Photo


def read(path: Path | str, *, megapixels: float = MEGAPIXELS) -> Photo:
    """Decode a photograph; what is odd about it is warned of (`PhotoWarning`).

    Args:
        path: the file.
        megapixels: pictures larger than this are refused by their header, before anything is decoded.

    Raises:
        UsageError: missing, or see `decode`.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    return decode(data, path, megapixels=megapixels)


def decode(data: bytes, path: Path | str, *, megapixels: float = MEGAPIXELS) -> Photo:
    """The same for the bytes of a file.

    Args:
        path: how errors call it.

    Raises:
        UsageError: see `rlenhance.io.decode.decode`.
    """
    return decode_bytes(data, str(path), megapixels)


def write(photo: Photo | np.ndarray, path: Path | str, *, quality: int | None = None, strip: bool = False) -> Path:
    """Encode and write as the kind that the name's ending says; the file appears whole or not at all.

    Args:
        photo: a decoded file, or (H, W, 3) uint8 or uint16, sRGB.
        path: its folder is made.
        quality, strip: see `encode`.

    Raises:
        UsageError: see `encode`; or the place cannot be written.
    """
    path = Path(path)
    photo = photo if isinstance(photo, Photo) else Photo(photo, name=str(path))
    return write_bytes(encode(photo, path.suffix, quality=quality, strip=strip), path)


def write_bytes(data: bytes, path: Path) -> Path:
    """Write the bytes of a file; it appears whole or not at all, and its folder is made.

    Raises:
        UsageError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; it takes its name at the end, flushed to disk, or vanishes.

    A killed process leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the place, flush to disk, then rename: see `atomic_path`."""
    with atomic_path(path) as beside:
        beside.write_bytes(data)
