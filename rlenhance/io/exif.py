"""EXIF blocks, edited in place so that every other byte (maker notes, GPS) keeps its offset."""

from __future__ import annotations

import calendar
import re
import struct
import time
from collections.abc import Iterator
from math import log2
from typing import Any, NamedTuple

from rlenhance.io.directory import EXIF_IFD, GPS_IFD, Directories, Entry, Tags, directory_bytes

ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 0xA002, 0xA003
# TIFF tags that say how the pixels lie in the file, or that are kept apart from the EXIF block
_LAYOUT = frozenset({
    *range(254, 260), 262, 263, 266, 273, *range(277, 280), *range(282, 285), *range(290, 294), 296, 301,
    *range(317, 321), *range(322, 326), 330, 332, 334, 336, *range(338, 344), 347, *range(512, 522), *range(529, 533),
    700, 32997, 32998, 33723, 34377, 34675, ORIENTATION})
# tags of a camera RAW's first directory that describe the photograph and not the file
_OF_THE_PHOTO = {270, 271, 272, 305, 306, 315, 33432, EXIF_IFD, GPS_IFD}
_MAKER_NOTE = 0x927C
_TAKEN, _FRACTION = 0x9003, 0x9291  # date and time as text, and the digits after the second
_SECONDS, _F_NUMBER, _ISO = 0x829A, 0x829D, 0x8827


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
        ValueError, struct.error: no EXIF block, a damaged one, or one that claims more than it has.
    """
    edited = bytearray(block.removeprefix(b"Exif\0\0"))
    _check(edited)
    order, first = _first(edited)
    entries = dict(_entries(edited, first, order))
    turn = 0
    if ORIENTATION in entries:
        place = entries[ORIENTATION]
        kind, count = struct.unpack_from(f"{order}HI", edited, place + 2)
        form = {3: "H", 4: "I"}.get(kind)
        if form is None or count != 1:
            raise ValueError("its orientation is no number")
        turn = struct.unpack_from(f"{order}{form}", edited, place + 8)[0]
        struct.pack_into(f"{order}{form}", edited, place + 8, 1)
    (count,) = struct.unpack_from(f"{order}H", edited, first)
    if len(edited) >= first + 2 + 12 * count + 4:
        struct.pack_into(f"{order}I", edited, first + 2 + 12 * count, 0)
    if turn >= 5 and EXIF_IFD in entries:
        _swap_sides(edited, struct.unpack_from(f"{order}I", edited, entries[EXIF_IFD] + 8)[0], order)
    _check(edited)
    return bytes(edited), turn if turn <= 8 else 0


def _check(block: bytes | bytearray) -> None:
    """Refuse a block that claims more than it has; after an edit, one whose directories overlap.

    Raises:
        ValueError, struct.error: it cannot be read.
    """
    reader = Directories(block)
    reader.tags(reader.first)


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
        _check(edited)
    except (ValueError, struct.error):
        return block
    return bytes(edited)


def apply_xmp_orientation(packet: bytes) -> tuple[bytes, int]:
    """An XMP packet with orientation 1, and the orientation that it had (0 for none)."""
    said = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*([1-8])")
    found = said.search(packet)
    return said.sub(rb"\g<1>1", packet), int(found.group(2)) if found else 0


def directories(block: bytes) -> Tags:
    """The tags of its first directory that may stand in any file, with those of EXIF, GPS and interoperability inside.

    Raises:
        ValueError, struct.error: no EXIF block, or a damaged one.
    """
    reader = Directories(block)
    return reader.tags(reader.first, skip=_LAYOUT)


def make_block(tags: Tags) -> bytes | None:
    """An EXIF block; None without tags."""
    return _block(tags) if tags else None


def _block(tags: Tags) -> bytes:
    return b"II*\0\x08\0\0\0" + directory_bytes(tags, 8)


def without_maker_note(block: bytes) -> bytes:
    """The block rewritten without the maker note, for files without room for all of it.

    Raises:
        ValueError, struct.error: see `directories`.
    """
    reader = Directories(block)
    return _block(_drop_maker_note(reader.tags(reader.first)))


def _drop_maker_note(tags: Tags) -> Tags:
    inner = tags.get(EXIF_IFD)
    if isinstance(inner, dict):
        inner.pop(_MAKER_NOTE, None)
    return tags


def from_tiff(data: bytes) -> tuple[bytes | None, int, dict[str, Any], list[int]]:
    """The metadata of a TIFF's first directory.

    Returns:
        The EXIF block without the tags of the pixel layout; the orientation 1 to 8, or 0; xmp, icc_profile, iptc and
        dpi as far as they are there; the tags that were lost.

    Raises:
        ValueError, struct.error: damaged.
    """
    reader = Directories(data)
    kept = {700: "xmp", 34675: "icc_profile", 33723: "iptc"}
    tags = reader.tags(reader.first, skip=_LAYOUT - {*kept, 282, 283, 296, ORIENTATION})
    found: dict[str, Any] = {}
    rest: dict[int, tuple[float, ...]] = {}
    for tag, value in [(tag, tags.pop(tag)) for tag in (*kept, 282, 283, 296, ORIENTATION) if tag in tags]:
        assert isinstance(value, Entry)
        if tag in kept:
            found[kept[tag]] = value.data
        else:
            rest[tag] = value.values()
    across, down, meters, turn = (rest.get(tag, (0,)) for tag in (282, 283, 296, ORIENTATION))
    dots = 2.54 if meters[0] == 3 else 1
    if across[0] and down[0]:
        found["dpi"] = across[0] * dots, down[0] * dots
    return make_block(tags), int(turn[0]) if turn[0] in range(1, 9) else 0, found, reader.lost


def resolution(block: bytes) -> tuple[float, float] | None:
    """Dots per inch (across, down) of an EXIF block; None without."""
    try:
        reader = Directories(block)
        tags = reader.tags(reader.first)
    except (ValueError, struct.error):
        return None
    across, down, meters = (value.values() if isinstance(value, Entry) else (0,)
                            for value in map(tags.get, (282, 283, 296)))
    dots = 2.54 if meters[0] == 3 else 1
    return (across[0] * dots, down[0] * dots) if across[0] and down[0] else None


def read_raw_exif(data: bytes) -> bytes | None:
    """The EXIF block of a camera RAW that is built like a TIFF.

    Raises:
        ValueError, struct.error: it is not.
    """
    reader = Directories(data, plain=data[:4] in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0"))
    places = [place.tag for place in reader.places(reader.first)[0]]
    tags = reader.tags(reader.first, skip=frozenset(places) - _OF_THE_PHOTO)
    return make_block(_drop_maker_note(tags))  # its offsets refer to the source file, and it may be megabytes long


class Exposure(NamedTuple):
    """How a photograph was exposed.

    Attributes:
        seconds: of the shutter.
        f_number: of the aperture; None where it is not stated.
        iso: sensitivity; None where it is not stated.
    """

    seconds: float
    f_number: float | None = None
    iso: float | None = None

    @property
    def stops(self) -> float:
        """The logarithm, base 2, of the light that counts: 0 for a second at f/1 and ISO 100; what is not stated is 0.

        Example:
            >>> Exposure(1 / 64, 4.0, 400).stops
            -8.0
        """
        aperture = 0.0 if self.f_number is None else 2 * log2(self.f_number)
        return log2(self.seconds) - aperture + (0.0 if self.iso is None else log2(self.iso / 100))


def exposure_of(block: bytes | None) -> Exposure | None:
    """How a photograph was exposed; None where its EXIF states no time.

    Args:
        block: EXIF without a prefix.
    """
    found = [entry.values()[0] if entry is not None and entry.length else 0.0
             for entry in map(_of_exif(block).get, (_SECONDS, _F_NUMBER, _ISO))]
    seconds, f_number, iso = (value if 0 < value < float("inf") else None for value in found)
    return None if seconds is None else Exposure(seconds, f_number, iso)


def capture_time(block: bytes | None) -> float | None:
    """When a photograph was taken by the clock of its camera, in seconds of no zone; None where that is not said.

    Args:
        block: EXIF without a prefix.
    """
    entries = _of_exif(block)
    try:
        words = {tag: entries[tag].data.rstrip(b"\0 ").decode("ascii") for tag in (_TAKEN, _FRACTION) if tag in entries}
        seconds = calendar.timegm(time.strptime(words[_TAKEN], "%Y:%m:%d %H:%M:%S"))
    except (ValueError, KeyError):
        return None
    fraction = words.get(_FRACTION, "")
    return seconds + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)


def _of_exif(block: bytes | None) -> dict[int, Entry]:
    """The values of the EXIF directory of a block; none where it has none, or is damaged."""
    try:
        reader = Directories(block or b"")
        inner = reader.tags(reader.first).get(EXIF_IFD)
    except (ValueError, struct.error):
        return {}
    return {tag: entry for tag, entry in (inner.items() if isinstance(inner, dict) else ()) if isinstance(entry, Entry)}
