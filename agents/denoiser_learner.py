"""The denoiser's learner: clean images, synthetic noise, squared error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from agents.base import Learner, to_scalars
from agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.data import Batch
from rlenhance.models import DenoisingUNet
from rlenhance.ops.noise_estimation import LARGEST_NOISE

_LEAST = 1 / 255  # noise below this does not weigh more
_CAMERA_WEIGHT = 0.25  # of crops with a noise map: more of their noise remains, and the map does not show all of it


@dataclass(frozen=True)
class DenoiserConfig:
    """The noise that is made, and Adam."""

    noise: tuple[float, float] = (0.0, 75.0)
    """The deviations that are drawn, lowest and highest, in 255ths."""
    signal_dependent_prob: float = 0.25
    """Share of the crops whose noise grows with the light, as a sensor's does."""
    quantized_prob: float = 0.0
    """Share of the crops that are clipped and rounded to 8 bits."""
    correlated_prob: float = 0.0
    """Share of the crops whose noise is slightly blurred, as a camera's processing leaves it."""
    ema_decay: float = 0.999
    """The saved weights are a running mean of the trained ones; each step this share of it stays."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(1e-3, 200, 0.0, 1.0))
    """Adam."""

    def __post_init__(self) -> None:
        check_ranges(self, "[0, 1]", "signal_dependent_prob", "quantized_prob", "correlated_prob")
        check_ranges(self, "[0, 1)", "ema_decay")
        low, high = self.noise
        if not 0 <= low <= high <= 255 * LARGEST_NOISE:
            raise UsageError(f"noise is a lowest and a highest deviation in [0, {255 * LARGEST_NOISE:g}] of 255; "
                             f"got {low:g} and {high:g}")


class DenoiserLearner(Learner):
    """Regress clean images from noisy ones; the strength of the noise is drawn for each crop.

    The loss is the squared difference over the standard deviation of the noise: the error that remains grows about
    so, and every strength has the same weight in decibels. A batch with a noise map (`Batch.noise_std`) gets no other
    noise.

    Attributes:
        network: the moving average of the weights, which is validated and saved.

    Args:
        network: a `DenoisingUNet`.
        config: settings.
        seed, device: as for every learner.
    """

    is_policy: ClassVar[bool] = False
    requires_target: ClassVar[bool] = True

    def __init__(self, network: DenoisingUNet, config: DenoiserConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        self.config = config or DenoiserConfig()
        super().__init__(network, self.config.optimizer, seed, device, network.network, self.config.ema_decay)
        self.denoiser = network

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        if batch.target is None:
            raise UsageError("the denoiser's learner needs clean references, and these images have none")
        if batch.noise_std is None:
            noisy, noise = self.add_noise(clean := self.turned(self._planes(batch.target))[0])
        else:
            clean, noisy, noise = self.turned(self._planes(batch.target), self._planes(batch.image),
                                               batch.noise_std.clamp(max=LARGEST_NOISE))
        # through the wrapped network for its precision; float32 for the rest
        output = noisy - noise * self.optimizer.network(noisy, noise).float()
        squared = (output - clean) ** 2
        weight = 100 if batch.noise_std is None else 100 * _CAMERA_WEIGHT
        name = "loss/squared" if batch.noise_std is None else "loss/camera"
        losses = {name: weight * (squared / (noise + _LEAST)).mean()}
        log = self.descend(losses, progress)
        return to_scalars({**losses, **log})

    def add_noise(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy images and their noise map: (N, C, H, W) -> (N, C, H, W) and (N, 1, H, W)."""
        count = clean.shape[0]
        low, high = self.config.noise
        deviation = (low + (high - low) * self._uniform(count)) / 255
        light = clean.mean(dim=1, keepdim=True)
        floor = self._uniform(count)  # share of the variance that is there without light
        sensor = (floor**2 + (1 - floor**2) * light).sqrt()
        noise = deviation * torch.where(self._uniform(count) < self.config.signal_dependent_prob, sensor, 1.0)
        made = torch.randn(clean.shape, generator=self.generator, device=self.device)
        if self.config.correlated_prob:
            made = torch.where(self._uniform(count) < self.config.correlated_prob, self._blurred(made), made)
        noisy = clean + noise * made
        if self.config.quantized_prob:
            noisy = torch.where(self._uniform(count) < self.config.quantized_prob,
                                (noisy.clamp(0, 1) * 255).round() / 255, noisy)
        return noisy, noise

    def _uniform(self, count: int) -> Tensor:
        return torch.rand((count, 1, 1, 1), generator=self.generator, device=self.device)

    def _blurred(self, made: Tensor) -> Tensor:
        """A 3x3 binomial-like mean of random width along each side, brought back to variance 1."""
        for side in (2, 3):
            weight = 0.3 * self._uniform(made.shape[0])
            beside = torch.roll(made, 1, side) + torch.roll(made, -1, side)
            made = ((1 - 2 * weight) * made + weight * beside) / ((1 - 2 * weight) ** 2 + 2 * weight**2).sqrt()
        return made

    def _planes(self, images: Tensor) -> Tensor:
        """The channels that the network takes."""
        return images if self.denoiser.channels == 3 else images.mean(dim=1, keepdim=True)
