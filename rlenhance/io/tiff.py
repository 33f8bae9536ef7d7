"""TIFF: tifffile reads 16 bits; this module writes files of any depth with EXIF, which no library does.

Pillow keeps no 16-bit colour and fails to write EXIF with compression; tifffile writes no EXIF. imagecodecs compresses
the strips. (TIFF 6.0, sections 2, 4, 14; classic TIFF, up to 4 GiB)
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.directory import (
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directories,
    Entry,
    Place,
    Tags,
    directory_bytes,
    entry,
)
from rlenhance.io.exif import directories
from rlenhance.io.limits import note
from rlenhance.io.photo import Metadata

_STRIP = 1 << 20  # bytes before packing
_RGB, _GREY, _PALETTE, _YCBCR = 2, 1, 3, 6
_MOST_PAGES = 1000
#: Compression tags that are kept; every other becomes 8 (Deflate).
KEPT_COMPRESSIONS = (1, 5, 8)

_MOST_SEGMENTS = 1 << 20
_MOST_SAMPLES = 6
_LARGEST_TILE = 1 << 22  # pixels of a tile, which may be larger than its picture
_RATIOS = {1: 1, 5: 1500, 8: 1032, 32773: 64, 32946: 1032}  # compression -> the most bytes that one byte stands for

_PIXEL_TAGS = {*range(254, 260), 262, 263, 266, 273, *range(277, 280), 284, 292, 293, *range(317, 321),
               *range(322, 326), 332, 334, 338, 339, 347, *range(512, 522), *range(529, 533), 50674}

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
        ValueError, struct.error: damaged.
    """
    reader = Directories(data)
    seen: list[int] = []
    first, pages, at = dict[int, Place](), 0, reader.first
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.append(at)
        places, at = reader.places(at)
        if len(seen) == 1:
            first = _places(places)
        subfile = next((place for place in places if place.tag == _SUBFILE), None)
        pages += len(seen) == 1 or subfile is None or not int(reader.numbers(subfile)[0]) & 5  # a preview, or a mask
    if not seen:
        raise ValueError("it has no directory")
    tags = _Layout(reader, first)
    return Head(tags.one(256), tags.one(257), max(tags.all(_BITS, 1)), max(tags.all(_FORMAT, 1)) == 1,
                tags.one(_COMPRESSION, 1), pages, _DNG in first)


def _places(places: list[Place]) -> dict[int, Place]:
    """The tags of the pixels by their number.

    Raises:
        ValueError: one stands twice, and readers differ in which they take.
    """
    found: dict[int, Place] = {}
    for place in places:
        if place.tag in found and place.tag in _PIXEL_TAGS:
            raise ValueError(f"its tag {place.tag} stands twice")
        found[place.tag] = place
    return found


class _Layout:
    """The tags of a page that say how its pixels lie in the file."""

    def __init__(self, reader: Directories, places: dict[int, Place]):
        self._reader, self._places = reader, places

    def all(self, tag: int, *default: int) -> tuple[int, ...]:
        """The numbers of a tag."""
        place = self._places.get(tag)
        if place is None or place.kind not in (1, 3, 4, 16):
            if not default or place is not None:
                raise ValueError(f"its tag {tag} is {'missing' if place is None else 'no whole number'}")
            return default
        if place.length > _MOST_SEGMENTS:
            raise ValueError(f"its tag {tag} has {place.length} numbers")
        return tuple(self._reader.numbers(place).tolist())

    def has(self, tag: int) -> bool:
        """Whether it is there."""
        return tag in self._places

    def one(self, tag: int, *default: int) -> int:
        """The number of a tag."""
        found = self.all(tag, *default)
        if len(found) > 1:
            raise ValueError(f"its tag {tag} has {len(found)} numbers")
        return found[0]


