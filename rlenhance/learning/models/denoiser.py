"""Denoisers that are conditioned on a noise map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import tiles
from rlenhance.learning.models.base import MODELS, FeedForwardModel
from rlenhance.learning.nn.backbones.noise_unet import NoiseUNet
from rlenhance.learning.nn.latent import PatchAutoencoder
from rlenhance.learning.ops.image import NOISE_MARGIN, pad_to_multiple, to_array
from rlenhance.learning.ops.patch_grid import PatchGrid
from rlenhance.ops.noise_estimation import LARGEST_NOISE, noise_map_from_image, upsample_map


class NoiseConditionedModel(FeedForwardModel):
    """Base class of the denoisers that are conditioned on the noise: on the preference `noise`, one standard deviation
    in 255ths for all pixels, or on a map estimated from each image.

    Attributes:
        channels: of the images, 1 (grey) or 3 (RGB).
        noise_channels: channels of the noise map.
        noise_floor: added to estimated noise, see `rlenhance.ops.noise_estimation.noise_map`.
        size_multiple: pixels along each side after which the network's grid repeats.
        receptive_radius: see `ImageNetwork`; a multiple of `size_multiple`.
    """

    purpose = "denoise"
    range_margin = NOISE_MARGIN
    accepted = ("noise",)
    noise_channels: int = 1
    noise_floor: float = 0.0
    size_multiple: int
    receptive_radius: int  # type: ignore[assignment]

    def forward(self, image: Tensor, mask: Tensor | None = None, preference: Mapping[str, float] | None = None,
                noise_std: Tensor | None = None) -> Tensor:
        """See `FeedForwardModel`.

        Args:
            noise_std: the noise map where it is known, as in training, (N, 1, H, W); the image then has the model's
                channels, and neither mask nor preference counts.
        """
        if noise_std is None:
            return super().forward(image, mask, preference)
        output = self.denoise(image, noise_std)
        return output if self.training else output.clamp(0, 1)

    def predict_noise(self, image: Tensor, noise: Tensor) -> Tensor:
        """The noise, which is subtracted: (N, channels, H, W) and (N, noise_channels, H, W), sides multiples of
        `size_multiple` -> (N, channels, H, W)."""
        raise TypeError("a denoiser defines predict_noise")

    def denoise(self, image: Tensor, noise: Tensor | float) -> Tensor:
        """Denoise whole images at once.

        Args:
            image: (N, channels, H, W) of any size; noise may leave [0, 1].
            noise: standard deviation, a number or (N or 1, 1, H or 1, W or 1), in [0, `LARGEST_NOISE`].

        Returns:
            (N, channels, H, W), not clipped.

        Raises:
            UsageError: other channels; a map of another shape; noise outside the range.
        """
        noise = self.check(image, noise)
        height, width = image.shape[-2:]
        padded, around = (pad_to_multiple(part, self.size_multiple) for part in (image, noise))
        return (padded - self.predict_noise(padded, around))[..., :height, :width]

    def denoise_tiled(self, image: Tensor, noise: Tensor | float, side: int = 768) -> Tensor:
        """`denoise` tile by tile, with memory for one tile and the result.

        Args:
            image, noise: see `denoise`.
            side: of the tiles in pixels, without their halo; rounded up to a multiple of `size_multiple`.
        """
        if max(image.shape[-2:]) <= side:
            return self.denoise(image, noise)
        noise, result = self.check(image, noise), torch.empty_like(image)
        for tile in tiles(image.shape[-2], image.shape[-1], -(-side // self.size_multiple) * self.size_multiple,
                          self.receptive_radius):
            result[tile.inner] = self.denoise(image[tile.outer], noise[tile.outer])[tile.crop]
        return result

    def check(self, image: Tensor, noise: Tensor | float) -> Tensor:
        """The noise as a map of the image's size: (N, noise_channels, H, W).

        Raises:
            UsageError: see `denoise`.
        """
        if image.ndim != 4 or image.shape[1] != self.channels or 0 in image.shape or not image.is_floating_point():
            raise UsageError(f"this denoiser takes (N, {self.channels}, H, W) float; got {tuple(image.shape)} "
                             f"{image.dtype}: there is one for colour (3 channels) and one for grey (1)")
        noise = torch.as_tensor(noise, dtype=image.dtype, device=image.device)
        noise = noise[None, None, None, None] if noise.ndim == 0 else noise
        try:
            noise = noise.expand(image.shape[0], self.noise_channels, *image.shape[-2:])
        except RuntimeError as error:
            raise UsageError(f"noise is a number or a map (N, 1, H, W) of the picture's size "
                             f"{tuple(image.shape)}; got {tuple(noise.shape)}") from error
        return check_sigma(noise)

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        if "noise" in preference:
            noise = torch.full_like(image[:, :1], preference["noise"] / 255)
        else:
            noise = torch.cat([_estimate(one, self.noise_floor) for one in image.split(1)]).clamp(max=LARGEST_NOISE)
        return (self.denoise if self.training else self.denoise_tiled)(image, noise)


def _estimate(picture: Tensor, noise_floor: float) -> Tensor:
    """Estimated noise map: (1, C, H, W) -> (1, 1, H, W)."""
    pixels = to_array(picture.expand(-1, 3, -1, -1), np.float32)
    found = upsample_map(noise_map_from_image(pixels, noise_floor=noise_floor), picture.shape[-2:])
    return torch.from_numpy(found).to(picture)


@MODELS.register("denoiser")
class DenoisingUNet(NoiseConditionedModel):
    """output = image - noise * U-Net(image, noise), see `NoiseUNet`; without noise the output is the image.

    Args:
        channels: of the images, 1 (grey) or 3 (RGB).
        widths: channels of each level.
        down, up: residual blocks of each level of encoder and decoder (which has one level fewer).
        noise_floor: see `NoiseConditionedModel`; for networks trained on coded photographs.

    Source: FFDNet (Zhang, Zuo and Zhang 2018) for the noise map and the unshuffled image; U-Net (Ronneberger et al.
    2015). We depart from FFDNet in the factor, in the levels, and in having no batch normalisation.
    """

    def __init__(self, channels: int = 3, widths: Sequence[int] = (32, 64, 64), down: Sequence[int] = (1, 2, 1),
                 up: Sequence[int] = (1, 2), noise_floor: float = 0.0):
        super().__init__()
        if channels not in (1, 3):
            raise UsageError(f"channels is 1 (grey) or 3 (RGB); got {channels}")
        if not len(widths) == len(down) == len(up) + 1:
            raise UsageError(f"widths and down need one number per level, up one fewer; got {len(widths)}, {len(down)} "
                             f"and {len(up)}")
        if not 0 <= noise_floor <= LARGEST_NOISE:
            raise UsageError(f"noise_floor must lie between 0 and {LARGEST_NOISE:.3f}; got {noise_floor}")
        self.channels, self.widths, self.down, self.up = channels, tuple(widths), tuple(down), tuple(up)
        self.noise_floor = noise_floor
        self.network = NoiseUNet(channels, widths, down, up)

    @property
    def size_multiple(self) -> int:  # type: ignore[override]
        return int(2 ** len(self.widths))

    @property
    def receptive_radius(self) -> int:  # type: ignore[override]
        blocks = [a + b for a, b in zip(self.down, (*self.up, 0), strict=True)]
        convolutions = 2 * 2 + sum(2 * count * 2 ** (level + 1) for level, count in enumerate(blocks))
        return -(-(convolutions + self.size_multiple) // self.size_multiple) * self.size_multiple

    def predict_noise(self, image: Tensor, noise: Tensor) -> Tensor:
        return noise * self.network(image, noise)


@MODELS.register("patch_denoiser")
class PatchDenoiser(NoiseConditionedModel):
    """One or more passes of a patch autoencoder.

    Args:
        block, overlap: of the patches in pixels, as 24 and 8 or 16 and 4.
        latent_dim, width, widths, down, up, equivariant, unet: see `rlenhance.learning.nn.latent.PatchAutoencoder`.
        num_passes: number of passes; each takes the output of the one before and the noisy picture.
    """

    channels = 3

    def __init__(self, block: int = 24, overlap: int = 8, latent_dim: int = 72, width: int = 24,
                 widths: Sequence[int] = (32, 64, 64), down: Sequence[int] = (1, 2, 1), up: Sequence[int] = (1, 2),
                 equivariant: bool = True, num_passes: int = 1, unet: bool = True):
        super().__init__()
        if num_passes < 1:
            raise UsageError(f"num_passes must be at least 1; got {num_passes}")
        self.num_passes = num_passes
        self.network = PatchAutoencoder(PatchGrid(block, overlap), latent_dim, width, widths, down, up, equivariant,
                                        unet)

    @property
    def size_multiple(self) -> int:  # type: ignore[override]
        return self.network.blocks.stride

    @property
    def receptive_radius(self) -> int:  # type: ignore[override]
        blocks = self.network.blocks
        return -(-self.num_passes * blocks.patch_size // blocks.stride) * blocks.stride

    def predict_noise(self, image: Tensor, noise: Tensor) -> Tensor:
        now = image
        for _ in range(self.num_passes):
            now = self.network.enhance(now, image, noise)
        return image - now


def check_sigma(noise: Tensor) -> Tensor:
    """The standard deviations, if they lie in the range that networks are trained for.

    Raises:
        UsageError: they do not.
    """
    low, high = noise.detach().aminmax()
    if not (low >= 0 and high <= LARGEST_NOISE * (1 + 1e-5)):
        raise UsageError(f"noise must lie between 0 and {LARGEST_NOISE:.3f} (75 of 255), a standard deviation on the "
                         f"scale of pictures in [0, 1]; got {low:.4g} to {high:.4g}: reduce the picture first, "
                         f"or clamp the map")
    return noise
