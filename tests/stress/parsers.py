"""Our own readers of bytes, each with its laws: PNG chunks, EXIF, TIFF, profiles, recipes, examples, clips' formats."""

import random
import struct
import tempfile
import warnings
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io import exif, png, profiles, tiff
from rlenhance.io.containers import CONTAINERS, WRITABLE_CLIPS, clip_container, sniff
from rlenhance.io.decoder import decode
from rlenhance.io.encoder import encode
from rlenhance.io.limits import DAMAGE
from rlenhance.io.photo import Metadata, Photo
from rlenhance.io.video_formats import FrameFormat, choose_encoding
from rlenhance.learning.data import tfrecords
from rlenhance.pipelines.look_functions import LinearFunction
from rlenhance.pipelines.looks import Look, load_look, save_look
from rlenhance.pipelines.options import PRESETS, EnhanceSettings
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property

warnings.simplefilter("ignore")
_SMALL = Photo(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def expect(holds, text):
    """Raise Broken where a law does not hold."""
    if not holds:
        raise Broken(text)


def _one_line(text):
    expect(text and "\n" not in text, f"a refusal of several lines: {text!r}")


def png_chunks(data):
    """Nothing is raised; what is stripped has pixels alone; metadata that is written is read again."""
    found, turn = png.read_metadata(data, "a.png")
    expect(0 <= turn <= 8, f"orientation {turn}")
    expect(png.read_metadata(data, "a.png") == (found, turn), "reading twice differs")
    png.is_animated(data)
    stripped = png.strip_metadata(data)
    expect(png.strip_metadata(stripped) == stripped, "stripping twice differs")
    expect(not any(_blocks(png.read_metadata(stripped, "a.png")[0])), "metadata is left")
    again, turned = png.read_metadata(_with(png.metadata_chunks(found)), "a.png")
    expect(turned in (0, 1), f"orientation {turned} after writing")
    expect(_kept(again) == _kept(found), f"{found} was written, {again} is read")


def _with(chunks):
    whole = encode(_SMALL, "png")
    return whole[:33] + chunks + whole[33:]


def _blocks(metadata):
    return metadata.exif, metadata.xmp, metadata.icc, metadata.iptc, metadata.dpi, metadata.texts


def _kept(metadata):
    """As blocks, without empty ones, and without the sRGB chunk that a profile replaces."""
    texts = tuple(text for text in metadata.texts if not (metadata.icc and text[0] == b"sRGB"))
    dpi = metadata.dpi and tuple(round(dots / 0.0254) for dots in metadata.dpi)
    return metadata.exif or None, metadata.xmp or None, metadata.icc or None, dpi, texts


def exif_block(data):
    """An edited block has the same length; its orientation is 1; what Pillow read of it, it still reads."""
    try:
        block, turn = exif.apply_orientation(data)
    except (ValueError, struct.error):
        return
    expect(len(block) == len(data.removeprefix(b"Exif\0\0")), "the length changed")
    expect(0 <= turn <= 8, f"orientation {turn}")
    again, turned = exif.apply_orientation(block)
    expect((again, turned in (0, 1)) == (block, True), f"orientation {turned} after it was applied")
    sized = exif.resized(block, 70_000, 3)
    expect(len(sized) == len(block) and exif.resized(sized, 70_000, 3) == sized, "resizing twice differs")
    try:
        before = exif.directories(block)
    except DAMAGE:
        return
    after = exif.directories(sized)
    expect(set(after) >= set(before), f"tags {set(before) - set(after)} are lost when the size is written")
    try:
        shorter = exif.without_maker_note(block)
    except DAMAGE:
        return
    expect(0x927C not in exif.directories(shorter).get(exif.EXIF_IFD, {}), "the maker note is left")


def exif_kept(data):
    """A photograph with a block that was read is written into every container, and the result is read."""
    try:
        block, _ = exif.apply_orientation(data)
    except (ValueError, struct.error):
        return
    photo = replace(_SMALL, metadata=Metadata(exif=block), name="a.jpg")
    for kind in ("jpg", "png", "webp", "tiff"):
        try:
            written = encode(photo, kind)
        except UsageError as error:
            _one_line(str(error))
            continue
        expect(decode(written, f"a.{kind}").pixels.shape == (4, 4, 3), f"the {kind} cannot be read")
        bare = decode(encode(photo, kind, strip=True), f"a.{kind}").metadata
        expect(not any((bare.exif, bare.xmp, bare.iptc, bare.texts)), f"metadata is left in the {kind}")


def xmp_packet(data):
    """The length changes by nothing but spaces; a second look finds 1 or nothing."""
    packet, turn = exif.apply_xmp_orientation(data)
    expect(0 <= turn <= 8 and exif.apply_xmp_orientation(packet) == (packet, min(turn, 1)), "a second look differs")


def tiff_file(data):
    """A head, or an exception of damage; and a whole picture, or a refusal, of at most the megapixels allowed."""
    try:
        head = tiff.read_head(data)
        expect(head == tiff.read_head(data), "reading twice differs")
    except DAMAGE:
        pass
    picture(data, "a.tif")


def picture(data, name="a.png"):
    """Any bytes: a whole picture of at most the megapixels allowed that can be written, or one line with the name."""
    try:
        photo = decode(data, name, megapixels=0.2)
    except UsageError as error:
        _one_line(str(error))
        expect(name in str(error), f"not named: {error}")
        return
    height, width, channels = photo.pixels.shape
    expect(channels == 3 and 0 < height * width <= 200_000, f"pixels of {photo.pixels.shape}")
    expect(photo.pixels.dtype in (np.uint8, np.uint16), f"pixels of {photo.pixels.dtype}")
    expect(photo.alpha is None or photo.alpha.shape == (height, width), "alpha of another size")
    assert photo.encoding
    kind = photo.encoding.container
    if not CONTAINERS[kind].writable:
        return
    try:
        written = encode(photo, kind)
    except UsageError as error:
        _one_line(str(error))
        return
    expect(decode(written, name).pixels.shape == photo.pixels.shape, "what was written has another size")


def first_bytes(data):
    """A format, or one line with the name, whatever the ending says."""
    for name in ("a.png", "a.NEF", "a", "a.mp4"):
        try:
            found = sniff(data, name)
        except UsageError as error:
            _one_line(str(error))
            expect(name in str(error), f"not named: {error}")
        else:
            expect(found is CONTAINERS[found.name], "an unknown format")


def profile(data):
    """A profile, none for sRGB, or a ValueError; unchanged pixels come back exactly."""
    try:
        found = profiles.open_profile(data)
    except ValueError:
        return
    if found is None:
        return
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    shown = profiles.to_srgb(pixels, found)
    expect(np.array_equal(profiles.WideGamut(found, pixels).back(shown), pixels), "unchanged pixels changed")


def recipe(data, kind="recipe"):
    """A recipe, or one line with the name; what is saved is loaded again."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "a.json")
        path.write_bytes(data)
        try:
            found = load_look(path, kind)
        except UsageError as error:
            _one_line(str(error))
            expect(str(path) in str(error), f"not named: {error}")
            return
        expect(load_look(save_look(found, path), kind) == found, "what is saved differs from what is loaded")


def look(data):
    """The same of a look."""
    recipe(data, "look")


def preset(data):
    """The same of a preset."""
    recipe(data, "preset")


def example(data):
    """A picture, or one line with the name."""
    where = tfrecords.TFRecordImage(Path("a.tfrecords"), 0, 0)
    try:
        pixels = tfrecords._decode(data, where)
    except UsageError as error:
        _one_line(str(error))
        return
    expect(pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8, f"{pixels.shape} {pixels.dtype}")


def checksum(data):
    """CRC-32C of parts: equal to that of the definition, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data[:5000]:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
    expect(tfrecords.crc32c(data[:5000]) == value ^ 0xFFFFFFFF, "another checksum")


@cache
def _formats():
    import av

    return sorted(av.video.format.names)


def clip_format(data):
    """Whatever codec, format, size and rate a clip claims: an encoding that its encoder takes, or one line."""
    rng = random.Random(data)
    codec = rng.choice(("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "prores", "ffv1", "mjpeg", "png", "gif", ""))
    shown = FrameFormat(codec, rng.randrange(1, 9), rng.randrange(1, 9), rng.choice(_formats()),
                        Fraction(rng.randrange(1, 1 << rng.randrange(1, 31)), rng.randrange(1, 1 << 30)),
                        Fraction(1, rng.randrange(1, 1 << rng.randrange(1, 31))), interlaced=rng.random() < 0.2)
    container = clip_container(Path("a" + rng.choice(list(WRITABLE_CLIPS))))
    try:
        found = choose_encoding(shown, container, set(rng.sample(("h264", "hevc", "vp9", "mpeg4", "av1", "ffv1"), 2)))
    except UsageError as error:
        _one_line(str(error))
        return
    expect(found.base > 0, f"ticks of {found.base} seconds")


#: Reader -> how often it is tried among the others.
TARGETS = {"png_chunks": 8, "exif_block": 8, "exif_kept": 4, "xmp_packet": 2, "tiff_file": 8, "picture": 4,
           "first_bytes": 3, "profile": 0.2, "recipe": 6, "look": 4, "preset": 2, "example": 6,
           "checksum": 1, "clip_format": 2}


@cache
def seeds(target):
    """Whole inputs of a reader, at most 64 KiB each."""
    from tests.stress.tfrecords import example as make_example
    from tests.support import corpus

    files = [case for case in corpus.cases() if len(case.data) < 1 << 16]
    blocks = [corpus.make_exif(turn).tobytes() for turn in (1, 6)]
    if target == "png_chunks":
        return [case.data for case in files if case.container == "PNG"]
    if target in ("exif_block", "exif_kept"):
        return [*blocks, *(block.removeprefix(b"Exif\0\0") for block in blocks), _big_endian()]
    if target == "xmp_packet":
        return [corpus.XMP]
    if target == "tiff_file":
        return [case.data for case in files if case.container == "TIFF"]
    if target in ("picture", "first_bytes"):
        return [case.data for case in files]
    if target == "profile":
        return [corpus.profile(name) for name in ("p3", "adobe", "prophoto", "srgb")]
    if target == "recipe":
        return [(Path(corpus.__file__).parent / "recipe_0_1.json").read_bytes(), _recipe()]
    if target == "look":
        return [_look()]
    if target == "preset":
        return [path.read_bytes() for path in sorted(PRESETS.glob("*.json"))] + [
            b'{"about": "x", "preference": {"color": 0.5}, "exposure_shift": 0.1, "strength": 0.5}',
            b'{"reward": {"exposure": 1.1}}']
    if target == "example":
        return [make_example((2, 3, 3), bytes(18)), make_example((3, 2, 3), bytes(range(18)))]
    return [b"\0" * 8, bytes(range(256))]


def _big_endian():
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(b"MM\0*\0\0\0\x08")
    directory[0x0112], directory[0x010F] = 6, "Kamera"
    directory[exif.EXIF_IFD] = {0xA002: 400, 0xA003: 300}
    return b"MM\0*\0\0\0\x08" + directory.tobytes(8)


def _recipe():
    settings = EnhanceSettings(exposure_shift=0.1, denoise=0.5)
    return Look("natural", "0" * 64, settings, decision="shared", made_with={"torch": "2"}, denoiser="denoiser",
                denoiser_sha256="f" * 64).to_json().encode()


def _look():
    functions = {"contrast": LinearFunction(0.1, {"level": 0.3}), "strength": LinearFunction(0.5)}
    return Look("natural", "0" * 64, EnhanceSettings(denoise=0.5), functions, {"pairs": 3}).to_json().encode()


def cases(rng):
    """Damaged inputs of every reader."""
    while True:
        target = rng.choices(list(TARGETS), list(TARGETS.values()))[0]
        whole = seeds(target)
        yield Case(target, damaged(rng, rng.choice(whole), tuple(whole)), {"target": target})


def check(case, folder):
    """Give the bytes to the reader."""
    globals()[case.options["target"]](case.data)


PROPERTY = Property("parsers", "Our readers take any bytes; what is written is read again; reading twice is the same.",
                    cases, check, share=1, seconds=5, mib=300, block=300, short=60, names=False)
