"""Asynchronous advantage actor-critic: worker processes on a CPU collect rollouts and update shared weights."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from rlenhance.agents.a3c import A3C, A3CConfig
from rlenhance.agents.base import NonFiniteError
from rlenhance.agents.shared_adam import SharedAdam, SharedOptimizerStep, SharedWeights
from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import loaded_plugins, restore_plugins
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import create_network
from rlenhance.learning.models.policy import PixelPolicy
from rlenhance.learning.rewards import Reward, RewardWeights, load_terms
from rlenhance.learning.rewards.custom import registered_sources

_GRACE = 60  # seconds that a worker goes on after SIGTERM


class WorkerError(RuntimeError):
    """A worker has died, or has not answered in time; the text names it."""


@dataclass(frozen=True)
class _Task:
    """One update of a worker: arrays, because tensors would be sent as open files."""

    arrays: tuple[Any, ...]
    progress: float
    seed: int
    updates: int
    coefficients: Mapping[str, float]
    step_sizes: Mapping[str, float]

    def batch(self) -> Batch:
        image, target, mask = (None if array is None else torch.from_numpy(array) for array in self.arrays)
        assert image is not None
        return Batch(image, target, mask)


class _WorkerLearner(A3C):
    """The learner inside a worker. The leading process seeds its exploration for each update."""

    def run(self, task: _Task, adam: SharedAdam) -> dict[str, float]:
        self.generator.manual_seed(task.seed)
        self.updates = task.updates  # those of all workers, and of the run before a resume
        for scope, coefficient in task.coefficients.items():
            self.entropy_targets[scope].coefficient = coefficient
        for scope, size in task.step_sizes.items():
            self.step_sizes[scope].size = size
        adam.pull()
        adam.staleness.clear()
        numbers = self.step(task.batch(), task.progress)
        return {**numbers, "async/staleness": sum(adam.staleness) / len(adam.staleness)}

    def _adapt(self, numbers: dict[str, float], progress: float) -> None:
        """The leading process does it, with the numbers of all workers."""


def _work(pipe: Connection, shared: SharedWeights, spec: dict[str, Any], buffers: Mapping[str, Any],
          weights: RewardWeights, config: A3CConfig, own: Mapping[str, Mapping[str, str]],
          plugins: Sequence[Mapping[str, str]], reference: Mapping[str, Any] | None) -> None:
    """The main loop of a worker process: updates until the pipe gives None or closes.

    `reference` has the weights of the policy that the KL is measured to: the leading process began with them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leading process handles Ctrl-C: it finishes and saves
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))  # sent to the whole group, it reaches that one too
    restore_plugins(plugins)  # a new process has rlenhance's own parts only
    load_terms([about["source"] for about in own.values()], own)
    torch.set_num_threads(1)
    network: Any = create_network(**spec)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in buffers.items()}, strict=False)
    learner = _WorkerLearner(network, Reward(weights), config)
    if learner.reference_policy is not None and reference is not None:
        learner.reference_policy.load_state_dict({name: torch.from_numpy(value) for name, value in reference.items()})
    optimizer = SharedOptimizerStep(network, shared, config.optimizer)
    learner.optimizer = optimizer
    try:
        pipe.send(("ready", None))
        while (task := pipe.recv()) is not None:
            try:
                pipe.send(("done", learner.run(task, optimizer.adam)))
            except NonFiniteError as error:
                pipe.send(("not finite", error.term))
            except Exception as error:
                pipe.send(("failed", f"{type(error).__name__}: {error}"))
                raise
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


@dataclass
class _Worker:
    """A worker as the leading process sees it; `task`: its update (None: idle), `started`: it has sent "ready"."""

    process: Any
    pipe: Connection
    task: _Task | None = None
    started: bool = False

    @property
    def idle(self) -> bool:
        return self.started and self.task is None


