"""Photographs of every format, damaged, spliced, or with another size in their head: a whole picture, or one line."""

import random
import struct
import warnings
import zlib

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io import PhotoWarning, read
from rlenhance.io.containers import CONTAINERS
from rlenhance.io.encoder import encode
from rlenhance.io.limits import decode_memory
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property
from tests.support import corpus

_MEGAPIXELS = 30
_SIZES = (0, 1, 2, 255, 5000, 5477, 16_383, 65_535, 1 << 24, (1 << 31) - 1, (1 << 32) - 1)


def _png_chunks(rng, data):
    """Chunks in another order, number or with other bodies, and right checksums."""
    at, parts = 8, []
    while at + 12 <= len(data):
        size, = struct.unpack_from(">I", data, at)
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.choice((1, 1, 3))):
        k = rng.randrange(len(parts))
        kind, body = parts[k]
        way = rng.randrange(4)
        if way == 0:
            parts[k] = kind, damaged(rng, body)
        elif way == 1:
            parts[k:k] = [parts[rng.randrange(len(parts))]] * rng.choice((1, 3, 3000))
        elif way == 2 and kind == b"IHDR":
            parts[k] = kind, struct.pack(">II", rng.choice(_SIZES), rng.choice(_SIZES)) + body[8:]
        else:
            parts[k] = rng.choice((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"tRNS", b"PLTE", b"acTL")), body
    return data[:8] + b"".join(struct.pack(">I", len(body)) + kind + body
                               + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)


def _tiff_entries(rng, data):
    """Entries of the first directory with other types, counts and values; some twice."""
    found = bytearray(data)
    order = "<" if data[:2] == b"II" else ">"
    at, = struct.unpack_from(f"{order}I", data, 4)
    count, = struct.unpack_from(f"{order}H", data, at)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = at + 2 + 12 * rng.randrange(count)
        tag, kind, number, value = struct.unpack_from(f"{order}HHII", found, place)
        way = rng.randrange(4)
        if way == 0:
            kind = rng.choice((0, *range(1, 20), 65_535))
        elif way == 1:
            number = rng.choice(_SIZES)
        elif way == 2:
            value = rng.choice(_SIZES)
        else:
            tag = rng.choice((256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 323, 338, 339, 347, 530, 32997,
                              34665, 34853, 40965, 50706, 270, 274, 330))
        struct.pack_into(f"{order}HHII", found, place, tag, kind, number, value)
    return bytes(found)


def _sizes(rng, data, width, height):
    """Every place where the size stands, as numbers of 16 or 32 bits of either order, has another."""
    for form in rng.sample(("<H", ">H", "<I", ">I"), 2):
        new = [struct.pack(form, rng.choice(_SIZES) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)) for _ in "wh"]
        old = [struct.pack(form, side) for side in (width, height)]
        for pair, others in ((old, new), (old[::-1], new[::-1])):
            data = data.replace(pair[0] + pair[1], others[0] + others[1])
    return data


def cases(rng: random.Random):
    """Each format as often as the others."""
    kinds = {}
    for case in corpus.cases():
        kinds.setdefault(case.container, []).append(case)
    kinds["RAW"] = [corpus.Case("dng.dng", corpus.dng(), "RAW", "RGB", 16)]
    everything = tuple(case.data for some in kinds.values() for case in some)
    while True:
        case = rng.choice(kinds[rng.choice(sorted(kinds))])
        data, way = case.data, rng.randrange(4)
        if way == 0 and case.container == "PNG":
            data = _png_chunks(rng, data)
        elif way <= 1 and case.container in ("TIFF", "RAW"):
            data = _tiff_entries(rng, data)
        elif way == 2:
            data = _sizes(rng, data, 13, 9)
        else:
            data = damaged(rng, data, everything)
        ending = case.name.rpartition(".")[2]
        name = f"photo.{rng.choice((ending, ending, ending, 'jpg'))}"
        yield Case(name, data, mib=decode_memory(_MEGAPIXELS, len(data)))


def check(case, folder):
    """Read it; write what was read in its own format and in another one."""
    path = folder / case.name
    path.write_bytes(case.data)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        photo = read(path, megapixels=_MEGAPIXELS)
        if any(not issubclass(each.category, PhotoWarning) or "\n" in str(each.message) for each in told):
            raise Broken(f"warnings of a library: {[str(each.message) for each in told]}")
        height, width, channels = photo.pixels.shape
        if channels != 3 or photo.pixels.dtype not in (np.uint8, np.uint16) or height * width > _MEGAPIXELS * 1e6:
            raise Broken(f"pixels of {photo.pixels.shape} {photo.pixels.dtype}")
        if photo.alpha is not None and photo.alpha.shape != (height, width):
            raise Broken("alpha of another size")
        if height * width > 1 << 20:
            return
        number = sum(case.data) % len(CONTAINERS)
        for container in (photo.encoding.container, sorted(CONTAINERS)[number]):
            if CONTAINERS[container].writable and container not in ("AVIF", "HEIF"):
                try:
                    written = encode(photo, container)
                except UsageError as error:
                    if "\n" in str(error) or "use the format" not in str(error):
                        raise Broken(f"refused to write {container}: {error}") from error
                    continue
                path.write_bytes(written)
                if read(path).pixels.shape != photo.pixels.shape:
                    raise Broken(f"another size after writing as {container}")


PROPERTY = Property("photographs", "Any bytes are a whole picture or refused in one line, within the memory of the "
                    "megapixels allowed.", cases, check, share=2, seconds=10, block=200, short=30)
