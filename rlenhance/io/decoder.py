"""Decode the bytes of a file: by their content, not their name, with limits checked in the header first."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, features

from rlenhance.core.errors import UsageError, one_line
from rlenhance.io import jpeg
from rlenhance.io.containers import CONTAINERS, Container, container_by_extension, sniff
from rlenhance.io.limits import DAMAGE, MEGAPIXELS, check_size, note
from rlenhance.io.photo import Encoding, Metadata, Photo

_BAND = 1 << 22  # pixels that are converted at a time
# Bytes of pixels, of one bit each for JPEG and BMP, that a byte of a file can stand for: Deflate gives 1032; a block of
# 64 pixels takes a bit; a run of 255 takes two bytes.
_RATIOS = {"PNG": 1032, "JPEG": 64, "BMP": 16}
# EXIF orientation -> (transpose, flip vertically, flip horizontally)
_TURNS = {2: (0, 0, 1), 3: (0, 1, 1), 4: (0, 1, 0), 5: (1, 0, 0), 6: (1, 0, 1), 7: (1, 1, 1), 8: (1, 1, 0)}


def decode(data: bytes, name: Path | str, *, megapixels: float = MEGAPIXELS) -> Photo:
    """Decode the bytes of a file.

    Args:
        data: a whole file.
        name: its name in errors; the extension distinguishes a camera RAW from a TIFF.
        megapixels: larger images are refused by their header.

    Raises:
        UsageError: empty, truncated, not an image, animated or with several pages, too large, without the library
            that it needs, or of an unsupported mode (CMYK, float).
    """
    name = str(name)
    kind = sniff(data, name)
    if container_by_extension(name) not in (None, kind):
        note(name, f"is a {kind.name} whatever its ending says; it was read as one")
    try:
        return _decode(data, name, kind, megapixels)
    except UsageError:
        raise
    except MemoryError as error:
        raise UsageError(f"{name}: not enough memory for it; reduce the picture first") from error
    except DAMAGE as error:
        raise UsageError(f"{name}: damaged or truncated ({one_line(error)})") from error


def _decode(data: bytes, name: str, kind: Container, megapixels: float) -> Photo:
    if kind.name == "RAW":
        return _from_raw(data, name, megapixels)
    if kind.name == "HEIF":
        from rlenhance.io.heif import read_heif

        pixels, depth, info = read_heif(data, name, megapixels)
        metadata, _ = _from_info(info, name)  # libheif has turned it
        return _photo(pixels, Encoding("HEIF", depth, ""), metadata, 0, name)
    if kind.name == "TIFF":
        return _from_tiff(data, name, megapixels)
    if kind.name == "AVIF" and not features.check("avif"):
        raise UsageError(f'{name}: this Pillow reads no AVIF: pip install "pillow>=11.3"')
    if kind.name == "PNG":
        from rlenhance.io.png import is_animated, read_metadata, strip_metadata

        if is_animated(data):
            raise UsageError(f"{name}: an animation; save one frame as a picture of its own")
        metadata, turn = read_metadata(data, name)
        data = strip_metadata(data)
    if kind.name == "JPEG":
        data, block, lost = jpeg.bounded(data)
        if lost:
            note(name, f"{lost} segments of its metadata are left out: {jpeg.MOST_METADATA} are read")
    pixels, encoding, said = _by_pillow(data, name, kind, megapixels)
    if kind.name == "JPEG":
        resolution = None
        if block:
            from rlenhance.io import exif

            resolution = exif.resolution(block)
        metadata, turn = _from_info({"dpi": resolution, **said, "exif": block}, name)
    elif kind.name != "PNG":
        metadata, turn = _from_info(said, name)
        turn = said.get("turn", turn)  # of an AVIF
    return _photo(pixels, encoding, metadata, turn, name)


def _by_pillow(data: bytes, name: str, kind: Container,
               megapixels: float) -> tuple[np.ndarray, Encoding, Mapping[Any, Any]]:
    """Pixels, encoding and Pillow's `info`, without the memory of Pillow's image."""
    with _opened(kind, data) as image:
        check_size(name, image.width, image.height, megapixels)
        _check_frames(image, name)
        depth, options = _depth(kind, data), _options(kind, image, data)
        bits = data[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[data[25]] if kind.name == "PNG" else 1
        ratio = _RATIOS.get(kind.name, float("inf"))
        if image.width * image.height * bits > 8 * ratio * len(data) + (1 << 20):
            raise ValueError(f"its {len(data)} bytes cannot hold {image.width}x{image.height} pixels")
        if kind.name == "JPEG" and image.mode in ("RGB", "L"):
            pixels, mode = _read_jpeg(data, image), image.mode
        else:
            pixels, mode = _read_8bit(image, name) if depth == 8 else (_read_deep(data, kind, depth), "")
        return pixels, Encoding(kind.name, 1 if mode == "1" else depth, mode, options), image.info


def header_megapixels(head: bytes, name: str) -> float:
    """The size that the beginning of a PNG or JPEG states, in megapixels: 0 where it is damaged; of others infinite.

    Raises:
        UsageError: it is no picture.
    """
    kind = sniff(head, name)
    if kind.name not in ("PNG", "JPEG"):
        return float("inf")
    try:
        with _opened(kind, head) as image:
            return image.width * image.height / 1e6
    except (*DAMAGE, MemoryError):
        return 0.0


def _opened(kind: Container, data: bytes) -> Image.Image:
    """Not with Image.open, whose limit of pixels is global to the process."""
    if kind.name == "JPEG":
        return JpegImagePlugin.jpeg_factory(io.BytesIO(data))
    from rlenhance.io.openers import OPEN  # here: most photographs are JPEGs, which need not wait for other plugins

    return OPEN[kind.name](io.BytesIO(data))


def _from_tiff(data: bytes, name: str, megapixels: float) -> Photo:
    from rlenhance.io import tiff

    head = tiff.read_head(data)
    check_size(name, head.width, head.height, megapixels)
    if head.raw:
        return _from_raw(data, name, megapixels)
    if head.pages > 1:
        raise UsageError(f"{name}: holds {head.pages} pages; save one page as a picture of its own")
    if not head.integer or head.bits not in (1, 2, 4, 8, 16):
        kind = "" if head.integer else " signed or floating-point"
        raise UsageError(f"{name}: {head.bits}-bit{kind} values are not taken; save it with 8 or 16 bits per channel")
    tiff.check_layout(data, head)
    metadata, turn = _from_directory(data, name)
    options = {"compression": head.compression}
    data = tiff.pixels_alone(data)
    if head.bits == 16:
        return _photo(tiff.read_16bit(data, name, head), Encoding("TIFF", 16, "", options), metadata, turn, name)
    with _opened(CONTAINERS["TIFF"], data) as image:
        if sorted(image.size) != sorted((head.width, head.height)):
            raise ValueError("readers differ in its size")
        pixels, mode = _read_8bit(image, name)
    return _photo(pixels, Encoding("TIFF", 1 if mode == "1" else 8, mode, options), metadata, turn, name)


def _from_raw(data: bytes, name: str, megapixels: float) -> Photo:
    from rlenhance.io.raw import read_raw

    pixels, block = read_raw(data, name, megapixels)
    metadata, _ = _from_info({"exif": block}, name)  # LibRaw has turned it
    return _photo(pixels, Encoding("RAW", 16, "RGB"), metadata, 0, name)


def _check_frames(image: Image.Image, name: str) -> None:
    """Refuse animations and documents; previews and gain maps do not count."""
    frames = getattr(image, "n_frames", 1)
    if image.format == "MPO":
        if frames > 1:
            note(name, f"holds {frames} pictures (a preview or a gain map beside the photograph): the first is taken")
        return
    if frames > 1:
        raise UsageError(f"{name}: holds {frames} frames; save one frame as a picture of its own")


def _depth(kind: Container, data: bytes) -> int:
    """Bits per channel in the file; Pillow reduces 16 to 8 silently."""
    if kind.name == "PNG":
        return max(8, data[24])
    if kind.name == "AVIF":
        at = data.find(b"av1C", 0, 4096)  # AV1 in ISO media, 2.3.3: the third byte has high_bitdepth and twelve_bit
        flags = data[at + 6] if at > 0 else 0
        return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    return 8


def _options(kind: Container, image: Image.Image, data: bytes) -> Mapping[str, Any]:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return {"qtables": dict(image.quantization), "subsampling": JpegImagePlugin.get_sampling(image),
                "progressive": bool(image.info.get("progressive"))}
    if kind.name == "WEBP":
        return {"lossless": b"VP8L" in data[:64] or data.find(b"VP8L", 0, 1 << 20) > 0}
    return {}


def _read_jpeg(data: bytes, image: Image.Image) -> np.ndarray:
    """(H, W, channels) uint8 of a JPEG, in half of the time and of the memory of Pillow's image."""
    import imagecodecs

    if not jpeg.is_complete(data):
        raise ValueError("its end is missing")
    pixels: np.ndarray = imagecodecs.jpeg8_decode(data)
    if pixels.shape[:2] != (image.height, image.width):
        raise ValueError("readers differ in its size")
    return pixels.reshape(image.height, image.width, -1)


