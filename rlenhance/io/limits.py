"""Limits that are checked before decoding, warnings, and the exceptions of damaged files."""

from __future__ import annotations

import struct
import warnings
import zlib

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.installation import install_line

#: Default limit: larger images are refused by their header.
MEGAPIXELS = 250.0

#: Default limit of the frames of a clip: 8K. An encoder holds dozens of them.
CLIP_MEGAPIXELS = 36.0

#: The largest limits that a child process may be given: a day of processor time, and 16 TiB in MiB.
MOST_SECONDS, MOST_MEMORY = 86_400.0, 2.0**24

#: Bytes of memory per pixel that decoding takes at most, with what is returned (WebP, camera RAW; a JPEG takes 3).
PIXEL_BYTES = 20

#: Exceptions of Pillow, tifffile, imagecodecs and libheif for damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError,
          RuntimeError, AssertionError, struct.error, zlib.error)


class PhotoWarning(UserWarning):
    """A fact about a file that the user should know, and that is no error."""


def note(name: str, text: str) -> None:
    """Warn of a file by its name."""
    warnings.warn(f"{name}: {one_line(text)}", PhotoWarning, stacklevel=3)


def check_size(name: str, width: int, height: int, megapixels: float) -> None:
    """Refuse an image by the size in its header, as a small file may hold a huge image.

    Raises:
        UsageError: empty, or more than `megapixels` million pixels.
    """
    if width < 1 or height < 1:
        raise UsageError(f"{name}: damaged (its header says {width}x{height} pixels)")
    if width * height > megapixels * 1e6:
        raise UsageError(f"{name}: {width}x{height} pixels are {width * height / 1e6:.4g} megapixels, the limit is "
                         f"{megapixels:g}; raise the limit (megapixels), or reduce the picture")


def most_bytes(head: bytes, megapixels: float) -> int:
    """The largest file that is read as a picture: what its pixels can take, and 64 MiB for what stands beside them.

    Args:
        head: the first bytes of the file. JPEG, WebP, HEIC and AVIF take at most three bytes a pixel, others eight.
        megapixels: that the picture may have.
    """
    small = head[:2] == b"\xff\xd8" or head[:4] == b"RIFF" or head[4:8] == b"ftyp"
    return int((3 if small else 8) * megapixels * 1e6) + (64 << 20)


def decode_memory(megapixels: float, size: int) -> float:
    """MiB of memory that decoding takes at most, beside the idle process.

    Args:
        megapixels: of the image.
        size: of the file in bytes.
    """
    return 200 + (PIXEL_BYTES * megapixels * 1e6 + 2 * size) / 2**20


def missing_extra(what: str, extra: str) -> UsageError:
    """The error for a missing library, with the command that installs it."""
    return UsageError(f"{what} needs the extra {extra}: {install_line(extra)}")


def check_quality(quality: int | None) -> int | None:
    """Return a quality from 1 to 100, or None.

    Raises:
        UsageError: below 1 or above 100.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must lie between 1 and 100; got {quality}")
    return quality
