"""Enlarge photographs with a trained network, tile by tile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import enlarge_planes, resize_planes, tiles, to_pixels, to_planes
from rlenhance.io import Photo
from rlenhance.io.limits import MEGAPIXELS, check_size
from rlenhance.io.xmp import EDITED, marked
from rlenhance.pipelines.base import ImagePipeline
from rlenhance.pipelines.options import UpscaleSettings

#: The shipped networks by factor.
SHIPPED = {2: "upscale-x2", 4: "upscale-x4"}
_TILE = 384  # pixels along a tile of the small picture


class Upscaler(ImagePipeline[UpscaleSettings]):
    """A trained network of `rlenhance.experiments.network_train` (enlarger, combined) for photographs of any size.

    Tiles bound the memory.

    Args:
        model: see `ImagePipeline`; None: the shipped one of the scale.
        settings: see `UpscaleSettings`. A network has its own scale; one of scale 4 makes 2 by averaging pixels.
        megapixels: larger results are refused.
        options: see `ImagePipeline`.

    Attributes:
        scale: the factor along each side.

    Raises:
        UsageError: see `ImagePipeline`; or a scale that the network does not have.

    Example:
        >>> Upscaler(scale=4)(pixels).shape  # doctest: +SKIP
    """

    name, suffix, purpose = "upscale", UpscaleSettings.suffix, "upscale"
    Settings = UpscaleSettings
    mark = True

    def __init__(self, model: Path | str | None = None, settings: UpscaleSettings | None = None, *,
                 megapixels: float = MEGAPIXELS, **options: Any):
        self.megapixels = megapixels
        super().__init__(model, settings, **options)

    def _load(self) -> None:
        named = SHIPPED[self.settings.scale or 4] if self.named is None else self.named
        self.folder, self.network = self._open_network(named)
        self._model = None

    def _check_settings(self) -> None:
        if self.named is None and self.folder is not None and self.folder.name != SHIPPED[self.settings.scale or 4]:
            self._load()
        reached = [scale for scale in (2, 4) if self.network.scale % scale == 0]
        self.scale = self.settings.scale or self.network.scale
        if self.scale not in reached:
            raise UsageError(f"scale must be {' or '.join(map(str, reached))} with this model; got {self.scale}")

    def _marked(self, photo: Photo) -> Photo:
        return marked(photo, EDITED)

    @property
    def _idle(self) -> bool:
        return False  # the size changes at any strength

    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        (height, width), scale, network = pixels.shape[:2], self.scale, self.network
        check_size("the enlarged picture", width * scale, height * scale, self.megapixels)
        result = np.empty((height * scale, width * scale, 3), pixels.dtype)
        exposed = None
        if network.exposure:  # its curve looks at the whole picture
            exposed = network.apply_exposure(to_planes(pixels))
        for tile in self._with_progress(tiles(height, width, _TILE, network.receptive_radius)):
            image = to_planes(pixels[tile.outer[1:]]) if exposed is None else exposed[tile.outer]
            large = network.restore_unclamped(image).clip(0, 1)
            if self.settings.strength < 1:
                large = self._mix(enlarge_planes(image, network.scale).clip(0, 1), large)
            cut, inner = (_larger(spans, by) for spans, by in ((tile.crop, network.scale), (tile.inner, scale)))
            part = large[cut]
            if network.scale > scale:
                rows, columns = (side * scale // network.scale for side in part.shape[-2:])
                part = resize_planes(part, (rows, columns))
            result[inner[1:]] = to_pixels(part, pixels.dtype.type)
        return result, {"width": width * scale, "height": height * scale}


def _larger(spans: tuple, by: int) -> tuple:
    """The index in the large picture of an index in the small one."""
    return (..., *(slice(span.start * by, span.stop * by) for span in spans[1:]))
