"""The devices that torch has here."""

from __future__ import annotations

import torch


def available_devices() -> tuple[str, ...]:
    """Those that are available, the best first: of "cuda", "mps" and "cpu"."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, usable in there.items() if usable)


def device_count() -> int:
    """The number of CUDA devices."""
    return torch.cuda.device_count()


def describe_device() -> str:
    """The best device in words, with the option that uses it."""
    best = available_devices()[0]
    if best == "cuda":
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(device_count()))
        return f"cuda ({names}, CUDA {torch.version.cuda}); --device cuda uses it"
    return "mps; --device mps uses it" if best == "mps" else "cpu (no CUDA or MPS device; enhancing does not need one)"
