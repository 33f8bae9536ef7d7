"""One set of weights for several processes on a CPU, and an Adam that steps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn

from rlenhance.agents.optim import OptimizerConfig, OptimizerStep

_LOCK_SECONDS = 60.0  # a process that was killed while it wrote leaves the lock closed


class SharedWeights:
    """Weights, Adam's moments and the number of its steps, in memory that all workers share.

    Args:
        network: gives the number of weights, P.

    Attributes:
        flat: (3, P) float32: weights, first moments, second moments, in the order of the network's parameters.
        steps: (1,) int64.
        lock: held while they are written or copied. Mnih et al. write without one; here weights and moments stay
            consistent, and rollouts and back-propagation do not hold it.
    """

    def __init__(self, network: nn.Module):
        count = sum(parameter.numel() for parameter in network.parameters())
        self.flat = torch.zeros(3, count).share_memory_()
        self.steps = torch.zeros(1, dtype=torch.int64).share_memory_()
        self.lock = multiprocessing.get_context("spawn").Lock()

    def push(self, network: nn.Module, optimizer: OptimizerStep) -> None:
        """Write a network's weights and its optimiser's state."""
        state = optimizer.state_dict()
        self.steps[0] = state["steps"]
        for index, (parameter, (weights, first, second)) in enumerate(self._views(network)):
            weights.copy_(parameter.detach())
            moments = state["moments"].get(str(index))
            first.copy_(moments["exp_avg"]) if moments else first.zero_()
            second.copy_(moments["exp_avg_sq"]) if moments else second.zero_()

    def pull(self, network: nn.Module, optimizer: OptimizerStep) -> None:
        """Read them back."""
        steps, moments = int(self.steps), {}
        for index, (parameter, (weights, first, second)) in enumerate(self._views(network)):
            parameter.detach().copy_(weights)
            moments[str(index)] = {"step": torch.tensor(float(steps)), "exp_avg": first.clone(),
                                   "exp_avg_sq": second.clone()}
        optimizer.load_state_dict({"steps": steps, "moments": moments})

    def copy_weights(self, network: nn.Module) -> None:
        """Read the weights alone."""
        for parameter, (weights, _, _) in self._views(network):
            parameter.detach().copy_(weights)

    def _views(self, network: nn.Module) -> list[tuple[nn.Parameter, list[Tensor]]]:
        """Each parameter with its views of the three rows."""
        parameters = list(network.parameters())
        rows = self.flat.split([parameter.numel() for parameter in parameters], dim=1)
        return [(parameter, [row.view_as(parameter) for row in part])
                for parameter, part in zip(parameters, rows, strict=True)]


class SharedAdam:
    """Adam on the shared weights, with a worker's own gradients.

    Args:
        network: the worker's own copy, which has the gradients; it gets the shared weights after each step.
        shared: the weights that are stepped.
        config: settings.

    Attributes:
        staleness: for each step, how many steps of other workers came between reading the weights and this step.
    """

    def __init__(self, network: nn.Module, shared: SharedWeights, config: OptimizerConfig):
        self.network, self.shared, self.staleness = network, shared, list[int]()
        self._weights = nn.Parameter(shared.flat[0])  # a view, not a copy
        self._adam = torch.optim.Adam([self._weights], lr=config.learning_rate)
        self._moments = {"step": torch.zeros(()), "exp_avg": shared.flat[1], "exp_avg_sq": shared.flat[2]}
        self._adam.state[self._weights] = self._moments
        self.param_groups = self._adam.param_groups
        self._version = 0

    def pull(self) -> None:
        """Copy the shared weights into the worker's network."""
        with self._locked():
            self._copy()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's."""
        self.network.zero_grad(set_to_none)

    def step(self, step_sizes: Mapping[nn.Parameter, float]) -> None:
        """One step of Adam on the shared weights; a parameter without a gradient counts as having zeros.

        Args:
            step_sizes: see `OptimizerStep.update`.
        """
        sizes = torch.cat([torch.full((p.numel(),), step_sizes.get(p, 1.0)) for p in self.network.parameters()])
        gradient = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                              for p in self.network.parameters()])
        with self._locked():
            steps = int(self.shared.steps)
            self.staleness.append(steps - self._version)
            self._moments["step"].fill_(steps)
            self._weights.grad = gradient
            before = self._weights.detach().clone()
            self._adam.step()
            self._weights.detach().lerp_(before, 1 - sizes)
            self.shared.steps[0] = steps + 1
            self._copy()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.shared.lock.acquire(timeout=_LOCK_SECONDS):
            raise TimeoutError(f"the shared weights were locked for {_LOCK_SECONDS:.0f} s")
        try:
            yield
        finally:
            self.shared.lock.release()

    def _copy(self) -> None:
        self.shared.copy_weights(self.network)
        self._version = int(self.shared.steps)


class SharedOptimizerStep(OptimizerStep):
    """An `OptimizerStep` with the shared Adam; the warm-up counts the steps of all workers."""

    def __init__(self, network: nn.Module, shared: SharedWeights, config: OptimizerConfig):
        super().__init__(network, config)
        self.shared = shared
        self.adam = SharedAdam(network, shared, config)
        self._adam: Any = self.adam

    def update(self, losses: Mapping[str, Tensor], progress: float,
               step_sizes: Mapping[nn.Parameter, float] | None = None) -> dict[str, Tensor | float]:
        self.steps = int(self.shared.steps)
        return super().update(losses, progress, step_sizes)

    def _step(self, step_sizes: Mapping[nn.Parameter, float]) -> None:
        self.adam.step(step_sizes)
