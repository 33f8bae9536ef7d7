"""Data-parallel training: each process takes an equal share of every batch; with one process nothing is exchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rlenhance.core.errors import UsageError


class DistributedError(RuntimeError):
    """The connection to another process broke in the middle of an update; its own error says why."""


def world_size() -> int:
    """Number of processes that train together; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process; process 0 validates, writes and prints."""
    return dist.get_rank() if world_size() > 1 else 0


def local_batch_size(total: int, processes: int | None = None) -> int:
    """Number of images of a batch that each process gets.

    Args:
        total: images of the whole batch.
        processes: how many share it; None: `world_size()`.

    Raises:
        UsageError: the total is not a multiple of the number of processes.
    """
    processes = processes or world_size()
    if total % processes:
        near = sorted({max(1, total // processes) * processes, (total // processes + 1) * processes})
        raise UsageError(f"a batch of {total} images does not divide among {processes} processes: use a batch size of "
                         f"{' or '.join(map(str, near))}, or another number of devices")
    return total // processes


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes: losses are means over equal shares of the batch, so this
    is the gradient of the joint batch's loss.

    By hand, and not by wrapping the network in DistributedDataParallel: an episode calls the network many times
    before one backward pass (and a rollout without any), value heads get no gradient from `direct`, the recurrent
    policy is unrolled, and the wrapper would write to the network's buffers between the calls. One sum of all
    gradients is right in all of these cases, and the networks are small enough that overlapping it with the backward
    pass would gain little.
    """
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = average(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def average(values: Tensor) -> Tensor:
    """The mean over the processes, of the same shape."""
    if world_size() == 1:
        return values
    total = values.clone()
    with _waiting():
        dist.all_reduce(total)
    return total / world_size()


def gather_failure(failure: str | None, device: torch.device) -> str | None:
    """The failure of the first process that has one, in every process; None where none failed."""
    if world_size() == 1:
        return failure
    flag = torch.tensor([float(failure is not None)], device=device)
    with _waiting():
        dist.all_reduce(flag)
        if not flag.item():
            return None
        failures: list[Any] = [None] * world_size()
        dist.all_gather_object(failures, failure)
    first: str = next(name for name in failures if name is not None)
    return first


def broadcast(value: Any) -> Any:
    """The first process's value, in every process: numbers, strings, tensors on the CPU, and mappings of them."""
    if world_size() == 1:
        return value
    box = [value]
    with _waiting():
        dist.broadcast_object_list(box)
    return box[0]


def broadcast_step(update: int | None, progress: float) -> None:
    """Process 0 starts update number `update` in the others, or ends them (None)."""
    broadcast((update, progress))


def receive_steps() -> Iterator[tuple[int, float]]:
    """What process 0 broadcasts, (update, progress) each, until the end."""
    while (step := broadcast(None))[0] is not None:
        yield step


@contextmanager
def _waiting() -> Iterator[None]:
    """Turn a broken connection into a `DistributedError`."""
    try:
        yield
    except RuntimeError as error:
        raise DistributedError(f"process {rank()} has lost the others ({str(error).splitlines()[0]})") from error
