"""The corpus: every mode x depth x container x metadata goes in, and the same comes out."""

import io
import warnings

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from rlenhance.core.errors import UsageError
from rlenhance.io import decode, encode
from rlenhance.io.containers import CONTAINERS
from tests.support import corpus

EACH = pytest.mark.parametrize("case", corpus.cases(), ids=lambda case: f"{case.container}-{case.name}")
TOLERANCE = {"JPEG": 12, "WEBP": 12, "AVIF": 8, "HEIF": 8}
_PLAIN = [case for case in corpus.cases() if "13x9" in case.name and not case.metadata
          and not any(f"{number}-13x9" in case.name for number in (1, 2, 3))]
_HEAVY = {"AVIF", "HEIF"}  # their encoders take a second where cores are busy
PAIRS = [pytest.param(case, target, id=f"{case.container}-{case.name}-{target.name}",
                      marks=[pytest.mark.slow] if target.name in _HEAVY and case.container != "PNG" else [])
         for case in _PLAIN for target in CONTAINERS.values() if target.writable]


@pytest.fixture(autouse=True)
def _no_warning():
    """What needs no warning has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def _upright(array, case):
    return np.asarray(np.rot90(array, -1)) if case.metadata else array  # orientation 6


def _by_others(data, container):
    """(mode, bits, upright pixels (H, W, channels)) as other libraries than the package's way of reading see them."""
    if container == "TIFF":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            bits, channels = page.bitspersample, page.samplesperpixel
            if bits == 16:
                return ("L", "LA", "RGB", "RGBA")[channels - 1], 16, page.asarray().reshape(*page.shape[:2], -1)
    if container == "PNG" and data[24] == 16:
        array = imagecodecs.png_decode(data)
        array = array.reshape(*array.shape[:2], -1)
        return ("L", "LA", "RGB", "RGBA")[array.shape[2] - 1], 16, array
    if container == "HEIF":
        import pillow_heif

        image = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)[0]
        array = np.asarray(image)
        return image.mode.split(";")[0], image.info["bit_depth"], array.reshape(*array.shape[:2], -1)
    with Image.open(io.BytesIO(data)) as image:
        mode = image.mode
        image = ImageOps.exif_transpose(image)
        clear = mode in ("RGBA", "LA") or "transparency" in image.info
        wanted = "L" if mode == "1" else "LA" if mode == "LA" else "RGBA" if clear else "L" if mode == "L" else "RGB"
        array = np.asarray(image.convert(wanted))
        return mode, 1 if mode == "1" else 8, array.reshape(*array.shape[:2], -1)


def _planes(photo):
    """(H, W, channels) of a decoded file."""
    pixels = photo.pixels[..., :1] if photo.grey else photo.pixels
    return pixels if photo.alpha is None else np.concatenate([pixels, photo.alpha[..., None]], axis=2)


@EACH
def test_a_file_is_read_as_what_it_is(case):
    """Container, mode, depth, every level, upright."""
    photo = decode(case.data, case.name)
    assert (photo.encoding.container, photo.encoding.mode, photo.depth) == (case.container, case.mode, case.depth)
    assert photo.pixels.dtype == (np.uint16 if case.depth > 8 else np.uint8)
    if case.pixels is not None:
        assert np.array_equal(_planes(photo), _upright(case.pixels, case))


@EACH
def test_the_same_kind_of_file_comes_out(case):
    """Written again, other libraries see the same mode, depth and pixels (of lossy kinds nearly), and equal alpha."""
    photo = decode(case.data, case.name)
    if case.container == "AVIF" and case.depth > 8:
        with pytest.warns(UserWarning, match="8 bits per channel, the picture has 10"):
            encode(photo, ".avif")
        return
    mode, bits, pixels = _by_others(encode(photo, case.name[case.name.rindex("."):]), case.container)
    assert (mode, bits) == (case.mode, case.depth)
    expected = _planes(photo)
    assert pixels.shape == expected.shape
    if case.pixels is not None:
        assert np.array_equal(pixels, expected)
    else:
        apart = np.abs(pixels.astype(int) - expected) / (257 if bits > 8 else 1)
        assert apart[..., : 1 if photo.grey else 3].mean() < TOLERANCE[case.container]
        if photo.alpha is not None:
            assert np.array_equal(pixels[..., -1], photo.alpha)


@pytest.mark.parametrize("case", [case for case in corpus.cases() if case.metadata and "13x9" in case.name],
                         ids=lambda case: f"{case.container}-{case.name}")
