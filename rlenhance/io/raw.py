"""Camera RAW, demosaiced to 16 bits with LibRaw (extra `raw`); the embedded preview is never used."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from rlenhance.core.errors import UsageError
from rlenhance.io import exif
from rlenhance.io.limits import DAMAGE, check_size, missing_extra, note


def read_raw(data: bytes, name: str, megapixels: float) -> tuple[np.ndarray, bytes | None]:
    """Develop with the camera's white balance and its matrix to sRGB, without automatic brightening.

    Returns:
        (H, W, 3) uint16, sRGB-encoded, upright; the EXIF block.

    Raises:
        UsageError: the extra is missing; larger than the limit; an unknown camera, or a damaged file.
    """
    try:
        import rawpy
    except ImportError as error:
        raise missing_extra(f"{name}: camera RAW", "raw") from error
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            check_size(name, raw.sizes.width, raw.sizes.height, megapixels)
            block = _exif(raw, data, name)
            pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16,
                                     output_color=rawpy.ColorSpace.sRGB, gamma=(2.4, 12.92))
    except rawpy.LibRawFileUnsupportedError as error:
        raise UsageError(f"{name}: a camera RAW that LibRaw {'.'.join(map(str, rawpy.libraw_version))} does not know; "
                         f"convert it to DNG, or export it as a 16-bit TIFF") from error
    except rawpy.LibRawError as error:
        raise UsageError(f"{name}: damaged or truncated ({error})") from error
    return pixels, block


def _exif(raw: Any, data: bytes, name: str) -> bytes | None:
    """EXIF from the file's directory, or from the preview where the file has no TIFF structure."""
    import rawpy

    try:
        return exif.read_raw_exif(data)
    except DAMAGE:
        pass  # no TIFF: Fuji's and Canon's newer ones
    try:
        thumb = raw.extract_thumb()
        if thumb.format == rawpy.ThumbFormat.JPEG:
            with Image.open(io.BytesIO(thumb.data), formats=["JPEG"]) as preview:
                block = preview.info.get("exif")
            if block:
                return exif.without_maker_note(exif.apply_orientation(block)[0])
    except (rawpy.LibRawError, *DAMAGE):
        pass
    note(name, "its metadata cannot be read and is left out")
    return None
