"""What a process has of its machine: compiled functions, threads, memory."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

_NEWEST = "shrink_band"  # a function that libraries compiled from earlier versions of the files are without


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
