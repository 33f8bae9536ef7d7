"""Inputs that the stress suite found, in their shortest form."""

import math
import struct

import numpy as np
import pytest
import torch

from rlenhance import Completer, Upscaler
from rlenhance.core.errors import UsageError
from rlenhance.envs import CompletionEnv, CurveOracleEnv, DenoiseEnv, LowLightEnv
from rlenhance.io import exif
from rlenhance.io.decoder import decode
from rlenhance.learning.data.tfrecords import records
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


@pytest.mark.parametrize("change", [lambda array: array.astype(">f4"), lambda array: array.astype(">u2"),
                                    np.ma.masked_array, lambda array: array.astype(np.float16)])
def test_every_array_of_a_picture_is_taken(change):
    """Bytes in the other order, subclasses and half floats: the same kind and dtype, enlarged with a mask too."""
    picture = change(np.random.default_rng(0).random((12, 14, 3)).astype(np.float32))
    mask = np.arange(12)[:, None].repeat(14, axis=1) > 5
    result = Upscaler()(picture, mask=mask)
    assert result.shape == (48, 56, 3) and result.dtype == picture.dtype


@pytest.mark.parametrize("picture", [np.zeros((12, 14, 3), np.uint8), torch.zeros(3, 0, 5), torch.zeros(2, 3, 5, 0)])
def test_a_picture_without_anything_in_it_is_refused(picture):
    """One that is black all over has no rest that a hole could be filled from; one of size 0 has no pixels."""
    with pytest.raises(UsageError, match=r"black all over|empty"):
        Completer("laplace")(picture)


@pytest.mark.parametrize(("argument", "value"), [("size", 10**30), ("num_envs", math.nan), ("horizon", 10**9),
                                                 ("num_envs", True), ("size", 1.5), ("horizon", math.inf)])
@pytest.mark.parametrize("env", [LowLightEnv, CurveOracleEnv, CompletionEnv, DenoiseEnv])
def test_numbers_that_no_environment_can_have_are_named(env, argument, value):
    """They are asked before any data is opened."""
    with pytest.raises(UsageError, match=f"{argument} must be a whole number"):
        env(**{argument: value})


@pytest.mark.parametrize("device", ["", "/", "cuda:-1", "xpu"])
def test_a_device_that_is_not_there_is_named(device):
    """As it is for photographs."""
    with pytest.raises(UsageError, match="not available here"):
        LowLightEnv(device=device)


@pytest.mark.parametrize("ranges", [{"color": 0.5}, {"color": "abc"}, {"color": (0, 1)}])
def test_a_preference_without_its_three_numbers_is_named(ranges):
    """It was unpacked before it was looked at."""
    with pytest.raises(UsageError, match="preferences: color needs"):
        LowLightEnv(preferences=ranges)


def test_an_exif_block_whose_directories_overlap_is_left_out():
    """The height in its EXIF directory is also the length of the first one: they are swapped, and it is another."""
    entry = struct.Struct("<HHII").pack
    block = (b"II*\0" + struct.pack("<IH", 30, 2) + entry(0xA002, 4, 1, 400) + entry(0xA003, 4, 1, 2 | 0x0112 << 16)
             + struct.pack("<HII", 3, 1, 6) + entry(exif.EXIF_IFD, 4, 1, 8) + b"\0\0\0\0")
    assert exif.EXIF_IFD in exif.directories(block)
    with pytest.raises((ValueError, struct.error)):
        exif.apply_orientation(block)
