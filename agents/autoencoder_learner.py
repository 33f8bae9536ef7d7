"""The patch autoencoder's learner: denoising, a variational code of the clean patch, a contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.agents.base import Learner, to_scalars
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.agents.self_training import SelfTrainingBuffer
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.learning.data import Batch
from rlenhance.learning.models import PatchDenoiser
from rlenhance.learning.nn.latent import PatchAutoencoder, measured_noise

_TEMPERATURE, _COMPARED = 0.1, 128  # of the contrastive loss, and how many patches it compares


@dataclass(frozen=True)
class AutoencoderConfig:
    """The parts of the loss, and Adam."""

    code_weight: float = 0.1
    """Weight of the squared difference between a decoded code and the clean patch."""
    kl_weight: float = 1e-4
    """Weight of the KL divergence of codes from the standard normal distribution, per entry."""
    contrastive_weight: float = 0.01
    """Weight of the contrastive term, which brings the code of a noisy patch near that of the same clean patch."""
    self_training_prob: float = 0.3
    """Share of each batch that earlier outputs take, beside their noisy image of generation 0 (0: none)."""
    max_generation: int = 3
    """Generations of outputs that re-enter training."""
    buffer_size: int = 256
    """Outputs that are stored; the oldest go first."""
    ema_decay: float = 0.998
    """The saved weights are a running mean of the trained ones; each step this share of it stays."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(1e-3, 100, 0.0, 1.0))
    """Adam."""

    def __post_init__(self) -> None:
        check_ranges(self, "[0, inf]", "code_weight", "kl_weight", "contrastive_weight")
        check_ranges(self, "[0, 1)", "ema_decay")


class AutoencoderLearner(Learner):
    """Regress clean images from noisy ones, through the merged patches; and the terms that shape the codes.

    A batch has noisy images and clean targets. The strength of the noise is measured in the noisy image
    (`rlenhance.ops.plane_statistics.noise_deviation`), in training and in use. The network's outputs re-enter
    its batches, so that it learns to improve them.

    Attributes:
        network: the moving average of the weights, which is validated and saved.

    Args:
        network: a `PatchDenoiser`.
        config: settings.
        seed, device: as for every learner.

    Source: variational autoencoder (Kingma and Welling 2014), equation 10; contrastive loss InfoNCE (van den Oord et
    al. 2018), equation 4.
    """

    is_policy: ClassVar[bool] = False
    requires_target: ClassVar[bool] = True

    def __init__(self, network: PatchDenoiser, config: AutoencoderConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        self.config = config or AutoencoderConfig()
        super().__init__(network, self.config.optimizer, seed, device, network.network, self.config.ema_decay)
        self.denoiser = network
        self.buffer = SelfTrainingBuffer(self.config.buffer_size, self.config.self_training_prob,
                                         self.config.max_generation)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        if batch.target is None:
            raise UsageError("the autoencoder's learner needs clean references, and these images have none")
        now, start, clean, generation = self.buffer.mix_into(batch, self.generator)
        now, start, clean = self.turned(now, start, clean)
        losses, output = self.losses(now, start, clean)
        log = self.descend(losses, progress)
        if self.config.self_training_prob:
            self.buffer.add(output, start, clean, generation)
        return to_scalars({**losses, **log})

    def losses(self, now: Tensor, start: Tensor, clean: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The terms of the loss, each a scalar, and the output of one pass.

        Args:
            now, start, clean: the current images, the noisy ones of generation 0 and the references, (N, 3, H, W).
        """
        network: PatchAutoencoder = self.trained
        noise = measured_noise(start)
        blocks, scale = network.blocks, 100 / noise
        with self.precision():
            cut, goal = blocks.extract(now), blocks.extract(clean)
            mean, log_variance = network.encode(cut)
            shown = network.decode(mean)
            change = network.residual(cut, blocks.extract(start), shown, network.per_patch(noise, now))
            drawn = mean + (0.5 * log_variance).exp() * torch.randn(
                mean.shape, generator=self.generator, device=self.device)
            guess = network.decode(drawn)
            chosen = torch.randperm(len(cut), generator=self.generator, device=self.device)[:_COMPARED]
            wanted, _ = network.encode(goal[chosen])
        output = blocks.fold(cut + change, (now.shape[-2], now.shape[-1]))
        each = network.per_patch(scale, now)
        losses = {"loss/squared": (scale * (output - clean) ** 2).mean()}
        if self.config.code_weight:
            losses["loss/code"] = self.config.code_weight * (each * (guess - goal) ** 2).mean()
        if self.config.kl_weight:
            losses["loss/kl"] = self.config.kl_weight * 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).mean()
        if self.config.contrastive_weight:
            losses["loss/contrastive"] = self.config.contrastive_weight * info_nce_loss(mean[chosen], wanted)
        return losses, output

    def precision(self) -> Any:
        """The context in which networks run in the run's precision."""
        fabric = self.optimizer.fabric
        return fabric.autocast() if fabric is not None else torch.autocast("cpu", enabled=False)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generations": self.buffer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.buffer.load_state_dict(state["generations"], self.device)


def info_nce_loss(noisy: Tensor, clean: Tensor) -> Tensor:
    """InfoNCE between noisy codes and the clean codes of the same patches, in nat: (M, C, 8) twice -> scalar."""
    ours, theirs = (F.normalize(code.flatten(1), dim=1) for code in (noisy, clean))
    return F.cross_entropy(ours @ theirs.mT / _TEMPERATURE, torch.arange(len(ours), device=ours.device))
