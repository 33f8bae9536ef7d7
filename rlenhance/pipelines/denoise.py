"""Remove the noise of photographs of any size with the learned denoiser or a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.machine import release_free_memory
from rlenhance.core.pixels import even_side, tiles, to_pixels, to_planes
from rlenhance.hub.info import find_checkpoint, read_config, read_info
from rlenhance.hub.shipped import COMMANDS, locate
from rlenhance.io.photo import Photo
from rlenhance.ops.camera_noise import SeenNoise, see_noise
from rlenhance.ops.noise_estimation import LARGEST_NOISE, noise_map_from_image, upsample_map
from rlenhance.ops.noise_pyramid import REDUCED, shrink_noise
from rlenhance.pipelines.base import ImagePipeline
from rlenhance.pipelines.options import DenoiseSettings

#: The shipped networks by their channels.
SHIPPED = {1: "denoiser-grey", 3: "denoiser"}
#: The shipped networks for other noise in colours: what a camera has smoothed or coded, what brightening reveals, and
#: fine noise of some strength.
PROCESSED = {"camera": "denoiser-photo", "brightened": "denoiser-photo", "moderate": "denoiser-camera"}
_TILE = 1024  # pixels along a tile: larger ones hardly save work
_TILES_BESIDE = {32_000_000: 384, 16_000_000: 768}  # beside a photograph of more pixels, whose memory counts
_WHOLE = 2_000_000  # pixels of a picture up to which `denoise_visible` uses the network at full size
_CELL = 4  # pixels along each side that share a value of the noise map; of reduced pictures half as many
_MODERATE = (3, 35)  # fine noise in 255ths of which convex filters take more than the network for even noise
_SMALLEST = 96  # pixels along a side below which noise cannot be distinguished from detail
_HIDDEN, _PLAIN = 1.5, 2.0  # noise in 255ths that does not show, and that is taken wholly


class Denoiser(ImagePipeline[DenoiseSettings]):
    """Removes the noise of photographs, with the learned denoiser tile by tile, in bounded memory.

    The noise of each photograph is measured, which chooses the network (`see_noise`); one in which none is seen is
    returned as it is. The decision has `SeenNoise.facts`.

    Args:
        model: see `ImagePipeline`; a learned denoiser, or a policy that denoises. None: the shipped denoisers, one of
            them for grey photographs.
        settings: see `DenoiseSettings`.

    Raises:
        UsageError: see `ImagePipeline`; or iterations for another model than a policy over latent codes.

    Example:
        >>> Denoiser(noise=25)(pixels)  # doctest: +SKIP
    """

    name, suffix, purpose = "denoise", DenoiseSettings.suffix, "denoise"
    Settings = DenoiseSettings
    _unpickled: ClassVar = (*ImagePipeline._unpickled, "_networks")

    def _load(self) -> None:
        self._networks: dict[str, Any] = {}
        if self.named is not None:
            self.folder, self.network = self._open_network(self.named)

    def _check_settings(self) -> None:
        if self.settings.iterations and not (self.network is not None and self.network.iterates):
            raise UsageError(f"iterations go with a policy over latent codes, and "
                             f"{self.named or 'the learned denoiser'} is none: name the model rse-faces")
        self.noise_preference()

    def noise_preference(self) -> dict[str, float]:
        """The noise as a preference of the policy; empty where it has no such preference.

        Raises:
            UsageError: noise outside the range that the policy was trained for.
        """
        noise = self.settings.noise
        return {} if noise is None or self.network is None else self.network.noise_preference(noise)

    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        if self._plays:
            return self._played(pixels), {}
        seen = self.see(pixels, photo)
        return self.clean_seen(pixels, seen), seen.facts

    @property
    def _plays(self) -> bool:
        """Whether the model in use is a policy, or a network without noise map."""
        return self.network is not None and not self.network.takes_noise_map

    def _played(self, pixels: np.ndarray) -> np.ndarray:
        """The result of a policy, or of a network without noise map, for the whole picture."""
        image, more = to_planes(pixels), {"iterations": self.settings.iterations} if self.settings.iterations else {}
        result = self.network(image, preference=self.noise_preference() or None, **more)
        return to_pixels(self._mix(image, result), pixels.dtype.type)

    def clean(self, pixels: np.ndarray, noise: np.ndarray, kind: str = "fine") -> np.ndarray:
        """Remove known noise from one picture.

        Args:
            pixels: (H, W, 3) uint8, uint16 or float in [0, 1], RGB; one whose channels are equal is grey.
            noise: (1, 1, h, w): map of standard deviations on the scale of [0, 1], of any size up to the picture's.
            kind: of the noise: "camera", "brightened", "moderate", or any other; a colour picture uses its network.

        Returns:
            The same shape and dtype.

        Raises:
            UsageError: a colour picture for a network for grey ones.
        """
        if self.settings.strength == 0:
            return pixels.copy()
        return self._cleaned(pixels, noise, self.select_network(pixels, kind), self.settings.strength)

    def _cleaned(self, pixels: np.ndarray, noise: np.ndarray, network: Any,
                 strength: float, most: int | None = None) -> np.ndarray:
        """`clean` by a network, tile by tile of `most` pixels along a side; small ones save memory."""
        noise, result = noise.clip(max=LARGEST_NOISE), np.empty_like(pixels)
        (height, width), most = pixels.shape[:2], most or _TILE
        side = even_side(height, most, network.size_multiple), even_side(width, most, network.size_multiple)
        for tile in self._with_progress(tiles(height, width, side, network.receptive_radius)):
            image = to_planes(pixels[tile.outer[1:]])
            around = upsample_map(noise, pixels.shape[:2], tile.outer[1:])
            clean = network.denoise(image if network.channels == 3 else image[:, :1], around)[tile.crop].clip(0, 1)
            if strength != 1:
                image = image[tile.crop]
                clean = image + strength * (clean - image)
            result[tile.inner[1:]] = to_pixels(np.broadcast_to(clean, (1, 3, *clean.shape[2:])), pixels.dtype.type)
            if most < _TILE:
                del image, around, clean
                release_free_memory()
        return result

    def see(self, pixels: np.ndarray, photo: Photo) -> SeenNoise:
        """The measured noise of a picture, or the noise that the settings name.

        Args:
            pixels: see `clean`.
            photo: their file.
        """
        if self.settings.noise is not None:
            return SeenNoise("named", self.settings.noise)
        coded = photo.encoding is not None and photo.encoding.container == "JPEG"
        return see_noise(pixels, coded)

    def clean_seen(self, part: np.ndarray, seen: SeenNoise) -> np.ndarray:
        """A picture, or a part of one, without the noise that was seen in the whole; itself where there is none.

        Args:
            part: see `clean`.
            seen: see `see`.
        """
        if seen.kind == "none":
            return part
        moderate = seen.kind == "fine" and _MODERATE[0] <= seen.level < _MODERATE[1]
        kind = "moderate" if moderate else seen.kind
        return self.clean(part, seen.map(part, self.select_network(part, kind).noise_floor), kind)

    def noise_of(self, pixels: np.ndarray, kind: str = "fine") -> np.ndarray:
        """The noise map of a picture, set or measured: (1, 1, h, w)."""
        if self.settings.noise is not None:
            return np.full((1, 1, 1, 1), self.settings.noise / 255, np.float32)
        return noise_map_from_image(pixels, noise_floor=self._noise_floor(pixels, kind))

    def select_network(self, pixels: np.ndarray, kind: str = "fine") -> Any:
        """The network for a picture's channels and a kind of noise, see `clean`.

        Raises:
            UsageError: there is none.
        """
        if self.network is None:
            name = _shipped_for(pixels, kind)
            if name not in self._networks:
                _, self._networks[name] = self._open_network(name)
            return self._networks[name]
        if self.network.channels == 1 and not is_grey(pixels):
            raise UsageError(f"{self.named}: was trained for grey pictures, and this one has colours: leave out the "
                             f"model, or name a denoiser for colour ({SHIPPED[3]})")
        return self.network

    def _noise_floor(self, pixels: np.ndarray, kind: str) -> float:
        """That of the network for a picture; a shipped one is not loaded for it, since most pictures show no noise."""
        if self.network is not None:
            return float(self.select_network(pixels, kind).noise_floor)
        spec = read_config(find_checkpoint(locate(_shipped_for(pixels, kind))))["model"]
        return float(spec.get("noise_floor", 0.0))

    def denoise_enhanced(self, pixels: np.ndarray, enhanced: np.ndarray,
                         curve: Callable[[np.ndarray], np.ndarray] | None,
                         gone: np.ndarray | None = None) -> np.ndarray:
        """Take out of an enhanced picture what its curve has made of the noise.

        A policy that denoises, or a network without noise map, is given the enhanced picture alone.

        Args:
            pixels: as they came from the camera.
            enhanced: what was made of them, of the same shape and dtype.
            curve: how, for a picture of any size (see `noise_map`); None: not by a curve. Then the noise is measured in
                the enhanced picture, but for FFDNet, which is given the gain, as ReLLIE does (`gain_map`).
            gone: see `visible_noise`.
        """
        if self._plays:
            return self._played(enhanced)
        network = self.select_network(enhanced, "brightened")
        if curve is not None:
            noise = _remaining(noise_map_from_image(pixels, curve, network.noise_floor), gone)
        elif network.takes_gain:
            noise = network.gain_map(pixels, enhanced)
        else:
            noise = self.noise_of(enhanced, "brightened")
        return self.clean(enhanced, noise, "brightened")

    def visible_noise(self, pixels: np.ndarray, curve: Callable[[np.ndarray], np.ndarray] | None,
                      gone: np.ndarray | None = None) -> VisibleNoise | None:
        """The visible noise of a picture after a curve.

        Args:
            pixels: as they came from the camera; without a curve, what was made of them.
            curve: see `denoise_enhanced`.
            gone: (h, w) in [0, 1], of any size: the share of the noise that the curve takes out itself, as of lost
                shadows. A network that is told of noise where there is none draws a pattern there.

        Returns:
            None where nothing is visible, the picture is less than 96 pixels wide or high, or the denoiser has no noise
            map.
        """
        if min(pixels.shape[:2]) < _SMALLEST or self._plays:
            return None
        levels = 0
        while pixels.shape[0] * pixels.shape[1] > _WHOLE * 4**levels:
            levels += 1
        noise = self.noise_of(pixels, "brightened") if curve is None else noise_map_from_image(
            pixels, curve, self._noise_floor(pixels, "brightened"), max(_CELL, _CELL << levels >> 1))
        noise = _remaining(noise, gone)
        visible = 255 * float(np.sqrt(np.square(noise).mean()))
        share = min(max((visible - _HIDDEN) / (_PLAIN - _HIDDEN), 0.0), 1.0)
        return VisibleNoise(noise, share, levels) if share else None

    def denoise_visible(self, enhanced: np.ndarray, visible: VisibleNoise, out: np.ndarray | None = None) -> np.ndarray:
        """`denoise_enhanced`, as far as the noise is visible, at a bounded cost.

        The share that is removed rises from 0 to 1 as the noise after the curve (root mean square of its map) rises
        from 1.5 to 2 of 255. Of a picture above two megapixels, the network sees one that is reduced by 2, 4, ... along
        each side, and finer noise is taken by `shrink_noise`.

        Args:
            enhanced: what was made of a picture.
            visible: see `visible_noise`.
            out: for the result of a picture above two megapixels; it may be `enhanced`. None: a new array.
        """
        network, levels = self.select_network(enhanced, "brightened"), visible.levels
        if not levels:
            return self._cleaned(enhanced, visible.map, network, visible.share)
        size = enhanced.shape[0] * enhanced.shape[1]
        tile = next((side for pixels, side in _TILES_BESIDE.items() if size > pixels), _TILE)
        return shrink_noise(enhanced, visible.map[0, 0], lambda small: self._cleaned(
            small, REDUCED**levels * visible.map, network, 1.0, tile), levels, visible.share, out)


@dataclass(frozen=True)
class VisibleNoise:
    """The noise that an enhanced photograph shows, see `Denoiser.visible_noise`.

    Attributes:
        map: (1, 1, h, w), standard deviations on the scale of [0, 1].
        share: of it that is removed, above 0 and up to 1.
        levels: how often the picture is halved before the network sees it.
    """

    map: np.ndarray
    share: float
    levels: int


def _remaining(noise: np.ndarray, gone: np.ndarray | None) -> np.ndarray:
    """A noise map (1, 1, h, w) without a share (h, w) of any size of it."""
    if gone is None:
        return noise
    share = cv2.resize(gone, noise.shape[:1:-1], interpolation=cv2.INTER_LINEAR)
    return noise * (1 - share)


def _shipped_for(pixels: np.ndarray, kind: str) -> str:
    """The name of the shipped network for a picture and a kind of noise."""
    return SHIPPED[1] if is_grey(pixels) else PROCESSED.get(kind, SHIPPED[3])


def find_denoiser(model: Path | str) -> Path:
    """The checkpoint of a model to denoise.

    Raises:
        UsageError: there is none; or it has another purpose, which is named.
    """
    folder = find_checkpoint(locate(model))
    purpose = read_info(folder).purpose
    if purpose != "denoise":
        raise UsageError(f"the denoiser {model}: a model to {COMMANDS[purpose]}, not to denoise; name a shipped one "
                         f"({SHIPPED[3]}), a run of denoiser_train or denoise_train, or imported weights (ffdnet, "
                         f"pixelrl)")
    return folder


def is_grey(pixels: np.ndarray) -> bool:
    """Whether all channels of (H, W, 3) are equal; the first rows are compared first."""
    return all(np.array_equal(rows[..., :1], rows[..., other : other + 1])
               for rows in (pixels[:8], pixels) for other in (1, 2))
