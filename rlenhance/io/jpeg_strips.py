"""A large JPEG encoded strip by strip, in the memory of one strip.

Each strip is encoded as a picture of its own. Their entropy-coded data, joined with restart markers, are one scan of
the whole picture: a restart resets the prediction of the DC coefficients, as the beginning of a picture does, so that
the coefficients are those of the whole picture encoded at once. (ITU-T T.81, B.2.4.4 and F.1.1.5.1)
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np

#: Pixels of a strip, about; smaller pictures are encoded at once.
STRIP = 1 << 20
_LONGEST = 0xFFFF  # units between two restart markers, at most
_UNITS = {0: (8, 8), 1: (16, 8), 2: (16, 16)}  # Pillow's chroma subsampling -> width and height of a coded unit
_SOF0, _SOS = 0xC0, 0xDA


def strips_of(array: np.ndarray, subsampling: int) -> tuple[int, int]:
    """Rows of a strip, and the coded units that it holds.

    Args:
        array: (H, W, channels).
        subsampling: 0, 1 or 2, see Pillow.
    """
    width, height = (8, 8) if array.shape[2] == 1 else _UNITS[subsampling]
    across = -(-array.shape[1] // width)
    down = max(1, min(STRIP // (array.shape[1] * height), _LONGEST // across))
    return down * height, down * across


def encode_strips(array: np.ndarray, subsampling: int, encode: Callable[[np.ndarray, int], bytes]) -> bytes:
    """The bytes of a baseline JPEG.

    Args:
        array: (H, W, channels).
        subsampling: 0, 1 or 2, see Pillow.
        encode: encodes some rows as a baseline JPEG with the standard Huffman tables and a restart marker after so many
            coded units.
    """
    rows, units = strips_of(array, subsampling)
    file = io.BytesIO()  # parts to be joined would take their memory twice
    for part in _joined((encode(array[top : top + rows], units) for top in range(0, len(array), rows)), len(array)):
        file.write(part)
    return file.getvalue()


def _joined(strips: Iterator[bytes], height: int) -> Iterator[bytes]:
    for number, data in enumerate(strips):
        at, frame = 2, 0
        while data[at + 1] != _SOS:
            frame = at if data[at + 1] == _SOF0 else frame
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if number == 0:
            yield data[: frame + 5] + height.to_bytes(2, "big") + data[frame + 7 : at]
        else:
            yield bytes([0xFF, 0xD0 + (number - 1) % 8])
        yield data[at:-2]
    yield b"\xff\xd9"
