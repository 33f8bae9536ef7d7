"""Photographs enlarged by a trained network, tile by tile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.core.image import check_image, resize, to_array, to_tensor
from rlenhance.core.tiling import tiles
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import find_checkpoint, load_network
from rlenhance.io import Photo
from rlenhance.io.exif import resized
from rlenhance.io.limits import MEGAPIXELS, check_size
from rlenhance.io.photo import as_grey
from rlenhance.models import SCALES, MRPNetSR

#: The shipped network: it enlarges four times; twice is the mean over 2x2 pixels of that.
SHIPPED = "upscale"
_TILE = 192  # pixels along a tile of the small picture


class Upscaler:
    """A trained network of `experiments.restore_train combined` for photographs of any size, in bounded memory.

    Args:
        model: name of a shipped network, a run, or a checkpoint in it; None: the shipped one.
        scale: how much larger the result is along each side, 2 or 4; None: as the network was trained. A network's
            scale, or its half: the mean over pixels then.
        device: where it computes.
        megapixels: results that would be larger are refused.

    Raises:
        UsageError: no usable checkpoint, or none that enlarges; a scale that it does not reach.

    Example:
        >>> Upscaler(scale=4)(pixels).shape  # doctest: +SKIP
    """

    def __init__(self, model: Path | str | None = None, *, scale: int | None = None,
                 device: torch.device | str = "cpu", megapixels: float = MEGAPIXELS):
        self.device, self.megapixels = torch.device(device), megapixels
        network = load_network(find_checkpoint(weights.locate(SHIPPED if model is None else model)), self.device)
        if not isinstance(network, MRPNetSR) or network.scale == 1:
            raise UsageError(f"{model}: does not enlarge; leave out --model, or name a run of python -m "
                             f"experiments.restore_train combined --scale 4")
        self.network, self.scale = network, network.scale if scale is None else scale
        if self.scale not in SCALES[1:] or network.scale % self.scale:
            reached = [s for s in SCALES[1:] if network.scale % s == 0]
            raise UsageError(f"--scale is {' or '.join(map(str, reached))} with this model; got {self.scale}")

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Enlarge one picture.

        Args:
            picture: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.

        Returns:
            (scale H, scale W, 3), the same kind of number.

        Raises:
            UsageError: another shape or kind of number; a result that is too large.
        """
        check_image(to_tensor(picture[:1, :1]))
        (height, width), scale = picture.shape[:2], self.scale
        check_size("the enlarged picture", width * scale, height * scale, self.megapixels)
        result, network = np.empty((height * scale, width * scale, 3), picture.dtype), self.network
        apply_exposure = None
        with torch.inference_mode():
            if network.exposure:  # the curve looks at the whole picture
                apply_exposure = network.apply_exposure(to_tensor(picture, self.device))
            for tile in tiles(height, width, _TILE, network.receptive_radius):
                image = to_tensor(picture[tile.outer[1:]],
                                  self.device) if apply_exposure is None else apply_exposure[tile.outer]
                large = network.restore_unclamped(image).clamp(0, 1)
                cut, inner = (_larger(spans, by) for spans, by in ((tile.crop, network.scale), (tile.inner, scale)))
                part = large[cut]
                if network.scale > scale:
                    part = resize(part, (part.shape[-2] * scale // network.scale,
                                         part.shape[-1] * scale // network.scale))
                result[inner[1:]] = to_array(part, picture.dtype.type)
        return result

    def upscale_photo(self, photo: Photo) -> tuple[Photo, Mapping[str, float]]:
        """The same for a decoded file: metadata stays (its size is brought up to date), grey stays grey, and what is
        transparent is enlarged as it is.

        Returns:
            The result, and its `width` and `height`.
        """
        pixels, hidden, alpha = self(photo.visible_pixels), photo.transparent, photo.alpha
        height, width = pixels.shape[:2]
        if photo.grey:
            pixels = as_grey(pixels)
        if alpha is not None:
            alpha = np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR))
        if hidden is not None and alpha is not None:
            def whole(part: np.ndarray) -> np.ndarray:
                return part.repeat(self.scale, axis=0).repeat(self.scale, axis=1)

            covers = whole(hidden)
            pixels, alpha = np.where(covers[..., None], whole(photo.pixels), pixels), np.where(covers, 0, alpha)
            alpha = alpha.astype(pixels.dtype if photo.alpha is None else photo.alpha.dtype)
        metadata = photo.metadata
        if metadata.exif:
            metadata = replace(metadata, exif=resized(metadata.exif, width, height))
        return replace(photo, pixels=pixels, alpha=alpha, metadata=metadata), {"width": width, "height": height}


def _larger(spans: tuple, by: int) -> tuple:
    """An index of the small picture as that of the large one."""
    return (..., *(slice(span.start * by, span.stop * by) for span in spans[1:]))
