"""Small files that took minutes or gigabytes, or ended in a traceback: each is read or refused, soon."""

import resource
import struct
import time
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import PhotoWarning, decode, encode, isolate, jpeg, png, tiff, write
from rlenhance.io.directory import entry
from rlenhance.io.exif import EXIF_IFD, make_block
from rlenhance.io.isolate import run_isolated
from rlenhance.io.video_codec import VideoTranscoder, probe
from rlenhance.learning.data.tfrecords import records
from tests.stress.tfrecords import example, record
from tests.support import corpus
from tests.support.clips import make_clip

_PIXELS = corpus.smooth(9, 13, 3)


def _jpeg(**options):
    return corpus.encoded(Image.fromarray(_PIXELS), "JPEG", **options)


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(*chunks):
    whole = corpus.encoded(Image.fromarray(_PIXELS), "PNG")
    return whole[:33] + b"".join(_chunk(*each) for each in chunks) + whole[33:]


def _segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def _tiff(*changes, array=_PIXELS):
    """What tifffile writes, with entries (tag, type, count, value) in the place of its own, or added."""
    data = corpus.tiff(array)
    at, = struct.unpack_from("<I", data, 4)
    count, = struct.unpack_from("<H", data, at)
    rows = [struct.unpack_from("<HHII", data, at + 2 + 12 * k) for k in range(count)]
    rows = [row for row in rows if row[0] not in [tag for tag, *_ in changes]] + list(changes)
    rows.sort(key=lambda row: row[0])
    new = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows) + bytes(4)
    data += bytes(len(data) % 2)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + new


def _quietly(data, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PhotoWarning)
        return decode(data, name)


