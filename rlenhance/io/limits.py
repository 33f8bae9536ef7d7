"""What is refused before a pixel is decoded, and what damaged files make libraries raise."""

from __future__ import annotations

import struct
import warnings
import zlib

from rlenhance.core.errors import UsageError

#: Pictures with more megapixels than this are refused by their header, unless a caller says otherwise.
MEGAPIXELS = 250.0

#: What Pillow, tifffile, imagecodecs and libheif raise on damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError,
          RuntimeError, AssertionError, struct.error, zlib.error)


class PhotoWarning(UserWarning):
    """Something about a file that the user should know, and that does not stop the work."""


def note(name: str, text: str) -> None:
    """Warn of it under the file's name."""
    warnings.warn(f"{name}: {text}", PhotoWarning, stacklevel=3)


def check_size(name: str, width: int, height: int, megapixels: float) -> None:
    """Refuse a picture by the size in its header: a small file may hold a huge one.

    Raises:
        UsageError: empty, or more than `megapixels` million pixels.
    """
    if width < 1 or height < 1:
        raise UsageError(f"{name}: damaged (its header says {width}x{height} pixels)")
    if width * height > megapixels * 1e6:
        raise UsageError(f"{name}: {width}x{height} pixels are {width * height / 1e6:.4g} megapixels, the limit is "
                         f"{megapixels:g}; raise it with --max-megapixels, or reduce the picture")


def missing_extra(what: str, extra: str) -> UsageError:
    """The error for a kind of file whose library is not installed, with the line that installs it."""
    return UsageError(f'{what} needs the extra {extra}: pip install "rlenhance[{extra}]"')
