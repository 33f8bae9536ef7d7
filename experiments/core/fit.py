"""The one training loop."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from rlenhance.agents import DistributedError, Learner, NonFiniteError, WorkerError, distributed
from rlenhance.core.errors import UsageError, one_line
from rlenhance.experiments.core.collapse import TrainingWatch
from rlenhance.experiments.core.distributed import run_follower, sync_initial_state
from rlenhance.experiments.core.migrate import migrate_state
from rlenhance.experiments.core.run import Run, going_on
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network

#: Network -> validation scores, called `val/NAME`, and signs of collapse.
Evaluator = Callable[[torch.nn.Module], dict[str, float]]
#: Called after each validation with the network, the run and the update: samples, histograms, further checkpoints.
ArtifactCallback = Callable[[torch.nn.Module, Run, int], None]

#: The validation score that is better where it is lower.
LOSS = "val/loss"
_STRIKES = 3  # updates in a row that are not finite end the run


class TrainingFailed(UsageError):
    """A run that had to stop; its last good checkpoint stands."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends like Ctrl-C, with its own exit status."""


@dataclass(frozen=True)
class Budget:
    """When training ends, how often it is validated, and what chooses best/.

    Attributes:
        updates: learner steps; with `minutes` an upper bound.
        minutes: stop after this much training time, evaluation left out (0: no limit). Only runs without a limit
            repeat bit for bit, because schedules follow the time where there is one.
        eval_interval: updates between validations, each of which saves last/.
        monitor: the validation score whose maximum chooses best/; of `val/loss` its minimum.
        patience: stop when that score has not improved for so many validations (0: never).
    """

    updates: int = 400
    minutes: float = 0.0
    eval_interval: int = 40
    monitor: str = "val/return"
    patience: int = 0

    def __post_init__(self) -> None:
        if self.updates < 1 or self.eval_interval < 1 or not 0 <= self.minutes < math.inf:
            raise UsageError(f"updates and eval_interval must be at least 1, minutes finite and not negative; "
                             f"got {self.updates}, {self.eval_interval}, {self.minutes}")


@dataclass
class FitResult:
    """The end of a run.

    Attributes:
        updates: done in all.
        seconds: of training, evaluation left out.
        best_step, best: where the selection score was best, and the scores there.
        interrupted: what the command ends with after Ctrl-C or SIGTERM; saved and resumable.
        stalled: the monitored score had not risen for as many validations as the budget's patience.
    """

    updates: int
    seconds: float
    best_step: int
    best: dict[str, float]
    interrupted: KeyboardInterrupt | None = None
    stalled: bool = False


def fit(learner: Learner, batches: Callable[[int], Batch], evaluate: Evaluator, run: Run, config: Budget, *,
        sample: ArtifactCallback | None = None, show: bool = True) -> FitResult:
    """Train until the budget is spent, from the last checkpoint of the run where there is one.

    Of several processes the first one leads: it validates, writes and prints; the others only compute with it.

    Args:
        learner: what learns.
        batches: update number -> batch, on any device; a function of the number alone, so that runs resume.
        evaluate: network -> validation scores.
        run: where everything goes.
        config: budget.
        sample: draws pictures into the run after each validation.
        show: progress bar.

    Raises:
        TrainingFailed: three updates in a row were not finite, naming the term; a worker or another process has died.
            last/ holds the last good state.
    """
    if distributed.rank():
        return FitResult(run_follower(learner, batches), 0.0, 0, {})
    state = _RunState(learner, run, config)
    begun_before = state.resume()
    done = begun_before or 0
    sync_initial_state(learner)
    bar = _Bar(config, done, state.seconds, show)
    strikes = 0
    with (_distributed_session(learner, run), closing(bar), _graceful_interrupt() as interrupted,
          _Prefetcher(batches) as ahead):
        if begun_before is None:
            state.validate(0, evaluate, sample, {})
        while done < config.updates and not state.out_of_time() and not state.stalled(done) and not interrupted():
            begun, cpu, progress = time.perf_counter(), time.process_time(), state.progress(done)
            distributed.broadcast_step(done, progress)
            try:
                batch = ahead.take(done, last=done + 1 >= config.updates)
                numbers = learner.step(batch.to(learner.device), progress)
                strikes = 0
            except NonFiniteError as error:
                strikes, numbers = strikes + 1, {"optim/skipped": 1.0}
                tqdm.write(f"update {done + 1}: {error}; the step is skipped ({strikes} of {_STRIKES} in a row)")
                if strikes == _STRIKES:
                    raise TrainingFailed(
                        f"{error} in {_STRIKES} updates in a row, the run stops at update {done + 1}; the last good "
                        f"checkpoint is {run.path / 'last'}: lower the learner's optimizer.learning-rate, or the "
                        f"weight of that term"
                    ) from error
            state.count(time.perf_counter() - begun, time.process_time() - cpu, len(batch))
            done += 1
            bar.advance(done, state.seconds)
            state.watch(done, numbers)
            last = done == config.updates or state.out_of_time()
            if done % config.eval_interval == 0 or last:
                scores = state.validate(done, evaluate, sample, numbers)
                bar.report(done, numbers, scores)
            else:
                run.log(done, numbers)
        stopped = interrupted() if done < config.updates else None
        if stopped:
            state.save_last(done)
    stalled = state.stalled(done) and done < config.updates and not stopped
    return FitResult(done, state.seconds, state.best_step, state.best, stopped, stalled)


