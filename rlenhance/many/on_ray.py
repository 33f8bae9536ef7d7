"""Photographs over the processes of a Ray cluster. Paths travel, never pixels."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.installation import install_line
from rlenhance.many.ledger import installation
from rlenhance.many.work import Task, Work

#: Times that a process may end while it works on a photograph, before the photograph counts as the cause.
ATTEMPTS = 3
#: Most photographs that a process is given at a time.
MOST = 64
_SHARES = 20  # portions per process, so that all end at about the same time
_TELL = 2.0  # seconds after which a process reports what it has done of a portion
_HTTP2, _SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), b"\4"  # its greeting
_PROBE = 5.0  # seconds for an address to answer
_OBJECTS = 128 << 20  # bytes of Ray's store in a cluster of this machine: it holds paths alone


def check_ray() -> None:
    """Refuse to work on Ray where it is not installed."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise UsageError(f"Ray is not installed; install it with {install_line('cluster')}, or work on this machine "
                         f"alone (on)") from error


@dataclass(frozen=True)
class RayPool:
    """Processes of a Ray cluster that carry tasks out, see `rlenhance.many.follow.Executor`.

    Each holds one pipeline. A process or machine that is lost is replaced, and its photographs are done again: results
    that it had written are recognised by their bytes. A photograph over which a process ended `ATTEMPTS` times is
    reported as failed.

    Attributes:
        work: what is done.
        address: of the cluster, as `ray.init` takes it; None: RAY_ADDRESS, or processes of this machine.
        workers: number of processes; None: one per core of the cluster.
        gpus: GPUs for each process.
        plugins: modules that each process loads first.
    """

    work: Work
    address: str | None = None
    workers: int | None = None
    gpus: float = 0
    plugins: Sequence[str] = ()

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Mapping[str, Any]]:
        """Carry the tasks out.

        Raises:
            UsageError: Ray is not installed, the cluster does not answer, or it has no process to give.
        """
        check_ray()
        with _connected(self.address, self.workers) as ray:
            yield from self._run(ray, tasks)

    def _run(self, ray: Any, tasks: Sequence[Task]) -> Iterator[Mapping[str, Any]]:
        cores = int(ray.cluster_resources().get("CPU", 0))
        workers = self.workers or max(1, cores)
        if cores < workers:
            raise UsageError(f"the cluster has {cores} cores for {workers} processes (workers); name fewer, or add "
                             f"machines")
        workers = min(workers, len(tasks))
        portion = max(1, min(MOST, len(tasks) // (workers * _SHARES)))
        portions = [tasks[at : at + portion] for at in range(0, len(tasks), portion)]
        attempts = ray.remote(num_cpus=0)(_Attempts).remote()
        rows = [{"tasks": json.dumps(part)} for part in portions]
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Process, fn_constructor_args=(self.work, attempts, tuple(self.plugins), os.getcwd(), installation()),
            batch_size=None, num_cpus=1, num_gpus=self.gpus,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2))
        try:
            for batch in data.iter_batches(batch_size=None, prefetch_batches=0):
                for line in batch["entry"]:
                    yield json.loads(line)
        except UsageError:
            raise
        except ray.exceptions.RayError as error:
            raise UsageError(f"Ray: {_reason(error)}") from error


class _Attempts:
    """Counts, in a process of its own, how often each portion and photograph was begun and not ended."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}

    def begin(self, name: str) -> int:
        """How often a portion or photograph was begun before."""
        self._begun[name] = self._begun.get(name, 0) + 1
        return self._begun[name] - 1

    def end(self, name: str) -> None:
        """It is done."""
        self._begun.pop(name, None)


class _Process:
    """A process of the cluster: called with one portion after another."""

    def __init__(self, work: Work, attempts: Any, plugins: Sequence[str], folder: str, made_with: Mapping[str, str]):
        from rlenhance.core.plugins import load_plugin

        if installation() != made_with:
            raise UsageError(f"{socket.gethostname()} has rlenhance {installation()}, and the run was begun with "
                             f"{dict(made_with)}: install the same version on all machines")
        self._work, self._attempts = work, attempts
        with suppress(OSError):  # a machine without that folder: paths of photographs are absolute
            os.chdir(folder)
        for source in plugins:
            load_plugin(source)

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        import ray

        lines, told = list[str](), time.monotonic()
        for text in batch["tasks"]:
            tasks = [Task(*each) for each in json.loads(text)]
            before = ray.get(self._attempts.begin.remote(tasks[0].target + "\0"))
            for entry in self._work.carry_out(tasks) if not before else self._one_by_one(ray, tasks):
                lines.append(json.dumps(entry, default=str))
                if time.monotonic() - told > _TELL:
                    yield {"entry": lines}
                    lines, told = [], time.monotonic()
            self._attempts.end.remote(tasks[0].target + "\0")
        if lines:
            yield {"entry": lines}

    def _one_by_one(self, ray: Any, tasks: Sequence[Task]) -> Iterator[Mapping[str, Any]]:
        """A process has ended over this portion: find the photograph that ends it."""
        for task in tasks:
            if ray.get(self._attempts.begin.remote(task.target)) >= ATTEMPTS - 1:
                yield {"status": "failed", "source": task.source, "target": task.target, "seconds": 0.0, "warnings": [],
                       "decision": {}, "size": None, "cpu_seconds": 0.0, "process": "",
                       "error": f"{task.source}: ended its process {ATTEMPTS} times, as happens where memory runs "
                                f"out or a decoder crashes; a limit of time (seconds) decodes it in a child process"}
                continue
            yield from self._work.carry_out([task])
            ray.get(self._attempts.end.remote(task.target))


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, connected to a cluster, which it leaves at the end; signals are those of before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    own = not ray.is_initialized()
    if own:
        address = address or os.environ.get("RAY_ADDRESS")
        _probe(address)
        options: dict[str, Any] = {"address": address} if address else {
            "address": "local", "num_cpus": workers, "include_dashboard": False, "object_store_memory": _OBJECTS}
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if main else None
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise UsageError(f"Ray does not start, or the cluster at {address or 'this machine'} does not answer "
                             f"({one_line(error)}); `ray status` shows more") from error
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # what a process reports is passed on at once, and not collected
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def _probe(address: str | None) -> None:
    """Refuse an address where nothing answers; Ray would wait for it for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not address or address in ("auto", "local"):
        return
    if not host or not port.isdecimal():
        raise UsageError(f"{address}: is no address of a Ray cluster (address); give host:port, as in 10.0.0.5:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE) as other:
            if not os.environ.get("RAY_USE_TLS"):
                other.sendall(_HTTP2)
                if other.recv(9)[3:4] != _SETTINGS:
                    raise OSError("something else is there")
    except (OSError, OverflowError) as error:
        raise UsageError(f"{address}: no Ray cluster answers there ({one_line(error)}); `ray start --head` starts one "
                         f"and prints its address (address)") from error


def _reason(error: BaseException) -> str:
    """The line of a remote error that says why."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1] if lines else type(error).__name__)
