"""Large JPEGs: encoded strip by strip, and decoded without Pillow's image, they are what Pillow makes of them."""

import io

import numpy as np
import pytest
from PIL import Image

from rlenhance.core.errors import UsageError
from rlenhance.io import decode, encode, encoder, jpeg


def _picture(height, width, channels=3):
    noise = np.random.default_rng(0).integers(0, 60, (height, width, channels))
    return (noise + np.linspace(0, 190, width)[:, None]).astype(np.uint8)


def _pillow(array, **options):
    file = io.BytesIO()
    Image.fromarray(array.squeeze()).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(("height", "width", "channels"), [(211, 97, 3), (64, 17, 3), (150, 40, 1), (16, 16, 3)])
def test_strips_are_the_picture_encoded_at_once(monkeypatch, subsampling, height, width, channels):
    """Every coefficient: the decoded pixels are equal, for whole and for broken last strips."""
    monkeypatch.setattr(jpeg, "STRIP", 20 * width)
    array = _picture(height, width, channels)
    options = {"quality": 90, "subsampling": subsampling}
    joined = jpeg.encode_strips(
        array, subsampling, lambda rows, units: _pillow(rows, restart_marker_blocks=units, **options))
    for decoded in (np.asarray(Image.open(io.BytesIO(joined))), decode(joined, "x.jpg").pixels[..., :channels]):
        assert np.array_equal(decoded.reshape(array.shape),
                              np.asarray(Image.open(io.BytesIO(_pillow(array, **options)))).reshape(array.shape))


def test_units_between_restarts_fit_the_format():
    """Their number has 16 bits, also for the widest picture."""
    for width in (1, 8, 4_000, 65_500):
        for subsampling in (0, 1, 2):
            rows, units = jpeg.strips_of(np.empty((0, width, 3), np.uint8), subsampling)
            assert 0 < units <= 65_535 and rows % 8 == 0


def test_a_large_photograph_keeps_its_tables_and_metadata(monkeypatch):
    """As one that is encoded at once."""
    monkeypatch.setattr(jpeg, "STRIP", 1000)
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    photo = decode(_pillow(_picture(120, 80), quality=97, subsampling=1, exif=exif.tobytes(), dpi=(300, 300)), "x.jpg")
    whole = encode(photo, ".jpg")
    monkeypatch.setattr(encoder, "STRIP", 1000)
    strips = encode(photo, ".jpg")
    assert b"\xff\xd0" in strips and len(strips) != len(whole)
    one, other = decode(whole, "x.jpg"), decode(strips, "x.jpg")
    assert np.array_equal(one.pixels, other.pixels)
    assert one.metadata == other.metadata and one.encoding == other.encoding


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"keep_rgb": True}, {"subsampling": 0}])
def test_a_jpeg_is_read_as_pillow_reads_it(options):
    """Every pixel."""
    data = _pillow(_picture(45, 33), quality=85, **options)
    assert np.array_equal(decode(data, "x.jpg").pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_off_anywhere_is_refused(progressive):
    """Its decoder alone would fill up with grey."""
    data = _pillow(_picture(45, 33), progressive=progressive)
    for end in range(len(data) // 2, len(data), 97):
        with pytest.raises(UsageError, match="damaged or truncated"):
            decode(data[:end], "x.jpg")
    assert decode(data + b"more", "x.jpg").pixels.shape == (45, 33, 3)
