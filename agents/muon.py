"""Muon: momentum whose matrices are made orthogonal, and Adam for all other weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

_LEAST = 32  # inputs and outputs of a layer that is stepped as a matrix: first and last layers are left to Adam
_COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the quintic whose iteration moves singular values of (0, 1] near 1
_ITERATIONS = 5
_SCALE = 0.2  # root mean square of a step over the rate, about that of Adam


class Muon(torch.optim.Optimizer):
    """Step the weights of wide layers along the nearest orthogonal matrix of their momentum.

    A layer is wide with at least 32 inputs and 32 outputs; its weight is a matrix of outputs by all others. The root
    mean square of its step is 0.2 times the rate, about that of Adam, so both share one learning rate. All other
    weights are stepped by Adam.

    Args:
        parameters: of one network.
        lr: learning rate.
        momentum: share of the momentum that each step keeps (Nesterov's form).
        betas: of Adam.

    Source: Jordan et al. 2024, Muon; Liu et al. 2025 (Muon is Scalable for LLM Training) for the scale of the step.
    `torch.optim.Muon` (2.9 and later) takes matrices alone, so neither kernels of convolutions nor a whole network, and
    iterates in bfloat16, which takes processors without it nine times as long. On matrices both agree (a test).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95,
                 betas: tuple[float, float] = (0.9, 0.99)):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            wide: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if is_wide(parameter):
                    direction = self._momentum(parameter, group["momentum"])
                    wide.setdefault(tuple(parameter.shape), []).append((parameter, direction))
                else:
                    self._adam(parameter, group["lr"], group["betas"])
            for shape, members in wide.items():  # layers of one shape share the products
                matrices = torch.stack([direction.reshape(shape[0], -1) for _, direction in members])
                steps = orthogonal(matrices) * (_SCALE * math.sqrt(max(matrices.shape[-2:])))
                for (parameter, _), step in zip(members, steps, strict=True):
                    parameter.sub_(step.reshape(shape), alpha=group["lr"])

    def _momentum(self, parameter: Tensor, kept: float) -> Tensor:
        gradient, state = _gradient(parameter), self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - kept)
        return gradient.lerp(state["momentum"], kept)

    def _adam(self, parameter: Tensor, rate: float, betas: tuple[float, float]) -> None:
        gradient, state = _gradient(parameter), self.state[parameter]
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - betas[0])
        state["square"].lerp_(gradient**2, 1 - betas[1])
        first, second = (1 - beta ** int(state["step"]) for beta in betas)
        parameter.addcdiv_(state["mean"], (state["square"] / second).sqrt() + 1e-8, value=-rate / first)


def is_wide(parameter: Tensor) -> bool:
    """Whether a weight is stepped as a matrix: at least 32 inputs and 32 outputs."""
    return parameter.ndim >= 2 and min(parameter.shape[:2]) >= _LEAST


def orthogonal(matrices: Tensor) -> Tensor:
    """Move all singular values near 1 by five Newton-Schulz steps: (N, rows, columns) -> the same, values within about
    0.7 to 1.2."""
    wide = matrices.shape[-2] <= matrices.shape[-1]
    result: Tensor = matrices if wide else matrices.mT
    result = result / (torch.linalg.matrix_norm(result, keepdim=True) + 1e-7)
    linear, cubic, quintic = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = result @ result.mT
        result = linear * result + (cubic * square + quintic * square @ square) @ result
    return result if wide else result.mT


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad.contiguous()
