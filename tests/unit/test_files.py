"""Files that are hostile, odd or wide: each has one decided behaviour, and nothing is lost or half written."""

import io
import re
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.io import Photo, PhotoWarning, decode, encode, make_plan, read, run_batch, write
from rlenhance.io.containers import CONTAINERS, WRITABLE, container_of
from rlenhance.io.photo import Metadata
from rlenhance.io.profiles import MatrixProfile, Profile, WideGamut, open_profile, to_srgb
from tests.support import corpus


def _seeds():
    """One small file of each kind, with everything in it."""
    picked = {(case.container, case.depth): case for case in corpus.cases() if "13x9" in case.name
              and "A" not in case.mode and (case.metadata or case.container in ("BMP", "AVIF"))}
    return [(case.name, case.data) for case in picked.values()] + [("raw.dng", corpus.dng())]


def _mutated(data, rng):
    """Bits flipped, bytes overwritten, cut, or a piece moved."""
    hit = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        at = int(rng.integers(0, min(len(hit), 600) if rng.random() < 0.5 else len(hit)))
        hit[at] ^= 1 << int(rng.integers(8)) if rng.random() < 0.7 else int(rng.integers(1, 256))
    if rng.random() < 0.3:
        del hit[int(rng.integers(0, len(hit))):]
    elif rng.random() < 0.1:
        at, size = rng.integers(0, len(hit), 2)
        hit[at:at] = hit[size : size + 40]
    return bytes(hit)


def _fuzz(folder, count, seed):
    """Mutated files through a whole batch: each is written whole or named, and stays as it was."""
    rng = np.random.default_rng(seed)
    seeds = _seeds()
    sources = {}
    (folder / "in").mkdir()
    for number in range(count):
        name, data = seeds[number % len(seeds)]
        path = folder / "in" / f"{number:04d}-{name}"
        sources[path] = _mutated(data, rng)
        path.write_bytes(sources[path])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = make_plan([folder / "in"], folder / "out")
        outcomes = list(run_batch(plan, lambda photo: (photo.map_pixels(lambda pixels: pixels // 2), {}),
                                  max_in_flight=2, megapixels=1))
        assert len(outcomes) == count
        for outcome in outcomes:
            assert (outcome.written is None) == (outcome.error is not None)
            if outcome.written:
                read(outcome.written)
    assert {path: path.read_bytes() for path in sources} == sources
    assert {path for path in (folder / "out").iterdir()} == {one.written for one in outcomes if one.written}
    return outcomes


@pytest.mark.timeout(240)
def test_two_hundred_mutated_files(tmp_path):
    """Flipped bits and cuts: no crash, no half-written file, no source touched; some survive and some are refused."""
    outcomes = _fuzz(tmp_path, 200, seed=1)
    assert 20 < sum(outcome.error is None for outcome in outcomes) < 180


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_thousand_mutated_files(tmp_path):
    """The same, ten times as many and other ones."""
    _fuzz(tmp_path, 2000, seed=2)


# --- limits and odd files


def _png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")))


def _tiff_header(bits):
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4, 3), np.uint16 if bits == 16 else np.uint8), photometric="rgb")
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tag = tiff.pages[0].tags[name]
            struct.pack_into("<HII", data, tag.offset + 2, 4, 1, 60_000)
    return bytes(data)


@pytest.mark.parametrize("data, name", [(_png_header(60_000, 60_000), "bomb.png"), (_tiff_header(8), "bomb.tif"),
                                        (_tiff_header(16), "deep.tif")], ids=["png", "tiff", "tiff16"])
def test_bombs_are_refused_by_their_header(data, name):
    """A tiny file that promises 3,600 megapixels is refused before anything is decoded; the limit can be moved."""
    with pytest.raises(UsageError, match="60000x60000 pixels are 3600"):
        decode(data, name)
    with pytest.raises(UsageError, match=r"damaged|memory"):
        decode(_png_header(600, 600), name, megapixels=1)


@pytest.mark.parametrize("case", [case for case in corpus.cases() if "RGB" in case.name and "13x9." in case.name],
                         ids=lambda case: case.name)
