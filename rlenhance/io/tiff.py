"""TIFF: tifffile reads 16 bits; this module writes files of any depth with EXIF, which no library does.

Pillow keeps no 16-bit colour and fails to write EXIF with compression; tifffile writes no EXIF. imagecodecs compresses
the strips, and Pillow writes the directories. (TIFF 6.0, sections 2, 4, 14; classic TIFF, up to 4 GiB)
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from PIL import TiffImagePlugin
from PIL.TiffImagePlugin import IFDRational

from rlenhance.core.errors import UsageError
from rlenhance.io.exif import EXIF_IFD, GPS_IFD, directories
from rlenhance.io.photo import Metadata

_STRIP = 1 << 20  # bytes before packing
_RGB, _GREY, _PALETTE = 2, 1, 3
_MOST_PAGES = 1000
#: Compression tags that are kept; every other becomes 8 (Deflate).
KEPT_COMPRESSIONS = (1, 5, 8)

_BITS, _COMPRESSION, _SUBFILE, _FORMAT, _DNG = 258, 259, 254, 339, 50706


@dataclass(frozen=True)
class Head:
    """The directories of a TIFF, read before the pixels.

    Attributes:
        width, height: of the first page, not turned.
        bits: per channel.
        integer: its values are unsigned integers.
        compression: tag 259.
        pages: without previews and masks.
        raw: it is a DNG, a camera RAW.
    """

    width: int
    height: int
    bits: int
    integer: bool
    compression: int
    pages: int
    raw: bool


def read_head(data: bytes) -> Head:
    """Read the directories.

    Raises:
        Exceptions of Pillow: damaged.
    """
    file = io.BytesIO(data)
    start = file.read(16 if data[2:3] in b"+" or data[3:4] == b"+" else 8)
    seen: list[int] = []
    first, pages = None, 0
    directory = TiffImagePlugin.ImageFileDirectory_v2(start)
    while directory.next and directory.next not in seen and len(seen) < _MOST_PAGES:
        seen.append(directory.next)
        file.seek(directory.next)
        directory = TiffImagePlugin.ImageFileDirectory_v2(start)
        directory.load(file)
        first = first or dict(directory)
        pages += len(seen) == 1 or not directory.get(_SUBFILE, 0) & 5  # a reduced picture, or a mask
    if first is None:
        raise ValueError("it has no directory")
    return Head(first[256], first[257], max(first.get(_BITS, (1,))), max(first.get(_FORMAT, (1,))) == 1,
                first.get(_COMPRESSION, 1), pages, _DNG in first)


def read_16bit(data: bytes, name: str) -> np.ndarray:
    """(H, W) or (H, W, channels) uint16 of the first page: grey, grey and alpha, RGB, RGB and alpha; not turned.

    Raises:
        UsageError: colours that are neither grey nor RGB.
        Exceptions of tifffile: damaged.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages.first
        if int(page.photometric) not in (0, 1, 2):
            raise UsageError(f"{name}: 16-bit {page.photometric.name} pixels are not taken; convert the file to RGB "
                             f"first, in an editor: 'convert to sRGB' or 'mode: RGB'")
        array = page.asarray(maxworkers=1)
        if int(page.planarconfig) == 2 and array.ndim == 3:
            array = np.moveaxis(array, 0, -1)
        colors = 3 if int(page.photometric) == _RGB else 1
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.dtype.type is not np.uint16 or array.shape[2] < colors:
            raise ValueError(f"its pixels are {array.shape} {array.dtype}")
        if int(page.photometric) == 0:  # white is zero
            array = np.concatenate([65535 - array[..., :1], array[..., 1:]], axis=2)
        kinds = [int(kind) for kind in page.extrasamples]
        array = array[..., : colors + (1 if kinds[:1] in ([1], [2]) else 0)]
        if kinds[:1] == [1]:
            array = _unpremultiply(array)
    return array