def check_layout(data: bytes, head: Head) -> None:
    """Refuse pixels of more than the file can hold, and a layout that readers see differently.

    Raises:
        ValueError, struct.error: says what is wrong.
    """
    reader = Directories(data)
    tags = _Layout(reader, _places(reader.places(reader.first)[0]))
    broken = sorted(_PIXEL_TAGS & set(reader.lost))
    if broken:
        raise ValueError(f"its tag {broken[0]} has an impossible type or place")
    samples, bits = tags.one(277, 1), tags.all(_BITS, 1)
    if samples > _MOST_SAMPLES:
        raise ValueError(f"{samples} channels; {_MOST_SAMPLES} are read at most")
    if len(set(bits)) > 1:
        raise ValueError(f"its channels have {', '.join(map(str, bits))} bits")
    if tags.one(32997, 1) != 1 or tags.one(32998, 1) != 1:
        raise ValueError("a volume of several slices")
    planes = samples if tags.one(284, 1) == 2 else 1
    tiled = tags.has(322)
    rows = min(tags.one(278, head.height), head.height)
    across, down = (tags.one(322), tags.one(323)) if tiled else (head.width, rows)
    if across < 1 or down < 1 or (tiled and across * down > max(4 * head.width * head.height, _LARGEST_TILE)):
        raise ValueError(f"its tiles have {across}x{down} pixels")
    segments = planes * -(-head.width // across) * -(-head.height // down)
    offsets = tags.all(324 if tiled else 273)
    if len(offsets) < segments:
        raise ValueError(f"{len(offsets)} of its {segments} {'tiles' if tiled else 'strips'} are there")
    holds = sum(min(count, len(data)) for count in tags.all(325 if tiled else 279, len(data)))
    needs = head.height * (head.width * samples * bits[0] // 8)
    ratio = _RATIOS.get(head.compression)
    if ratio and tags.one(262, 1) != _YCBCR and needs > ratio * holds + _STRIP:
        raise ValueError(f"its {holds} bytes cannot hold {head.width}x{head.height} pixels")


def pixels_alone(data: bytes) -> bytes:
    """The file with a first directory of those tags alone that say how its pixels lie in it.

    Decoders interpret every tag before the pixels, and fail at an odd one.
    """
    reader = Directories(data)
    big = reader.big
    whole = 20 if big else 12  # the end of the file may cut the last row
    rows = [bytes(row).ljust(whole, b"\0") for tag, row in reader.rows(reader.first) if tag in _PIXEL_TAGS]
    at = len(data) + -len(data) % 8
    directory = struct.pack(f"{reader.order}{'Q' if big else 'H'}", len(rows)) + b"".join(rows) + bytes(8 if big else 4)
    pointer = struct.pack(f"{reader.order}{'Q' if big else 'I'}", at)
    start = 8 if big else 4
    return b"".join([data[:start], pointer, memoryview(data)[start + len(pointer) :], bytes(at - len(data)), directory])


def read_16bit(data: bytes, name: str, head: Head) -> np.ndarray:
    """(H, W) or (H, W, channels) uint16 of the first page: grey, grey and alpha, RGB, RGB and alpha; not turned.

    Raises:
        UsageError: colours that are neither grey nor RGB.
        Exceptions of tifffile: damaged.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages.first
        if (page.imagewidth, page.imagelength, page.imagedepth) != (head.width, head.height, 1):
            raise ValueError("readers differ in its size")
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
          palette: np.ndarray | None = None, name: str = "the picture") -> None:
    """Write one picture at the beginning of a seekable file.

    Args:
        file: opened for writing, empty.
        array: (H, W, channels) uint8 or uint16 (1 grey, 2 with alpha, 3 RGB, 4 with alpha), or (H, W, 1) bool.
        compression: 1 none, 5 LZW, 8 Deflate; the latter two with differences along the rows.
        palette: (256, 3) uint8; `array` then holds indices.
        name: for warnings.

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
    tags = _exif_tags(metadata, name)
    if metadata.dpi and not {282, 283} <= set(tags):
        across, down = (entry(RATIONAL, round(min(dots, 1e5) * 1e4), 10_000) for dots in metadata.dpi)
        tags |= {282: across, 283: down, 296: entry(SHORT, 2)}
    tags |= {tag: Entry(kind, len(value), value) for tag, kind, value in (
        (700, BYTE, metadata.xmp), (33723, UNDEFINED, metadata.iptc), (34675, UNDEFINED, metadata.icc)) if value}
    color = _PALETTE if palette is not None else _RGB if channels > 2 else _GREY
    tags |= {256: entry(LONG, width), 257: entry(LONG, height), 258: entry(SHORT, *(bits,) * channels),
             259: entry(SHORT, compression), 262: entry(SHORT, color), 277: entry(SHORT, channels),
             278: entry(LONG, rows), 284: entry(SHORT, 1)}
    if channels in (2, 4):
        tags[338] = entry(SHORT, 2)
    if differences:
        tags[317] = entry(SHORT, 2)
    if palette is not None:
        tags[320] = entry(SHORT, *(palette.T.ravel().astype(int) * 257).tolist())
    nothing = entry(LONG, *[0] * len(tops))
    at = 8 + len(directory_bytes({**tags, 273: nothing, 279: nothing}, 8))
    places, sizes = [], []
    file.seek(at)
    for top in tops:
        packed = _packed(array[top : top + rows], compression, differences)
        file.write(packed)
        places.append(at)
        sizes.append(len(packed))
        at += len(packed)
    file.seek(0)
    tags |= {273: entry(LONG, *places), 279: entry(LONG, *sizes)}
    file.write(b"II*\0\x08\0\0\0" + directory_bytes(tags, 8))
    file.seek(0, io.SEEK_END)


def _exif_tags(metadata: Metadata, name: str) -> Tags:
    """The tags of the EXIF block; what cannot be read of it is left out with a warning."""
    try:
        return directories(metadata.exif) if metadata.exif else {}
    except (ValueError, struct.error) as error:
        note(name, f"its EXIF is damaged and left out ({error})")
        return {}


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