def _read_8bit(image: Image.Image, name: str) -> tuple[np.ndarray, str]:
    """At most 8 bits: (H, W, channels) uint8 and the mode."""
    if image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"):
        raise UsageError(f"{name}: colour mode {image.mode} is not taken; convert it to RGB first, "
                         f"for example with an image editor's 'convert to sRGB'")
    image.load()
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    wanted = ("L" if image.mode in ("1", "L", "LA", "La") else "RGB") + ("A" if clear else "")
    mode = "P" if image.mode in ("P", "PA") else "1" if image.mode == "1" and not clear else wanted
    pixels = np.empty((image.height, image.width, len(wanted)), np.uint8)
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):  # its whole conversion, and its whole bytes, would be copies
        below = min(top + rows, image.height)
        band = image._new(image.im.crop((0, top, image.width, below)))
        if clear and image.mode == "L":  # one grey is transparent
            band = band.convert("RGBA")
        pixels[top:below] = np.asarray(band.convert(wanted)).reshape(below - top, image.width, -1)
    return pixels, mode


def _read_deep(data: bytes, kind: Container, depth: int) -> np.ndarray:
    """More than 8 bits of a PNG or AVIF: (H, W, channels) uint16, full range."""
    import imagecodecs

    pixels = imagecodecs.png_decode(data) if kind.name == "PNG" else imagecodecs.avif_decode(data)
    if pixels.dtype != np.uint16:
        raise ValueError(f"its pixels are {pixels.dtype}")
    if depth < 16:
        from rlenhance.io.profiles import spread

        pixels = spread(pixels, (1 << depth) - 1)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _from_info(info: Mapping[str, Any], name: str) -> tuple[Metadata, int]:
    """Metadata and orientation from Pillow's `info`."""
    found, turn = Metadata(icc=info.get("icc_profile") or None), 0
    packet = info.get("xmp")
    if info.get("exif") or packet:
        from rlenhance.io import exif
    if info.get("exif"):
        try:
            block, turn = exif.apply_orientation(info["exif"])
            found = replace(found, exif=block)
        except DAMAGE as error:
            note(name, f"its EXIF is damaged and left out ({error})")
    if packet:
        packet, turned = exif.apply_xmp_orientation(packet.encode() if isinstance(packet, str) else packet)
        found, turn = replace(found, xmp=packet), turn or turned
    resources = info.get("photoshop")
    if isinstance(resources, dict) and isinstance(resources.get(0x0404), bytes):
        found = replace(found, iptc=resources[0x0404])
    dpi = info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < float(dots) < 1e6 for dots in dpi):
        found = replace(found, dpi=(float(dpi[0]), float(dpi[1])))
    if isinstance(info.get("comment"), bytes):
        found = replace(found, texts=((b"COM", info["comment"]),))
    return found, turn