def test_every_kind_obeys_the_limit(case):
    """117 pixels are taken at that limit, and refused just below it."""
    decode(case.data, case.name, megapixels=117e-6)
    with pytest.raises(UsageError, match="megapixels"):
        decode(case.data, case.name, megapixels=116e-6)


def test_content_decides_and_a_note_says_so():
    """A JPEG that is called .png is read as a JPEG."""
    data = corpus.encoded(Image.fromarray(corpus.smooth(9, 13, 3)), "JPEG")
    with pytest.warns(PhotoWarning, match=r"night\.png: is a JPEG whatever its ending says"):
        photo = decode(data, "night.png")
    assert photo.encoding.container == "JPEG"


@pytest.mark.parametrize("data, word", [(b"GIF89a....", "a GIF"), (b"%PDF-1.7", "a PDF"), (b"hello", "not a picture"),
                                        (b"", r"empty \(0 bytes\)")])
def test_what_is_no_picture_is_named(data, word):
    """Other kinds of file are called by their name."""
    with pytest.raises(UsageError, match=f"x.jpg: .*{word}"):
        decode(data, "x.jpg")


def test_a_preview_in_a_tiff_is_no_second_page():
    """A reduced picture beside the photograph does not make the file a document; a second page does."""
    for kind, taken in ((1, True), (0, False)):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(corpus.noise((9, 13, 3)), photometric="rgb")
            writer.write(corpus.noise((3, 4, 3)), photometric="rgb", subfiletype=kind)
        if taken:
            assert decode(file.getvalue(), "x.tif").pixels.shape == (9, 13, 3)
        else:
            with pytest.raises(UsageError, match="holds 2 pages; save one page"):
                decode(file.getvalue(), "x.tif")


def test_a_phone_s_jpeg_with_a_second_picture_is_taken():
    """A JPEG with a preview or gain map behind it (MPO) is a photograph, and a note says what is left behind."""
    first, second = (Image.fromarray(corpus.smooth(size, size, 3)) for size in (24, 12))
    data = corpus.encoded(first, "MPO", save_all=True, append_images=[second])
    with pytest.warns(PhotoWarning, match="holds 2 pictures"):
        photo = decode(data, "phone.jpg")
    assert photo.pixels.shape == (24, 24, 3)
    assert photo.encoding.container == "JPEG"


@pytest.mark.parametrize("damage", ["exif", "icc", "text"])
def test_damaged_metadata_is_left_out_with_a_warning(damage):
    """Broken EXIF, profile or text costs a note, not the photograph."""
    image = Image.fromarray(corpus.smooth(9, 13, 3))
    if damage == "exif":
        data = corpus.encoded(image, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    else:
        data = corpus.png16(corpus.noise((9, 13, 3), np.uint16), exif=corpus.make_exif(1).tobytes(),
                            icc=corpus.profile("p3"))
        at = data.index(b"iCCP" if damage == "icc" else b"iTXt") + 20
        data = data[:at] + b"!" + data[at + 1 :]
    with pytest.warns(PhotoWarning, match="damaged and left out"):
        assert decode(data, "x.jpg" if damage == "exif" else "x.png").pixels.shape == (9, 13, 3)


# --- colour profiles


def _in_profile(name, dtype=np.uint8):
    pixels = corpus.noise((40, 50, 3), dtype)
    return Photo(pixels, metadata=Metadata(icc=corpus.profile(name))), pixels


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["p3", "adobe", "prophoto"])
def test_a_wide_picture_goes_to_srgb_and_back(name, dtype, ending):
    """Read, it is sRGB as Little CMS says; written without a change, it is the same file content, profile and all."""
    from imagecodecs import cms_profile, cms_transform

    stored, pixels = _in_profile(name, dtype)
    data = encode(stored, ending)
    photo = decode(data, f"x{ending}")
    exact = cms_transform((pixels / np.iinfo(dtype).max).astype(np.float32), corpus.profile(name), cms_profile("srgb"),
                          colorspace="rgb", outcolorspace="rgb", outdtype=np.float32, intent=1)
    assert np.abs(photo.pixels / 65535 - np.clip(exact, 0, 1)).max() < 1.5e-3
    same = photo.map_pixels(lambda seen: seen.copy())
    again = encode(same, ending)
    untagged = decode(again, f"x{ending}")
    assert np.array_equal(untagged.wide_gamut.original, pixels)
    assert untagged.metadata.icc == corpus.profile(name)
    assert untagged.depth == 8 * np.dtype(dtype).itemsize


