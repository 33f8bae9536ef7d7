"""Noise taken out of photographs of any size, by the learned denoiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError, check_unit_interval
from rlenhance.core.image import check_image, to_array, to_tensor
from rlenhance.core.tiling import tiles
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import find_checkpoint, load_network
from rlenhance.io import Photo
from rlenhance.io.array_types import apply_to
from rlenhance.models import NoiseConditionedModel
from rlenhance.ops.noise_estimation import LARGEST_NOISE, noise_map_from_image, upsample_map

#: The shipped networks, by the channels that they take.
SHIPPED = {1: "denoiser-grey", 3: "denoiser"}
#: The shipped network for colour photographs that a camera has smoothed or coded, and for what brightening shows.
PHOTO = "denoiser-photo"
_TILE = 768  # pixels along a tile: larger ones hardly save work


class NoiseRemover:
    """The learned denoiser for photographs: grey ones by the network for grey, tile by tile, in bounded memory.

    Args:
        model: name of a shipped denoiser, a run of `experiments.denoiser_train`, or a checkpoint in it; None: the
            shipped ones.
        noise: how strong even noise is, a standard deviation in 255ths from 0 to 75; None: each photograph shows it,
            brighter places their own (`estimate_noise`).
        strength: how much of the change is made, in [0, 1]: some grain may stay.
        device: where it computes.

    Raises:
        UsageError: no usable checkpoint; a number outside its range.

    Example:
        >>> NoiseRemover(noise=25)(pixels)  # doctest: +SKIP
    """

    def __init__(self, model: Path | str | None = None, *, noise: float | None = None, strength: float = 1.0,
                 device: torch.device | str = "cpu"):
        if noise is not None and not 0 <= noise <= 255 * LARGEST_NOISE:
            raise UsageError(f"--noise is a standard deviation between 0 and 75, in 255ths; got {noise:g}: reduce a "
                             f"noisier picture first")
        self.noise, self.strength, self.device = noise, check_unit_interval("strength", strength), torch.device(device)
        self._networks: dict[str, NoiseConditionedModel] = {}
        self._own = model
        if model is not None:
            self._networks = dict.fromkeys([*SHIPPED.values(), PHOTO], self._load(model))

    def __call__(self, picture: Any, noise: Tensor | None = None, coded: bool = False) -> Any:
        """Take the noise out of one picture of any size.

        Args:
            picture: (H, W, 3) uint8, uint16 or float in [0, 1], RGB; one whose channels are equal is grey. A PIL image
                or a tensor as well, see `rlenhance.io.array_types.apply_to`.
            noise: what is known of it, (1, 1, h, w): standard deviations on the scale of [0, 1], for a map of any
                size below the picture's; None: see the class.
            coded: a camera has smoothed its noise or JPEG has coded it, or it was brightened since; colours then go
                through the network that has learned from such.

        Returns:
            The same kind, shape and dtype.

        Raises:
            UsageError: another kind, shape or kind of number; a colour picture for a network that knows grey ones.
        """
        if not isinstance(picture, np.ndarray):
            return apply_to(picture, lambda pixels: self._clean(pixels, noise, coded))
        return self._clean(picture, noise, coded)

    def _clean(self, picture: np.ndarray, noise: Tensor | None, coded: bool) -> np.ndarray:
        if not isinstance(picture, np.ndarray):
            raise UsageError(f"a picture is an array, a PIL image or a tensor; got {type(picture).__name__}")
        check_image(to_tensor(picture[:1, :1] if picture.dtype in (np.uint8, np.uint16) else picture))
        if self.strength == 0:
            return picture.copy()
        if noise is None:
            noise = self.noise_of(picture, coded)
        network = self.network_for(picture, coded)
        noise, result = noise.clamp(max=LARGEST_NOISE), np.empty_like(picture)
        with torch.inference_mode():
            for tile in tiles(picture.shape[0], picture.shape[1], -(-_TILE // network.period) * network.period,
                              network.receptive_radius):
                image = to_tensor(picture[tile.outer[1:]], self.device)
                around = upsample_map(noise, picture.shape[:2], tile.outer[1:]).to(self.device)
                clean = network.denoise(image if network.channels == 3 else image[:, :1], around).clamp(0, 1)
                clean = (image + self.strength * (clean.expand_as(image) - image))[tile.crop]
                result[tile.inner[1:]] = to_array(clean, picture.dtype.type)
        return result

    def noise_of(self, picture: np.ndarray, coded: bool = False) -> Tensor:
        """The map of a picture's noise, from what was said or what it shows: (1, 1, h, w)."""
        if self.noise is not None:
            return torch.full((1, 1, 1, 1), self.noise / 255)
        return noise_map_from_image(picture, noise_floor=self.network_for(picture, coded).unseen)

    def network_for(self, picture: np.ndarray, coded: bool = False) -> NoiseConditionedModel:
        """The network that fits a picture's channels.

        Raises:
            UsageError: none does, or no denoiser is shipped.
        """
        channels = 1 if is_grey(picture) else 3
        name = PHOTO if coded and channels == 3 else SHIPPED[channels]
        if name not in self._networks:
            self._networks[name] = self._load(name)
        network = self._networks[name]
        if network.channels == 1 and channels == 3:
            raise UsageError(f"{self._own}: was trained for grey pictures, and this one has colours: leave out "
                             f"--model, or name a denoiser for colour ({SHIPPED[3]})")
        return network

    def takes_as_coded(self, photo: Photo) -> bool:
        """A JPEG whose noise is not named: see `coded` above."""
        return self.noise is None and photo.encoding is not None and photo.encoding.container == "JPEG"

    def denoise_photo(self, photo: Photo) -> tuple[Photo, Mapping[str, float]]:
        """The same for a decoded file: transparency and metadata stay, and at strength 0 it is the same object.

        Returns:
            The result, and `noise`: the mean standard deviation that was seen or said, in 255ths.
        """
        if self.strength == 0:
            return photo, {}
        coded = self.takes_as_coded(photo)
        noise = self.noise_of(photo.visible_pixels, coded)
        result = photo.map_pixels(lambda pixels: self(pixels, noise, coded))
        return result, {"noise": round(255 * noise.mean().item(), 3)}

    def after(self, picture: np.ndarray, enhanced: np.ndarray,
              curve: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
        """Take out of an enhanced picture what its curve has made of the noise.

        Args:
            picture: as it came from the camera.
            enhanced: what was made of it, of the same shape and dtype.
            curve: how, for a picture of any size (see `noise_map`); None: not by a curve, and the noise is measured in
                the enhanced picture.
        """
        if curve is None:
            return self(enhanced, coded=True)
        return self(enhanced, noise_map_from_image(picture, curve, self.network_for(enhanced, True).unseen), coded=True)

    def _load(self, model: Path | str) -> NoiseConditionedModel:
        network = load_network(find_checkpoint(weights.locate(model)), self.device)
        if not isinstance(network, NoiseConditionedModel):
            raise UsageError(f"{model}: a {type(network).__name__}, no learned denoiser; shipped are "
                             f"{' and '.join(SHIPPED.values())}")
        return network


def is_grey(picture: np.ndarray) -> bool:
    """All channels of (H, W, 3) are equal; a colour picture is told by its first rows."""
    return all(np.array_equal(rows[..., :1], rows[..., other : other + 1])
               for rows in (picture[:8], picture) for other in (1, 2))