class AsyncA3C(A3C):
    """`a3c` by several workers at once.

    `step` sends its batch to an idle worker, waiting for one if it must, and returns the numbers of the updates that
    have ended since the last call (none at first). A worker copies the shared weights, collects rollouts of the batch,
    and applies its gradients to the shared weights as they are then, after updates of others (`staleness`). So no
    worker waits for another, and no run repeats bit for bit.

    Args:
        network, reward, config, seed: as for `A3C`. The network itself stays as it was at the last `synchronize`.
        workers: how many processes; each uses one thread.
        patience: seconds without any answer after which the run is given up.

    Source: A3C (Mnih et al. 2016), algorithm S3, with shared statistics of the optimizer as in its section 4. We
    depart in Adam for RMSProp, and in the lock around the step (see `SharedWeights`).
    """

    supports_ddp = False

    def __init__(self, network: PixelPolicy, reward: Reward, config: A3CConfig | None = None, *, seed: int = 0,
                 device: torch.device | str = "cpu", workers: int = 2, patience: float = 600.0):
        if torch.device(device).type != "cpu":
            raise UsageError(f"workers share their weights in the computer's memory: device must be cpu; got {device}")
        config = dataclasses.replace(config or A3CConfig(), ema_decay=0.0)  # weights arrive when they are asked for
        super().__init__(network, reward, config, seed=seed, device=device)
        self.num_workers, self.patience = workers, patience
        self.shared = SharedWeights(network)
        self._workers: list[_Worker] = []
        self._arrived: list[dict[str, float]] = []  # not yet returned by a step
        self._returned: list[dict[str, float]] = []  # by the last one
        self._failures: list[str] = []  # terms that were not finite, not yet raised

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        if not self._workers:
            self._start()
        self._set_deviation(progress)  # for the checkpoint; every worker does the same
        arrays = tuple(None if part is None else part.numpy() for part in (batch.image, batch.target, batch.mask))
        seed = int(torch.randint(2**62, (), generator=self.generator))
        self._poll(0)
        while not any(worker.idle for worker in self._workers):
            self._poll(self.patience)
        worker = next(worker for worker in self._workers if worker.idle)
        task = _Task(arrays, progress, seed, self.updates,
                     {scope: target.coefficient for scope, target in self.entropy_targets.items()},
                     {scope: step.size for scope, step in self.step_sizes.items()})
        try:
            worker.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            self._raise_dead(worker)
        worker.task = task
        self.updates += 1
        self._returned, self._arrived = self._arrived, []
        if self._failures:
            raise NonFiniteError(self._failures.pop(0))
        return _mean(self._returned)

    def synchronize(self) -> dict[str, float]:
        """Wait until all workers are idle, and copy the shared weights into the network.

        Raises:
            WorkerError: a worker has died or has not answered.
        """
        if not self._workers:
            return {}
        while any(worker.task for worker in self._workers):
            self._poll(self.patience)
        self.shared.pull(self.network, self.optimizer)
        self._returned, self._arrived = self._returned + self._arrived, []
        return _mean(self._returned)

    def shutdown(self) -> None:
        """End all workers; busy ones are terminated at once."""
        for worker in self._workers:
            if worker.idle and worker.process.is_alive():
                try:
                    worker.pipe.send(None)
                except OSError:
                    continue  # it has just died
            else:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join()
            worker.pipe.close()
            worker.process.close()
        self._workers = []

    def state_dict(self) -> dict[str, Any]:
        self.synchronize()
        return super().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.shutdown()
        super().load_state_dict(state)

    def _start(self) -> None:
        self.shared.push(self.network, self.optimizer)
        context = multiprocessing.get_context("spawn")  # the one that works with every library and system
        if not hasattr(self.network, "spec"):
            raise UsageError(f"workers build the policy from its spec, and this {type(self.network).__name__} has "
                             f"none: make it with rlenhance.learning.models.MODELS.create(...)")
        buffers = {name: value.numpy().copy() for name, value in self.network.named_buffers()}
        reference = None if self.reference_policy is None else {
            name: value.numpy().copy() for name, value in self.reference_policy.state_dict().items()}
        for index in range(self.num_workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, name=f"a3c worker {index}", daemon=True,
                args=(theirs, self.shared, self.network.spec, buffers, self.reward.weights, self.config,
                      registered_sources(), [plugin.record() for plugin in loaded_plugins().values()], reference))
            process.start()
            theirs.close()  # so that a dead worker's pipe reads as closed
            self._workers.append(_Worker(process, ours))

    def _poll(self, seconds: float) -> None:
        """Receive the workers' messages, waiting up to this long for the first one.

        Raises:
            WorkerError: a worker has died or failed, or none has answered in this time (where it is not 0).
        """
        until = time.monotonic() + seconds
        ends = [end for worker in self._workers for end in (worker.pipe, worker.process.sentinel)]
        ready: Sequence[Any] = connection.wait(ends, seconds)
        if not ready and seconds and time.monotonic() >= until:
            busy = [index for index, worker in enumerate(self._workers) if not worker.idle]
            raise WorkerError(f"worker {' and '.join(map(str, busy))} gave no answer for {seconds:.0f} s")
        for worker in self._workers:
            if worker.pipe in ready:
                try:
                    self._handle(worker, *worker.pipe.recv())
                except (EOFError, ConnectionResetError):
                    self._raise_dead(worker)
            elif worker.process.sentinel in ready:
                self._raise_dead(worker)

    def _handle(self, worker: _Worker, kind: str, content: Any) -> None:
        """One message."""
        task, worker.task, worker.started = worker.task, None, True
        if kind == "failed":
            raise WorkerError(f"worker {self._workers.index(worker)} failed ({content})")
        if kind == "not finite":
            self._failures.append(content)
        elif kind == "done":
            assert task is not None
            self._adapt(content, task.progress)
            self._arrived.append(content)

    def _raise_dead(self, worker: _Worker) -> None:
        worker.process.join(5)
        raise WorkerError(f"worker {self._workers.index(worker)} died (exit code {worker.process.exitcode})")


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number over the updates that have it."""
    names = {name: None for row in rows for name in row}
    columns = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in columns.items()}
