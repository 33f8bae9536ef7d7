"""Pillow's plugins for the formats that they open, without the limit of pixels that is global to the process."""

from __future__ import annotations

from typing import Any

from PIL import AvifImagePlugin, BmpImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin, WebPImagePlugin


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF of any size; Pillow's own limit of pixels is global to the process."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)
        ImageFile.ImageFile.load_prepare(self)


class _Avif(AvifImagePlugin.AvifImageFile):
    """An AVIF whose EXIF is not interpreted: a small block may claim gigabytes."""

    def _open(self) -> None:
        decoder = AvifImagePlugin._avif.AvifDecoder
        self._decoder = decoder(self.fp.read(), "auto", AvifImagePlugin._get_default_max_threads())  # type: ignore[union-attr]
        self._size, self.n_frames, self._mode, *blocks, turn, packet = self._decoder.get_info()
        self.is_animated = self.n_frames > 1
        self.info.update({"icc_profile": blocks[0], "exif": blocks[1], "turn": turn, "xmp": packet})
        self.seek(0)


#: What opens a file of each format but JPEG.
OPEN: dict[str, Any] = {"PNG": PngImagePlugin.PngImageFile, "WEBP": WebPImagePlugin.WebPImageFile,
                        "BMP": BmpImagePlugin.BmpImageFile, "AVIF": _Avif, "TIFF": _Tiff}
