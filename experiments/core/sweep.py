"""Sweeps: many trainings of one task, whose settings Optuna chooses."""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import multiprocessing
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.sweep_picture import draw_sweep
from rlenhance.experiments.core.sweep_settings import Sweep, pairs_in, settings_of, task_of
from rlenhance.experiments.core.train import train
from rlenhance.io.files import write_atomically

_STARTUP = 5  # finished trials before one is pruned


def run_sweep(sweep: Sweep) -> Any:
    """Work on a sweep with its processes until it has its trials; returns Optuna's study."""
    sweep.folder.mkdir(parents=True, exist_ok=True)
    study = open_study(sweep)
    begin = {name: sweep.spans[name].read(name, text) for name, text in pairs_in("--begin", sweep.config.begin)}
    if begin and not study.get_trials(deepcopy=False):
        study.enqueue_trial(begin)
    if sweep.config.processes == 1:
        work(sweep, 0)
        return study
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(sweep, number), name=f"sweep-{number}")
               for number in range(sweep.config.processes)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:  # they have had it too, save, and end
        for worker in workers:
            worker.join()
        raise
    if failed := [worker.name for worker in workers if worker.exitcode]:
        raise UsageError(f"{', '.join(failed)} ended early, see above; the same command goes on")
    return study


def open_study(sweep: Sweep) -> Any:
    """Optuna's study; made where there is none.

    Raises:
        UsageError: the study is one of other settings.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    connect = {"connect_args": {"timeout": 60}} if sweep.storage.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(sweep.storage, engine_kwargs=connect, heartbeat_interval=30, grace_period=90)
    study = optuna.create_study(storage=storage, study_name=sweep.config.name, load_if_exists=True,
                                directions=cast(Any, [*sweep.objectives.values()]))
    told = {"command": sweep.config.command, "words": list(sweep.words), "objectives": dict(sweep.objectives),
            "space": {name: repr(span) for name, span in sweep.spans.items()}}
    known = study.user_attrs.get("sweep")
    if known is None:
        study.set_user_attr("sweep", told)
    elif known != told:
        others = ", ".join(name for name in told if known.get(name) != told[name])
        raise UsageError(f"{sweep.folder}: the sweep of this name was begun with another {others}; choose another "
                         f"--name, or repeat its command")
    return study


def work(sweep: Sweep, number: int) -> None:
    """Run trials until the study has enough: the loop of each process."""
    import optuna
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

    if sweep.config.processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // sweep.config.processes))
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    study = open_study(sweep)
    study.sampler = optuna.samplers.TPESampler(seed=sweep.config.seed + number + 1000 * len(study.trials),
                                               n_startup_trials=max(10, sweep.config.trials // 4), constant_liar=True)
    if len(study.get_trials(deepcopy=False, states=ended)) < sweep.config.trials:
        try:
            study.optimize(lambda trial: run_trial(sweep, study, trial), catch=(UsageError,),
                           callbacks=[MaxTrialsCallback(sweep.config.trials, ended), _print_trial])
        except _UnknownScore as error:
            raise UsageError(str(error)) from error


def run_trial(sweep: Sweep, study: Any, trial: Any) -> list[float]:
    """Train once; the objectives of the best checkpoint, in their order."""
    values = {name: span.suggest(name, trial) for name, span in sweep.spans.items()}
    config = settings_of(sweep, values, trial.number)
    task = copy.copy(task_of(sweep.config.command))
    task.report = lambda session, fitted: {}  # type: ignore[method-assign]  # baselines are the same in all trials
    begun = time.perf_counter()
    trial.set_user_attr("run", str(config.train.out / config.train.name))
    config.train.out.mkdir(parents=True, exist_ok=True)
    try:
        with (config.train.out / f"{config.train.name}.log").open("w") as log, contextlib.redirect_stdout(log):
            found = train(task, config, listeners=[_Watcher(sweep, study, trial)])
    except UsageError as error:
        trial.set_user_attr("failure", str(error))
        raise
    trial.set_user_attr("scores", {name: float(value) for name, value in found.fitted.best.items()})
    trial.set_user_attr("seconds", time.perf_counter() - begun)
    return [float(found.fitted.best[name]) for name in sweep.objectives]


class _UnknownScore(Exception):
    """No trial of the sweep can have its objective."""


class _Watcher:
    """Hears the validations of a trial, and ends one that is hopeless."""

    def __init__(self, sweep: Sweep, study: Any, trial: Any):
        self._sweep, self._study, self._trial = sweep, study, trial

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        import optuna

        if not any(name.startswith("val/") for name in numbers):
            return
        if missing := [name for name in self._sweep.objectives if name not in numbers]:
            raise _UnknownScore(f"--objective {', '.join(missing)}: not among the validation scores, which are "
                                f"{', '.join(sorted(name for name in numbers if name.startswith('val/')))}")
        if not step:  # the same in every trial
            return
        seen = [float(numbers[name]) for name in self._sweep.objectives]
        self._trial.set_user_attr(f"validation/{step}", seen)
        if self._sweep.config.prune and is_hopeless(seen, _at(self._study, step), tuple(
                self._sweep.objectives.values())):
            raise optuna.TrialPruned

    def log_image(self, name: str, image: np.ndarray, step: int) -> None: ...

    def log_histogram(self, name: str, values: np.ndarray, step: int) -> None: ...

    def close(self) -> None: ...


def is_hopeless(seen: Sequence[float], others: Sequence[Sequence[float]], directions: Sequence[str]) -> bool:
    """Whether a trial is worse than the median of the others in every objective; never beside fewer than five.

    Optuna's pruners know one objective only; for one this is its median rule.

    Args:
        seen: of the trial, an entry per objective.
        others: of finished trials at the same update.
        directions: "maximize" or "minimize" each.
    """
    if len(others) < _STARTUP:
        return False
    signs = np.array([1.0 if direction == "maximize" else -1.0 for direction in directions])
    return bool((signs * seen < np.median(signs * np.array(others), axis=0)).all())


def _at(study: Any, step: int) -> list[list[float]]:
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial.user_attrs[f"validation/{step}"] for trial in finished if f"validation/{step}" in trial.user_attrs]


def _print_trial(study: Any, trial: Any) -> None:
    names = study.user_attrs["sweep"]["objectives"]
    found = "  ".join(f"{name} {value:.4g}" for name, value in zip(names, trial.values or (), strict=False))
    chosen = "  ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                       for name, value in trial.params.items())
    spent = f"{trial.duration.total_seconds():.0f} s" if trial.duration else ""
    failure = trial.user_attrs.get("failure", "")
    print(f"trial {trial.number}: {trial.state.name.lower()}  {found}  [{chosen}]  {spent}  {failure}".rstrip(),
          flush=True)


def report(sweep: Sweep, study: Any) -> Path:
    """Write trials.csv and sweep.png, and print the best trials."""
    import optuna

    if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        failed = [trial.number for trial in study.trials]
        raise UsageError(f"{sweep.folder}: no trial has finished (of {len(failed)}); see {sweep.folder / 'trials'}")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", *sweep.objectives, *sweep.spans, "seconds", "run"])
    for trial in study.trials:
        values = trial.values or [""] * len(sweep.objectives)
        table.writerow([trial.number, trial.state.name.lower(), *values,
                        *(trial.params.get(name, "") for name in sweep.spans),
                        f"{trial.user_attrs.get('seconds', 0):.1f}", trial.user_attrs.get("run", "")])
    write_atomically(sweep.folder / "trials.csv", text.getvalue().encode())
    best = sorted(study.best_trials, key=lambda trial: trial.values[0])
    print(f"\n{len(best)} best of {len(study.trials)} trials:" if len(best) > 1 else "\nthe best trial:")
    for trial in best:
        _print_trial(study, trial)
    draw_sweep(study, sweep.folder / "sweep.png")
    print(f"trials and picture in {sweep.folder} (trials.csv, sweep.png); each trial is a run in {sweep.folder}/trials")
    return sweep.folder
