"""The patch autoencoder: an equivariant code, and a U-Net that bypasses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rlenhance.core.arrays import NUM_D4
from rlenhance.core.errors import UsageError
from rlenhance.learning.nn.backbones.noise_unet import NoiseUNet
from rlenhance.learning.nn.latent.d4 import d4_average, d4_orbit
from rlenhance.learning.ops.image import pad_to_multiple
from rlenhance.learning.ops.patch_grid import PatchGrid
from rlenhance.ops.noise_estimation import LARGEST_NOISE
from rlenhance.ops.plane_statistics import noise_deviation

#: From RGB to Y, U and V (ITU-R BT.601).
_YUV = ((0.299, 0.587, 0.114), (-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001))
_LOG_VARIANCE = (-10.0, 2.0)
#: Patches per batch where no gradient is needed: their features stay in a core's cache.
AT_ONCE = 64


@dataclass(frozen=True)
class Patches:
    """Output of the autoencoder.

    Attributes:
        code: (M, C, 8).
        reconstruction: the decoded code, (M, 3, b, b).
        change: the residual of one pass, (M, 3, b, b).
    """

    code: Tensor
    reconstruction: Tensor
    change: Tensor


class PatchAutoencoder(nn.Module):
    """Codes of overlapping patches, their reconstruction, and a denoiser that sees both.

    The encoder is one small network on the patch in all eight orientations, so that turning or mirroring a patch
    permutes its code (`permute_code`), exactly and for all weights; the reconstruction turns with it. Y, U and V are
    coded together. A small U-Net that sees the patch, the initial patch and the reconstruction predicts the change.

    Args:
        blocks: geometry of the patches.
        latent_dim: entries of a code, a multiple of 8.
        width: channels of the encoder's first layer.
        widths, down, up: of the U-Net, see `rlenhance.learning.models.DenoisingUNet`.
        equivariant: False: the encoder sees one orientation only (for comparison).
        unet: False: there is no U-Net, and the reconstruction is the result, as in the published code.

    Source: RSE-RL names a variational, equivariant patch autoencoder; the regular representation is that of group
    convolutions (Cohen and Welling 2016), here lifted over the whole network. The U-Net beside the code is ours.
    """

    def __init__(self, blocks: PatchGrid, latent_dim: int = 72, width: int = 24, widths: Sequence[int] = (32, 64, 64),
                 down: Sequence[int] = (1, 2, 1), up: Sequence[int] = (1, 2), equivariant: bool = True,
                 unet: bool = True):
        super().__init__()
        if latent_dim < NUM_D4 or latent_dim % NUM_D4:
            raise UsageError(f"latent_dim must be a multiple of 8, as 72 (a code has 8 entries per channel); got "
                             f"{latent_dim}")
        if min(width, *widths) < 1 or len(down) != len(widths) or len(up) != len(widths) - 1 or min(*down, *up, 0) < 0:
            raise UsageError(f"an autoencoder has channels, blocks for each level down and for all but one up; "
                             f"got width {width}, widths {tuple(widths)}, down {tuple(down)} and up {tuple(up)}")
        self.blocks, self.latent_dim, self.equivariant = blocks, latent_dim, equivariant
        outputs = latent_dim // NUM_D4 if equivariant else latent_dim
        values, small = 3 * blocks.patch_size**2, -(-blocks.patch_size // 8)
        self.linear_encoder = nn.Linear(values, outputs, bias=False)
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(2 * width * small**2, 2 * outputs))
        self.decoder = nn.Linear(outputs, values)
        self.nonlinear_decoder = nn.Sequential(nn.Linear(outputs, 64), nn.SiLU(), nn.Linear(64, values))
        self.skip = NoiseUNet(9, widths, down, up, outputs=3) if unet else None
        self.size_multiple = 2 ** len(widths)
        self.register_buffer("yuv", torch.tensor(_YUV), persistent=False)
        self.register_buffer("rgb", torch.linalg.inv(torch.tensor(_YUV)), persistent=False)
        nn.init.normal_(self.decoder.weight, std=0.02)
        with torch.no_grad():  # a new decoder gives grey
            for value in (self.decoder.bias, *self.nonlinear_decoder[2].parameters()):
                value.zero_()

    @property
    def channels(self) -> int:
        """Channels of a code (M, channels, 8)."""
        return self.latent_dim // NUM_D4

    def encode(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the codes: (M, 3, b, b) in RGB -> twice (M, C, 8)."""
        planes = torch.einsum("kc,mchw->mkhw", self.yuv.to(patches), patches)
        planes = planes - planes.new_tensor([0.5, 0.0, 0.0])[:, None, None]
        ways = d4_orbit(planes) if self.equivariant else planes[:, None]
        each = ways.flatten(0, 1)
        count = max(1, len(each)) if torch.is_grad_enabled() else AT_ONCE  # a patch has eight orientations
        found = torch.cat([self.encoder(some) for some in each.split(count)])
        found = found.unflatten(0, (-1, ways.shape[1])).float()
        mean, log_variance = found.chunk(2, dim=-1)
        mean = mean + self.linear_encoder(each.flatten(1)).unflatten(0, (-1, ways.shape[1])).float()
        return self._entries(mean), self._entries(log_variance).clamp(*_LOG_VARIANCE)

    def _entries(self, values: Tensor) -> Tensor:
        """(M, 8, C) or, with one way, (M, 1, 8 C) -> (M, C, 8)."""
        return values.mT if self.equivariant else values.squeeze(1).unflatten(1, (-1, NUM_D4))

    def decode(self, code: Tensor) -> Tensor:
        """Reconstruct patches from their codes alone: (M, C, 8) -> (M, 3, b, b), RGB, not clipped."""
        entries = code.mT if self.equivariant else code.flatten(1)[:, None]
        size = (3, self.blocks.patch_size, self.blocks.patch_size)
        planes = (self.decoder(entries) + self.nonlinear_decoder(entries)).float().unflatten(-1, size)
        shown = d4_average(planes) if self.equivariant else planes[:, 0]
        shown = shown + shown.new_tensor([0.5, 0.0, 0.0])[:, None, None]
        return torch.einsum("kc,mchw->mkhw", self.rgb.to(shown), shown)

    def analyze(self, now: Tensor, start: Tensor, noise: Tensor) -> Patches:
        """The codes of patches, and the change of one pass.

        Args:
            now, start: the current and the initial patches, (M, 3, b, b).
            noise: standard deviation of the noise in each of `start`, (M, 1, 1, 1).
        """
        code, _ = self.encode(now)
        shown = self.decode(code)
        return Patches(code, shown, self.residual(now, start, shown, noise))

    def per_patch(self, noise: Tensor, image: Tensor) -> Tensor:
        """Noise of every patch: (N, 1, 1, 1) or a map (N, 1, H, W), which is averaged -> (M, 1, 1, 1)."""
        if noise.shape[-2:] == image.shape[-2:]:
            return self.blocks.extract(noise).mean(dim=(2, 3), keepdim=True)
        rows, columns = self.blocks.grid(image.shape[-2], image.shape[-1])
        return noise.repeat_interleave(rows * columns, dim=0)

    def residual(self, now: Tensor, start: Tensor, shown: Tensor, noise: Tensor) -> Tensor:
        """The change that the U-Net predicts for each patch, without one that to its reconstruction, (M, 3, b, b)."""
        if self.skip is None:
            return shown - now
        side = self.blocks.patch_size
        seen = pad_to_multiple(torch.cat([now, start, shown], dim=1), self.size_multiple)
        return -noise * self.skip(seen, noise.expand(-1, 1, *seen.shape[-2:])).float()[..., :side, :side]

    def enhance(self, now: Tensor, start: Tensor, noise: Tensor) -> Tensor:
        """One pass over whole pictures, not clipped.

        Args:
            now, start: the current and the initial pictures, (N, 3, H, W).
            noise: standard deviation of the noise in `start`, (N, 1, 1, 1) or as a map (N, 1, H, W).
        """
        return now + self.apply_to_patches(lambda *parts: self.analyze(*parts).change, now, start, noise)

    def apply_to_patches(self, change: Callable[..., Tensor], now: Tensor, start: Tensor, noise: Tensor,
                         *more: Tensor) -> Tensor:
        """Apply a function to all patches and fold the results; without gradients in batches of `AT_ONCE`.

        Args:
            change: (now, start, noise, *more) of some patches, in the order of `PatchGrid.extract` -> (M, 3, b, b).
            now, start, noise: see `enhance`.
            more: further tensors of M rows, one for each patch.
        """
        together = (self.blocks.extract(now), self.blocks.extract(start), self.per_patch(noise, now), *more)
        count = len(together[0]) if torch.is_grad_enabled() else AT_ONCE
        parts = [change(*some).float() for some in zip(*(part.split(count) for part in together), strict=True)]
        return self.blocks.fold(torch.cat(parts), (now.shape[-2], now.shape[-1]))

    @torch.no_grad()
    def begin_with(self, denoiser: NoiseUNet) -> None:
        """Copy a denoiser's U-Net of the same shape; the weights of its new inputs are set to zero.

        Raises:
            UsageError: another shape, or no U-Net.
        """
        if self.skip is None:
            raise UsageError("an autoencoder without a U-Net cannot start from a denoiser")
        ours, theirs = self.skip.state_dict(), denoiser.state_dict()
        stem = theirs.pop("stem.weight")  # unshuffled: 4 planes per channel, 12 of the picture and 4 of its noise
        if {n: v.shape for n, v in ours.items() if n != "stem.weight"} != {n: v.shape for n, v in theirs.items()} \
                or stem.shape[1] != 16:
            raise UsageError("a patch autoencoder starts from a denoiser for colour with the same widths, down and up")
        wide = ours["stem.weight"].zero_()
        wide[:, :12], wide[:, -4:] = stem[:, :12], stem[:, 12:]
        self.skip.load_state_dict({**theirs, "stem.weight": wide})


def measured_noise(start: Tensor) -> Tensor:
    """The noise that the autoencoder is conditioned on, estimated: (N, 3, H, W) -> (N, 1, 1, 1)."""
    return noise_deviation(start).clamp(1 / 255, LARGEST_NOISE)
