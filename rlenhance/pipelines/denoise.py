"""Remove the noise of photographs of any size with the learned denoiser or a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_array, to_tensor
from rlenhance.core.tiling import tiles
from rlenhance.hub.info import find_checkpoint, read_info
from rlenhance.hub.shipped import locate
from rlenhance.io import Photo
from rlenhance.models import FFDNet, LatentEpisode, NoiseConditionedModel, build_model
from rlenhance.models.published.ffdnet import gain_map
from rlenhance.ops.noise_estimation import LARGEST_NOISE, noise_map_from_image, upsample_map
from rlenhance.ops.noise_pyramid import REDUCED, shrink_noise
from rlenhance.pipelines.base import COMMANDS, ImagePipeline
from rlenhance.pipelines.options import DenoiseSettings
from rlenhance.pipelines.seen_noise import SeenNoise, see_noise

#: The shipped networks by their channels.
SHIPPED = {1: "denoiser-grey", 3: "denoiser"}
#: The shipped network for noise in colours that a camera has smoothed or coded, or that brightening reveals.
PHOTO = "denoiser-photo"
_TILE = 768  # pixels along a tile: larger ones hardly save work
_WHOLE = 2_000_000  # pixels of a picture up to which `denoise_visible` uses the network at full size
_SMALLEST = 96  # pixels along a side below which noise cannot be told from detail
_HIDDEN, _PLAIN = 1.5, 3.0  # noise in 255ths that does not show, and that is taken wholly


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
        self._networks: dict[str, NoiseConditionedModel] = {}
        if self.named is not None:
            self.folder, network = self._open(self.named)
            self.model = build_model(network).eval()

    def _check_settings(self) -> None:
        settings, model = self.settings, self.model
        if isinstance(model, LatentEpisode):
            if settings.noise is not None and settings.noise < 1:
                raise UsageError(f"noise must lie between 1 and 75 (in 255ths) for a policy over latent codes; "
                                 f"got {settings.noise:g}")
            if model.iterations != settings.iterations:
                self.model = LatentEpisode(model.policy, model.steps, settings.iterations).eval()
        elif settings.iterations:
            raise UsageError(f"iterations go with a policy over latent codes, and "
                             f"{self.named or 'the learned denoiser'} is none: name the model rse-faces")
        self.noise_preference()

    def noise_preference(self) -> dict[str, float]:
        """The noise as a preference of the policy; empty where it has no such preference.

        Raises:
            UsageError: noise outside the range that the policy was trained for.
        """
        noise, encode = self.settings.noise, getattr(getattr(self.model, "policy", None), "noise_preference", None)
        return {} if noise is None or encode is None else encode(noise)

    @torch.inference_mode()
    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        if self.model is not None and not isinstance(self.model, NoiseConditionedModel):
            return self._played(pixels), {}
        seen = self.see(pixels, photo)
        return self.clean_seen(pixels, seen), seen.facts

    def _played(self, pixels: np.ndarray) -> np.ndarray:
        """The result of a policy, or of a network without noise map, for the whole picture."""
        if isinstance(self.model, LatentEpisode):
            noise, actions = self.settings.noise, cast(Any, self.model.policy.actions)
            actions.noise_std = None if noise is None else noise / 255
        image = to_tensor(pixels, self.device)
        result = self.model(image, preference=self.noise_preference() or None).float()
        return to_array(self._mix(image, result), pixels.dtype.type)

    @torch.inference_mode()
    def clean(self, pixels: np.ndarray, noise: Tensor, camera_jpeg: bool = False) -> np.ndarray:
        """Remove known noise from one picture.

        Args:
            pixels: (H, W, 3) uint8, uint16 or float in [0, 1], RGB; one whose channels are equal is grey.
            noise: (1, 1, h, w): map of standard deviations on the scale of [0, 1], of any size up to the picture's.
            camera_jpeg: the noise was smoothed by a camera, coded by JPEG, or brightened; colour pictures then use the
                network that was trained on such noise.

        Returns:
            The same shape and dtype.

        Raises:
            UsageError: a colour picture for a network for grey ones.
        """
        if self.settings.strength == 0:
            return pixels.copy()
        return self._cleaned(pixels, noise, self.select_network(pixels, camera_jpeg), self.settings.strength)

    def _cleaned(self, pixels: np.ndarray, noise: Tensor, network: NoiseConditionedModel,
                 strength: float) -> np.ndarray:
        """`clean` by a network, tile by tile."""
        noise, result = noise.clamp(max=LARGEST_NOISE), np.empty_like(pixels)
        side = -(-_TILE // network.size_multiple) * network.size_multiple
        height, width = pixels.shape[:2]
        for tile in self._with_progress(tiles(height, width, side, network.receptive_radius)):
            image = to_tensor(pixels[tile.outer[1:]], self.device)
            around = upsample_map(noise, pixels.shape[:2], tile.outer[1:]).to(self.device)
            clean = network.denoise(image if network.channels == 3 else image[:, :1], around).clamp(0, 1)
            clean = (image + strength * (clean.expand_as(image) - image))[tile.crop]
            result[tile.inner[1:]] = to_array(clean, pixels.dtype.type)
        return result

    def see(self, pixels: np.ndarray, photo: Photo) -> SeenNoise:
        """What is seen of the noise of a picture, or what the settings name.

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
        camera = seen.kind == "camera"
        return self.clean(part, seen.map(part, self.select_network(part, camera).noise_floor), camera)

    def noise_of(self, pixels: np.ndarray, camera_jpeg: bool = False) -> Tensor:
        """The noise map of a picture, set or measured: (1, 1, h, w)."""
        if self.settings.noise is not None:
            return torch.full((1, 1, 1, 1), self.settings.noise / 255)
        return noise_map_from_image(pixels, noise_floor=self.select_network(pixels, camera_jpeg).noise_floor)

    def select_network(self, pixels: np.ndarray, camera_jpeg: bool = False) -> NoiseConditionedModel:
        """The network for a picture's channels.

        Raises:
            UsageError: there is none.
        """
        channels = 1 if is_grey(pixels) else 3
        if self.model is None:
            name = PHOTO if camera_jpeg and channels == 3 else SHIPPED[channels]
            if name not in self._networks:
                _, self._networks[name] = self._open(name)
            return self._networks[name]
        if self.model.channels == 1 and channels == 3:
            raise UsageError(f"{self.named}: was trained for grey pictures, and this one has colours: leave out the "
                             f"model, or name a denoiser for colour ({SHIPPED[3]})")
        return self.model

    def denoise_enhanced(self, pixels: np.ndarray, enhanced: np.ndarray,
                         curve: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
        """Take out of an enhanced picture what its curve has made of the noise.

        A policy that denoises, or a network without noise map, is given the enhanced picture alone.

        Args:
            pixels: as they came from the camera.
            enhanced: what was made of them, of the same shape and dtype.
            curve: how, for a picture of any size (see `noise_map`); None: not by a curve. Then the noise is measured in
                the enhanced picture, but for FFDNet, which is given the gain, as ReLLIE does (`gain_map`).
        """
        if self.model is not None and not isinstance(self.model, NoiseConditionedModel):
            return self._played(enhanced)
        network = self.select_network(enhanced, True)
        if curve is not None:
            noise = noise_map_from_image(pixels, curve, network.noise_floor)
        elif isinstance(network, FFDNet):
            noise = gain_map(to_tensor(pixels), to_tensor(enhanced))[:, : network.noise_channels]
        else:
            noise = self.noise_of(enhanced, True)
        return self.clean(enhanced, noise, camera_jpeg=True)

    def denoise_visible(self, pixels: np.ndarray, enhanced: np.ndarray,
                        curve: Callable[[np.ndarray], np.ndarray] | None) -> tuple[np.ndarray, float]:
        """`denoise_enhanced`, as far as the noise is visible, at a bounded cost.

        The share that is removed rises from 0 to 1 as the noise after the curve (root mean square of its map) rises
        from 1.5 to 3 of 255. Of a picture above two megapixels, the network sees one that is reduced by 2, 4, ... along
        each side, and finer noise is taken by `shrink_noise`.

        Args:
            pixels, enhanced, curve: see `denoise_enhanced`.

        Returns:
            The result (`enhanced` itself where nothing is visible, the picture is less than 96 pixels wide or high, or
            the denoiser has no noise map), and the share.
        """
        if min(pixels.shape[:2]) < _SMALLEST or not (self.model is None or
                                                     isinstance(self.model, NoiseConditionedModel)):
            return enhanced, 0.0
        network = self.select_network(enhanced, True)
        noise = self.noise_of(enhanced, True) if curve is None else \
            noise_map_from_image(pixels, curve, network.noise_floor)
        visible = 255 * noise.square().mean().sqrt().item()
        share = min(max((visible - _HIDDEN) / (_PLAIN - _HIDDEN), 0.0), 1.0)
        if share == 0:
            return enhanced, 0.0
        levels = 0
        while enhanced.shape[0] * enhanced.shape[1] > _WHOLE * 4**levels:
            levels += 1
        if not levels:
            return self._cleaned(enhanced, noise, network, share), share
        return shrink_noise(enhanced, noise[0, 0].numpy(), lambda small: self._cleaned(
            small, REDUCED**levels * noise, network, 1.0), levels, share), share

    def _move(self, device: torch.device) -> None:
        super()._move(device)
        self._networks = {name: network.to(device) for name, network in self._networks.items()}


def find_denoiser(model: Path | str) -> Path:
    """The checkpoint of a model to denoise.

    Raises:
        UsageError: there is none; or it has another purpose, which is named.
    """
    folder = find_checkpoint(locate(model))
    purpose = read_info(folder).purpose
    if purpose != "denoise":
        raise UsageError(f"the denoiser {model}: a model to {COMMANDS[purpose]}, not to denoise; name a shipped one "
                         f"({PHOTO}), a run of denoiser_train or denoise_train, or imported weights (ffdnet, pixelrl)")
    return folder


def is_grey(pixels: np.ndarray) -> bool:
    """Whether all channels of (H, W, 3) are equal; the first rows are compared first."""
    return all(np.array_equal(rows[..., :1], rows[..., other : other + 1])
               for rows in (pixels[:8], pixels) for other in (1, 2))
