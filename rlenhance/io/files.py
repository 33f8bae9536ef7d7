"""Read photographs, masks and regions, and write files atomically."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import EXTENSIONS as EXTENSIONS
from rlenhance.io.decoder import decode as decode
from rlenhance.io.decoder import header_megapixels
from rlenhance.io.encoder import encode as encode
from rlenhance.io.limits import MEGAPIXELS, decode_memory, most_bytes
from rlenhance.io.photo import Photo as Photo
from rlenhance.io.temporary import remove_folder

#: Seconds after which a temporary file that was not written to is one of a killed run.
LEFTOVER_AGE = 3600.0
_CHUNK = 1 << 22  # bytes that are read at a time
_TEMPORARY = re.compile(r"\.(rlenhance-)?[0-9a-f]{16}\.part")  # those of 0.2 have no "rlenhance-"


class FileAppeared(UsageError):
    """A file that must not be replaced was written by another process meanwhile."""


def read(path: Path | str, *, megapixels: float = MEGAPIXELS, seconds: float | None = None) -> Photo:
    """Decode a photograph; oddities are warned of (`PhotoWarning`).

    Args:
        path: the file.
        megapixels: larger images are refused by their header, before anything is decoded.
        seconds: decode in a child process, with so much processor time and memory for the megapixels, see
            `run_isolated`; None: in this process, without a limit.

    Raises:
        UsageError: missing, no regular file, or see `decode`.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # /dev/zero has no end, and a pipe may wait
            raise UsageError(f"{path}: a device or a pipe, and no file; copy it into a file first")
        with open(path, "rb") as file:
            data = read_bounded(file, path, megapixels)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    return decode_within(data, path, megapixels=megapixels, seconds=seconds)


def read_bounded(file: BinaryIO, name: Path | str, megapixels: float = MEGAPIXELS) -> bytes:
    """The bytes of a picture file or a stream, of which no more is read than such a picture can take.

    Args:
        file: at its beginning.
        name: for the error.
        megapixels: that the picture may have.

    Raises:
        UsageError: there is more.
    """
    parts = [file.read(_CHUNK)]
    if len(parts[0]) == _CHUNK:  # a large one: what its header says may be less than what is allowed
        megapixels = min(megapixels, header_megapixels(parts[0], str(name)))
    left = most = most_bytes(parts[0], megapixels)
    left -= len(parts[0])
    while part := file.read(min(left + 1, _CHUNK)):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise UsageError(f"{name}: holds more than {most / 1e6:,.0f} MB, which a picture of {megapixels:.3g} "
                             f"megapixels in this format does not take; raise the limit (megapixels), or cut off what "
                             f"lies behind the picture")
    return b"".join(parts)


def decode_within(data: bytes, name: Path | str, *, megapixels: float = MEGAPIXELS,
                  seconds: float | None = None) -> Photo:
    """Decode the bytes of a file; see `decode` for the first three arguments and `read` for the last.

    Raises:
        UsageError: see `decode`; or it takes longer, or more memory.
    """
    if seconds is None:
        return decode(data, name, megapixels=megapixels)
    from rlenhance.io.isolate import run_isolated

    return run_isolated(decode, data, str(name), megapixels=megapixels, name=name, seconds=seconds,
                        memory=decode_memory(megapixels, len(data)))


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


def write_bytes(data: bytes, path: Path, *, replace: bool = True) -> Path:
    """Write a file atomically and create its folder.

    Args:
        replace: see `atomic_path`.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        with atomic_path(path, replace=replace) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    return path


@contextmanager
def atomic_path(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A temporary file next to `path`, which it replaces at the end, flushed to disk; an error removes it.

    A killed process leaves the old file or the new one. Its temporary file is removed by `remove_leftovers`, once by
    each process that writes into the folder.

    Args:
        replace: False: a file that another process has put there meanwhile stays.

    Raises:
        FileAppeared: it did, and the file was not written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "a folder, a device or a pipe is there", str(path))
    _remove_leftovers_once(path.parent)
    temporary = path.with_name(f".rlenhance-{secrets.token_hex(8)}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            _put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    """Give a file its name unless the name is taken."""
    try:
        os.link(temporary, path)
        return
    except FileExistsError:
        taken = True
    except OSError:  # a file system without hard links
        taken = os.path.lexists(path)
    if taken:
        raise FileAppeared(f"{path}: another run wrote it meanwhile, and it stays; replace it (overwrite), or keep "
                           f"such results (skip_existing)")
    os.replace(temporary, path)


def remove_leftovers(folder: Path, recursive: bool = False) -> None:
    """Remove temporary files and folders of killed runs: ours by their names, and not written to for `LEFTOVER_AGE`.

    Args:
        folder: where they are.
        recursive: look into the folders below too; links are not followed.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if recursive and entry.is_dir(follow_symlinks=False):
                remove_leftovers(Path(entry.path), recursive)
            if not _TEMPORARY.fullmatch(entry.name):
                continue
            with suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if time.time() - about.st_mtime <= LEFTOVER_AGE:
                    continue
                if stat.S_ISREG(about.st_mode):
                    os.unlink(entry.path)
                elif stat.S_ISDIR(about.st_mode):
                    remove_folder(Path(entry.path))


_remove_leftovers_once = lru_cache(maxsize=256)(remove_leftovers)


def write_atomically(path: Path, data: bytes) -> None:
    """Write through `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


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
    from rlenhance.ops.masks import THRESHOLD  # here: most photographs have no mask

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
