"""Encode a photograph in the format of its source or another one; every loss is warned of."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import Container, container_of
from rlenhance.io.jpeg import STRIP, encode_strips
from rlenhance.io.limits import check_quality, note
from rlenhance.io.photo import Metadata, Photo

#: Default quality of lossy formats, where the source has another format.
QUALITY = {"JPEG": 95, "WEBP": 95, "AVIF": 90, "HEIF": 90}
#: A JPEG keeps the tables of its source down to this quality: brightening makes the blocks of coarser ones visible.
MIN_KEPT_QUALITY = 92
_SEGMENT = 65_533  # bytes that a JPEG's segment holds


def encode(photo: Photo, kind: str, *, quality: int | None = None, strip: bool = False) -> bytes:
    """The bytes of a file.

    Args:
        photo: the photograph.
        kind: an extension (".png") or the name of a format.
        quality: 1 to 100 for JPEG, WebP, AVIF and HEIC; None: that of the source, where it has this format.
        strip: leave out all metadata; the colours become sRGB.

    Raises:
        UsageError: the format is unknown, cannot be written, or cannot hold the image's size or transparency; a
            quality outside its range, or for a lossless format.
    """
    container = container_of(kind)
    if not container.writable:
        raise UsageError(f"{kind}: camera RAW cannot be written: use the format tiff")
    if quality is not None and container.name not in QUALITY:
        raise UsageError(f"quality is for {', '.join(QUALITY)}; a {container.name} has none: leave it out")
    check_quality(quality)
    height, width = photo.pixels.shape[:2]
    if max(height, width) > container.side:
        raise UsageError(f"{width}x{height} pixels: a {container.name} has at most {container.side} along a side; "
                         f"use the format png")
    metadata = Metadata() if strip else _supported_metadata(photo, container)
    array = _planes(photo, container, metadata.icc is not None)
    alike = photo.encoding is not None and photo.encoding.container == container.name
    mode = photo.encoding.mode if alike and photo.encoding else ""
    if mode == "1":
        return _bilevel(array, photo, container, metadata)
    if mode == "P":
        return _palette(array, photo, container, metadata)
    return _save(array, photo, container, metadata, quality)


def _supported_metadata(photo: Photo, container: Container) -> Metadata:
    """The metadata that the format can hold; the rest is warned of."""
    metadata: Metadata = photo.metadata
    lost = []
    for block in ("exif", "xmp", "icc", "iptc"):
        value = getattr(metadata, block)
        if value and block not in container.metadata:
            metadata = replace(metadata, **{block: None})  # type: ignore[arg-type]
            lost.append(block.upper())
    if container.name == "JPEG" and metadata.exif and len(metadata.exif) + 6 > _SEGMENT:
        metadata = replace(metadata, exif=_shorter_exif(metadata.exif, photo.name))
    if container.name == "JPEG" and metadata.xmp and len(metadata.xmp) + 29 > _SEGMENT:
        metadata = replace(metadata, xmp=None)
        lost.append("XMP (it is too large)")
    if lost:
        note(photo.name, f"a {container.name} cannot hold its {', '.join(lost)}")
    return metadata


def _shorter_exif(block: bytes, name: str) -> bytes | None:
    """The block without the maker note, if a JPEG can hold that."""
    from rlenhance.io import exif

    try:
        shorter = exif.without_maker_note(block)
    except (ValueError, struct.error):
        shorter = b""
    if len(shorter) + 6 > _SEGMENT:
        shorter = b""
    part = "the camera's own part of it" if shorter else "it"
    note(name, f"its EXIF is too large for a JPEG; {part} is left out")
    return shorter or None


def _planes(photo: Photo, container: Container, in_profile: bool) -> np.ndarray:
    """(H, W, channels) in the file's colour space, in a depth that the format holds."""
    pixels = photo.wide_gamut.back(photo.pixels) if photo.wide_gamut and in_profile else photo.pixels
    deep = container.depth > 8 and photo.depth > 8
    if photo.depth > 8 and container.depth < photo.depth:
        note(photo.name, f"a {container.name} holds {container.depth} bits per channel, the picture has {photo.depth}: "
                         f"they are reduced; the formats tiff and png keep them")
    pixels = _at_depth(pixels[..., :1] if photo.grey else pixels, deep)
    if photo.alpha is None:
        return pixels
    alpha = _at_depth(photo.alpha, deep)
    if container.alpha:
        return np.concatenate([pixels, alpha[..., None]], axis=2)
    if (alpha < np.iinfo(alpha.dtype).max).any():
        raise UsageError(f"{photo.name}: a {container.name} cannot hold transparency: use the format png or webp")
    return pixels


