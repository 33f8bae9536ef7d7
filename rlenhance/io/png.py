"""PNG chunks: libraries decode the pixels, and this module reads and writes the metadata.

A damaged text or profile is lost alone, without the image. (PNG, third edition, 5 and 11.3)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from rlenhance.io.exif import apply_orientation, apply_xmp_orientation
from rlenhance.io.limits import note
from rlenhance.io.photo import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"gAMA", b"cHRM", b"sRGB", b"cICP")
_XMP = b"XML:com.adobe.xmp\0"
_LARGEST = 1 << 24  # bytes of a profile or packet


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(kind, body, the whole chunk) of each chunk, as far as they go; a body whose checksum is wrong is cut to b""."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        whole = view[at : at + 12 + size]
        kind = bytes(whole[4:8])
        if kind in _PIXELS:
            yield kind, b"", bytes(whole)
        else:
            body = bytes(whole[8 : 8 + size])
            right = len(whole) == 12 + size and zlib.crc32(whole[4 : 8 + size]) == struct.unpack(">I", whole[-4:])[0]
            yield kind, body if right else b"", bytes(whole)
        at += 12 + size
        if kind == b"IEND":
            return


def strip_metadata(data: bytes) -> bytes:
    """The same PNG with the chunks of its pixels alone."""
    return SIGNATURE + b"".join(whole for kind, _, whole in chunks(data) if kind in _PIXELS)


def is_animated(data: bytes) -> bool:
    """Whether it has an animation control chunk."""
    return any(kind == b"acTL" for kind, _, _ in chunks(data))


def read_metadata(data: bytes, name: str) -> tuple[Metadata, int]:
    """Metadata and orientation (0 for none). Damaged blocks are left out with a warning."""
    found, turn = Metadata(), 0
    for kind, body, _ in chunks(data):
        if kind not in (b"iCCP", b"eXIf", b"pHYs", *_TEXTS):
            continue
        try:
            if not body:
                raise ValueError("wrong checksum")
            if kind == b"iCCP":
                found = replace(found, icc=_inflate(body.split(b"\0", 1)[1][1:]))
            elif kind == b"eXIf":
                block, turn = apply_orientation(body)
                found = replace(found, exif=block)
            elif kind == b"pHYs":
                across, down, unit = struct.unpack(">IIB", body)
                found = replace(found, dpi=(across * 0.0254, down * 0.0254) if unit == 1 else None)
            elif kind == b"iTXt" and body.startswith(_XMP):
                packed, text = body[len(_XMP)], body[len(_XMP) + 2 :].split(b"\0", 2)[2]
                packet, turned = apply_xmp_orientation(_inflate(text) if packed else text)
                found, turn = replace(found, xmp=packet), turn or turned
            else:
                found = replace(found, texts=(*found.texts, (kind, body)))
        except (ValueError, IndexError, struct.error, zlib.error) as error:
            note(name, f"its metadata block {kind.decode('latin-1')} is damaged and left out ({error})")
    return found, turn


def _inflate(packed: bytes) -> bytes:
    text = zlib.decompressobj().decompress(packed, _LARGEST)
    if len(text) == _LARGEST:
        raise ValueError("too large")
    return text


def metadata_chunks(metadata: Metadata) -> bytes:
    """The chunks of metadata, which follow a PNG's header."""
    found = b""
    if metadata.icc:
        found += _chunk(b"iCCP", b"ICC\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        found += _chunk(b"pHYs", struct.pack(">IIB", *(round(dots / 0.0254) for dots in metadata.dpi), 1))
    if metadata.exif:
        found += _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        found += _chunk(b"iTXt", _XMP + b"\0\0\0\0" + metadata.xmp)
    return found + b"".join(_chunk(kind, body) for kind, body in metadata.texts if kind in _TEXTS
                            and not (metadata.icc and kind == b"sRGB"))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
