"""One gradient step, the same for every learner: schedule, clipping, and no step into NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlenhance.agents import distributed
from rlenhance.agents.muon import Muon
from rlenhance.core.errors import check_ranges


class NonFiniteError(ArithmeticError):
    """A loss, a reward term or a gradient is NaN or infinite.

    Attributes:
        term: its name.
    """

    def __init__(self, term: str):
        self.term = term
        super().__init__(f"{term} is not finite")


def raise_if_any_nonfinite(term: str | None, device: torch.device) -> None:
    """Refuse an update in all processes when one of them has met a number that is not finite.

    Args:
        term: what is not finite here; None where all is well.

    Raises:
        NonFiniteError: names the first term.
    """
    term = distributed.gather_failure(term, device)
    if term is not None:
        raise NonFiniteError(term)


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam (or Muon) and its schedule."""

    learning_rate: float = 3e-3
    """Peak learning rate of Adam."""
    warmup_steps: int = 10
    """Gradient steps over which the learning rate rises to its peak."""
    final_lr_ratio: float = 0.1
    """Share of the peak at the end of the run; between them a half cosine."""
    max_grad_norm: float = 0.5
    """The gradient's norm is clipped here, after unscaling (0: never)."""
    orthogonal: bool = False
    """Steps of wide layers are made orthogonal (`agents.muon.Muon`), the other weights are stepped by Adam."""

    def __post_init__(self) -> None:
        check_ranges(self, "(0, inf)", "learning_rate")
        check_ranges(self, "[0, 1]", "final_lr_ratio")
        check_ranges(self, "[0, inf]", "warmup_steps", "max_grad_norm")


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, weight: float) -> None:
    """Move an exponential moving average of weights toward the weights, in place.

    Args:
        ema, model: two networks of one shape.
        weight: of the new weights, in [0, 1].
    """
    for mean, new in zip(ema.parameters(), model.parameters(), strict=True):
        mean.lerp_(new, weight)


def ema_weight(decay: float, step: int) -> float:
    """The weight of the newest weights in an average with warm-up: 1 - min(decay, (1 + step) / (10 + step)).

    Args:
        decay: share of the average that each step keeps later on, in [0, 1).
        step: optimizer steps so far.
    """
    return 1 - min(decay, (1 + step) / (10 + step))


class OptimizerStep:
    """Adam, or Muon, over a network.

    Args:
        network: the trained network.
        config: settings.

    Attributes:
        network: call this one in a training step: `use_fabric` wraps it for the chosen precision and devices.
        fabric: the Fabric of `use_fabric`, or None.
        steps: number of steps so far.
    """

    def __init__(self, network: nn.Module, config: OptimizerConfig):
        self.config, self.network = config, network
        self.fabric: Any = None
        kind = Muon if config.orthogonal else torch.optim.Adam
        self._adam: Any = kind(network.parameters(), lr=config.learning_rate)
        self.steps = 0

    def use_fabric(self, fabric: Any) -> None:
        """Hand network and optimizer to a lightning Fabric (device, precision, scaling of gradients)."""
        self.fabric = fabric
        self.network, self._adam = fabric.setup(self.network, self._adam)

    def rate(self, progress: float) -> float:
        """The learning rate of the next step."""
        config = self.config
        warm = min(1.0, (self.steps + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        decay = config.final_lr_ratio + (1 - config.final_lr_ratio) * cosine
        return config.learning_rate * warm * decay

    def update(self, losses: Mapping[str, Tensor], progress: float,
               step_sizes: Mapping[nn.Parameter, float] | None = None) -> dict[str, Tensor | float]:
        """Descend the sum of the losses by one step.

        Args:
            losses: by name.
            progress: share of the run that is over, in [0, 1).
            step_sizes: parameter -> the share of its step that is taken, in [0, 1]; of others the whole step.

        Raises:
            NonFiniteError: names the first loss that is not finite, or the gradient; no weight has changed.
        """
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        raise_if_any_nonfinite(None if torch.isfinite(total) else next(
            (name for name, loss in losses.items() if not torch.isfinite(loss)), "loss"), total.device)
        rate = self.rate(progress)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.zero_grad(set_to_none=True)
        limit = self.config.max_grad_norm or math.inf
        if self.fabric is None:
            total.backward()
            distributed.average_gradients(self.network.parameters())
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
            scaled = False
        else:
            self.fabric.backward(total)
            distributed.average_gradients(self.network.parameters())
            norm = self.fabric.clip_gradients(self.network, self._adam, max_norm=limit, error_if_nonfinite=False)
            scaled = self.fabric.strategy.precision.precision == "16-mixed"
        # a scaler meets infinities in its normal work, skips them and halves its scale; below 1 it is no overflow
        if not torch.isfinite(norm) and (not scaled or self._scaler().get_scale() < 1):
            self._adam.zero_grad(set_to_none=True)
            raise NonFiniteError("gradient")
        self._step(step_sizes or {})
        self.steps += 1
        return {"loss": total.detach(), "optim/grad_norm": norm.detach(), "optim/lr": rate}

    def _step(self, step_sizes: Mapping[nn.Parameter, float]) -> None:
        """One step of Adam. Adam divides the gradient's size out, so a smaller step is not had by a smaller loss."""
        before = {parameter: parameter.detach().clone() for parameter, size in step_sizes.items() if size < 1}
        self._adam.step()
        with torch.no_grad():
            for parameter, old in before.items():
                parameter.lerp_(old, 1 - step_sizes[parameter])

    def _scaler(self) -> Any:
        """The gradient scaler of fp16 training, or None."""
        return None if self.fabric is None else getattr(self.fabric.strategy.precision, "scaler", None)

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts, as tensors of their own and numbers."""
        moments = {
            str(index): {name: value.clone() for name, value in entry.items()}
            for index, entry in self._adam.state_dict()["state"].items()
        }
        scaler = self._scaler()
        return {"steps": self.steps, "moments": moments, "scaler": scaler.state_dict() if scaler else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.steps = state["steps"]
        adam = self._adam.state_dict()
        adam["state"] = {int(key): value for key, value in state["moments"].items()}
        self._adam.load_state_dict(adam)
        if self._scaler() is not None and state["scaler"]:
            self._scaler().load_state_dict(state["scaler"])
