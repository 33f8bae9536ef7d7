"""Devices: a named one, or the best one of this machine; and constants that stay there."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError

#: Devices by preference; "auto" takes the first that is available.
DEVICES = ("cuda", "mps", "cpu")
AUTO = "auto"


def available_devices() -> tuple[str, ...]:
    """The devices of `DEVICES` that this machine has."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name in DEVICES if there[name])


def resolve_device(name: torch.device | str) -> torch.device:
    """The device of that name, or the best one for "auto".

    Raises:
        UsageError: the device is not available; the text names those that are.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    usable = available_devices()
    if str(name) == AUTO:
        return torch.device(usable[0])
    kind = str(name).partition(":")[0]
    if kind == "meta":  # shapes without numbers
        return torch.device(name)
    if kind not in usable:
        raise UsageError(f"device {name}: not available here; there is {', '.join(usable)}, and {AUTO} takes the best")
    device = torch.device(name)
    if kind == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name}: not available here; there is cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return device


def check_half(half: bool, device: torch.device) -> bool:
    """Whether a network computes in 16-bit floats, which only CUDA does well.

    Raises:
        UsageError: half precision on another device.
    """
    if half and device.type != "cuda":
        raise UsageError(f"half precision works on CUDA only; got {device.type}: leave it out, or name a CUDA device")
    return half


def constants(numbers: tuple[float, ...], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Constant numbers as a tensor of the dtype and device of `like`, made once and not to be changed.

    Args:
        numbers: in the order of the shape.
        shape: of the result.
        like: gives dtype and device.
    """
    return _constants(numbers, shape, like.dtype, like.device)


@lru_cache(maxsize=256)
def _constants(numbers: tuple[float, ...], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a cached tensor must serve every mode
        return torch.tensor(numbers, dtype=dtype, device=device).reshape(shape)
