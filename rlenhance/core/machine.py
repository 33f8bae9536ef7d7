"""What a process has of its machine: compiled functions, threads, memory, devices (torch is not imported for a CPU)."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.core.torch_parts import torch_part

#: The name that stands for the best device that is available.
AUTO = "auto"
_NEWEST = "renders_gains"  # a function that libraries compiled from earlier versions of the files are without


@cache
def compiled_functions() -> Any:
    """The functions, which leave the interpreter free while they work; None where the package was installed without a C
    compiler: then NumPy does the same, many times slower."""
    spec = find_spec("rlenhance.engine._compiled")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    return library if hasattr(library, _NEWEST) else None


def thread_count() -> int:
    """Threads for one picture: those of torch where it is in use (`torch.set_num_threads`), else OMP_NUM_THREADS, else
    the cores that this process may use.

    Example:
        >>> thread_count() >= 1
        True
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):  # not while torch itself is being imported
        return int(torch.get_num_threads())
    named = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if named.isdigit() and int(named):
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def release_free_memory() -> None:
    """Return freed memory to the system, which the C library of Linux would keep for later allocations."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim  # glibc alone has it
    except (AttributeError, OSError, TypeError):
        return None


def available_devices() -> tuple[str, ...]:
    """The devices that this machine has, the best first, of "cuda", "mps" and "cpu"; without torch that is the CPU."""
    try:
        found: tuple[str, ...] = torch_part("available_devices")()
    except ImportError:
        return ("cpu",)
    return found


def resolve_device(name: Any) -> str:
    """The name of a device, checked; for "auto" that of the best one.

    Args:
        name: a name, or a `torch.device`.

    Raises:
        UsageError: the device is not available; the text names those that are.

    Example:
        >>> resolve_device("cpu")
        'cpu'
    """
    kind, _, index = str(name).partition(":")
    if kind in ("cpu", "meta"):  # meta: shapes without numbers
        return str(name)
    usable = available_devices()
    if kind == AUTO:
        return usable[0]
    if kind not in usable:
        if find_spec("torch") is None:
            raise UsageError(f"device {name}: this needs torch, of the extra train: {install_line('train')}")
        raise UsageError(f"device {name}: not available here; there is {', '.join(usable)}, and {AUTO} takes the best")
    if kind == "cuda" and index:
        count = torch_part("device_count")()
        if not index.isdigit() or int(index) >= count:
            raise UsageError(f"device {name}: not available here; there is cuda:0 to cuda:{count - 1}")
    return str(name)


def check_device(name: str) -> str:
    """The name of a device, checked; the device that "auto" stands for is printed.

    Raises:
        UsageError: it is not available; the message names those that are.
    """
    device = resolve_device(name)
    if name == AUTO:
        print(f"device: {device}")
    return name


def check_half(half: bool, device: str) -> bool:
    """Whether a network computes in 16-bit floats, which only CUDA does well.

    Raises:
        UsageError: half precision on another device.
    """
    if half and not device.startswith("cuda"):
        raise UsageError(f"half precision works on CUDA only; got {device}: leave it out, or name a CUDA device")
    return half
