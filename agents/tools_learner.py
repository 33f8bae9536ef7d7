"""The learner of a toolchain's small networks: each on its own damage, then all of them on what chains leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlenhance.agents.base import Learner, to_scalars
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.learning.data import Batch
from rlenhance.learning.models import SmallTools

_FLOOR = 1e-4  # mean squared error below which a crop does not weigh more


@dataclass(frozen=True)
class ToolsConfig:
    """The chains of the joint part, and Adam."""

    joint_from: float = 0.6
    """Share of the run after which the tools learn on chains too; 1: never."""
    joint_weight: float = 1.0
    """Weight of the chains beside the tools' own damage."""
    steps: int = 3
    """Tools of a chain."""
    explore: float = 0.2
    """Share of the choices in a chain that are random; the others take the tool that is best there."""
    ema_decay: float = 0.998
    """The saved weights are a running mean of the trained ones; each step this share of it stays."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(2e-3, 100, 0.02, 2.0))
    """Adam."""

    def __post_init__(self) -> None:
        check_ranges(self, "[0, 1]", "joint_from", "explore")
        check_ranges(self, "[0, inf)", "joint_weight")
        check_ranges(self, "[1, inf)", "steps")
        check_ranges(self, "[0, 1)", "ema_decay")


class ToolsLearner(Learner):
    """Regress clean crops with every tool.

    The crops of a batch are in equal parts: one for each tool, with its damage, and the last with mixed damage, for the
    chains. In a chain the best tool of each crop is found by trying all of them, and learns from that crop: the tools
    divide among them what chains meet. The loss is the mean over crops of log(squared error), which is PSNR.

    Attributes:
        network: the moving average of the weights, which is validated and saved.

    Args:
        network: the tools.
        config: settings.
        seed, device: as for every learner.

    Source: RL-Restore (Yu et al. 2018), section 3.3, where the tools learn along the chains of a policy, with Gaussian
    noise added between them. Here the chains are those of an oracle of one step.
    """

    is_policy: ClassVar[bool] = False
    requires_target: ClassVar[bool] = True
    Config: ClassVar[type[Any]] = ToolsConfig

    def __init__(self, network: SmallTools, config: ToolsConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu"):
        self.config = config or ToolsConfig()
        super().__init__(network, self.config.optimizer, seed, device, network, self.config.ema_decay)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        count, rest = divmod(len(batch), len(self.trained.names) + 1)
        if batch.target is None or rest:
            raise UsageError(f"tools learn from crops with clean references, so many for each of the "
                             f"{len(self.trained.names)} tools and for their chains; got {len(batch)}"
                             f"{'' if batch.target is not None else ' without references'}")
        image, target = self.turned(batch.image, batch.target)
        *own, mixed = image.split(count)
        *references, clean = target.split(count)
        losses = {f"loss/{name}": _log_error(self._apply(number)(own[number]), references[number]).mean()
                  for number, name in enumerate(self.trained.names)}
        if progress >= self.config.joint_from:
            losses["loss/chains"] = self.config.joint_weight * len(own) * self._chains(mixed, clean)
        return to_scalars({**losses, **self.descend(losses, progress)})

    def _apply(self, tool: int) -> Callable[[Tensor], Tensor]:
        """A tool of the trained network, through the wrapper that sets its precision."""
        network = partial(self.optimizer.network, preference={"tool": tool})
        return lambda image: network(image).float()

    def _chains(self, image: Tensor, clean: Tensor) -> Tensor:
        """The loss along chains; the tools that are tried and not taken learn nothing."""
        total = clean.new_zeros(())
        tools = range(len(self.trained.names))
        for _ in range(self.config.steps):
            with torch.no_grad():
                results = torch.stack([self._apply(tool)(image).clamp(0, 1) for tool in tools])
                best = (results - clean).square().mean(dim=(2, 3, 4)).argmin(dim=0)
            for tool in best.unique().tolist():
                rows = best == tool
                total = total + _log_error(self._apply(tool)(image[rows]), clean[rows]).sum()
            drawn = torch.rand(len(image), generator=self.generator, device=self.device) < self.config.explore
            other = torch.randint(len(tools), best.shape, generator=self.generator, device=self.device)
            taken = torch.where(drawn, other, best)
            image = results.gather(0, taken[None, :, None, None, None].expand(1, *image.shape))[0]
        return total / (self.config.steps * len(image))


def _log_error(output: Tensor, target: Tensor) -> Tensor:
    """log(squared error) of each crop: (N,)."""
    return ((output - target).square().mean(dim=(1, 2, 3)) + _FLOOR).log()
