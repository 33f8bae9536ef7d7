"""The supervised baseline: the same backbone, trained on references."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rlenhance.agents.base import LEARNERS, Learner, to_scalars
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import SSIM_PADDINGS, psnr, ssim_map

_TERMS, _SQUARED = ("l1", "mse", "ssim", "psnr", "charbonnier", "mse_over_noise"), ("mse", "mse_over_noise")
_LEAST = 1 / 255  # noise below this does not weigh more


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
    charbonnier: float = 0.0
    """Weight of the root of the squared difference plus 1e-6: an absolute difference that is smooth at 0."""
    mse_over_noise: float = 0.0
    """Weight of the squared difference over the deviation of the noise, which must be known: the error that remains
    grows about so, and every strength of noise has the same weight in decibels."""
    to_mse: bool = False
    """The weights of mse and mse_over_noise rise from 0 along the run, and those of the other terms fall to 0."""
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
        check_ranges(self, "[0, inf)", *_TERMS)
        check_ranges(self, "[1, inf)", "ssim_radius")
        check_ranges(self, "[0, 1)", "ema_decay")
        if self.ssim_padding not in SSIM_PADDINGS:
            raise UsageError(f"ssim_padding is one of {', '.join(SSIM_PADDINGS)}; got {self.ssim_padding!r}")
        if not any(getattr(self, term) for term in _TERMS):
            raise UsageError(f"one of {', '.join(_TERMS)} must have a weight above 0; all are 0")
        if self.to_mse and not (self.mse or self.mse_over_noise):
            raise UsageError("to_mse goes over to the squared difference, and it has no weight: give mse or "
                             "mse_over_noise one above 0")

    def weight(self, term: str, progress: float | None) -> float:
        """The weight of a term when a share of the run is over (see `to_mse`); None: its own."""
        own: float = getattr(self, term)
        if not self.to_mse or progress is None:
            return own
        return own * (progress if term in _SQUARED else 1 - progress)


@LEARNERS.register("supervised")
class Supervised(Learner):
    """Regress the reference; with masks, what stands in the holes: the losses are means over them (see `over_hole`).

    Attributes:
        network: the moving average of the trained weights where there is one, else the trained network.

    Args:
        network: a `Restorer`, or another network `(image) -> image`; with masks, `(image, mask) -> image`; of batches
            whose noise is known, `(image, noise_std=noise_std) -> image`.
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

    def use_fabric(self, fabric: Any) -> None:
        # a network adds to its input, which must not be rounded: autocast alone chooses what runs in 16 bits
        fabric.strategy.precision.convert_input = lambda data: data
        super().use_fabric(fabric)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        if batch.target is None:
            raise UsageError("supervised learns from references, and these images have none: "
                             "use pairs (low/ and high/), or the learner a3c")
        # through the wrapped network for its precision; float32 for the loss
        whole = (batch.image,) if batch.mask is None else (batch.image, batch.mask)
        known = {} if batch.noise_std is None else {"noise_std": batch.noise_std}
        output = self.optimizer.network(*whole, **known).float()
        losses, scores = supervised_losses(self.config, output, batch, progress)
        return to_scalars({**losses, **self.descend(losses, progress), **scores})


def supervised_losses(config: SupervisedConfig, output: Tensor, batch: Batch,
                      progress: float | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weighted terms of the loss, `loss/NAME`, and scores that are logged beside them, `train/NAME`.

    Args:
        config: the weights.
        output: (N, C, H, W) float32.
        batch: its target, of the same shape; the mask, 1 in the holes; the noise map and `target_weight`, which
            `mse_over_noise` reads.
        progress: share of the run that is over, see `SupervisedConfig.to_mse`.

    Raises:
        UsageError: no target; `mse_over_noise` of images whose noise is not known.
    """
    target, mask = batch.target, batch.mask
    if target is None:
        raise UsageError("a supervised loss needs references, and these images have none")
    share = 1.0 if mask is None or not config.over_hole else mask.mean()  # outside the holes nothing differs
    weights = {term: config.weight(term, progress) for term in _TERMS}
    losses: dict[str, Tensor] = {}
    scores = {"train/psnr": psnr(output, target)}
    if weights["l1"]:
        scores["train/l1"] = (output - target).abs().mean() / share
        losses["loss/l1"] = weights["l1"] * scores["train/l1"]
    if weights["mse"]:
        losses["loss/mse"] = weights["mse"] * ((output - target) ** 2).mean() / share
    if weights["ssim"]:
        scores["train/ssim"] = ssim_map(output, target, config.ssim_radius, config.ssim_padding).mean()
        losses["loss/ssim"] = weights["ssim"] * (1 - scores["train/ssim"]) / share
    if weights["psnr"]:
        losses["loss/psnr"] = -weights["psnr"] / 10 * scores["train/psnr"].mean()
    if weights["charbonnier"]:
        losses["loss/charbonnier"] = weights["charbonnier"] * ((output - target) ** 2 + 1e-6).sqrt().mean() / share
    if config.mse_over_noise:
        if batch.noise_std is None:
            raise UsageError("mse_over_noise divides by the noise, and that of these images is not known: use mse")
        squared = (output - target) ** 2
        if batch.target_weight is not None:
            squared = batch.target_weight * squared
        losses["loss/mse_over_noise"] = weights["mse_over_noise"] * (squared / (batch.noise_std + _LEAST)).mean()
    return losses, scores
