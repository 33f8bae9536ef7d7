"""Inputs that the stress suite found, in their shortest form."""

import struct

import pytest

from rlenhance.core.errors import UsageError
from rlenhance.data.tfrecords import records
from rlenhance.io import exif
from rlenhance.io.decode import decode
from tests.stress.tfrecords import example, record
from tests.support import corpus


def test_an_exif_block_that_ends_within_an_entry_keeps_its_length():
    """A quarter turn swaps width and height; the entry of the height was cut off, and the block grew shorter."""
    entry = struct.Struct("<HHII").pack
    block = (b"II*\0" + struct.pack("<IH", 8, 2) + entry(exif.ORIENTATION, 3, 1, 6) + entry(exif.EXIF_IFD, 4, 1, 38)
             + b"\0\0\0\0" + struct.pack("<H", 2) + entry(0xA002, 4, 1, 400) + entry(0xA003, 4, 1, 300)[:6])
    with pytest.raises(struct.error):
        exif.apply_orientation(block)
    whole = block + struct.pack("<IH", 300, 0)
    assert len(exif.apply_orientation(whole)[0]) == len(whole)


def test_a_refusal_is_one_line_whatever_a_library_says():
    """libheif ends its messages with a line break."""
    whole = next(case.data for case in corpus.cases() if case.container == "HEIF")
    with pytest.raises(UsageError, match="damaged") as refused:
        decode(whole[:-20], "a.heic")
    assert "\n" not in str(refused.value)


def test_a_refusal_is_one_line_whatever_a_file_says(tmp_path):
    """The name of a feature may hold anything."""
    path = tmp_path / "a.tfrecords"
    path.write_bytes(record(example((1, 1, 3), b"abc").replace(b"shape", b"s\n\x1b\x07e")))
    with pytest.raises(UsageError, match="features shape and data") as refused:
        records(path)[0].read()
    assert str(refused.value).isprintable()
