"""Files: nothing is lost on the way in and out, nothing is half written, and what cannot be read is named."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from rlenhance.core.errors import UsageError
from rlenhance.io import EXTENSIONS, Photo, exif, list_photos, read, write
from rlenhance.io import files as photo_files

DATE, TAKEN, ORIENTATION, EXIF_IFD, STRIP_OFFSETS, BITS_PER_SAMPLE = 0x0132, 0x9003, 0x0112, 0x8769, 0x0111, 0x0102


def _noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def _smooth(height=24, width=36):
    """A picture without symmetry whose corners differ, and which JPEG hardly changes."""
    down, across = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    return np.rint(np.stack([down, across, 0.3 * down + 0.2], axis=2) * 200).astype(np.uint8)


def _png16(array, exif=None):
    """A 16-bit PNG written by hand: (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)."""
    array = array[..., None] if array.ndim == 2 else array
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), *([(b"eXIf", exif)] if exif else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def _encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _same(one, other):
    assert np.array_equal(one.pixels, other.pixels)
    assert one.pixels.dtype == other.pixels.dtype
    assert one.grey == other.grey
    assert (one.alpha is None) == (other.alpha is None)
    assert one.alpha is None or np.array_equal(one.alpha, other.alpha)


@pytest.mark.parametrize("mode, endings", [
    ("RGB", (".png", ".tif", ".tiff", ".bmp")), ("L", (".png", ".tif", ".bmp")), ("RGBA", (".png", ".tiff")),
    ("LA", (".png",)), ("P", (".png", ".bmp")), ("1", (".png",)),
])
def test_eight_bit_files_come_back_as_they_were(tmp_path, mode, endings):
    """Whatever its colour mode, a picture that was read and written again has the same pixels and the same kind."""
    channels = {"RGB": 3, "RGBA": 4, "LA": 2}.get(mode)
    if mode == "P":
        image = Image.fromarray(_noise((9, 13, 3))).quantize(16)
    elif mode == "1":
        image = Image.fromarray(_noise((9, 13)) > 127)
    else:
        image = Image.fromarray(_noise((9, 13, channels) if channels else (9, 13)))
    assert image.mode == mode
    for ending in endings:
        image.save(tmp_path / f"in{ending}")
        photo = read(tmp_path / f"in{ending}")
        assert np.array_equal(photo.pixels, np.asarray(image.convert("RGB")))
        assert photo.grey == (mode in ("L", "LA", "1"))
        assert (photo.alpha is not None) == ("A" in mode)
        _same(read(write(photo, tmp_path / f"out{ending}")), photo)


def test_palette_with_transparency_keeps_both(tmp_path):
    """A palette picture with a transparent colour comes back with that colour and that transparency."""
    image = Image.fromarray(_noise((9, 13, 3))).quantize(8)
    image.save(tmp_path / "in.png", transparency=2)
    photo = read(tmp_path / "in.png")
    assert np.array_equal(photo.alpha == 0, np.asarray(image) == 2)
    _same(read(write(photo, tmp_path / "out.png")), photo)


@pytest.mark.parametrize("channels", [None, 2, 3, 4])
def test_sixteen_bit_png_keeps_every_level(tmp_path, channels):
    """Grey or colour, with or without transparency: 16 bits stay 16 bits, exactly."""
    array = _noise((9, 13, channels) if channels else (9, 13), np.uint16)
    (tmp_path / "in.png").write_bytes(_png16(array))
    photo = read(tmp_path / "in.png")
    planes = array[..., None] if channels is None else array
    color = planes[..., :3] if planes.shape[2] > 2 else planes[..., :1]
    assert np.array_equal(photo.pixels, np.broadcast_to(color, (9, 13, 3)))
    if channels in (2, 4):
        assert np.array_equal(photo.alpha, planes[..., -1])
    assert not (photo.grey and channels in (3, 4))
    _same(read(write(photo, tmp_path / "out.png")), photo)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [None, 3])
def test_sixteen_bit_tiff_keeps_every_level(tmp_path, channels, compression):
    """A 16-bit TIFF is read as its own library wrote it, and written back the same."""
    array = _noise((9, 13, channels) if channels else (9, 13), np.uint16)
    photometric = "rgb" if channels else "minisblack"
    tifffile.imwrite(tmp_path / "in.tif", array, photometric=photometric, compression=compression)
    photo = read(tmp_path / "in.tif")
    assert np.array_equal(photo.pixels, array if channels else np.repeat(array[..., None], 3, axis=2))
    assert photo.grey == (channels is None)
    _same(read(write(photo, tmp_path / "out.tiff")), photo)
    with tifffile.TiffFile(tmp_path / "out.tiff") as tiff:
        assert (tiff.pages[0].bitspersample, tiff.pages[0].samplesperpixel) == (16, channels or 1)


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".webp"])
def test_lossy_files_come_back_nearly(tmp_path, ending):
    """A lossy kind of file keeps a smooth picture within a few of 255 levels."""
    picture = _smooth()
    back = read(write(picture, tmp_path / f"out{ending}")).pixels
    assert np.abs(back.astype(int) - picture).mean() < 2


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif"])
def test_transparency_is_byte_equal(tmp_path, ending):
    """Transparency is never touched, even where the colours are stored with loss."""
    photo = Photo(_smooth(), alpha=_noise((24, 36)))
    assert np.array_equal(read(write(photo, tmp_path / f"out{ending}")).alpha, photo.alpha)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path, ending, orientation):
    """All eight EXIF orientations are applied as Pillow applies them, and nothing asks for a second turn."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if ending == ".webp" else {}
    Image.fromarray(_smooth()).save(tmp_path / f"in{ending}", exif=exif, **lossless)
    photo = read(tmp_path / f"in{ending}")
    with Image.open(tmp_path / f"in{ending}") as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(photo.pixels, upright)
    assert photo.pixels.shape[:2] == ((36, 24) if orientation >= 5 else (24, 36))
    again = read(write(photo, tmp_path / f"out{ending}")).pixels
    assert again.shape == upright.shape
    assert np.abs(again.astype(int) - upright).mean() < 3
    with Image.open(tmp_path / f"out{ending}") as image:
        assert image.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_orientation_is_applied_to_sixteen_bits(tmp_path, ending, orientation):
    """A 16-bit file is turned as the same picture in 8 bits is."""
    small = _smooth()
    deep = small.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if ending == ".png":
        (tmp_path / "in.png").write_bytes(_png16(deep, exif.tobytes().removeprefix(b"Exif\0\0")))
    else:
        tifffile.imwrite(tmp_path / "in.tif", deep, photometric="rgb", extratags=[(ORIENTATION, "H", 1, orientation,
                                                                                   True)])
    with Image.open(io.BytesIO(_encoded(Image.fromarray(small), "PNG", exif=exif))) as image:
        upright = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16) * 257
    assert np.array_equal(read(tmp_path / f"in{ending}").pixels, upright)


