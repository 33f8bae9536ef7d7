"""How many threads the NumPy half of the package uses."""

from __future__ import annotations

import os
import sys


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
