"""The patch autoencoder as a denoiser: start and baseline of policies over codes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.denoiser import NoiseConditionedModel
from rlenhance.learning.nn.latent import PatchAutoencoder
from rlenhance.learning.ops.patch_grid import PatchGrid


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
