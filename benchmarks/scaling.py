"""How updates scale with the batch, the size of the images and the processes, and how much memory they need."""

from __future__ import annotations

import csv
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from benchmarks.cases import Case
from benchmarks.table import Table, interleaved
from rlenhance.core.errors import UsageError


def measure_scaling(name: str, cases: Sequence[Case], repeats: int) -> Table:
    """Updates of the cases, interleaved. `name` is batch or size: what differs between them."""
    unit = {"batch": "pictures per update", "size": "side of the crops, pixels"}[name]
    table = Table(name, f"Updates by {unit}", ("recipe", unit, "s per update", "updates per second",
                                               "environment steps per second", "agent-steps per second"))
    seconds = interleaved({str(case): partial(case.learner().step, case.batch()) for case in cases}, repeats)
    for case in cases:
        whole = seconds[str(case)]
        table.rows.append((case.label, case.pictures if name == "batch" else case.side, whole, 1 / whole,
                           case.steps / whole, case.steps * case.agents / whole))
    return table


def process_options(cores: int) -> dict[str, tuple[list[str], int]]:
    """What is compared: label -> (arguments of lol_train, threads of each process)."""
    options: dict[str, tuple[list[str], int]] = {"1 process, 1 thread": ([], 1)}
    for count in sorted({2, max(2, cores)}):
        options |= {f"1 process, {count} threads": ([], count), f"--devices {count}": (["--devices", str(count)], 1),
                    f"--workers {count}": (["--workers", str(count)], 1)}
    return options


def measure_processes(options: Mapping[str, tuple[list[str], int]], updates: int, repeats: int,
                      arguments: Sequence[str] = ()) -> Table:
    """Runs of `lol_train --preset curve`, one after the other, interleaved. Between two validations, in the second
    half of the updates: processes have started, and workers are waited for at the end.

    Args:
        options: see `process_options`.
        updates: of each run, an even number.
        arguments: more of them, for every run.

    Raises:
        UsageError: a run failed, or an odd number of updates.
    """
    if updates < 2 or updates % 2:
        raise UsageError(f"updates must be even and at least 2; got {updates}")
    table = Table("processes", f"lol_train --preset curve --device cpu, {updates} updates of 8 pictures, the second "
                  f"half timed", ("how", "updates per second", "times one process of one thread"))
    rates: dict[str, list[float]] = {label: [] for label in options}
    for _ in range(repeats):
        for label, (chosen, threads) in options.items():
            rates[label].append(_rate([*chosen, *arguments], threads, updates))
    first = statistics.median(next(iter(rates.values())))
    for label, values in rates.items():
        table.rows.append((label, statistics.median(values), statistics.median(values) / first))
    return table


def _rate(arguments: Sequence[str], threads: int, updates: int) -> float:
    """Updates per second of one run."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
                       "OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin on a busy machine wait for each other
        done = subprocess.run(
            [sys.executable, "-m", "rlenhance.experiments.lol_train", "--preset", "curve", "--device", "cpu",
             "--no-progress", "--updates", str(updates), "--eval-interval", str(updates // 2), "--out", folder,
             "--name", "run", *arguments], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise UsageError(f"lol_train {' '.join(arguments)} ended with status {done.returncode}: "
                             f"{done.stderr.strip()[-500:]}")
        with (Path(folder) / "run" / "metrics.csv").open() as file:
            clock = {int(row["step"]): float(row["seconds"]) for row in csv.DictReader(file) if row.get("seconds")}
    return (updates - updates // 2) / (clock[updates] - clock[updates // 2])


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
