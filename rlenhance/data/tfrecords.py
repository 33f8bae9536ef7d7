"""Images in TFRecord files, the format of CelebA-HQ: records found by their lengths and checked by their CRCs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.data.image_cache import ImageSource

_HEADER = 12  # bytes before the data: length and its CRC; the data's CRC, 4 bytes, follows it
_LARGEST = 1 << 30  # bytes of a record: a larger length means damage


@dataclass(frozen=True)
class TFRecordImage(ImageSource):
    """One image of a TFRecord file: a `tf.train.Example` with `shape` (C, H, W) and `data`, uint8 in that order.

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
        return _picture(data, self)

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


def _picture(data: bytes, record: TFRecordImage) -> np.ndarray:
    """The (H, W, 3) uint8 image of a serialised example."""
    features = dict(_features(data, record))
    if "shape" not in features or "data" not in features:
        raise UsageError(f"{record}: pictures are examples with the features shape and data; it has "
                         f"{', '.join(sorted(features)) or 'none'}")
    shape, values = features["shape"], features["data"]
    if isinstance(shape, bytes) or not isinstance(values, bytes):
        raise UsageError(f"{record}: shape is a list of int64 and data is bytes; here they are not")
    if len(shape) != 3 or shape[0] != 3 or min(shape) < 1 or np.prod(shape, dtype=object) != len(values):
        raise UsageError(f"{record}: a picture is (3, height, width) with as many bytes; its shape is {tuple(shape)}, "
                         f"its data {len(values)} bytes")
    return np.ascontiguousarray(np.frombuffer(values, np.uint8).reshape(shape).transpose(1, 2, 0))


def _features(data: bytes, record: TFRecordImage) -> Iterator[tuple[str, list[int] | bytes]]:
    """Names and values: Example.features (1) holds entries (1) of a key (1) and a Feature (2)."""
    for features in _messages(data, 1, record):
        for entry in _messages(features, 1, record):
            key = b"".join(_messages(entry, 1, record)).decode("utf-8", "replace")
            for feature in _messages(entry, 2, record):
                for texts in _messages(feature, 1, record):  # BytesList
                    yield key, b"".join(_messages(texts, 1, record))
                for numbers in _messages(feature, 3, record):  # Int64List, packed or not
                    yield key, [value for part in _fields(numbers, record) for value in part.numbers(record)]


@dataclass(frozen=True)
class _Field:
    """One field of a protocol buffer message: a number, or bytes."""

    number: int
    value: Any

    def numbers(self, record: TFRecordImage) -> list[int]:
        if isinstance(self.value, int):
            return [self.value]
        values, place = [], 0
        while place < len(self.value):
            value, place = _varint(self.value, place, record)
            values.append(value)
        return values


def _messages(data: bytes, number: int, record: TFRecordImage) -> list[bytes]:
    """The parts of a message with a field number."""
    return [field.value for field in _fields(data, record)
            if field.number == number and isinstance(field.value, bytes)]


def _fields(data: bytes, record: TFRecordImage) -> Iterator[_Field]:
    place = 0
    while place < len(data):
        tag, place = _varint(data, place, record)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = _varint(data, place, record)
            yield _Field(number, value)
            continue
        if kind == 2:
            size, place = _varint(data, place, record)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise UsageError(f"{record}: no tf.train.Example is in it")
        if place + size > len(data):
            raise UsageError(f"{record}: no tf.train.Example is in it")
        yield _Field(number, data[place : place + size])
        place += size


def _varint(data: bytes, place: int, record: TFRecordImage) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        byte = data[place]
        value, place = value | (byte & 127) << shift, place + 1
        if byte < 128:
            return value, place
    raise UsageError(f"{record}: no tf.train.Example is in it")


def masked_crc(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C, rotated right by 15 bits, plus a constant.

    Source: the definition of the format in TensorFlow's record_writer.
    """
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes: lanes of 256 bytes in parallel, then joined in pairs.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'

    Source: RFC 3720, B.4. Joining: the register is linear, so the bytes after a part advance its register as that
    many zero bytes would.
    """
    if len(data) < 4:
        register = np.array([0xFFFFFFFF], np.uint32)
        for byte in data:
            register = _advance(register ^ np.uint32(byte))
        return int(register[0]) ^ 0xFFFFFFFF
    lanes = 1 << max(0, (len(data) - 1 >> _LANE).bit_length())
    padded = np.zeros(lanes << _LANE, np.uint8)  # zeros before the data leave an empty register empty
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[len(padded) - len(data) :][:4] ^= 0xFF  # the same as a register that begins with ones
    columns = padded.reshape(lanes, -1).T.astype(np.uint32)
    register = np.zeros(lanes, np.uint32)
    for column in columns:
        register = _advance(register ^ column)
    level = _LANE
    while len(register) > 1:
        register = _zeros(register[0::2], level) ^ register[1::2]
        level += 1
    return int(register[0]) ^ 0xFFFFFFFF


_LANE = 8  # a lane is 2**_LANE bytes


@cache
def _table() -> np.ndarray:
    """The effect of a byte on an empty register, (256,) uint32."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(0x82F63B78), values >> 1)
    return values


def _advance(register: np.ndarray) -> np.ndarray:
    """Registers, the next byte added, advanced by one byte."""
    return _table()[register & 255] ^ register >> 8


@cache
def _operator(level: int) -> np.ndarray:
    """The effect of 2**level zero bytes on each bit of a register, (32,) uint32."""
    if level == 0:
        return _advance(np.uint32(1) << np.arange(32, dtype=np.uint32))
    return _zeros(_operator(level - 1), level - 1)


def _zeros(register: np.ndarray, level: int) -> np.ndarray:
    """Registers after 2**level zero bytes."""
    bits = (register[:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(bool)
    return np.bitwise_xor.reduce(np.where(bits, _operator(level), np.uint32(0)), axis=1)
