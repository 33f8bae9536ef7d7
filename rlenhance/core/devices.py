"""Devices by name, without importing torch where it is not needed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.core.torch_parts import torch_part

#: The name that stands for the best device that is available.
AUTO = "auto"


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


def check_half(half: bool, device: str) -> bool:
    """Whether a network computes in 16-bit floats, which only CUDA does well.

    Raises:
        UsageError: half precision on another device.
    """
    if half and not device.startswith("cuda"):
        raise UsageError(f"half precision works on CUDA only; got {device}: leave it out, or name a CUDA device")
    return half
