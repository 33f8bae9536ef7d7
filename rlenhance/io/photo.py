"""A decoded image file: pixels, alpha, metadata and encoding, so that it can be written in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from rlenhance.io.profiles import WideGamut


@dataclass(frozen=True)
class Metadata:
    """The metadata of a file.

    Attributes:
        exif: EXIF block, TIFF-structured, without a prefix; orientation 1, no thumbnail.
        xmp: XMP packet.
        icc: colour profile of the file (not of `Photo.pixels`, which are sRGB).
        iptc: IPTC-NAA record.
        dpi: printing resolution (across, down).
        texts: PNG text chunks (kind, body) other than XMP; a JPEG comment has the kind b"COM".
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True)
class Encoding:
    """The pixel encoding of a file, so that a result can be written in the same one.

    Attributes:
        container: name of the format ("JPEG").
        depth: bits per channel in the file: 1, 8, 10, 12 or 16.
        mode: "1", "P", "L", "LA", "RGB" or "RGBA".
        options: of its encoder, as far as known: quantisation tables, lossless, compression.
    """

    container: str
    depth: int
    mode: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Photo:
    """A decoded file.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16, RGB, sRGB-encoded, upright. Files with more than 8 bits or with a wide-gamut
            profile give uint16 (0 to 65535, whatever their depth).
        alpha: (H, W) uint8 or uint16, or None.
        grey: the file had one channel, and a result has one.
        metadata: of the file.
        encoding: of the file; None for pixels without one.
        wide_gamut: converts back to the file's wide-gamut profile; None for sRGB.
        name: for messages.
        spare: whoever processes it may write the result over its pixels, to save their memory; what is read is without.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    metadata: Metadata = Metadata()
    encoding: Encoding | None = None
    wide_gamut: WideGamut | None = None
    name: str = "the picture"
    spare: bool = False

    @property
    def depth(self) -> int:
        """Bits per channel of the file."""
        return self.encoding.depth if self.encoding else 8 * self.pixels.itemsize

    @property
    def transparent(self) -> np.ndarray | None:
        """(H, W) bool, True where alpha is 0; None if nothing is transparent, or everything."""
        hidden = None if self.alpha is None else self.alpha == 0
        return None if hidden is None or not hidden.any() or hidden.all() else hidden

    @property
    def visible_pixels(self) -> np.ndarray:
        """The pixels with transparent ones replaced by the mean of the visible ones: the basis of decisions."""
        hidden = self.transparent
        if hidden is None:
            return self.pixels
        mean = np.rint(self.pixels[~hidden].mean(axis=0)).astype(self.pixels.dtype)
        return np.where(hidden[..., None], mean, self.pixels)

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The same file with other pixels."""
        return replace(self, pixels=pixels)

    def map_pixels(self, change: Callable[[np.ndarray], np.ndarray]) -> Photo:
        """The same file after a change of its pixels; grey stays grey, and transparent pixels keep their colours.

        The change gets `visible_pixels`, so that invisible colours do not affect it. Where the result is larger, alpha
        is enlarged and the size in the metadata updated.

        Args:
            change: (H, W, 3) -> (scale H, scale W, 3), the same dtype.
        """
        hidden, pixels, alpha, metadata = self.transparent, change(self.visible_pixels), self.alpha, self.metadata
        colors, (height, width) = self.pixels, pixels.shape[:2]
        if self.grey:
            pixels = np.repeat(np.rint(pixels.mean(axis=2, keepdims=True)).astype(pixels.dtype), 3, axis=2)
        if pixels.shape != colors.shape:
            scale = height // len(colors)
            if alpha is not None:
                alpha = np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR))
            if hidden is not None and alpha is not None:
                hidden, colors = (part.repeat(scale, axis=0).repeat(scale, axis=1) for part in (hidden, colors))
                alpha = np.where(hidden, 0, alpha).astype(alpha.dtype)
            if metadata.exif:
                from rlenhance.io.exif import resized

                metadata = replace(metadata, exif=resized(metadata.exif, width, height))
        if hidden is not None:
            pixels = np.where(hidden[..., None], colors, pixels)
        return replace(self, pixels=pixels, alpha=alpha, metadata=metadata, spare=False)