def _dated():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[DATE] = "2020:01:02 03:04:05"
    exif.get_ifd(EXIF_IFD)[TAKEN] = "2019:01:02 03:04:05"
    return exif


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_date_survives(tmp_path, ending):
    """The dates of a photograph are still in it after it was read and written; its orientation is reset."""
    Image.fromarray(_smooth()).save(tmp_path / f"in{ending}", exif=_dated().tobytes())
    write(read(tmp_path / f"in{ending}"), tmp_path / f"out{ending}")
    with Image.open(tmp_path / f"in{ending}") as image:
        taken = image.getexif().get_ifd(EXIF_IFD).get(TAKEN)
    with Image.open(tmp_path / f"out{ending}") as image:
        exif = image.getexif()
        assert exif[DATE] == "2020:01:02 03:04:05"
        assert exif.get_ifd(EXIF_IFD).get(TAKEN) == taken
        assert exif.get(ORIENTATION, 1) == 1


def test_date_survives_in_sixteen_bits(tmp_path):
    """A 16-bit photograph keeps its date too."""
    (tmp_path / "in.png").write_bytes(_png16(_noise((9, 13, 3), np.uint16), _dated().tobytes().removeprefix(
        b"Exif\0\0")))
    write(read(tmp_path / "in.png"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.getexif().get(DATE) == "2020:01:02 03:04:05"


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_color_profile_survives(tmp_path, ending):
    """The colour profile is written back byte by byte."""
    profile = bytes(range(256)) * 2
    Image.fromarray(_smooth()).save(tmp_path / f"in{ending}", icc_profile=profile)
    write(read(tmp_path / f"in{ending}"), tmp_path / f"out{ending}")
    with Image.open(tmp_path / f"out{ending}") as image:
        assert image.info.get("icc_profile") == profile


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_tiff_becomes_another_kind_of_file(tmp_path, ending):
    """The tags that lay out a TIFF do not spoil the JPEG, PNG or WebP that it becomes."""
    tifffile.imwrite(tmp_path / "in.tif", _noise((6000, 4, 3)), photometric="rgb", rowsperstrip=1)
    photo = read(tmp_path / "in.tif")
    assert read(write(photo, tmp_path / f"out{ending}")).pixels.shape == (6000, 4, 3)
    with Image.open(tmp_path / f"out{ending}") as image:
        assert not {STRIP_OFFSETS, BITS_PER_SAMPLE} & set(image.getexif())


def _frames(count=2):
    return [Image.fromarray(_noise((8, 8, 3), seed=seed)) for seed in range(count)]


def _animated(kind):
    first, *rest = _frames()
    return _encoded(first, kind, save_all=True, append_images=rest)


_PHOTO = Image.fromarray(_noise((32, 40, 3)))
_BAD = {
    "empty.jpg": b"",
    "cut.jpg": _encoded(_PHOTO, "JPEG")[:700],
    "cut.png": _encoded(_PHOTO, "PNG")[:2000],
    "cut.webp": _encoded(_PHOTO, "WEBP")[:500],
    "cut.tif": _encoded(_PHOTO, "TIFF")[:2000],
    "cut16.png": _png16(_noise((32, 40, 3), np.uint16))[:4000],
    "text.jpg": b"this is a letter, not a photograph",
    "print.jpg": _encoded(_PHOTO.convert("CMYK"), "JPEG"),
    "moving.gif": _animated("GIF"),
    "moving.png": _animated("PNG"),
    "moving.webp": _animated("WEBP"),
    "pages.tif": _animated("TIFF"),
    "float.tif": _encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"),
    "lab.tif": _encoded(_PHOTO.convert("LAB"), "TIFF"),
}


@pytest.mark.parametrize("name", _BAD)
def test_what_cannot_be_read_is_named(tmp_path, name):
    """Empty, cut off, not a picture, animated or for print: the message names the file and says what is wrong."""
    (tmp_path / name).write_bytes(_BAD[name])
    with pytest.raises(UsageError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_missing_file_and_folder_are_named(tmp_path):
    """A file that is not there, and a folder in its place, are told apart from a bad picture."""
    (tmp_path / "folder.jpg").mkdir()
    for name in ("nowhere.jpg", "folder.jpg"):
        with pytest.raises(UsageError, match=rf"{name}: cannot be read"):
            read(tmp_path / name)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PNG16", "TIFF16"])
def test_damage_never_surprises(tmp_path, kind):
    """Cut anywhere or with bytes overwritten, a file is read or refused; nothing else can happen."""
    array = _noise((6, 7, 3), np.uint16)
    buffer = io.BytesIO()
    if kind == "TIFF16":
        tifffile.imwrite(buffer, array, photometric="rgb")
    data = {"PNG16": _png16(array), "TIFF16": buffer.getvalue()}.get(kind) or _encoded(
        Image.fromarray(_noise((6, 7, 3))), kind)
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    cuts = [data[: int(at)] for at in np.linspace(1, len(data) - 1, 40)]
    hits = []
    for _ in range(80):
        hit = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 3):
            hit[at] = int(rng.integers(256))
        hits.append(bytes(hit))
    for damaged in cuts + hits:
        path.write_bytes(damaged)
        with suppress(UsageError):
            read(path)


@pytest.mark.parametrize("photo, name", [
    (Photo(np.zeros((4, 4, 3), np.uint8), alpha=np.zeros((4, 4), np.uint8)), "clear.jpg"),
    (Photo(np.zeros((4, 4, 3), np.uint8), alpha=np.zeros((4, 4), np.uint8)), "clear.bmp"),
    (Photo(np.zeros((4, 4, 3), np.uint8)), "kind.xyz"),
    (Photo(np.zeros((4, 4, 3), np.uint8)), "no_ending"),
    (Photo(np.zeros((1, 17000, 3), np.uint8)), "wide.webp"),
    (Photo(np.zeros((1, 70000, 3), np.uint8)), "wide.jpg"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_kind_of_file_cannot_hold_is_refused(tmp_path, photo, name):
    """16 bits, transparency or a size that the kind of file cannot hold is refused, and nothing is left behind."""
    with pytest.raises(UsageError):
        write(photo, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """When the last step fails, the old file stands as it was and nothing lies beside it."""
    path = write(_smooth(), tmp_path / "night.png")
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(photo_files.os, "replace", refuse)
    with pytest.raises(UsageError, match=r"night\.png: cannot be written"):
        write(_noise((8, 8, 3)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_place_that_cannot_be_a_folder_is_named(tmp_path):
    """A file in the way of a folder is named."""
    (tmp_path / "way").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write(_smooth(), tmp_path / "way" / "night.png")


@pytest.mark.parametrize("name", ["夜景.png", "🌙 night.jpg", "with space.tif", "a.b.c.webp", "-o.bmp",
                                  "夜" * 83 + ".png", "🌙" * 60 + ".png", "n" * 251 + ".png"],
                         ids=lambda name: f"{name[:5]}-{len(name)}")
def test_names_are_taken_as_they_are(tmp_path, name):
    """CJK, emoji, spaces, dots, and as long as the disk takes them: the file of that name appears in a new folder."""
    path = write(_smooth(), tmp_path / "new folder" / name)
    assert [p.name for p in path.parent.iterdir()] == [name]
    assert read(path).pixels.shape == (24, 36, 3)


def test_folder_lists_pictures_only(tmp_path):
    """Pictures are listed by name whatever the case of their ending; hidden files and folders are passed over."""
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_photos(tmp_path)] == ["a.png", "b.JPG"]


def test_folder_without_pictures_is_refused(tmp_path):
    """An empty folder, and one that is not there, are refused with the endings that count."""
    with pytest.raises(UsageError, match=EXTENSIONS[0]):
        list_photos(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        list_photos(tmp_path / "nowhere")


def test_an_exif_block_that_ends_within_an_entry_keeps_its_length():
    """A quarter turn swaps width and height; the entry of the height was cut off, and the block grew shorter."""
    entry = struct.Struct("<HHII").pack
    block = (b"II*\0" + struct.pack("<IH", 8, 2) + entry(exif.ORIENTATION, 3, 1, 6) + entry(exif.EXIF_IFD, 4, 1, 38)
             + b"\0\0\0\0" + struct.pack("<H", 2) + entry(0xA002, 4, 1, 400) + entry(0xA003, 4, 1, 300)[:6])
    with pytest.raises(struct.error):
        exif.apply_orientation(block)
    whole = block + struct.pack("<IH", 300, 0)
    assert len(exif.apply_orientation(whole)[0]) == len(whole)


def test_an_exif_block_whose_directories_overlap_is_left_out():
    """The height in its EXIF directory is also the length of the first one: they are swapped, and it is another."""
    entry = struct.Struct("<HHII").pack
    block = (b"II*\0" + struct.pack("<IH", 30, 2) + entry(0xA002, 4, 1, 400) + entry(0xA003, 4, 1, 2 | 0x0112 << 16)
             + struct.pack("<HII", 3, 1, 6) + entry(exif.EXIF_IFD, 4, 1, 8) + b"\0\0\0\0")
    assert exif.EXIF_IFD in exif.directories(block)
    with pytest.raises((ValueError, struct.error)):
        exif.apply_orientation(block)
