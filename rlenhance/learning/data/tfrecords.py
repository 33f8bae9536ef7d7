"""Images in TFRecord files, the format of CelebA-HQ: records found by their lengths and checked by their CRCs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.learning.data.image_cache import ImageSource

_HEADER = 12  # bytes before the data: length and its CRC; the data's CRC, 4 bytes, follows it
_LARGEST = 1 << 30  # bytes of a record: a larger length means damage


@dataclass(frozen=True)
class TFRecordImage(ImageSource):
    """One image of a TFRecord file: a `tf.train.Example` with `shape` and `data`, uint8 in that order.

    The shape is (H, W, 3), as in CelebA-HQ's files of Glow, which RSE-RL uses, or (3, H, W), as in those of progressive
    GANs.

    Attributes:
        file: the TFRecord file.
        number: of the record, from 0.
        place: offset of the record in bytes.
    """

    file: Path
    number: int
    place: int

    def read(self) -> np.ndarray:
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.place)
                length = _length(stream, self)
                data, check = stream.read(length), stream.read(4)
        except OSError as error:
            raise UsageError(f"{self.file}: cannot be read ({error.strerror})") from error
        if len(data) + len(check) < length + 4:
            raise UsageError(f"{self}: the file ends within it; it was cut off")
        if struct.unpack("<I", check)[0] != masked_crc(data):
            raise UsageError(f"{self}: its checksum is wrong; the file is damaged")
        return _decode(data, self)

    def __str__(self) -> str:
        return f"{self.file}, record {self.number}"


def records(path: Path | str) -> list[TFRecordImage]:
    """The images of a TFRecord file, found by the record lengths without reading the data.

    Raises:
        UsageError: no such file, no TFRecord file, or one that was cut off.
    """
    path, place = Path(path), 0
    found: list[TFRecordImage] = []
    try:
        end = path.stat().st_size
        with path.open("rb") as stream:
            while place < end:
                record = TFRecordImage(path, len(found), place)
                stream.seek(place)
                place += _HEADER + _length(stream, record) + 4
                if place > end:
                    raise UsageError(f"{record}: the file ends within it; it was cut off")
                found.append(record)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if not found:
        raise UsageError(f"{path}: an empty file, no record is in it")
    return found


def _length(stream: BinaryIO, record: TFRecordImage) -> int:
    header = stream.read(_HEADER)
    if len(header) < _HEADER:
        raise UsageError(f"{record}: the file ends within it; it was cut off")
    length, check = struct.unpack("<QI", header)
    if check != masked_crc(header[:8]) or length > _LARGEST:
        what = "no TFRecord file" if record.number == 0 else "the checksum of its length is wrong; the file is damaged"
        raise UsageError(f"{record}: {what}")
    return length


def _decode(data: bytes, record: TFRecordImage) -> np.ndarray:
    """The (H, W, 3) uint8 image of a serialised example."""
    try:
        features = dict(_features(data))
    except (IndexError, KeyError) as error:  # the bytes end too early, or a field has a type that does not exist
        raise UsageError(f"{record}: no tf.train.Example is in it") from error
    if "shape" not in features or "data" not in features:
        raise UsageError(f"{record}: pictures are examples with the features shape and data; it has "
                         f"{one_line(', '.join(sorted(features))) or 'none'}")
    shape, values = features["shape"], features["data"]
    if isinstance(shape, bytes) or not isinstance(values, bytes):
        raise UsageError(f"{record}: shape is a list of int64 and data is bytes; here they are not")
    if len(shape) != 3 or 3 not in (shape[0], shape[2]) or min(shape) < 1 or \
            np.prod(shape, dtype=object) != len(values):
        raise UsageError(f"{record}: a picture is (height, width, 3) or (3, height, width) with as many bytes; its "
                         f"shape is {tuple(shape)}, its data {len(values)} bytes")
    pixels = np.frombuffer(values, np.uint8).reshape(shape)
    return np.ascontiguousarray(pixels if shape[2] == 3 else pixels.transpose(1, 2, 0))


def _features(data: bytes) -> Iterator[tuple[str, list[int] | bytes]]:
    """Names and values: Example.features (1) holds entries (1) of a key (1) and a Feature (2)."""
    for features in _messages(data, 1):
        for entry in _messages(features, 1):
            key = b"".join(_messages(entry, 1)).decode("utf-8", "replace")
            for feature in _messages(entry, 2):
                for texts in _messages(feature, 1):  # BytesList
                    yield key, b"".join(_messages(texts, 1))
                for numbers in _messages(feature, 3):  # Int64List, packed or not
                    yield key, [number for _, value in _fields(numbers)
                                for number in ([value] if isinstance(value, int) else _varints(value))]


def _messages(data: bytes, number: int) -> list[bytes]:
    """The parts of a message with a field number."""
    return [value for found, value in _fields(data) if found == number and isinstance(value, bytes)]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer message: their numbers and values.

    Raises:
        IndexError, KeyError: it is not such a message.
    """
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        size, place = _varint(data, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        if place + size > len(data):
            raise IndexError("the message ends within a field")
        yield tag >> 3, data[place : place + size]
        place += size


def _varints(data: bytes) -> Iterator[int]:
    place = 0
    while place < len(data):
        value, place = _varint(data, place)
        yield value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte, and the place behind it."""
    value = shift = 0
    while data[place] > 127:
        value, shift, place = value | (data[place] & 127) << shift, shift + 7, place + 1
    return value | data[place] << shift, place + 1


def masked_crc(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C, rotated right by 15 bits, plus a constant.

    Source: the definition of the format in TensorFlow's record_writer.
    """
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes, block by block.

    The register is linear: after a block it is the sum, modulo 2, of what each byte of the block makes of an empty
    register, once the register before the block has been added to the block's first four bytes.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'

    Source: RFC 3720, B.4.
    """
    register = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK):
        block = np.frombuffer(data[start : start + _BLOCK], np.uint8).copy()
        block[:4] ^= np.frombuffer(register.to_bytes(4, "little"), np.uint8)[: len(block)]
        effects = _byte_effects()[-len(block) :][np.arange(len(block)), block]
        register = register >> 8 * len(block) ^ int(np.bitwise_xor.reduce(effects))
    return register ^ 0xFFFFFFFF


_BLOCK = 2048  # bytes


@cache
def _byte_effects() -> np.ndarray:
    """What one byte of a block, all others 0, makes of an empty register: (_BLOCK, 256) uint32, by place and value."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(0x82F63B78), values >> 1)
    rows = [values]
    for _ in range(_BLOCK - 1):  # one place further from the end of the block
        rows.append(values[rows[-1] & 255] ^ rows[-1] >> 8)
    return np.stack(rows[::-1])
