"""File <-> picture: 8 and 16 bit, orientation applied, written atomically."""

from __future__ import annotations

import io
import os
import secrets
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rlenhance.errors import UsageError

#: File endings that are read and written.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_DEEP = (".png", ".tif", ".tiff")  # can hold 16 bits per channel
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
            ".bmp": "BMP"}


@dataclass(frozen=True)
class Photo:
    """A decoded file.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16, RGB, upright.
        alpha: (H, W) of the same dtype, or None.
        grey: the file had one channel; it is written back with one.
        exif, icc: the blocks as they stood in the file (orientation reset), or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    exif: bytes | None = None
    icc: bytes | None = None

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The same file with another picture in it."""
        return replace(self, pixels=pixels)


def read(path: Path | str) -> Photo:
    """Decode a photograph; EXIF orientation is applied.

    Raises:
        UsageError: missing, empty, truncated, not a picture, animated, or of a mode we do not take (CMYK, float);
            the text names the file and the way out.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    return decode(data, path)


def decode(data: bytes, path: Path) -> Photo:
    """The same for the bytes of a file.

    Args:
        path: how errors call it.

    Raises:
        UsageError: see `read`.
    """
    if not data:
        raise UsageError(f"{path}: the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                return _decode(path, data, image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: the picture is too large ({error}); reduce it first") from error
    except UnidentifiedImageError as error:
        raise UsageError(f"{path}: not a picture that can be read; known endings: {' '.join(EXTENSIONS)}") from error
    except UsageError:
        raise
    # what Pillow and OpenCV raise on damaged files
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, AttributeError, struct.error,
            cv2.error) as error:
        raise UsageError(f"{path}: damaged or truncated ({error})") from error


def _decode(path: Path, data: bytes, image: Image.Image) -> Photo:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UsageError(f"{path}: holds {frames} frames; save one frame as a picture of its own")
    deep = _is_deep(image)  # asked first: reading EXIF may load the picture, and then nothing tells its depth
    exif, icc = image.getexif(), image.info.get("icc_profile")
    for tag in _LAYOUT & set(exif):  # a TIFF's EXIF block is the file's own directory
        del exif[tag]
    if deep:
        return _decode_deep(path, data, exif, icc, turned=image.format == "TIFF")
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise UsageError(f"{path}: colour mode {image.mode} is not taken; convert it to RGB first, "
                         f"for example with an image editor's 'convert to sRGB'")
    image.load()
    grey = image.mode in ("1", "L", "LA")
    clear = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    image = ImageOps.exif_transpose(image)
    exif.pop(_ORIENTATION, None)
    pixels = np.asarray(image.convert("RGBA" if clear else "RGB"))
    return Photo(
        pixels=np.ascontiguousarray(pixels[..., :3]),
        alpha=np.ascontiguousarray(pixels[..., 3]) if clear else None,
        grey=grey,
        exif=exif.tobytes() if len(exif) else None,
        icc=icc,
    )


_ORIENTATION = 0x0112  # EXIF tag
# TIFF tags that say how the pixels lie in the file; in the next file they lie otherwise
_LAYOUT = {254, 255, *range(256, 260), 262, 263, 266, 273, *range(277, 280), 284, 317, 320, *range(322, 326), 330, 338,
           339, 347, *range(529, 533), 34675}
# EXIF orientation -> (transpose, flip vertically, flip horizontally)
_TURNS = {2: (0, 0, 1), 3: (0, 1, 1), 4: (0, 1, 0), 5: (1, 0, 0), 6: (1, 0, 1), 7: (1, 1, 1), 8: (1, 1, 0)}


def _is_deep(image: Image.Image) -> bool:
    """16 bits per channel in the file; Pillow would drop them to 8 without a word."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        return max(tags.get(258, (8,))) == 16  # BitsPerSample
    tile: Any = getattr(image, "tile", None)
    raw = str(tile[0][3]) if tile else ""
    return ";16" in raw


