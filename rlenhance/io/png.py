"""PNG chunks: libraries decode the pixels, and this module reads and writes the metadata.

A damaged text or profile is lost alone, without the image. (PNG, third edition, 5 and 11.3)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from rlenhance.io.exif import apply_orientation, apply_xmp_orientation
from rlenhance.io.limits import note
from rlenhance.io.photo import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"gAMA", b"cHRM", b"sRGB", b"cICP")
_XMP = b"XML:com.adobe.xmp\0"
_XMP_BLOCK = "xmp"
_BLOCKS = {b"iCCP": "icc", b"eXIf": "exif", b"pHYs": "dpi"}
#: Texts that are kept.
MOST_TEXTS = 1000
#: Chunks that are read: a photograph of 250 megapixels in chunks of 8 KiB has 250,000.
MOST_CHUNKS = 1_000_000
_LARGEST = 1 << 24  # bytes of a profile or packet


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """(kind, body, the whole chunk) of each chunk, as far as they go; without copies, in linear time.

    The body of a chunk without pixels whose checksum is wrong is empty.

    Raises:
        ValueError: more chunks than a photograph has.
    """
    view, at, count = memoryview(data), len(SIGNATURE), 0
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        whole = view[at : at + 12 + size]
        kind = bytes(whole[4:8])
        body = whole[8 : 8 + size]
        if kind not in _PIXELS:
            right = len(whole) == 12 + size and zlib.crc32(whole[4 : 8 + size]) == struct.unpack(">I", whole[-4:])[0]
            body = body if right else body[:0]
        yield kind, body, whole
        at, count = at + 12 + size, count + 1
        if kind == b"IEND":
            return
        if count > MOST_CHUNKS:
            raise ValueError(f"more than {MOST_CHUNKS} chunks")


def strip_metadata(data: bytes) -> bytes:
    """The same PNG with the chunks of its pixels alone."""
    return b"".join([SIGNATURE, *(whole for kind, _, whole in chunks(data) if kind in _PIXELS)])


def is_animated(data: bytes) -> bool:
    """Whether it has an animation control chunk."""
    return any(kind == b"acTL" for kind, _, _ in chunks(data))


def read_metadata(data: bytes, name: str) -> tuple[Metadata, int]:
    """Metadata and orientation (0 for none).

    Damaged blocks are left out with a warning; so are a second profile, EXIF or XMP, and texts beyond `MOST_TEXTS`.
    """
    found, turn, texts, damaged = dict[str, Any](), 0, list[tuple[bytes, bytes]](), dict[str, int]()
    for kind, view, _ in chunks(data):
        block = _XMP_BLOCK if kind == b"iTXt" and view[: len(_XMP)] == _XMP else _BLOCKS.get(kind, "")
        if not block and kind not in _TEXTS:
            continue
        try:
            if not view:
                raise ValueError("wrong checksum")
            if block in found:
                raise ValueError("there is one before it")
            if not block and len(texts) == MOST_TEXTS:
                raise ValueError(f"there are {MOST_TEXTS} texts before it")
            body = bytes(view)
            if kind == b"iCCP":
                found[block] = _inflate(body.split(b"\0", 1)[1][1:])
            elif kind == b"eXIf":
                found[block], turn = apply_orientation(body)
            elif kind == b"pHYs":
                across, down, unit = struct.unpack(">IIB", body)
                found[block] = (across * 0.0254, down * 0.0254) if unit == 1 else None
            elif block == _XMP_BLOCK:
                packed, text = body[len(_XMP)], body[len(_XMP) + 2 :].split(b"\0", 2)[2]
                found[block], turned = apply_xmp_orientation(_inflate(text) if packed else text)
                turn = turn or turned
            else:
                texts.append((kind, body))
        except (ValueError, IndexError, struct.error, zlib.error) as error:
            words = f"its metadata block {kind.decode('latin-1')} is damaged and left out ({error})"
            damaged[words] = damaged.get(words, 0) + 1
    for words, times in damaged.items():
        note(name, words + f", {times} times" * (times > 1))
    return Metadata(**found, texts=tuple(texts)), turn


def _inflate(packed: bytes) -> bytes:
    text = zlib.decompressobj().decompress(packed, _LARGEST)
    if len(text) == _LARGEST:
        raise ValueError("too large")
    return text


def metadata_chunks(metadata: Metadata) -> bytes:
    """The chunks of metadata, which follow a PNG's header."""
    found = []
    if metadata.icc:
        found.append((b"iCCP", b"ICC\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        dots = (min(round(dots / 0.0254), (1 << 31) - 1) for dots in metadata.dpi)
        found.append((b"pHYs", struct.pack(">IIB", *dots, 1)))
    if metadata.exif:
        found.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        found.append((b"iTXt", _XMP + b"\0\0\0\0" + metadata.xmp))
    found += [(kind, body) for kind, body in metadata.texts if kind in _TEXTS
              and not (metadata.icc and kind == b"sRGB")]
    return b"".join(_chunk(kind, body) for kind, body in found)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
