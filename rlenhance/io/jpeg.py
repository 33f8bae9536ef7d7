"""JPEG segments: what a decoder is given, so that its work is linear in the file, and a large one encoded in strips.

Decoders join the segments of metadata one by one, and decode a progressive picture once per scan. (ITU-T T.81, annex B)

A large JPEG is encoded strip by strip, in the memory of one strip. Each strip is encoded as a picture of its own. Their
entropy-coded data, joined with restart markers, are one scan of the whole picture: a restart resets the prediction of
the DC coefficients, as the beginning of a picture does, so that the coefficients are those of the whole picture encoded
at once. (ITU-T T.81, B.2.4.4 and F.1.1.5.1)
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator

import numpy as np

#: Scans that are decoded; encoders write 10, and at most some 40.
MOST_SCANS = 64
#: Segments of metadata that are read: a colour profile of the largest size has 255.
MOST_METADATA = 300
_MOST_SEGMENTS = 10_000
_SOF0, _SOS, _EOI, _COMMENT, _APP = 0xC0, 0xDA, 0xD9, 0xFE, range(0xE0, 0xF0)
_FRAMES = {*range(_SOF0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD8), 0xD8}  # markers without a length
_MARKER = re.compile(rb"\xff+[^\xff\x00]", re.DOTALL)
_EXIF, _PICTURES = b"Exif\0\0", b"MPF\0"
_LARGEST_TABLE = 4096  # bytes of the table of a JPEG's other pictures (CIPA DC-007)
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
#: Pixels of a strip, about; smaller pictures are encoded at once.
STRIP = 1 << 20
_LONGEST = 0xFFFF  # units between two restart markers, at most
_UNITS = {0: (8, 8), 1: (16, 8), 2: (16, 16)}  # Pillow's chroma subsampling -> width and height of a coded unit


def bounded(data: bytes) -> tuple[bytes, bytes, int]:
    """The file without EXIF and with at most `MOST_METADATA` segments of metadata; its EXIF; how many were left out.

    Bytes between segments, which decoders pass over one by one, are left out too, and large tables of the pictures
    beside the photograph. Extended XMP is never read and does not count.

    Raises:
        ValueError: more than `MOST_SCANS` scans, or thousands of segments.
    """
    view, kept, copied, at = memoryview(data), list[memoryview](), 0, 2
    exif = list[memoryview]()
    segments = metadata = lost = 0
    while found := _MARKER.search(data, at):
        start, marker = found.end() - 2, data[found.end() - 1]
        if start > at:
            kept.append(view[copied:at])
            copied = start
        if marker in (_SOS, _EOI):
            break
        segments += 1
        if segments > _MOST_SEGMENTS:
            raise ValueError(f"more than {_MOST_SEGMENTS} segments before its pixels")
        at = _end(data, start)
        if (marker in _APP or marker == _COMMENT) and not data.startswith(_EXTENDED_XMP, start + 4):
            metadata += 1
            is_exif = marker == _APP[1] and data.startswith(_EXIF, start + 4)
            many = metadata > MOST_METADATA
            if is_exif and not many:
                exif.append(view[start + 4 + len(_EXIF) : at])
            if is_exif or many or (data.startswith(_PICTURES, start + 4) and at - start > _LARGEST_TABLE):
                kept.append(view[copied:start])
                lost, copied = lost + many, at
    if data.count(b"\xff\xda", at) > MOST_SCANS and _scans(data, at) > MOST_SCANS:
        raise ValueError(f"more than {MOST_SCANS} scans")
    return (b"".join([*kept, view[copied:]]) if kept else data), b"".join(exif), lost


def is_complete(data: bytes) -> bool:
    """Whether the marker of the end follows the last header; decoders fill up with grey where it does not."""
    at = 2
    while (found := _MARKER.search(data, at)) and data[found.end() - 1] != _SOS:
        at = _end(data, found.end() - 2)
    return data.find(bytes([0xFF, _EOI]), at) >= 0


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, as its frame header states them.

    Raises:
        ValueError: it has none.
    """
    at = 2
    while (found := _MARKER.search(data, at)) and data[found.end() - 1] != _SOS:
        start, marker = found.end() - 2, data[found.end() - 1]
        if marker in _FRAMES and len(data) >= start + 9:
            height, width = struct.unpack_from(">HH", data, start + 5)
            return width, height
        at = _end(data, start)
    raise ValueError("its frame header is missing")


def _end(data: bytes, start: int) -> int:
    """The end of the segment whose marker begins at a place."""
    size = int.from_bytes(data[start + 2 : start + 4], "big")
    return start + 2 + (0 if data[start + 1] in _ALONE else size)


def _scans(data: bytes, at: int) -> int:
    """The number of scans from a place on, up to one more than are decoded."""
    count = 0
    while count <= MOST_SCANS and (found := _MARKER.search(data, at)) and data[found.end() - 1] != _EOI:
        count += data[found.end() - 1] == _SOS
        at = _end(data, found.end() - 2)
    return count


def strips_of(array: np.ndarray, subsampling: int) -> tuple[int, int]:
    """Rows of a strip, and the coded units that it holds.

    Args:
        array: (H, W, channels).
        subsampling: 0, 1 or 2, see Pillow.
    """
    width, height = (8, 8) if array.shape[2] == 1 else _UNITS[subsampling]
    across = -(-array.shape[1] // width)
    down = max(1, min(STRIP // (array.shape[1] * height), _LONGEST // across))
    return down * height, down * across


def encode_strips(array: np.ndarray, subsampling: int, encode: Callable[[np.ndarray, int], bytes]) -> bytes:
    """The bytes of a baseline JPEG.

    Args:
        array: (H, W, channels).
        subsampling: 0, 1 or 2, see Pillow.
        encode: encodes some rows as a baseline JPEG with the standard Huffman tables and a restart marker after so many
            coded units.
    """
    rows, units = strips_of(array, subsampling)
    file = io.BytesIO()  # parts to be joined would take their memory twice
    for part in _joined((encode(array[top : top + rows], units) for top in range(0, len(array), rows)), len(array)):
        file.write(part)
    return file.getvalue()


def _joined(strips: Iterator[bytes], height: int) -> Iterator[bytes]:
    for number, data in enumerate(strips):
        at, frame = 2, 0
        while data[at + 1] != _SOS:
            frame = at if data[at + 1] == _SOF0 else frame
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if number == 0:
            yield data[: frame + 5] + height.to_bytes(2, "big") + data[frame + 7 : at]
        else:
            yield bytes([0xFF, 0xD0 + (number - 1) % 8])
        yield data[at:-2]
    yield b"\xff\xd9"