def _from_directory(data: bytes, name: str) -> tuple[Metadata, int]:
    """Metadata and orientation from a TIFF's first directory."""
    from rlenhance.io import exif

    try:
        block, turn, others, lost = exif.from_tiff(data)
        if lost:
            note(name, f"its tags {', '.join(map(str, sorted(set(lost))[:8]))} are damaged and left out")
        found, turned = _from_info(others, name)
        return replace(found, iptc=others.get("iptc"), exif=block), turn or turned
    except DAMAGE as error:
        note(name, f"its metadata is damaged and left out ({error})")
        return Metadata(), 0


def _photo(pixels: np.ndarray, encoding: Encoding, metadata: Metadata, turn: int, name: str) -> Photo:
    """A photograph turned upright, with separate alpha, grey as three equal channels, in sRGB."""
    transpose, vertical, horizontal = _TURNS.get(turn, (0, 0, 0))
    pixels = np.swapaxes(pixels, 0, 1) if transpose else pixels
    pixels = pixels[::-1] if vertical else pixels
    pixels = pixels[:, ::-1] if horizontal else pixels
    channels = pixels.shape[2]
    grey = channels < 3
    encoding = replace(encoding, mode=encoding.mode or ("L", "LA", "RGB", "RGBA")[channels - 1])
    alpha = np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    pixels = np.ascontiguousarray(pixels[..., :3])
    wide = None
    if metadata.icc and not (grey and metadata.icc[16:20] == b"GRAY"):
        from rlenhance.io.profiles import WideGamut, open_profile, to_srgb

        try:
            profile = open_profile(metadata.icc)
            if profile is not None and not grey:
                wide = WideGamut(profile, pixels)
                pixels = to_srgb(pixels, profile)
        except DAMAGE as error:
            note(name, f"its colour profile cannot be used ({error}); its colours are taken for sRGB")
    return Photo(pixels, alpha, grey, metadata, encoding, wide, name)
