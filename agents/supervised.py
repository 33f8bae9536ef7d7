"""The supervised baseline: the same backbone, trained on references."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.base import LEARNERS, Learner, to_scalars
from agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.data import Batch
from rlenhance.metrics.full_reference import SSIM_PADDINGS, psnr, ssim_map


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
    """Weight of each image's PSNR, of 10 dB less: every strength of noise counts alike."""
    ssim_radius: int = 5
    """Of SSIM's window in pixels: 5 is the usual window of 11."""
    ssim_padding: str = "reflect"
    """What SSIM's window sees beyond the border: reflect, zeros, or none (the border pixels are left out)."""
    over_hole: bool = True
    """Losses of pictures with holes are means over the holes; otherwise over the whole picture."""
    ema_decay: float = 0.0
    """The saved weights are a running mean of the trained ones; each step this share of it stays (0: no mean)."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Adam."""

    def __post_init__(self) -> None:
        check_ranges(self, "[0, inf)", "l1", "mse", "ssim", "psnr")
        check_ranges(self, "[1, inf)", "ssim_radius")
        check_ranges(self, "[0, 1)", "ema_decay")
        if self.ssim_padding not in SSIM_PADDINGS:
            raise UsageError(f"ssim_padding is one of {', '.join(SSIM_PADDINGS)}; got {self.ssim_padding!r}")
        if not (self.l1 or self.mse or self.ssim or self.psnr):
            raise UsageError("one of l1, mse, ssim and psnr must have a weight above 0; all are 0")


@LEARNERS.register("supervised")
class Supervised(Learner):
    """Regress the reference; with masks, what stands in the holes: the losses are means over them (see `over_hole`).

    Attributes:
        network: the moving average of the trained weights where there is one, else the trained network.

    Args:
        network: a `Restorer`, or another network `(image) -> image`; with masks, `(image, mask) -> image`.
        config: settings.
        seed, device: as for every learner.
    """

    requires_target: ClassVar[bool] = True
    is_policy: ClassVar[bool] = False
    supports_ddp: ClassVar[bool] = True
    Config: ClassVar[type[Any]] = SupervisedConfig

    def __init__(self, network: nn.Module, config: SupervisedConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        self.config = config or self.Config()
        super().__init__(network, self.config.optimizer, seed, device,
                         network if self.config.ema_decay else None, self.config.ema_decay)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        if batch.target is None:
            raise UsageError("supervised learns from references, and these images have none: "
                             "use pairs (low/ and high/), or the learner a3c")
        # through the wrapped network for its precision; float32 for the loss
        whole = (batch.image,) if batch.mask is None else (batch.image, batch.mask)
        output, target = self.optimizer.network(*whole).float(), batch.target
        losses, scores = supervised_losses(self.config, output, target, batch.mask)
        return to_scalars({**losses, **self.descend(losses, progress), **scores})


def supervised_losses(config: SupervisedConfig, output: Tensor, target: Tensor,
                      mask: Tensor | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weighted terms of the loss, `loss/NAME`, and scores that are logged beside them, `train/NAME`.

    Args:
        config: the weights.
        output, target: (N, C, H, W) float32.
        mask: (N, 1, H, W), 1 in the holes; None where there are none.
    """
    share = 1.0 if mask is None or not config.over_hole else mask.mean()  # outside the holes nothing differs
    losses: dict[str, Tensor] = {}
    scores = {"train/psnr": psnr(output, target)}
    if config.l1:
        scores["train/l1"] = (output - target).abs().mean() / share
        losses["loss/l1"] = config.l1 * scores["train/l1"]
    if config.mse:
        losses["loss/mse"] = config.mse * ((output - target) ** 2).mean() / share
    if config.ssim:
        scores["train/ssim"] = ssim_map(output, target, config.ssim_radius, config.ssim_padding).mean()
        losses["loss/ssim"] = config.ssim * (1 - scores["train/ssim"]) / share
    if config.psnr:
        losses["loss/psnr"] = -config.psnr / 10 * scores["train/psnr"].mean()
    return losses, scores
