"""HEIC and HEIF through libheif (extra `heif`), 8, 10 and 12 bits."""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.limits import check_size, missing_extra, note
from rlenhance.io.photo import Metadata
from rlenhance.io.profiles import spread


def _library(what: str) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise missing_extra(what, "heif") from error
    return pillow_heif


def read_heif(data: bytes, name: str, megapixels: float) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Decode the main picture.

    Returns:
        (H, W, channels) uint8 or uint16 (full range), upright; its depth in bits; exif, xmp and icc.

    Raises:
        UsageError: the extra is missing; larger than the limit; an unsupported mode.
    """
    file = _library(f"{name}: HEIC").open_heif(data, convert_hdr_to_8bit=False)
    main = file[file.primary_index]
    check_size(name, main.size[0], main.size[1], megapixels)
    mode, depth = main.mode, int(main.info.get("bit_depth") or 8)
    if mode.split(";")[0] not in ("L", "LA", "RGB", "RGBA", "I"):
        raise UsageError(f"{name}: HEIC of mode {mode} is not taken; export it as sRGB")
    if len(file) > 1:
        note(name, f"holds {len(file)} pictures: the main one is taken")
    pixels = np.asarray(main)
    if pixels.dtype == np.uint16:  # libheif shifts up and leaves the low bits empty
        pixels = np.array(pixels)
        pixels >>= 16 - depth
        spread(pixels, (1 << depth) - 1)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    info = {"exif": main.info.get("exif"), "xmp": main.info.get("xmp"), "icc_profile": main.info.get("icc_profile")}
    return pixels, depth if pixels.dtype == np.uint16 else 8, info


def write_heif(file: IO[bytes], array: np.ndarray, metadata: Metadata, quality: int) -> None:
    """Encode (H, W, channels); uint16 is written with 10 bits, and an image with transparency losslessly.

    Raises:
        UsageError: the extra is missing, or its library was built without an encoder.
    """
    library = _library("writing HEIC")
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[array.shape[2]]
    if array.dtype == np.uint16:
        if array.shape[2] < 3:
            array = np.concatenate([np.repeat(array[..., :1], 3, axis=2), array[..., 1:]], axis=2)
        mode = {3: "RGB;16", 4: "RGBA;16"}[array.shape[2]]
    picture = library.from_bytes(mode, (array.shape[1], array.shape[0]), np.ascontiguousarray(array).tobytes())
    blocks = {"exif": metadata.exif and b"Exif\0\0" + metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc}
    if metadata.icc:
        picture.info["icc_profile"], picture.info["icc_profile_type"] = metadata.icc, "prof"
    quality = -1 if "A" in mode else quality  # transparency would be moved by a level or two
    try:
        picture.save(file, quality=quality, chroma=444, **{key: value for key, value in blocks.items() if value})
    except RuntimeError as error:
        raise UsageError(f"{array.shape[1]}x{array.shape[0]} pixels cannot be written as HEIC ({error}); "
                         f"use the format png") from error
