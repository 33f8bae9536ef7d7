"""The supervised baseline: the same backbone, trained with labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from agents.learner import LEARNERS, Learner, as_floats
from agents.optimiser import OptimiserConfig
from rlenhance.data import Batch
from rlenhance.errors import UsageError
from rlenhance.metrics import psnr, ssim_map
from rlenhance.models import Restorer


@dataclass(frozen=True)
class SupervisedConfig:
    """Settings of `supervised`: the mix of its loss, and Adam."""

    l1: float = 1.0
    """Weight of the absolute difference."""
    mse: float = 0.0
    """Weight of the squared difference."""
    ssim: float = 0.2
    """Weight of 1 - SSIM."""
    psnr: float = 0.0
    """Weight of each picture's PSNR, of 10 dB less: every strength of noise counts alike."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """Adam."""

    def __post_init__(self) -> None:
        weights = (self.l1, self.mse, self.ssim, self.psnr)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
            raise UsageError(f"l1, mse, ssim and psnr must be finite, not negative, and not all 0; got {weights}")


@LEARNERS.register("supervised")
class Supervised(Learner):
    """Regress the reference.

    Args:
        network: a `Restorer`.
        config: settings.
        seed, device: as for every learner.
    """

    needs_reference: ClassVar[bool] = True
    acts: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = True

    def __init__(self, network: Restorer, config: SupervisedConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        self.config = config or SupervisedConfig()
        super().__init__(network, self.config.optimiser, seed, device)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        if batch.target is None:
            raise UsageError("supervised learns from references, and these pictures have none: "
                             "use pairs (low/ and high/), or --learner a3c")
        # through the wrapped network for its precision; float32 for the loss
        output = self.optimiser.network(batch.image).float()
        losses: dict[str, Tensor] = {}
        if self.config.l1:
            losses["l1"] = self.config.l1 * (output - batch.target).abs().mean()
        if self.config.mse:
            losses["mse"] = self.config.mse * ((output - batch.target) ** 2).mean()
        if self.config.ssim:
            losses["ssim"] = self.config.ssim * (1 - ssim_map(output, batch.target).mean())
        if self.config.psnr:
            losses["psnr_loss"] = -self.config.psnr / 10 * psnr(output, batch.target).mean()
        log = self.optimiser.update(losses, progress)
        return as_floats({**losses, **log, "psnr": psnr(output, batch.target)})
