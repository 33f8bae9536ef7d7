"""Damage bytes: what a bad disk, a broken transfer or a stranger with time makes of a file."""

import random
import struct

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(rng: random.Random, data: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """One to eight changes of bytes: bits, numbers at the edge of a range, cuts, repeats, parts of other files."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at, size = rng.randrange(len(found) + 1), min(1 << rng.randrange(12), 1 + len(found))
        way = rng.randrange(8)
        if way == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif way == 1 and at < len(found):
            found[at] = rng.randrange(256)
        elif way == 2:
            number = struct.pack(rng.choice("<>") + "I", rng.choice(_NUMBERS))
            number = number[:: rng.choice((1, -1))][: rng.choice((1, 2, 4))]
            found[at : at + len(number)] = number
        elif way == 3:
            del found[at : at + size]
        elif way == 4:
            del found[at:]
        elif way == 5:
            found[at:at] = rng.randbytes(size)
        elif way == 6:
            found[at:at] = found[at : at + size] * rng.choice((1, 2, 50))
        elif others:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            found[at : at + rng.choice((0, size))] = other[start : start + size]
    return bytes(found)