class _Bar:
    """Progress for a person at a terminal, and a line per validation for a log file."""

    def __init__(self, config: Budget, done: int, seconds: float, show: bool):
        self.show, self.timed = show, bool(config.minutes)
        total, start = (round(60 * config.minutes), seconds) if self.timed else (config.updates, done)
        form = None if not self.timed else "{l_bar}{bar}| {n:.0f}/{total_fmt} s{postfix}"
        self.bar = tqdm(total=total, initial=start, disable=not (show and sys.stderr.isatty()), unit="update",
                        dynamic_ncols=True, smoothing=0.1, bar_format=form)

    def advance(self, done: int, seconds: float) -> None:
        position = min(seconds, self.bar.total or 0) if self.timed else done
        self.bar.update(position - self.bar.n)

    def report(self, done: int, numbers: Mapping[str, float], scores: Mapping[str, float]) -> None:
        """The numbers that matter after a validation."""
        chosen = {"validation return": scores.get("val/return"), "PSNR": scores.get("val/psnr"),
                  "loss": numbers.get("loss")}
        text = {name: f"{value:.3g}" for name, value in chosen.items() if value is not None}
        if self.bar.disable and self.show:
            print(f"update {done}: " + ", ".join(f"{name} {value}" for name, value in text.items()), flush=True)
        self.bar.set_postfix(text, refresh=False)

    def close(self) -> None:
        self.bar.close()


class _Prefetcher:
    """Makes the next batch in a second thread while the learner works; which batch comes when stays the same."""

    def __init__(self, batches: Callable[[int], Batch]):
        self._batches, self._pool = batches, ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: dict[int, Future[Batch]] = {}

    def __enter__(self) -> _Prefetcher:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, step: int, last: bool) -> Batch:
        """The batch of this update; unless it is the last, the next one is started."""
        future = self._next.pop(step, None) or self._pool.submit(self._batches, step)
        if not last:
            self._next = {step + 1: self._pool.submit(self._batches, step + 1)}
        return future.result()