def _at_depth(values: np.ndarray, deep: bool) -> np.ndarray:
    if deep and values.dtype == np.uint8:
        return values.astype(np.uint16) * np.uint16(257)
    if not deep and values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return values


def _save(array: np.ndarray, photo: Photo, container: Container, metadata: Metadata, quality: int | None) -> bytes:
    file = io.BytesIO()
    options: Any = photo.encoding.options if photo.encoding and photo.encoding.container == container.name else {}
    if container.name == "TIFF":
        from rlenhance.io import tiff

        compression = options.get("compression", 8)
        compression = compression if compression in tiff.KEPT_COMPRESSIONS else 8
        tiff.write(file, array, metadata, compression=compression, name=photo.name)
        return file.getvalue()
    if container.name == "HEIF":
        from rlenhance.io.heif import write_heif

        write_heif(file, array, metadata, quality or QUALITY["HEIF"])
        return file.getvalue()
    if array.dtype == np.uint16:
        return _deep_png(array, metadata)
    choices = _pillow_options(container, options, quality, array.shape[2] in (2, 4))
    if container.name == "JPEG" and not choices["progressive"] and array.shape[0] * array.shape[1] > 2 * STRIP:
        def encode_rows(rows: np.ndarray, units: int) -> bytes:
            return _by_pillow(_image(rows), container, metadata, {**choices, "restart_marker_blocks": units})

        return encode_strips(array, choices["subsampling"], encode_rows)
    return _by_pillow(_image(array), container, metadata, choices)


def _image(array: np.ndarray) -> Image.Image:
    if array.shape[2] != 3 or array.dtype != np.uint8:
        return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    image = Image.new("RGB", (array.shape[1], array.shape[0]), None)  # fromarray makes it black first
    image.frombytes(np.ascontiguousarray(array).data)
    return image


def _by_pillow(image: Image.Image, container: Container, metadata: Metadata, choices: dict[str, Any]) -> bytes:
    if container.name in ("JPEG", "WEBP", "AVIF"):
        choices["exif"] = metadata.exif and b"Exif\0\0" + metadata.exif
        choices |= {"xmp": metadata.xmp, "icc_profile": metadata.icc}
    if container.name == "JPEG":
        choices |= {"extra": _resources(metadata.iptc), "dpi": metadata.dpi,
                    "comment": next((body for kind, body in metadata.texts if kind == b"COM"), None)}
    try:
        file = _saved(image, container.name, {key: value for key, value in choices.items() if value not in (None, b"")})
    except (OSError, ValueError) as error:
        raise UsageError(f"{image.width}x{image.height} pixels cannot be written as {container.name} ({error}); "
                         f"use the format png") from error
    return _with_metadata(file.getvalue(), metadata) if container.name == "PNG" else file.getvalue()


class _JpegFile(io.BytesIO):
    """By its name, Pillow (from 12 on) knows the format without importing the plugins of four others."""

    name = "picture.jpg"


def _saved(image: Image.Image, name: str, options: dict[str, Any]) -> io.BytesIO:
    """A Pillow image as a file."""
    file = _JpegFile() if name == "JPEG" else io.BytesIO()
    image.save(file, None if name == "JPEG" else name, **options)
    return file


def _with_metadata(data: bytes | bytearray, metadata: Metadata) -> bytes:
    """A PNG's metadata stands behind its header, which is 33 bytes long."""
    from rlenhance.io.png import metadata_chunks

    return b"".join([data[:33], metadata_chunks(metadata), memoryview(data)[33:]])


def _deep_png(array: np.ndarray, metadata: Metadata) -> bytes:
    import imagecodecs

    # one filter and run lengths take a third of the default's time and are hardly larger
    flat = array.reshape(array.shape[:2] if array.shape[2] == 1 else array.shape)
    plain = np.frombuffer(np.ascontiguousarray(flat), np.uint16).reshape(flat.shape)  # its encoder counts strides
    data = imagecodecs.png_encode(plain, level=1,
                                  strategy=imagecodecs.PNG.STRATEGY.RLE, filter=imagecodecs.PNG.FILTER.SUB)
    return _with_metadata(data, metadata)