def _unpremultiply(array: np.ndarray) -> np.ndarray:
    """Colours that were stored multiplied by alpha, divided by it."""
    alpha = array[..., -1:].astype(np.float32)
    colors = array[..., :-1] * (65535 / np.maximum(alpha, 1))
    return np.concatenate([np.rint(np.minimum(colors, 65535)).astype(np.uint16), array[..., -1:]], axis=2)


def write(file: IO[bytes], array: np.ndarray, metadata: Metadata, *, compression: int = 8,
          palette: np.ndarray | None = None) -> None:
    """Write one picture at the beginning of a seekable file.

    Args:
        file: opened for writing, empty.
        array: (H, W, channels) uint8 or uint16 (1 grey, 2 with alpha, 3 RGB, 4 with alpha), or (H, W, 1) bool.
        compression: 1 none, 5 LZW, 8 Deflate; the latter two with differences along the rows.
        palette: (256, 3) uint8; `array` then holds indices.

    Raises:
        UsageError: larger than a classic TIFF can be.
    """
    height, width, channels = array.shape
    bits = 1 if array.dtype == bool else 8 * array.itemsize
    row = (width * channels * bits + 7) // 8
    if row * height > 0xF000_0000:
        raise UsageError(f"{width}x{height} pixels are more than a TIFF holds (4 GB); reduce the picture")
    differences = compression != 1 and bits > 1 and palette is None
    rows = max(1, _STRIP // row)
    tops = range(0, height, rows)
    tags: dict[int, Any] = directories(metadata.exif) if metadata.exif else {}
    if metadata.dpi and not {282, 283} <= set(tags):
        tags |= {282: IFDRational(metadata.dpi[0]), 283: IFDRational(metadata.dpi[1]), 296: 2}
    tags |= {tag: value for tag, value in ((700, metadata.xmp), (33723, metadata.iptc), (34675, metadata.icc)) if value}
    color = _PALETTE if palette is not None else _RGB if channels > 2 else _GREY
    tags |= {256: width, 257: height, 258: (bits,) * channels, 259: compression, 262: color, 277: channels, 278: rows,
             284: 1}
    if channels in (2, 4):
        tags[338] = 2
    if differences:
        tags[317] = 2
    if palette is not None:
        tags[320] = tuple(int(value) * 257 for value in palette.T.ravel())
    directory = _directory(tags, [0] * len(tops), [0] * len(tops))
    first = 8 + len(directory.tobytes(8))
    places, sizes, at = [], [], 0
    file.seek(first)
    for top in tops:
        packed = _packed(array[top : top + rows], compression, differences)
        file.write(packed)
        places.append(at)
        sizes.append(len(packed))
        at += len(packed)
    file.seek(0)
    file.write(b"II*\0\x08\0\0\0" + _directory(tags, places, sizes).tobytes(8))
    file.seek(0, io.SEEK_END)


def _directory(tags: dict[int, Any], places: list[int], sizes: list[int]) -> TiffImagePlugin.ImageFileDirectory_v2:
    """A directory; Pillow counts the strips' offsets from its end."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag, value in tags.items():
        if tag in (700, 33723, 34675):
            directory.tagtype[tag] = 1 if tag == 700 else 7
        if tag in (EXIF_IFD, GPS_IFD):
            directory.tagtype[tag] = 4
        directory[tag] = value
    for tag, numbers in ((273, places), (279, sizes)):
        directory.tagtype[tag] = 4
        directory[tag] = tuple(numbers)
    return directory


def _packed(strip: np.ndarray, compression: int, differences: bool) -> bytes:
    import imagecodecs

    if strip.dtype == bool:
        strip = np.packbits(strip[..., 0], axis=1)
    elif differences:
        strip = np.diff(strip, axis=1, prepend=np.zeros_like(strip[:, :1]))
    raw = np.ascontiguousarray(strip.astype(strip.dtype.newbyteorder("<"), copy=False)).tobytes()
    if compression == 1:
        return raw
    return bytes(imagecodecs.lzw_encode(raw) if compression == 5 else imagecodecs.zlib_encode(raw))
