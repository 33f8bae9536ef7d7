"""The memory of an update, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.cases import Case
from benchmarks.table import Table


def measure_memory(cases: Sequence[Case], threads: int) -> Table:
    """Peak resident memory of one update, whole and above what the process held before it."""
    table = Table("memory", "Peak memory of one update", ("recipe", "pictures per update", "MB above the start",
                                                          "MB of the process", "kB per environment step"))
    context = multiprocessing.get_context("spawn")
    for case in cases:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            before, after = pool.submit(_peaks, case, threads).result()
        table.rows.append((case.label, case.pictures, after - before, after, 1000 * (after - before) / case.steps))
    return table


def _peaks(case: Case, threads: int) -> tuple[float, float]:
    """Peak megabytes before and after an update."""
    torch.set_num_threads(threads)
    learner, batch = case.learner(), case.batch()
    before = peak()
    learner.step(batch)
    return before, peak()


def peak() -> float:
    """Peak resident megabytes of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # the process's own; getrusage would count the parent's at the time of the start
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