@pytest.mark.parametrize("name", ["p3", "adobe", "prophoto"])
def test_the_same_scene_gets_the_same_enhancement(name):
    """Colours inside sRGB, stored wide or not, are the same colours after the same change."""
    scene = np.clip(corpus.smooth(30, 40, 3).astype(np.uint16) * 257 // 2 + 4000, 0, 65535)
    profile = open_profile(corpus.profile(name))
    stored = WideGamut(profile, np.zeros((1, 1, 3), np.uint16)).back(scene)
    seen = to_srgb(stored, profile)
    assert np.abs(seen.astype(int) - scene).max() < 40
    brighter = np.minimum(seen * 1.3, 65535).astype(np.uint16)
    back = WideGamut(profile, stored).back(brighter)
    assert np.abs(to_srgb(back, profile).astype(int) - brighter).max() < 60


def test_a_change_keeps_colours_beyond_srgb():
    """The red of Display P3, made brighter or darker, is still redder than sRGB can be."""
    profile = open_profile(corpus.profile("p3"))
    red = np.tile(np.uint8([200, 20, 20]), (4, 4, 1))
    seen = to_srgb(red, profile)
    darker = WideGamut(profile, red).back((seen * 0.8).astype(np.uint16))
    assert profile.to_linear(darker)[..., 1].max() < -0.001
    assert 110 < darker[0, 0, 0] < 190


def test_a_profile_of_curves_and_matrix_is_recognised_and_srgb_is_none():
    """The fast path is taken for what is three curves and a matrix; sRGB needs no conversion at all."""
    for name in ("p3", "adobe", "prophoto"):
        found = open_profile(corpus.profile(name))
        assert isinstance(found, MatrixProfile)
        slow = Profile(corpus.profile(name))
        some = corpus.noise((5, 6, 3), np.uint16)
        assert np.abs(found.to_linear(some) - slow.to_linear(some)).max() < 1e-3
        light = np.random.default_rng(0).random((5, 6, 3), dtype=np.float32)
        apart = found.from_linear(light, np.uint16).astype(int) - slow.from_linear(light, np.uint16)
        assert np.abs(apart).max() < 30
    assert open_profile(corpus.profile("srgb")) is None


def test_stripping_and_plain_files_give_srgb():
    """Where no profile can stand, the colours are sRGB and not the wide codes under a wrong name."""
    stored, _ = _in_profile("prophoto")
    photo = decode(encode(stored, ".png"), "x.png")
    shown = np.rint(photo.pixels / 257).astype(int)
    for data in (encode(photo, ".png", strip=True), encode(photo, ".png", strip=True)):
        assert np.abs(decode(data, "y.png").pixels.astype(int) - shown).max() <= 1
    with pytest.warns(PhotoWarning, match="BMP cannot hold its ICC"):
        plain = decode(encode(photo, ".bmp"), "y.bmp")
    assert np.abs(plain.pixels.astype(int) - shown).max() <= 1


# --- transparency, palettes, JPEG


def test_hidden_colours_move_nothing_and_stay():
    """What is written under alpha 0 is not seen by the change, and stands in the result as it was."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 2:6] = 200
    results, hidden = [], alpha == 0
    for secret in (0, 255):
        pixels = np.full((8, 8, 3), 90, np.uint8)
        pixels[hidden] = secret
        results.append(Photo(pixels, alpha).map_pixels(lambda seen: seen + np.uint8(seen.mean() / 3)))
        assert (results[-1].pixels[hidden] == secret).all()
        assert results[-1].alpha is alpha
    assert np.array_equal(results[0].pixels[~hidden], results[1].pixels[~hidden])


def test_a_palette_stays_one():
    """A palette file whose result has more than 256 colours gets the nearest 256, and a note with the way out."""
    photo = decode(corpus.encoded(Image.fromarray(corpus.noise((40, 50, 3))).quantize(200), "PNG"), "x.png")
    more = photo.with_pixels(corpus.noise((40, 50, 3), seed=3))
    with pytest.warns(PhotoWarning, match="256 colours.*formats webp and tiff"):
        data = encode(more, ".png")
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "P"
    assert np.abs(decode(data, "y.png").pixels.astype(int) - more.pixels).mean() < 40


@pytest.mark.parametrize("quality", [98, 93, 60])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_its_quality(quality, subsampling):
    """Tables and subsampling are the source's; a quality below 92 is raised to it, since bright shadows show blocks."""
    data = corpus.encoded(Image.fromarray(corpus.noise((32, 32, 3))), "JPEG", quality=quality, subsampling=subsampling)
    again = encode(decode(data, "x.jpg"), ".jpg")
    floor = corpus.encoded(Image.fromarray(corpus.noise((32, 32, 3))), "JPEG", quality=92, subsampling=subsampling)
    with Image.open(io.BytesIO(data if quality >= 92 else floor)) as one, Image.open(io.BytesIO(again)) as other:
        assert one.quantization == other.quantization
        assert one.layer == other.layer
    small = encode(decode(data, "x.jpg"), ".jpg", quality=40)
    assert len(small) < len(again)


def test_quality_is_checked():
    """A quality outside 1 to 100, or for a kind of file without one, is refused."""
    photo = Photo(corpus.smooth(9, 13, 3))
    for kind, quality, word in ((".jpg", 0, "between 1 and 100"), (".jpg", 101, "and 100"), (".png", 90, "has none")):
        with pytest.raises(UsageError, match=word):
            encode(photo, kind, quality=quality)


# --- extras


def test_raw_is_developed_and_not_its_preview(tmp_path):
    """A DNG gives 16 bits of the mosaic (grey), not the green preview; it is written as TIFF with its camera."""
    (tmp_path / "night.dng").write_bytes(corpus.dng())
    photo = read(tmp_path / "night.dng")
    assert (photo.pixels.shape, photo.pixels.dtype, photo.encoding.container) == ((40, 60, 3), np.uint16, "RAW")
    expected = 1.055 * (4096 / 16383) ** (1 / 2.4) - 0.055
    assert np.abs(photo.pixels / 65535 - expected).max() < 0.02
    (job,) = make_plan([tmp_path / "night.dng"]).jobs
    assert job.target.name == "night_enhanced.tif"
    back = read(write(photo, job.target))
    assert np.array_equal(back.pixels, photo.pixels)
    assert b"Kamera" in back.metadata.exif
    with pytest.raises(UsageError, match="RAW cannot be written: use the format tiff"):
        encode(photo, ".dng")
    renamed = decode(corpus.dng(), "night.tif")  # its tag tells, not its name
    assert np.array_equal(renamed.pixels, photo.pixels)


@pytest.mark.parametrize("module, extra, name", [("rawpy", "raw", "x.dng"), ("pillow_heif", "heif", "x.heic")])
def test_a_missing_extra_names_its_line(monkeypatch, module, extra, name):
    """Without the library the message says what to install."""
    data = corpus.dng() if extra == "raw" else next(c.data for c in corpus.cases() if c.container == "HEIF")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=re.escape(install_line(extra))):
        decode(data, name)


def test_endings_and_kinds():
    """Every ending belongs to one kind, and what is written can be asked for by its name or its ending."""
    assert {container_of(ending).name for ending in WRITABLE} == set(CONTAINERS) - {"RAW"}
    for word in ("jpg", ".JPG", "jpeg", "JPEG"):
        assert container_of(word).name == "JPEG"


@pytest.mark.parametrize("name", ["夜景 🌙.heic", "-dash.avif", "with space.dng"])
def test_names_of_new_kinds(tmp_path, monkeypatch, name):
    """CJK, emoji, spaces and a leading dash in the names of the newer kinds."""
    monkeypatch.chdir(tmp_path)
    case = {".heic": "HEIF", ".avif": "AVIF"}.get(name[name.rindex("."):])
    data = corpus.dng() if case is None else next(c.data for c in corpus.cases() if c.container == case)
    (tmp_path / name).write_bytes(data)
    photo = read(name)
    out = write(photo, f"out-{name}" if case else "out-raw.tif")
    assert read(out).pixels.shape == photo.pixels.shape
