"""The device that training runs on, or several of them with a process each."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from rlenhance.agents import Learner, NonFiniteError, distributed
from rlenhance.core.errors import UsageError
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import flatten, restore

_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(device: str = "auto", precision: str = "32", devices: int = 1) -> Any:
    """Lightning's Fabric for one device, or for several with a process each (gradients are averaged by the learners).

    Args:
        device: auto (CUDA, MPS, CPU), cpu, cuda or mps.
        precision: 32, bf16 or fp16 (mixed).
        devices: how many; under torchrun, as many as it has started.

    Raises:
        UsageError: a device that is not there, a precision it cannot do, more devices than there are.
    """
    from lightning_fabric import Fabric  # here: seconds to import

    if precision not in _PRECISIONS:
        raise UsageError(f"--precision is one of {', '.join(_PRECISIONS)}; got {precision!r}")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise UsageError(f"--device is auto, cpu, cuda or mps; got {device!r}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    elif not there[device]:
        raise UsageError(f"--device {device}: this machine or this build of torch has none; "
                         f"use --device auto (finds {', '.join(name for name in there if there[name])})")
    if precision == "fp16" and device != "cuda":
        raise UsageError(f"--precision fp16 needs CUDA, this is {device}: use 32 or bf16")
    torch.set_flush_denormal(True)  # gradients of what is hardly ever chosen would take twice the time on a CPU
    devices, nodes = _processes(devices)
    chosen: Any = {"accelerator": device, "devices": devices, "precision": _PRECISIONS[precision]}
    if devices * nodes == 1:
        return Fabric(**chosen)
    limit = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device, devices)
    if devices > limit:
        raise UsageError(f"--devices {devices}: there {'is' if limit == 1 else 'are'} {limit} of {device} here; "
                         f"use --devices {limit}, or --device cpu")
    return Fabric(**chosen, num_nodes=nodes, strategy=_strategy())


def _processes(devices: int) -> tuple[int, int]:
    """Processes on this machine, and machines: what was asked for, or what torchrun has started."""
    if devices < 1:
        raise UsageError(f"--devices must be at least 1; got {devices}")
    if not (torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()):
        return devices, 1
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if devices not in (1, local):
        raise UsageError(f"--devices {devices}: torchrun has started {local} processes here; leave --devices out")
    if world % local:
        raise UsageError(f"{world} processes on machines of which this one has {local}: start as many on each "
                         f"(--nproc-per-node)")
    return local, world // local


def _strategy() -> Any:
    from lightning_fabric.strategies import DDPStrategy

    class Unwrapped(DDPStrategy):
        """Processes and their connection as Lightning makes them; the learners average the gradients, see
        `rlenhance.agents.distributed.average_gradients`."""

        def setup_module(self, module: Any) -> Any:
            return module

    return Unwrapped()


def launch(fabric: Any) -> None:
    """Start and connect the other processes, where there are any; they end with this one."""
    if fabric.world_size == 1:
        return
    fabric.launch()
    atexit.register(_end, getattr(fabric.strategy.launcher, "procs", []))


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def sync_initial_state(learner: Learner) -> None:
    """Every process takes up the first one's weights, optimizer and random stream."""
    if distributed.world_size() == 1:
        return
    state: Any = None
    if distributed.rank() == 0:
        state = flatten({"network": learner.network.state_dict(), "learner": learner.state_dict()})
    tensors, outline = distributed.broadcast(state)
    if distributed.rank():
        state = restore(tensors, outline)
        learner.network.load_state_dict(state["network"])
        learner.load_state_dict(state["learner"])


def run_follower(learner: Learner, batches: Callable[[int], Batch]) -> int:
    """Run the updates that the first process broadcasts, until it stops: the loop of every other process.

    Returns:
        How many updates the run has had.
    """
    with suppress(ValueError):  # not the main thread: the caller handles signals
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the first process finishes, saves, and stops the others
    sync_initial_state(learner)
    done = 0
    for update, progress in distributed.receive_steps():
        with suppress(NonFiniteError):  # the first process meets it too, and counts it
            learner.step(batches(update).to(learner.device), progress)
        done = update + 1
    return done
