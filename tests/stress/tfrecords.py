"""TFRecord files: what is listed can be read or is refused by name, and reading twice gives the same."""

import struct

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.learning.data.tfrecords import masked_crc, records
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property


def _field(number, body):
    return bytes([number << 3 | 2]) + _varint(len(body)) + body


def _varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def example(shape, pixels):
    """A serialised tf.train.Example of a picture."""
    shape = _field(3, _field(1, b"".join(map(_varint, shape))))
    parts = ((b"shape", shape), (b"data", _field(1, _field(1, pixels))))
    return _field(1, b"".join(_field(1, _field(1, key) + _field(2, value)) for key, value in parts))


def record(data, length=None):
    """A record with right checksums."""
    head = struct.pack("<Q", len(data) if length is None else length)
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


def cases(rng):
    """Damage to whole files, and to examples whose checksums are right again."""
    while True:
        height, width = rng.randrange(1, 9), rng.randrange(1, 9)
        shape = rng.choice([(height, width, 3), (3, height, width), (height, width), (0, 0, 3), (1 << 40, 1 << 40, 3),
                            (2**64 - 1, 2**64 - 1, 3)])
        whole = example(shape, rng.randbytes(3 * height * width))
        way = rng.randrange(3)
        if way == 0:
            data = record(damaged(rng, whole))
        elif way == 1:
            data = damaged(rng, record(whole) + record(whole))
        else:
            data = record(whole) + record(whole, rng.choice((0, 1, 1 << 30, (1 << 30) + 1, 1 << 63, 2**64 - 1)))
        yield Case("faces.tfrecords", data)


def check(case, folder):
    """All records of a file."""
    path = folder / case.name
    path.write_bytes(case.data)
    refused = None
    for found in records(path):
        try:
            one, other = found.read(), found.read()
        except UsageError as error:
            refused = error
            continue
        if one.dtype != np.uint8 or one.ndim != 3 or one.shape[2] != 3 or not one.size:
            raise Broken(f"a picture of {one.shape} {one.dtype}")
        if not np.array_equal(one, other):
            raise Broken("reading twice gives different pixels")
    if refused:
        raise refused


PROPERTY = Property("tfrecords", "Every record of a TFRecord file is a picture, or refused by the file's name.", cases,
                    check, share=0.3, seconds=5, mib=200, block=500, short=40)
