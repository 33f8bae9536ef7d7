"""Directories of TIFF files and EXIF blocks as bytes: values are not interpreted, so that none is too odd to be kept.

(TIFF 6.0, section 2; BigTIFF; EXIF 2.32, 4.5 and 4.6)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Union

import numpy as np

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_NUMBERS = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4", 11: "f4",
            12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_CLASSIC = 13  # types above it are those of BigTIFF
_MOST_TAGS = 1 << 16  # of a file, in all its directories
_SPARE = 1 << 20  # bytes that tags may claim twice: files share values


class Entry(NamedTuple):
    """A value: its type (TIFF 6.0, page 15), the number of numbers, and their bytes, little-endian."""

    kind: int
    length: int
    data: bytes

    def values(self) -> tuple[float, ...]:
        """Its numbers; a rational as its quotient, 0 where it has none."""
        numbers = np.frombuffer(self.data, f"<{_NUMBERS[self.kind]}").tolist()
        if self.kind in (5, 10):
            pairs = zip(numbers[::2], numbers[1::2], strict=True)
            return tuple(above / below if below else 0.0 for above, below in pairs)
        return tuple(numbers)


Tags = dict[int, Union[Entry, "Tags"]]


class Place(NamedTuple):
    """A tag, the type and number of its values, and where they lie."""

    tag: int
    kind: int
    length: int
    at: int

    @property
    def size(self) -> int:
        """In bytes; 0 for an unknown type."""
        return self.length * unit(self.kind)


def unit(kind: int) -> int:
    """Bytes of one value of a type; 0 for an unknown one."""
    return np.dtype(_NUMBERS[kind]).itemsize * (1 + (kind in (5, 10))) if kind in _NUMBERS else 0


def entry(kind: int, *numbers: int) -> Entry:
    """A value from numbers; two for each rational."""
    return Entry(kind, len(numbers) // (1 + (kind in (5, 10))), np.array(numbers, f"<{_NUMBERS[kind]}").tobytes())


class Directories:
    """The directories of a file or block.

    Work and memory are bounded by its size: values may not claim more bytes than it has (and one MiB).

    Args:
        data: begins with the byte order.
        plain: the mark of some camera RAWs stands for the version number.

    Attributes:
        first: place of the first directory.
        order: "<" or ">".
        big: it is a BigTIFF.
        lost: tags that were left out, as their type or place is impossible.

    Raises:
        ValueError, struct.error: it has none.
    """

    def __init__(self, data: bytes | bytearray, *, plain: bool = False):
        self._data, self.lost = memoryview(data), list[int]()
        order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
        version = struct.unpack_from(f"{order}H", data, 2)[0] if order else 0
        if order is None or (version not in (42, 43) and not plain):
            raise ValueError(f"it begins with {bytes(data[:4])!r}")
        self.order, self.big, self._numbers = order, version == 43 and not plain, 0
        self._claimed, self._count = 0, 0
        self.first = struct.unpack_from(f"{order}{'Q' if self.big else 'I'}", data, 8 if self.big else 4)[0]

    def rows(self, at: int) -> Iterator[tuple[int, memoryview]]:
        """(tag, the bytes of its row) of the directory at a place."""
        head, row = ("Q", 20) if self.big else ("H", 12)
        if at >= len(self._data):
            raise ValueError("a directory lies behind its end")
        count = struct.unpack_from(self.order + head, self._data, at)[0]
        self._count += count
        if self._count > _MOST_TAGS:
            raise ValueError(f"it has more than {_MOST_TAGS} tags")
        at += struct.calcsize(head)
        for start in range(at, at + count * row, row):
            yield struct.unpack_from(f"{self.order}H", self._data, start)[0], self._data[start : start + row]

    def places(self, at: int) -> tuple[list[Place], int]:
        """The entries of the directory at a place, and the place of the next directory, or 0."""
        one, pointer, inline = ("HQ", "Q", 8) if self.big else ("HI", "I", 4)
        at += struct.calcsize("Q" if self.big else "H")
        found, size = [], 4 + struct.calcsize(f"<{pointer}")
        for tag, row in self.rows(at - struct.calcsize("Q" if self.big else "H")):
            kind, length = struct.unpack_from(self.order + one, row, 2)
            place = Place(tag, kind, length, at + size)
            if place.size > inline:
                place = place._replace(at=struct.unpack_from(self.order + pointer, row, size)[0])
            if 0 < place.size <= len(self._data) - place.at:
                found.append(place)
            else:
                self.lost.append(tag)
            at += size + inline
        more = at + inline <= len(self._data)
        return found, struct.unpack_from(self.order + pointer, self._data, at)[0] if more else 0

    def numbers(self, place: Place) -> np.ndarray:
        """The values of an entry in native order; two for each rational."""
        self._claimed += place.size
        if self._claimed > len(self._data) + _SPARE:
            raise ValueError(f"its tags claim more than its {len(self._data)} bytes")
        kind = np.dtype(_NUMBERS[place.kind])
        there = np.frombuffer(self._data, f"{self.order}{_NUMBERS[place.kind]}", place.size // kind.itemsize, place.at)
        return there.astype(kind)

    def tags(self, at: int, *, skip: frozenset[int] = frozenset(), seen: tuple[int, ...] = ()) -> Tags:
        """The tags of a directory but some, with those of EXIF, GPS and interoperability inside it.

        Of a tag that stands twice, the first.
        """
        found: Tags = {}
        for place in self.places(at)[0]:
            if place.tag in skip or place.tag in found:
                continue
            if place.tag in POINTERS:
                inner = self._inner(place, (*seen, at))
                if inner:
                    found[place.tag] = inner
            elif place.kind > _CLASSIC:
                self.lost.append(place.tag)
            else:
                numbers = self.numbers(place)
                found[place.tag] = Entry(place.kind, place.length,
                                         numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes())
        return found

    def _inner(self, place: Place, seen: tuple[int, ...]) -> Tags:
        try:
            at = int(self.numbers(place)[0]) if place.kind in (4, 13, 18) else 0
            if place.length == 1 and at and at not in seen and len(seen) < 4:
                return self.tags(at, seen=seen)
        except struct.error:
            pass  # the rest of the directory stays
        self.lost.append(place.tag)
        return {}


def directory_bytes(tags: Mapping[int, Entry | Tags], at: int) -> bytes:
    """A directory of a classic TIFF, its values and the directories inside it; little-endian.

    Args:
        tags: of known types, those of BigTIFF excluded.
        at: its place in the file, an even number.
    """
    rows, values = [], bytearray()
    behind = at + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        if isinstance(value, dict):
            inner = directory_bytes(value, behind + len(values))
            value = entry(LONG, behind + len(values))
            values += inner + bytes(len(inner) % 2)
        data = value.data
        if len(data) > 4:
            data = struct.pack("<I", behind + len(values))
            values += value.data + bytes(len(value.data) % 2)
        rows.append(struct.pack("<HHI4s", tag, value.kind, value.length, data))
    return b"".join([struct.pack("<H", len(rows)), *rows, bytes(4), values])