class _RunState:
    """The state of a run beside the learner's."""

    def __init__(self, learner: Learner, run: Run, config: Budget):
        self.learner, self.run, self.config = learner, run, config
        self.seconds, self.best_step = 0.0, 0
        self.cpu_seconds: float | None = 0.0  # None: of a run of a version that did not count them, as `pictures`
        self.pictures: int | None = 0
        self.best: dict[str, float] = {}
        self._watch = TrainingWatch()

    def count(self, seconds: float, cpu_seconds: float, pictures: int) -> None:
        """Add what an update took; of several processes, each has as many pictures, and the CPU time of the others is
        not known."""
        several = distributed.world_size() > 1 or getattr(self.learner, "num_workers", 1) > 1
        self.seconds += seconds
        self.cpu_seconds = None if several or self.cpu_seconds is None else self.cpu_seconds + cpu_seconds
        self.pictures = None if self.pictures is None else self.pictures + pictures * distributed.world_size()

    def progress(self, done: int) -> float:
        spent = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(done / self.config.updates, spent))

    def out_of_time(self) -> bool:
        return bool(self.config.minutes) and self.seconds >= 60 * self.config.minutes

    def stalled(self, done: int) -> bool:
        """Whether the monitored score has not improved for `patience` validations."""
        return bool(self.config.patience) and done - self.best_step >= self.config.patience * self.config.eval_interval

    def resume(self) -> int | None:
        """Load the last checkpoint; the number of updates it had done, None where there is none."""
        found = self.run.last_state()
        if found is None:
            self.run.truncate_log(-1)  # killed before the first checkpoint: begin again
            return None
        folder, training, about = found
        with going_on(self.run.path):
            try:
                self.learner.network.load_state_dict(load_network(folder).state_dict())
                self.learner.network.train()
                self.learner.load_state_dict(migrate_state(training, self.learner.trained))
            except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                if isinstance(error, UsageError):
                    raise
                raise UsageError(f"{folder}: its state does not fit the settings of the run "
                                 f"({one_line(repr(error))})") from error
        self.seconds, self.best_step, self.best = about["seconds"], about["best_step"], about["best"]
        self.cpu_seconds, self.pictures = about.get("cpu_seconds"), about.get("pictures")
        self.run.truncate_log(about["step"])
        return about["step"]

    def validate(self, step: int, evaluate: Evaluator, sample: ArtifactCallback | None,
                 numbers: Mapping[str, float]) -> dict[str, float]:
        """Validate, log, keep best/ and last/."""
        network = self.learner.network
        begun = time.perf_counter()
        numbers = {**numbers, **self.learner.synchronize()}
        self.seconds += time.perf_counter() - begun
        scores = evaluate(network)
        self.run.log(step, {**numbers, **scores, "seconds": self.seconds})
        if step:  # every policy begins as a constant
            self._warn(step, self._watch.after_validation(scores))
        monitor = self.config.monitor
        sign = -1 if monitor == LOSS else 1
        if not self.best or sign * scores[monitor] > sign * self.best[monitor]:
            self.best_step, self.best = step, dict(scores)
            self.run.save("best", network, {"step": step, "scores": scores})
        if sample is not None:
            sample(network, self.run, step)
        self.save_last(step)
        return scores

    def watch(self, step: int, numbers: Mapping[str, float]) -> None:
        """Warn where the numbers of an update are finite and yet not sane."""
        self._warn(step, self._watch.after_update(numbers))

    def _warn(self, step: int, warnings: Sequence[str]) -> None:
        for warning in warnings:
            tqdm.write(f"warning at update {step}: {warning}")

    def save_last(self, step: int) -> None:
        self.learner.synchronize()
        about = {"step": step, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "pictures": self.pictures,
                 "monitor": self.config.monitor, "best_step": self.best_step, "best": self.best}
        self.run.save("last", self.learner.network, about, self.learner.state_dict())


@contextmanager
def _distributed_session(learner: Learner, run: Run) -> Iterator[None]:
    """End the learner's workers and stop the other processes when the run ends, however it ends."""
    try:
        try:
            yield
        except TrainingFailed:
            distributed.broadcast_step(None, 0.0)
            raise
        distributed.broadcast_step(None, 0.0)
    except (WorkerError, DistributedError) as error:
        run.close()
        raise TrainingFailed(f"{error}, and the run stops; the last good checkpoint is {run.path / 'last'}: go on with "
                             f"--resume {run.path}") from error
    finally:
        learner.shutdown()


@contextmanager
def _graceful_interrupt() -> Iterator[Callable[[], KeyboardInterrupt | None]]:
    """Ctrl-C and SIGTERM ask the loop to save and stop after the step; a second one stops at once."""
    asked: KeyboardInterrupt | None = None

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked is not None:
            raise asked
        asked = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        again = "" if number == signal.SIGTERM else "; press Ctrl-C again to stop at once"
        tqdm.write(f"stopping after this update and saving{again}")

    with handling((signal.SIGINT, signal.SIGTERM), ask):
        yield lambda: asked


@contextmanager
def handling(numbers: Sequence[signal.Signals], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle signals for a while; outside of the main thread the caller handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
