"""Files: nothing is lost on the way in and out, nothing is half written, and what cannot be read is named."""

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from rlenhance.core.errors import UsageError
from rlenhance.io import EXTENSIONS, Photo, exif, list_photos, read, write
from rlenhance.io import files as photo_files
from tests.support import corpus

ORIENTATION, STRIP_OFFSETS, BITS_PER_SAMPLE = 0x0112, 0x0111, 0x0102


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path, ending, orientation):
    """All eight EXIF orientations are applied as Pillow applies them, and nothing asks for a second turn."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if ending == ".webp" else {}
    Image.fromarray(corpus.smooth(24, 36, 3)).save(tmp_path / f"in{ending}", exif=exif, **lossless)
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
    small = corpus.smooth(24, 36, 3)
    deep = small.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if ending == ".png":
        (tmp_path / "in.png").write_bytes(corpus.png16(deep, exif=exif.tobytes()))
    else:
        tifffile.imwrite(tmp_path / "in.tif", deep, photometric="rgb", extratags=[(ORIENTATION, "H", 1, orientation,
                                                                                   True)])
    with Image.open(io.BytesIO(corpus.encoded(Image.fromarray(small), "PNG", exif=exif))) as image:
        upright = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16) * 257
    assert np.array_equal(read(tmp_path / f"in{ending}").pixels, upright)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_color_profile_survives(tmp_path, ending):
    """The colour profile is written back byte by byte."""
    profile = bytes(range(256)) * 2
    Image.fromarray(corpus.smooth(24, 36, 3)).save(tmp_path / f"in{ending}", icc_profile=profile)
    write(read(tmp_path / f"in{ending}"), tmp_path / f"out{ending}")
    with Image.open(tmp_path / f"out{ending}") as image:
        assert image.info.get("icc_profile") == profile


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_tiff_becomes_another_kind_of_file(tmp_path, ending):
    """The tags that lay out a TIFF do not spoil the JPEG, PNG or WebP that it becomes."""
    tifffile.imwrite(tmp_path / "in.tif", corpus.noise((6000, 4, 3)), photometric="rgb", rowsperstrip=1)
    photo = read(tmp_path / "in.tif")
    assert read(write(photo, tmp_path / f"out{ending}")).pixels.shape == (6000, 4, 3)
    with Image.open(tmp_path / f"out{ending}") as image:
        assert not {STRIP_OFFSETS, BITS_PER_SAMPLE} & set(image.getexif())


def _frames(count=2):
    return [Image.fromarray(corpus.noise((8, 8, 3), seed=seed)) for seed in range(count)]


def _animated(kind):
    first, *rest = _frames()
    return corpus.encoded(first, kind, save_all=True, append_images=rest)


_PHOTO = Image.fromarray(corpus.noise((32, 40, 3)))
_BAD = {
    "empty.jpg": b"",
    "cut.jpg": corpus.encoded(_PHOTO, "JPEG")[:700],
    "cut.png": corpus.encoded(_PHOTO, "PNG")[:2000],
    "cut.webp": corpus.encoded(_PHOTO, "WEBP")[:500],
    "cut.tif": corpus.encoded(_PHOTO, "TIFF")[:2000],
    "cut16.png": corpus.png16(corpus.noise((32, 40, 3), np.uint16))[:4000],
    "text.jpg": b"this is a letter, not a photograph",
    "print.jpg": corpus.encoded(_PHOTO.convert("CMYK"), "JPEG"),
    "moving.gif": _animated("GIF"),
    "moving.png": _animated("PNG"),
    "moving.webp": _animated("WEBP"),
    "pages.tif": _animated("TIFF"),
    "float.tif": corpus.encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"),
    "lab.tif": corpus.encoded(_PHOTO.convert("LAB"), "TIFF"),
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
    array = corpus.noise((6, 7, 3), np.uint16)
    buffer = io.BytesIO()
    if kind == "TIFF16":
        tifffile.imwrite(buffer, array, photometric="rgb")
    data = {"PNG16": corpus.png16(array), "TIFF16": buffer.getvalue()}.get(kind) or corpus.encoded(
        Image.fromarray(corpus.noise((6, 7, 3))), kind)
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
    path = write(corpus.smooth(24, 36, 3), tmp_path / "night.png")
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(photo_files.os, "replace", refuse)
    with pytest.raises(UsageError, match=r"night\.png: cannot be written"):
        write(corpus.noise((8, 8, 3)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_place_that_cannot_be_a_folder_is_named(tmp_path):
    """A file in the way of a folder is named."""
    (tmp_path / "way").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write(corpus.smooth(24, 36, 3), tmp_path / "way" / "night.png")


@pytest.mark.parametrize("name", ["夜景.png", "🌙 night.jpg", "with space.tif", "a.b.c.webp", "-o.bmp",
                                  "夜" * 83 + ".png", "🌙" * 60 + ".png", "n" * 251 + ".png"],
                         ids=lambda name: f"{name[:5]}-{len(name)}")
def test_names_are_taken_as_they_are(tmp_path, name):
    """CJK, emoji, spaces, dots, and as long as the disk takes them: the file of that name appears in a new folder."""
    path = write(corpus.smooth(24, 36, 3), tmp_path / "new folder" / name)
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