def _decode_deep(path: Path, data: bytes, exif: Image.Exif, icc: bytes | None, turned: bool) -> Photo:
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise UsageError(f"{path}: its 16-bit pixels cannot be decoded; save it as an uncompressed TIFF or a PNG")
    transpose, vertical, horizontal = _TURNS.get(1 if turned else exif.get(_ORIENTATION, 1), (0, 0, 0))
    exif.pop(_ORIENTATION, None)  # OpenCV turns TIFF, and nothing else, by itself
    array = np.swapaxes(array, 0, 1) if transpose else array
    array = array[::-1] if vertical else array
    array = array[:, ::-1] if horizontal else array
    grey, alpha = array.ndim == 2, None
    if array.ndim == 3 and array.shape[2] == 4:
        alpha = np.ascontiguousarray(array[..., 3])
    pixels = np.repeat(array[..., None], 3, axis=2) if grey else array[..., 2::-1]  # OpenCV orders BGR
    return Photo(np.ascontiguousarray(pixels), alpha, grey, exif.tobytes() if len(exif) else None, icc)


def encode(photo: Photo, extension: str, *, quality: int = 95) -> bytes:
    """The bytes of a file of the kind that `extension` names.

    Raises:
        UsageError: the kind is unknown, or cannot hold what the photograph has (16 bits, transparency).
    """
    extension = extension.lower()
    if extension not in _FORMATS:
        raise UsageError(f"cannot write {extension or 'a name without an ending'!r}: use one of {' '.join(EXTENSIONS)}")
    deep = photo.pixels.dtype == np.uint16
    if deep and extension not in _DEEP:
        raise UsageError(f"{extension} holds 8 bits per channel, the picture has 16: use --format png or --format tiff")
    if photo.alpha is not None and extension in (".jpg", ".jpeg", ".bmp"):
        raise UsageError(f"{extension} cannot hold transparency: use --format png or --format webp")
    pixels = photo.pixels[..., :1] if photo.grey else photo.pixels
    if photo.alpha is not None:
        pixels = np.concatenate([pixels, photo.alpha[..., None]], axis=2)
    if deep:
        if photo.grey and photo.alpha is not None:  # OpenCV writes no grey with alpha
            pixels = np.concatenate([photo.pixels, photo.alpha[..., None]], axis=2)
        order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] > 1 else [0]
        done, buffer = cv2.imencode(extension, np.ascontiguousarray(pixels[..., order]))
        if not done:
            raise UsageError(f"the 16-bit picture could not be encoded as {extension}")
        return _with_chunks(buffer.tobytes(), photo) if extension == ".png" else buffer.tobytes()
    kind = _FORMATS[extension]
    options: dict = {"JPEG": {"quality": quality, "subsampling": 0}, "WEBP": {"quality": quality}}.get(kind, {})
    if kind != "BMP":
        options |= {"exif": photo.exif} if photo.exif else {}
        options |= {"icc_profile": photo.icc} if photo.icc else {}
    file = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)).save(
            file, kind, **options
        )
    except (OSError, ValueError) as error:
        height, width = pixels.shape[:2]
        raise UsageError(f"{width}x{height} pixels cannot be written as {extension} ({error}); "
                         f"use --format png") from error
    return file.getvalue()


def _with_chunks(png: bytes, photo: Photo) -> bytes:
    """Put EXIF and colour profile into a PNG that was made without them, behind its header (PNG 1.2, 11.3)."""
    chunks = b""
    if photo.icc:
        chunks += _chunk(b"iCCP", b"ICC\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        chunks += _chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    return png[:33] + chunks + png[33:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write(photo: Photo | np.ndarray, path: Path | str, *, quality: int = 95) -> Path:
    """Encode and write; the file appears whole or not at all, and its folder is made.

    Raises:
        UsageError: see `encode`; or the place cannot be written.
    """
    path = Path(path)
    photo = photo if isinstance(photo, Photo) else Photo(photo)
    return store(encode(photo, path.suffix, quality=quality), path)


def store(data: bytes, path: Path) -> Path:
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


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the place, flush to disk, then rename: a killed process leaves the old file or the new one."""
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