def test_metadata_survives(case):
    """Camera, dates, exposure, the camera's own data, position, XMP, IPTC and profile stay; orientation becomes 1."""
    data = encode(decode(case.data, case.name), case.container)
    if case.container == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if case.container == "TIFF" and case.depth == 16:  # Pillow does not open all of them
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = {tag.code: tag.value for tag in file.pages[0].tags}
        assert (tags[corpus.MAKE], tags[corpus.DATE]) == ("Kamera", "2020:01:02 03:04:05")
        assert tags.get(corpus.ORIENTATION, 1) == 1
        assert bytes(tags[700]) == corpus.XMP.replace(b'Orientation="6"', b'Orientation="1"')
        assert (bytes(tags[33723]), tags[34675]) == (corpus.IPTC, corpus.profile("srgb"))
        return
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        exif, info = image.getexif(), image.info
        assert exif[corpus.MAKE] == "Kamera"
        assert exif[corpus.DATE] == "2020:01:02 03:04:05"
        assert exif.get(corpus.ORIENTATION, 1) == 1
        if case.container != "TIFF":  # tifffile wrote them without
            inner, place = exif.get_ifd(corpus.EXIF_IFD), exif.get_ifd(corpus.GPS_IFD)
            assert inner[corpus.TAKEN] == "2019:01:02 03:04:05"
            assert inner[corpus.EXPOSURE] == 0.02
            assert inner[corpus.MAKER_NOTE] == b"camera's own \x00\xff data"
            assert (place[1], [float(part) for part in place[2]]) == ("N", [52, 15.5, 7])
        packet = info.get("xmp") or image.getexif().get(700)
        assert packet == corpus.XMP.replace(b'Orientation="6"', b'Orientation="1"')
        assert info["icc_profile"] == corpus.profile("srgb")
        if case.container == "JPEG":
            assert info["photoshop"][0x0404] == corpus.IPTC
        if case.container == "TIFF":
            assert bytes(image.tag_v2[33723]) == corpus.IPTC
        if case.container == "PNG" and case.depth < 16:
            assert info["Title"] == "night"


@pytest.mark.parametrize("target", [".tif", ".png", ".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("deep", [False, True])
def test_metadata_moves_to_another_kind_of_file(target, deep):
    """The blocks of a JPEG or a 16-bit PNG arrive in every kind that can hold them, EXIF directory and all."""
    case = next(case for case in corpus.cases() if case.metadata and "13x9" in case.name
                and case.container == ("PNG" if deep else "JPEG") and case.mode == "RGB" and (case.depth == 16) == deep)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # depth, IPTC
        data = encode(decode(case.data, case.name), target)
    back = decode(data, f"x{target}")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        exif = image.getexif()
        inner, place = exif.get_ifd(corpus.EXIF_IFD), exif.get_ifd(corpus.GPS_IFD)
        assert inner[corpus.TAKEN] == "2019:01:02 03:04:05"
        assert inner[corpus.MAKER_NOTE] == b"camera's own \x00\xff data"
        assert [float(part) for part in place[2]] == [52, 15.5, 7]
    assert back.metadata.xmp == corpus.XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert back.metadata.icc == corpus.profile("srgb")


@pytest.mark.parametrize("case", [case for case in corpus.cases() if case.metadata and "13x9" in case.name],
                         ids=lambda case: f"{case.container}-{case.name}")
def test_strip_leaves_nothing(case):
    """Without metadata nothing of it stands in the file, by word or by block."""
    data = encode(decode(case.data, case.name), case.container, strip=True)
    for words in (b"Kamera", b"2020:01:02", b"adobe:ns:meta", b"street no", b"acspAPPL", b"night", b"ICC"):
        assert words not in data
    left = decode(data, case.name).metadata
    assert not (left.xmp or left.icc or left.iptc or left.texts)
    assert left.exif is None or len(left.exif) < 100


@pytest.mark.parametrize("case, target", PAIRS)
def test_every_kind_becomes_every_other(case, target):
    """Another kind of file holds the picture, with a warning where bits are lost; transparency is kept or refused."""
    photo = decode(case.data, case.name)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        if photo.alpha is not None and not target.alpha:
            with pytest.raises(UsageError, match="transparency"):
                encode(photo, target.name)
            return
        data = encode(photo, target.name)
    said = " ".join(str(warning.message) for warning in heard)
    assert ("bits per channel" in said) == (photo.depth > target.depth)
    assert "cannot hold its" not in said
    back = decode(data, f"x{target.extensions[0]}")
    assert back.pixels.shape == photo.pixels.shape

    def eighth(values):
        return values / (257 if values.dtype == np.uint16 else 1)

    if case.pixels is None or case.container in ("JPEG", "AVIF", "HEIF"):  # smooth
        assert np.abs(eighth(back.pixels) - eighth(photo.pixels)).mean() < 12
    elif target.name in ("PNG", "TIFF", "BMP"):
        assert np.abs(eighth(back.pixels) - eighth(photo.pixels)).max() <= (0.51 if target.depth < photo.depth else 0)
    if photo.alpha is not None and not (target.name == "HEIF" and photo.depth > 10):
        assert np.abs(eighth(back.alpha) - eighth(photo.alpha)).max() <= (0.51 if target.depth < photo.depth else 0)


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg", ".bmp"])
def test_three_by_forty_thousand(ending):
    """A strip of 3 x 40,000 pixels and one of 40,000 x 3 go in and out."""
    for size in ((40_000, 3), (3, 40_000)):
        photo = decode(corpus.encoded(Image.fromarray(corpus.smooth(*size, 3)), "PNG"), "strip.png")
        back = decode(encode(photo, ending), f"strip{ending}")
        assert np.abs(back.pixels.astype(int) - photo.pixels).mean() < 4


@pytest.mark.parametrize("ending, most", [(".webp", 16383), (".avif", 32768), (".heic", 16384)])
def test_a_strip_that_a_kind_of_file_cannot_hold_is_refused(ending, most):
    """WebP, AVIF and HEIC end at a number of pixels: the message says it, with the way out."""
    photo = decode(corpus.encoded(Image.new("RGB", (40_000, 3)), "PNG"), "strip.png")
    with pytest.raises(UsageError, match=f"at most {most} along a side; use the format png"):
        encode(photo, ending)
