"""Read photographs, and write them atomically."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import EXTENSIONS as EXTENSIONS
from rlenhance.io.decode import decode as decode
from rlenhance.io.encode import encode as encode
from rlenhance.io.limits import MEGAPIXELS
from rlenhance.io.photo import Photo as Photo


def read(path: Path | str, *, megapixels: float = MEGAPIXELS) -> Photo:
    """Decode a photograph; oddities are warned of (`PhotoWarning`).

    Args:
        path: the file.
        megapixels: larger images are refused by their header, before anything is decoded.

    Raises:
        UsageError: missing, or see `decode`.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    return decode(data, path, megapixels=megapixels)


def write(photo: Photo | np.ndarray, path: Path | str, *, quality: int | None = None, strip: bool = False) -> Path:
    """Encode in the format of the file extension and write atomically.

    Args:
        photo: a decoded file, or (H, W, 3) uint8 or uint16, sRGB.
        path: the file; its folder is created.
        quality, strip: see `encode`.

    Raises:
        UsageError: see `encode`; or the file cannot be written.
    """
    path = Path(path)
    photo = photo if isinstance(photo, Photo) else Photo(photo, name=str(path))
    return write_bytes(encode(photo, path.suffix, quality=quality, strip=strip), path)


def write_bytes(data: bytes, path: Path) -> Path:
    """Write a file atomically and create its folder.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, which it replaces at the end, flushed to disk; an error removes it.

    A killed process leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write through `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
