"""Blocks of SIDD in .mat files that are damaged: SciPy may crash in its child process, the caller gets one line."""

import functools
import io
import struct
import zlib

import numpy as np

from rlenhance.learning.data.sidd import validation_blocks
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property

_NAMES = {"noisy": "ValidationNoisyBlocksSrgb", "gt": "ValidationGtBlocksSrgb"}


@functools.cache
def _whole(role, compressed):
    from scipy.io import savemat

    file = io.BytesIO()
    blocks = np.arange(2 * 2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 2, 8, 8, 3)
    savemat(file, {_NAMES[role]: blocks}, do_compression=compressed)
    return file.getvalue()


def _packed(rng, data):
    """A variable that was damaged before it was compressed, so that its checksum is right."""
    element = damaged(rng, data[128:])
    packed = zlib.compress(element)
    return data[:128] + struct.pack("<II", 15, len(packed)) + packed


def _dimensions(rng, data):
    """Other sizes in the head of the variable."""
    at = data.index(struct.pack("<5i", 2, 2, 8, 8, 3)) + 4 * rng.randrange(5)
    number = rng.choice((0, -1, 1, 3, 255, 1 << 16, (1 << 31) - 1, -(1 << 31)))
    return data[:at] + struct.pack("<i", number) + data[at + 4 :]


def _types(rng, data):
    """Another type of the array or of its data."""
    at = 128 + 4 * rng.randrange(12)
    return data[:at] + struct.pack("<I", rng.choice((0, 1, 2, 5, 9, 14, 15, 17, 99, 0x0E00, 1 << 31))) + data[at + 4 :]


def cases(rng):
    """Damage to the bytes, to what is compressed, and to the sizes and types in the head."""
    plain, squeezed = _whole("noisy", False), _whole("noisy", True)
    while True:
        way, data = rng.choice(((damaged, plain), (damaged, squeezed), (_packed, plain), (_dimensions, plain),
                                (_types, plain)))
        yield Case("ValidationNoisyBlocksSrgb.mat", way(rng, data))


def check(case, folder):
    """List the blocks and read the last one."""
    noisy, clean = folder / case.name, folder / "ValidationGtBlocksSrgb.mat"
    noisy.write_bytes(case.data)
    clean.write_bytes(_whole("gt", False))
    found = validation_blocks(noisy)
    if len(found) != 4:
        raise Broken(f"{len(found)} blocks")
    for image in (found[-1].paths[0], found[0].paths[1]):
        pixels = image.read()
        if pixels.shape != (8, 8, 3) or pixels.dtype != np.uint8:
            raise Broken(f"a block of {pixels.shape} {pixels.dtype}")


PROPERTY = Property("mat_blocks", "A .mat file of blocks is read, or refused by name; a crash stays in its child.",
                    cases, check, share=0.5, seconds=30, mib=800, block=100, short=4)
