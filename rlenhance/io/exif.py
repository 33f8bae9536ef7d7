"""EXIF blocks, edited in place so that every other byte (maker notes, GPS) keeps its offset."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
_WIDTH, _HEIGHT = 0xA002, 0xA003
# TIFF tags that say how the pixels lie in the file, or that are kept apart from the EXIF block
_LAYOUT = {*range(254, 260), 262, 263, 266, 273, *range(277, 280), *range(282, 285), *range(290, 294), 296, 301,
           *range(317, 321), *range(322, 326), 330, 332, 334, 336, *range(338, 344), 347, *range(512, 522),
           *range(529, 533), 700, 33723, 34377, 34675, ORIENTATION}
# tags of a camera RAW's first directory that describe the photograph and not the file
_OF_THE_PHOTO = {270, 271, 272, 305, 306, 315, 33432, EXIF_IFD, GPS_IFD}
_MAKER_NOTE = 0x927C


def _first(block: bytes | bytearray) -> tuple[str, int]:
    """Byte order and place of the first directory."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        raise ValueError(f"it begins with {bytes(block[:4])!r}")
    return order, struct.unpack_from(f"{order}I", block, 4)[0]


def _entries(block: bytes | bytearray, at: int, order: str) -> Iterator[tuple[int, int]]:
    """(tag, place of its entry) of a directory."""
    (count,) = struct.unpack_from(f"{order}H", block, at)
    for number in range(count):
        place = at + 2 + 12 * number
        yield struct.unpack_from(f"{order}H10x", block, place)[0], place


def apply_orientation(block: bytes) -> tuple[bytes, int]:
    """The block with orientation 1 and without its thumbnail, and the orientation that it had.

    Args:
        block: EXIF, with or without the prefix "Exif\\0\\0".

    Returns:
        The block without a prefix; the orientation 1 to 8, or 0 where it has none.

    Raises:
        ValueError, struct.error: no EXIF block, or a damaged one.
    """
    edited = bytearray(block.removeprefix(b"Exif\0\0"))
    order, first = _first(edited)
    entries = dict(_entries(edited, first, order))
    turn = 0
    if ORIENTATION in entries:
        place = entries[ORIENTATION]
        form = {3: "H", 4: "I"}.get(struct.unpack_from(f"{order}H", edited, place + 2)[0])
        if form is None:
            raise ValueError("its orientation is no number")
        turn = struct.unpack_from(f"{order}{form}", edited, place + 8)[0]
        struct.pack_into(f"{order}{form}", edited, place + 8, 1)
    (count,) = struct.unpack_from(f"{order}H", edited, first)
    if len(edited) >= first + 2 + 12 * count + 4:
        struct.pack_into(f"{order}I", edited, first + 2 + 12 * count, 0)
    if turn >= 5 and EXIF_IFD in entries:
        _swap_sides(edited, struct.unpack_from(f"{order}I", edited, entries[EXIF_IFD] + 8)[0], order)
    return bytes(edited), turn if turn <= 8 else 0


def _swap_sides(block: bytearray, at: int, order: str) -> None:
    """Swap width and height, for a quarter turn."""
    entries = dict(_entries(block, at, order))
    if _WIDTH in entries and _HEIGHT in entries:
        one, other = (slice(entries[tag] + 2, entries[tag] + 12) for tag in (_WIDTH, _HEIGHT))
        block[one], block[other] = block[other], block[one]


def resized(block: bytes, width: int, height: int) -> bytes:
    """The block with a new size, where it states one; a block that cannot be read stays as it is."""
    edited = bytearray(block)
    try:
        order, first = _first(edited)
        entries = dict(_entries(edited, first, order))
        if EXIF_IFD in entries:
            inner = struct.unpack_from(f"{order}I", edited, entries[EXIF_IFD] + 8)[0]
            for tag, place in _entries(edited, inner, order):
                if tag in (_WIDTH, _HEIGHT):  # as one number of 32 bits
                    struct.pack_into(f"{order}HII", edited, place + 2, 4, 1, width if tag == _WIDTH else height)
    except (ValueError, struct.error):
        return block
    return bytes(edited)


def apply_xmp_orientation(packet: bytes) -> tuple[bytes, int]:
    """An XMP packet with orientation 1, and the orientation that it had (0 for none)."""
    said = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*([1-8])")
    found = said.search(packet)
    return said.sub(rb"\g<1>1", packet), int(found.group(2)) if found else 0


def from_directory(exif: Image.Exif, of_a_raw: bool = False) -> bytes | None:
    """The EXIF block of a TIFF's directory without the tags of its pixel layout; None if nothing is left."""
    for tag in [tag for tag in exif if (tag not in _OF_THE_PHOTO if of_a_raw else tag in _LAYOUT)]:
        del exif[tag]
    if of_a_raw:  # its offsets refer to the source file, and it may be megabytes long
        exif.get_ifd(EXIF_IFD).pop(_MAKER_NOTE, None)
    return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else None


def without_maker_note(block: bytes) -> bytes:
    """The block rewritten without the maker note, for files without room for all of it."""
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    exif.get_ifd(EXIF_IFD).pop(_MAKER_NOTE, None)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def directories(block: bytes) -> dict[int, Any]:
    """Its first directory as tag -> value, with those of EXIF and GPS as dictionaries inside it."""
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    found = {tag: value for tag, value in exif.items() if tag not in _LAYOUT}
    for tag in (EXIF_IFD, GPS_IFD):
        inner = exif.get_ifd(tag)
        found.pop(tag, None)
        if inner:
            found[tag] = {key: value for key, value in inner.items() if not isinstance(value, dict)}
    return found


def read_raw_exif(data: bytes) -> bytes | None:
    """The EXIF block of a camera RAW that is built like a TIFF.

    Raises:
        SyntaxError, ValueError, struct.error: it is not.
    """
    exif = Image.Exif()
    head = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*", b"IIU\0": b"II*\0"}.get(data[:4], data[:4])
    exif.load_from_fp(io.BytesIO(head + data[4:]))
    return from_directory(exif, of_a_raw=True)
