"""Files that claim, hold or repeat much: memory by the megapixels, work by the size; below the limits they are read."""

import io
import random
import struct
import time
import warnings
import zlib

import numpy as np
from PIL import Image

from rlenhance.io import decode
from rlenhance.io.limits import decode_memory
from tests.stress.registry import Broken, Case, Property
from tests.support import corpus

_KINDS = ("jpg", "progressive.jpg", "png", "16.png", "alpha.png", "bmp", "webp", "alpha.webp", "lossless.webp", "tif",
          "16.tif", "lzw.tif", "alpha16.tif", "palette.png", "avif", "10.avif", "heic", "dng", "wide.png")
_DEPTH16 = ("16.png", "16.tif", "alpha16.tif", "10.avif", "dng")


def whole(kind, side, seed):
    """A flat picture, or a noisy one, of side x side pixels; kind: the words of its name."""
    import imagecodecs

    channels = 4 if "alpha" in kind else 3
    tone = np.random.default_rng(seed).integers(0, 256, (1, 64, channels), np.uint8)
    row = np.tile(tone, (1, side // 64 + 1, 1))[:, :side]
    array = np.ascontiguousarray(np.broadcast_to(row, (side, side, channels)))
    if "16" in kind or "10" in kind:
        array = array.astype(np.uint16) * (4 if "10" in kind else 257)
    image = Image.fromarray(array) if array.dtype == np.uint8 else None
    ending = kind.rpartition(".")[2]
    if kind == "dng":
        return corpus.dng((side, side))
    if kind == "10.avif":
        return imagecodecs.avif_encode(array, bitspersample=10, level=60, speed=10)
    if kind == "16.png":
        return imagecodecs.png_encode(array, level=1)
    if ending == "tif":
        return corpus.tiff(array, compression="lzw" if "lzw" in kind else None)
    if ending == "heic":
        import pillow_heif

        file = io.BytesIO()
        pillow_heif.from_pillow(image).save(file, quality=50)
        return file.getvalue()
    if kind == "palette.png":
        image = image.convert("P")
    options = {"jpg": {"progressive": "progressive" in kind}, "png": {"compress_level": 1}, "avif": {"speed": 10},
               "webp": {"lossless": "lossless" in kind, "method": 0}}.get(ending, {})
    if "wide" in kind:
        options["icc_profile"] = corpus.profile("p3")
    return corpus.encoded(image, {"jpg": "JPEG"}.get(ending, ending.upper()), **options)


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def repeated(what, count):
    """(name, bytes) of a small picture with much of one kind of metadata."""
    small = Image.fromarray(corpus.smooth(9, 13, 3))
    if what in ("tEXt", "zTXt", "iTXt", "iCCP", "eXIf", "prVt", "IDAT"):
        body = {"iCCP": b"a\0\0" + zlib.compress(bytes(1 << 16)), "eXIf": corpus.make_exif().tobytes()[6:],
                "IDAT": b""}.get(what, b"Title\0\0\0\0\0night")
        data = corpus.encoded(small, "PNG")
        return "a.png", data[:33] + _chunk(what.encode(), body) * count + data[33:]
    if what == "tags":
        data = corpus.tiff(np.zeros((200, 200, 3), np.uint8))
        at, = struct.unpack_from("<I", data, 4)
        old, = struct.unpack_from("<H", data, at)
        rows = data[at + 2 : at + 2 + 12 * old] + b"".join(
            struct.pack("<HHII", 40_000 + k, 1 + k % 13, 4000, 8) for k in range(min(count, 10_000)))
        return "a.tif", data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack(
            "<H", len(rows) // 12) + rows + bytes(4)
    data = corpus.encoded(small, "JPEG", progressive=what == "scans")
    body = {"Exif": b"Exif\0\0" + corpus.make_exif().tobytes()[6:] + bytes(5000),
            "ICC": b"ICC_PROFILE\0\1\1" + bytes(5000), "8BIM": b"Photoshop 3.0\x008BIM\4\4\0\0" + bytes(2000),
            "MPF": b"MPF\0II*\0" + bytes(3000)}.get(what, b"ab" * 9)
    more = _segment({"COM": 0xFE, "8BIM": 0xED, "ICC": 0xE2, "MPF": 0xE2, "DQT": 0xDB}.get(what, 0xE1), body)
    if what == "fill":
        more = b"\xff" * 50
    if what == "junk":
        more = b"\xff\0abc" * 10
    if what == "scans":
        return "a.jpg", data[:-2] + _segment(0xDA, b"\1\1\0\1\x3f\0") * count + b"\xff\xd9"
    return "a.jpg", data[:2] + more * count + data[2:]


_REPEATED = ("tEXt", "zTXt", "iTXt", "iCCP", "eXIf", "prVt", "IDAT", "tags", "Exif", "ICC", "8BIM", "MPF", "COM", "DQT",
             "XMP", "fill", "junk", "scans")


def cases(rng: random.Random):
    """Whole pictures below and above the limit; repeated metadata."""
    while True:
        if rng.random() < 0.5:
            side = rng.choice((1, 1000, 2000, 3000, 4400))
            yield Case(f"photo.{rng.choice(_KINDS)}", options={"side": side, "seed": rng.randrange(1000)}, mib=3000)
        else:
            count = rng.choice((10, 300, 3000, 20_000))
            yield Case(".", options={"what": rng.choice(_REPEATED), "count": count})


def _peak():
    with open("/proc/self/status") as file:
        found = dict(line.split(":", 1) for line in file if line.startswith("Vm"))
    return int(found["VmHWM"].split()[0]) / 1024, int(found["VmRSS"].split()[0]) / 1024


def check(case, folder):
    """Just below the limit it is read, just above refused; memory and time stay within their bounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "what" in case.options:
            return _work(case)
        kind, side = case.name.partition(".")[2], case.options["side"]
        data = whole(kind, side, case.options["seed"])
        megapixels = side * side / 1e6
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = _peak()[1]
        photo = decode(data, case.name, megapixels=megapixels)
        grown = _peak()[0] - before
        if photo.pixels.shape != (side, side, 3) or (photo.depth > 8) != (kind in _DEPTH16):
            raise Broken(f"{photo.pixels.shape} {photo.depth}")
        if grown > decode_memory(megapixels, len(data)):
            raise Broken(f"{grown:.0f} MiB for {megapixels:.1f} megapixels of {kind}, {len(data)} bytes")
        del photo
        decode(data, case.name, megapixels=0.99 * megapixels)  # refused: it is larger


def _work(case):
    times = []
    for times_as_many in (1, 2):
        name, data = repeated(case.options["what"], times_as_many * case.options["count"])
        start = time.process_time()
        try:
            decode(data, name)
        finally:
            times.append(time.process_time() - start)
            if times[-1] > 2.5 * times[0] + 0.1 or times[-1] > 0.1 + len(data) / 4e6:
                raise Broken(f"{case.options}: {times} seconds for {len(data)} bytes")


PROPERTY = Property("decode_limits", "Pictures below the limits are read, and those above are refused; memory is at "
                    "most a constant per megapixel, and metadata takes linear time.", cases, check, share=1, seconds=30,
                    mib=600, block=20, short=5)