def _pillow_options(container: Container, options: Any, quality: int | None, clear: bool) -> dict[str, Any]:
    """Options of Pillow's encoder."""
    if container.name == "JPEG":
        sampling = options.get("subsampling", 0)
        found: dict[str, Any] = {"subsampling": sampling if sampling in (0, 1, 2) else 0,
                                 "progressive": options.get("progressive", False)}
        if quality is None and options.get("qtables"):
            if _steps(options["qtables"]) <= _steps(_tables(MIN_KEPT_QUALITY)):
                return {**found, "qtables": options["qtables"]}
            return {**found, "quality": MIN_KEPT_QUALITY}
        return {**found, "quality": quality or QUALITY["JPEG"]}
    if container.name == "WEBP":
        lossless = quality is None and options.get("lossless", False)
        return {"quality": quality or (75 if lossless else QUALITY["WEBP"]), "lossless": lossless, "exact": True}
    if container.name == "AVIF":
        return {"quality": quality or QUALITY["AVIF"], "subsampling": "4:4:4",
                "advanced": {"alpha:lossless": "1"} if clear else None}
    return {}


def _steps(tables: dict[int, list[int]]) -> int:
    """Sum of the luma quantisation steps: smaller is better quality."""
    return sum(tables[min(tables)])


@lru_cache
def _tables(quality: int) -> dict[int, list[int]]:
    file = _saved(Image.new("RGB", (8, 8)), "JPEG", {"quality": quality})
    file.seek(0)
    return dict(JpegImagePlugin.JpegImageFile(file).quantization)


def _resources(iptc: bytes | None) -> bytes:
    """IPTC as a JPEG's Photoshop segment."""
    if not iptc or len(iptc) > 65_000:
        return b""
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    return b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body


def _bilevel(array: np.ndarray, photo: Photo, container: Container, metadata: Metadata) -> bytes:
    """1 bit: values between black and white become the nearer of the two."""
    if not np.isin(array, (0, 255)).all():
        note(photo.name, "it is a file of black and white alone; values between them become the nearer of the two")
    white = array[..., 0] > 127
    if container.name == "TIFF":
        from rlenhance.io import tiff

        file = io.BytesIO()
        tiff.write(file, white[..., None], metadata, compression=8, name=photo.name)
        return file.getvalue()
    return _by_pillow(Image.fromarray(white), container, metadata, {})


def _palette(array: np.ndarray, photo: Photo, container: Container, metadata: Metadata) -> bytes:
    """At most 256 colours: exact where that is enough, otherwise the nearest ones with a warning."""
    packed = np.zeros(array.shape[:2], np.uint32)
    for k in range(array.shape[2]):
        packed |= array[..., k].astype(np.uint32) << (8 * k)
    colors, places = np.unique(packed, return_inverse=True)
    if len(colors) > 256:
        chosen = _nearest(array, photo)
        if chosen is None:
            note(photo.name, "its palette cannot hold the result's colours beside this transparency: it has none now")
            return _save(array, photo, container, metadata, None)
        return _palette(chosen, photo, container, metadata)
    table = np.zeros((256, 4), np.uint8)
    table[: len(colors)] = colors.astype("<u4").view(np.uint8).reshape(-1, 4)
    indices = places.reshape(packed.shape).astype(np.uint8)
    if container.name == "TIFF":
        if array.shape[2] == 4:
            return _save(array, photo, container, metadata, None)
        from rlenhance.io import tiff

        file = io.BytesIO()
        tiff.write(file, indices[..., None], metadata, compression=8, palette=table[:, :3], name=photo.name)
        return file.getvalue()
    image = Image.fromarray(indices)
    image.putpalette(table[: len(colors), :3].tobytes())
    clear = {"transparency": table[: len(colors), 3].tobytes()} if array.shape[2] == 4 else {}
    return _by_pillow(image, container, metadata, clear)


def _nearest(array: np.ndarray, photo: Photo) -> np.ndarray | None:
    """The image in 256 colours with its alpha, if that is 0 or 255 everywhere; otherwise None."""
    clear = array.shape[2] == 4
    if clear and not np.isin(array[..., 3], (0, 255)).all():
        return None
    image = Image.fromarray(np.ascontiguousarray(array[..., :3]))
    few = np.asarray(image.quantize(255 if clear else 256, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))
    note(photo.name, "its palette holds 256 colours, the result has more: the nearest are taken; "
                     "the formats webp and tiff keep all")
    if not clear:
        return few
    return np.concatenate([np.where(array[..., 3:] == 0, 0, few), array[..., 3:]], axis=2)