@pytest.mark.parametrize("data, name, words", [
    (_tiff((277, 3, 1, 500), array=_PIXELS.astype(np.uint16)), "a.tif", "500 channels"),
    (_tiff((32997, 4, 1, 1000), array=_PIXELS.astype(np.uint16)), "a.tif", "several slices"),
    (_tiff((256, 3, 1, 13), (256, 3, 1, 13_000)), "a.tif", "256 stands twice"),
    (_tiff((256, 3, 1, 13_000), (257, 3, 1, 13_000), (278, 3, 1, 13_000)), "a.tif", "cannot hold 13000x13000"),
    (_tiff((278, 4, 1, 1)), "a.tif", "1 of its 9 strips"),
    (_tiff((322, 4, 1, 1 << 14), (323, 4, 1, 1 << 14)), "a.tif", "tiles have 16384x16384"),
    (_jpeg()[:2] + b"\xff\x01" * 20_000 + _jpeg()[2:], "a.jpg", "10000 segments"),
    (_jpeg(progressive=True)[:-2] + _segment(0xDA, b"\1\1\0\1\x3f\0") * 2000 + b"\xff\xd9", "a.jpg", "64 scans"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_file_cannot_hold_is_refused(data, name, words):
    """By its head, before memory is taken."""
    with pytest.raises(UsageError, match=f"{name}: .*{words}"):
        decode(data, name)


def _times(make, count):
    found = []
    for each in (count, 8 * count):
        data, name = make(each)
        best = []
        for _ in range(3):
            start = time.process_time()
            _quietly(data, name)
            best.append(time.process_time() - start)
        found.append(min(best))
    return found


MANY = {
    "texts of a PNG": lambda count: (_png(*[(b"tEXt", b"a\0b")] * count), "a.png"),
    "profiles of a PNG": lambda count: (_png(*[(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 20)))] * (count // 50)),
                                        "a.png"),
    "EXIF of a JPEG": lambda count: (_jpeg()[:2] + _segment(0xE1, b"Exif\0\0" + bytes(65_000)) * (count // 10)
                                     + _jpeg()[2:], "a.jpg"),
    "fill bytes of a JPEG": lambda count: (_jpeg()[:2] + b"\xff" * 100 * count + _jpeg()[2:], "a.jpg"),
    "bytes between segments of a JPEG": lambda count: (_jpeg()[:2] + b"\xff\0a" * 100 * count + _jpeg()[2:], "a.jpg"),
    "tags of a TIFF": lambda count: (_tiff(*[(40_000 + k % 10_000, 1, 1000, 8) for k in range(count)],
                                            array=np.zeros((100, 100, 3), np.uint8)), "a.tif"),
}


@pytest.mark.parametrize("make", MANY.values(), ids=MANY)
def test_metadata_is_read_in_linear_time(make):
    """Eight times as much takes less than 24 times as long; quadratic time would be 64 times."""
    few, many = _times(make, 2000)
    assert many < 24 * few + 0.05


def test_texts_and_segments_beyond_the_limit_are_named():
    """The picture is read; the first ones are kept."""
    with pytest.warns(PhotoWarning, match="tEXt is .*left out .there are 1000 texts before it., 5 times"):
        photo = decode(_png(*[(b"tEXt", b"a\0%d" % k) for k in range(png.MOST_TEXTS + 5)]), "a.png")
    assert [body for _, body in photo.metadata.texts] == [b"a\0%d" % k for k in range(png.MOST_TEXTS)]
    comments = b"".join(_segment(0xFE, b"%d" % k) for k in range(jpeg.MOST_METADATA))
    extended = _segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(9)) * 400
    with pytest.warns(PhotoWarning, match="a.jpg: 1 segments of its metadata are left out: 300 are read"):
        photo = decode(_jpeg()[:2] + extended + comments + _jpeg()[2:], "a.jpg")
    assert photo.pixels.shape == (9, 13, 3)
    assert jpeg.bounded(_jpeg()) == (_jpeg(), b"", 0)


def test_an_8_bit_tiff_of_any_size_is_read(monkeypatch):
    """Pillow's own limit of pixels, which is global to the process, does not hold for it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert np.array_equal(decode(corpus.tiff(_PIXELS), "a.tif").pixels, _PIXELS)


_KINDS = {1: b"\7", 2: b"a", 3: b"\1\2", 4: b"\1\2\3\4", 5: b"\1\2\3\4\0\0\0\0", 6: b"\xff", 7: b"\0", 8: b"\xff\xff",
          9: b"\xff\xff\xff\xff", 10: bytes(8), 11: b"\0\0\xc0\x7f", 12: b"\0\0\0\0\0\0\xf8\x7f", 13: b"\1\2\3\4",
          16: bytes(8), 14: b"\0", 0: b"\0", 255: b"\0", 65_535: b"\0"}


def odd_blocks():
    """(what it is, block) of EXIF: every tag of some x type x count."""
    for order in "<>":
        for tag in (0x010E, 0x0112, 0x0132, 0x013B, 0x8769, 0x8825, 0x9003, 0x927C, 0xA002, 0xA005, 0x8298, 0xFFFF):
            for kind, one in _KINDS.items():
                for count in (0, 1, 3, 1000, (1 << 32) - 1):
                    body = one * min(count, 1000)
                    inline = len(body) <= 4
                    row = struct.pack(f"{order}HHI", tag, kind, count) + (
                        body.ljust(4, b"\0") if inline else struct.pack(f"{order}I", 26))
                    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1)
                    yield f"{order}{tag:x}-{kind}-{count}", head + row + bytes(4) + b"" * inline + body


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff", "avif"])
def test_odd_exif_never_stops_a_photograph(kind):
    """Every type and count is read and written; what cannot be is left out with a warning."""
    blocks = list(odd_blocks())
    photo = decode(_jpeg(), "a.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PhotoWarning)
        for name, block in blocks if kind != "avif" else blocks[::40]:
            written = encode(replace(photo, metadata=replace(photo.metadata, exif=block)), kind)
            again = decode(written, f"a.{kind}")
            assert again.pixels.shape in ((9, 13, 3), (13, 9, 3)), name
            encode(again, "tiff")


def test_a_tag_of_an_odd_type_is_kept_from_container_to_container():
    """ImageDescription as numbers of 64 bits, and one that stands in the EXIF directory."""
    block = make_block({0x010E: entry(12, 0, 1), EXIF_IFD: {0x9286: entry(11, 3), 0xA005: {1: entry(1, 82)}}})
    photo = replace(decode(_jpeg(), "a.jpg"), name="a.jpg")
    photo = replace(photo, metadata=replace(photo.metadata, exif=block))
    for kind in ("tiff", "png", "tiff", "jpg", "tiff"):
        photo = decode(encode(photo, kind), f"a.{kind}")
        assert photo.metadata.exif == block


def test_a_thousand_tags_go_from_a_png_into_a_jpeg_and_a_tiff():
    """Those that a JPEG has no room for are left out with a warning."""
    tags = {1000 + 7 * k: entry(1, *range(100)) for k in range(1000) if 1000 + 7 * k not in (33723, 34675)}
    photo = decode(_png((b"eXIf", make_block(tags))), "a.png")
    with pytest.warns(PhotoWarning, match="its EXIF is too large for a JPEG; it is left out"):
        assert decode(encode(photo, "jpg"), "a.jpg").metadata.exif is None
    assert decode(encode(photo, "tiff"), "a.tif").metadata.exif == photo.metadata.exif


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "avif"])
def test_exif_that_claims_more_than_it_has_is_left_out(kind):
    """Five thousand tags that share 60,000 bytes: 300 MB, if each were read."""
    count, at = 4000, 8 + 2 + 12 * 4000 + 4
    rows = b"".join(struct.pack("<HHII", 1000 + k, 1, 12_000, at) for k in range(count))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + rows + bytes(4 + 12_000)
    kinds = {"jpg": "JPEG"}
    options = {} if kind == "png" else {"exif": b"Exif\0\0" + block}
    if kind == "avif":
        data = corpus.encoded(Image.fromarray(_PIXELS), "AVIF", exif=corpus.make_exif(1).tobytes())
        assert decode(data, "a.avif").metadata.exif
    data = _png((b"eXIf", block)) if kind == "png" else corpus.encoded(
        Image.fromarray(_PIXELS), kinds.get(kind, kind.upper()), **options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.warns(PhotoWarning, match="left out .its tags claim more than its"):
        assert decode(data, f"a.{kind}").metadata.exif is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10


def test_two_thousand_tags_that_share_a_block_take_no_memory():
    """They claim a gigabyte; the metadata is left out, and the picture is read."""
    data = _tiff(*[(40_000 + k, 1, 600_000, 8) for k in range(2000)], array=np.zeros((500, 500, 3), np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.warns(PhotoWarning, match="claim more than its .* bytes"):
        decode(data, "a.tif")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_a_clip_whose_texts_are_no_utf_8_is_named(tmp_path):
    """PyAV decodes every text that it finds."""
    path = make_clip(tmp_path / "a.mkv", times=range(2), texts={"title": "NIGHTNIGHT"})
    path.write_bytes(path.read_bytes().replace(b"NIGHTNIGHT", b"NIGHT\xe9\xff\xfeHT"))
    with pytest.raises(UsageError, match=r"a.mkv: damaged .a text in it is no UTF-8"):
        picture, _ = probe(path)
        VideoTranscoder(path, picture, tmp_path / "b.mkv", "matroska", tmp_path / "b.mkv")


def test_a_file_is_read_as_far_as_a_picture_can_reach(tmp_path, monkeypatch, capsys):
    """What lies behind a picture costs no memory: more than its megapixels can take is refused, from anywhere."""
    import io

    from rlenhance.io.files import read_bounded
    from rlenhance.io.limits import most_bytes

    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            self.taken += size
            return (b"\xff\xd8\xff" + bytes(size))[:size]

    stream = Endless()
    with pytest.raises(UsageError, match=r"endless: holds more than 67 MB, .*raise the limit \(megapixels\)"):
        read_bounded(stream, "endless", 1)
    assert stream.taken <= most_bytes(b"\xff\xd8", 1) + (8 << 20)
    write(np.full((40, 60, 3), 90, np.uint8), tmp_path / "padded.jpg")
    with open(tmp_path / "padded.jpg", "ab") as file:
        file.truncate(200 << 20)  # zeros that take no room on the disk
    assert main(["denoise", str(tmp_path / "padded.jpg"), "-o", str(tmp_path / "x.jpg"), "--max-megapixels", "10"]) == 2
    assert "raise the limit (--max-megapixels)" in capsys.readouterr().err
    assert most_bytes(b"II*\0", 150) > 150e6 * 6  # an honest TIFF with 16 bits


@pytest.mark.parametrize("name", ["12:30.mp4", "http:/127.0.0.1:{port}/a.mp4", "file:/a.mp4", "concat:a.mp4", "-.mp4"])
def test_the_name_of_a_clip_is_a_name(name, tmp_path, monkeypatch):
    """Never an address or an option for FFmpeg: the clip is enhanced where it lies, and nobody is called."""
    import socket

    from tests.support.clips import make_clip

    pytest.importorskip("av")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        place = tmp_path / name.format(port=listener.getsockname()[1])
        place.parent.mkdir(parents=True, exist_ok=True)
        make_clip(tmp_path / "a.mp4", times=range(3)).rename(place)
        monkeypatch.chdir(tmp_path)
        assert main(["enhance", "-r", ".", "-o", "out", "--denoise", "0", "-q"]) == 0
        with pytest.raises(TimeoutError):
            listener.accept()
    assert (tmp_path / "out" / place.relative_to(tmp_path)).is_file()


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile secret.mp4\n", "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n",
                                  "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"])
@pytest.mark.parametrize("ending", [".mp4", ".ts", ".mkv"])
def test_a_list_of_other_files_is_no_clip(text, ending, tmp_path, monkeypatch, capsys):
    """What it names is not read: the frames of a result are those of the file that was named."""
    from tests.support.clips import make_clip

    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "secret.mp4", times=range(3))
    (tmp_path / f"list{ending}").write_text(text)
    assert main(["enhance", f"list{ending}", "-o", f"out{ending}"]) == 2
    assert f"list{ending}: " in capsys.readouterr().err and not (tmp_path / f"out{ending}").exists()


def test_the_limits_hold_for_clips(tmp_path, monkeypatch, capsys):
    """Size before the first frame is decoded, whatever the name says; all frames in a child where a time is named."""
    from rlenhance.io import video_codec
    from tests.support.clips import make_clip

    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4", times=range(3))
    write(np.zeros((300, 400, 3), np.uint8), tmp_path / "still.png")
    (tmp_path / "still.png").rename(tmp_path / "still.mp4")
    for name, more, said in (("still.mp4", [], "no clip"), ("a.mp4", ["--max-megapixels", "1e-4"], "--max-megapixels"),
                             ("a.mp4", ["--decode-timeout", "0.001"], "--decode-timeout")):
        assert main(["enhance", name, "-o", "out.mp4", *more]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "out.mp4").exists()
    assert main(["enhance", "a.mp4", "-o", "out.mp4", "--decode-timeout", "20"]) == 0
    calls = []
    monkeypatch.setattr(video_codec, "run_isolated", lambda function, *_, **limits: calls.append(limits) or 0.0)
    video_codec.try_in_child(tmp_path / "a.mp4", megapixels=10, seconds=3)
    assert len(calls) == 2 and all(0 < call["memory"] < 2000 and call["seconds"] == 3 for call in calls)


def test_references_have_the_limits_of_photographs(tmp_path, monkeypatch, capsys):
    """A style, a region, a mask, a series and a score: the same size and the same child."""
    monkeypatch.chdir(tmp_path)
    write(np.full((20, 30, 3), 60, np.uint8), tmp_path / "night.png")
    write(np.full((200, 300, 3), 60, np.uint8), tmp_path / "large.png")
    for words in (["enhance", "night.png", "--match-style", "large.png"],
                  ["enhance", "night.png", "--match-series=large.png"],
                  ["enhance", "night.png", "--region", "large.png"], ["complete", "night.png", "--mask", "large.png"],
                  ["score", "night.png", "--reference", "large.png"]):
        assert main([*words, "--max-megapixels", "0.01"]) == 2, words
        assert "large.png: 300x200 pixels are 0.06 megapixels" in capsys.readouterr().err, words

        def late(*arguments, name, seconds, **limits):
            if str(name) == "large.png":
                raise UsageError(f"{name}: more than {seconds:g} seconds")
            return run_isolated(*arguments, name=name, seconds=seconds, **limits)

        monkeypatch.setattr(isolate, "run_isolated", late)
        assert main([*words, "--decode-timeout", "7.5"]) == 2, words
        assert "large.png: more than 7.5 seconds" in capsys.readouterr().err, words
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.png", "night.png"]


def test_a_tiff_that_ends_within_its_directory_is_read_without_words_of_a_library():
    """The last row of a directory at the end of the file lacks two bytes of its value, which are zero."""
    data = tiff.pixels_alone(corpus.tiff(_PIXELS))[:-6]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert decode(data, "a.tif").pixels.shape == _PIXELS.shape
    assert [each for each in heard if not issubclass(each.category, PhotoWarning)] == []


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
