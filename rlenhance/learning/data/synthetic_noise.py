"""Training data of denoisers: crops with synthetic noise or of simulated photographs, and the map of their noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.arrays import NUM_D4, d4_transform
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.learning.data.batch import Batch
from rlenhance.learning.data.camera_jpeg import CameraJpegSampler
from rlenhance.learning.data.examples import Example
from rlenhance.learning.data.image_cache import ImageCache
from rlenhance.learning.data.mixed_noise import MixedNoise
from rlenhance.learning.data.sampler import ExampleSampler, Sampler, rng_of
from rlenhance.ops.noise_estimation import LARGEST_NOISE

#: Weight of photographs: more of their noise remains, and the map does not show all of it.
CAMERA_WEIGHT = 0.25


@dataclass(frozen=True)
class SyntheticNoise:
    """Gaussian noise whose strength and kind are drawn for every crop.

    Attributes:
        levels: range of the standard deviation, in 255ths.
        signal_dependent_prob: probability that the noise grows with the light, as a sensor's does.
        quantized_prob: probability that the result is clipped and rounded to 8 bits.
        correlated_prob: probability that the noise is slightly blurred, as a camera's processing leaves it.

    Raises:
        UsageError: levels outside [0, 75], or no probability.
    """

    levels: tuple[float, float] = (0.0, 255 * LARGEST_NOISE)
    signal_dependent_prob: float = 0.25
    quantized_prob: float = 0.0
    correlated_prob: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(self, "[0, 1]", "signal_dependent_prob", "quantized_prob", "correlated_prob")
        low, high = self.levels
        if not 0 <= low <= high <= 255 * LARGEST_NOISE:
            raise UsageError(f"noise levels are a lowest and a highest deviation in [0, {255 * LARGEST_NOISE:g}] of "
                             f"255; got {low:g} and {high:g}")

    def __call__(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noisy crops, which may leave [0, 1], and their noise map: (N, C, H, W) -> (N, C, H, W) and (N, 1, H, W)."""
        def uniform() -> Tensor:
            return torch.rand((clean.shape[0], 1, 1, 1), generator=generator)

        low, high = self.levels
        deviation = (low + (high - low) * uniform()) / 255
        light = clean.mean(dim=1, keepdim=True)
        floor = uniform()  # share of the variance that is there without light
        sensor = (floor**2 + (1 - floor**2) * light).sqrt()
        noise = deviation * torch.where(uniform() < self.signal_dependent_prob, sensor, 1.0)
        made = torch.randn(clean.shape, generator=generator)
        if self.correlated_prob:
            made = torch.where(uniform() < self.correlated_prob, _blurred(made, (uniform(), uniform())), made)
        noisy = clean + noise * made
        if self.quantized_prob:
            noisy = torch.where(uniform() < self.quantized_prob, (noisy.clamp(0, 1) * 255).round() / 255, noisy)
        return noisy, noise


def _blurred(made: Tensor, widths: Sequence[Tensor]) -> Tensor:
    """A 3x3 binomial-like mean of some width along each side, brought back to variance 1."""
    for side, width in zip((2, 3), widths, strict=True):
        weight = 0.3 * width
        beside = torch.roll(made, 1, side) + torch.roll(made, -1, side)
        made = ((1 - 2 * weight) * made + weight * beside) / ((1 - 2 * weight) ** 2 + 2 * weight**2).sqrt()
    return made


class NoisySampler(ExampleSampler):
    """Draws crops with synthetic noise, in a share of the batches photographs, under a random symmetry of the square.

    The target is the crop without noise.

    Args:
        examples: clean images.
        cache, size, seed: see `ExampleSampler`.
        noise: of the crops.
        channels: 1 for the mean of the channels.
        camera: draws the photographs.
        camera_share: share of the batches that it draws.
        camera_weight: of photographs in the loss (`Batch.target_weight`).
        scale: the size to which every second batch of crops is reduced, so that their own noise and coding shrinks;
            1: none is.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int, noise: SyntheticNoise | MixedNoise, *,
                 channels: int = 3, camera: CameraJpegSampler | None = None, camera_share: float = 0.0,
                 seed: int = 0, camera_weight: float = CAMERA_WEIGHT, scale: float = 1.0):
        super().__init__(examples, cache, size, seed)
        self.noise, self.channels = noise, channels
        self.plain = Sampler(examples, cache, size, crop="native", seed=seed)
        self.larger = None if scale == 1 else Sampler(examples, cache, round(size / scale), crop="native", seed=seed)
        self.camera, self.camera_share = camera, camera_share if camera else 0.0
        self.camera_weight = camera_weight

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        generator = torch.Generator().manual_seed(int(rng_of(self.seed, 1 << 43 | step).integers(1 << 62)))
        way, before = int(torch.randint(NUM_D4, (), generator=generator)), int(step * self.camera_share)
        if self.camera is not None and int((step + 1) * self.camera_share) > before:
            drawn = self.camera.batch(before, count).map(lambda images: d4_transform(self._planes(images), way))
            assert drawn.noise_std is not None
            weight = torch.full((count, 1, 1, 1), self.camera_weight)
            return replace(drawn, noise_std=drawn.noise_std.clamp(max=LARGEST_NOISE), target_weight=weight)[part]
        clean = d4_transform(self._planes(self._clean(step, count)), way)
        noisy, noise = self.noise(clean, generator)
        return Batch(noisy, clean, noise_std=noise)[part]

    def with_seed(self, seed: int) -> Self:
        other = super().with_seed(seed)
        other.plain = self.plain.with_seed(seed)
        other.larger = None if self.larger is None else self.larger.with_seed(seed)
        other.camera = None if self.camera is None else self.camera.with_seed(seed)
        return other

    def _clean(self, step: int, count: int) -> Tensor:
        if self.larger is None or int(rng_of(self.seed, 1 << 44 | step).integers(2)):
            return self.plain.batch(step, count).image
        return F.interpolate(self.larger.batch(step, count).image, size=(self.size, self.size), mode="bilinear",
                             antialias=True, align_corners=False)

    def _planes(self, images: Tensor) -> Tensor:
        """The channels that the network takes."""
        return images if self.channels == 3 else images.mean(dim=1, keepdim=True)
