"""Training, the same for every task: begin or resume a run, train, report."""

from __future__ import annotations

import shlex
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlenhance.agents import LEARNERS, distributed
from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.json_files import naming
from rlenhance.core.plugins import module_name
from rlenhance.experiments.core.config import TrainConfig, anchored, differing, leaves, option_names, replaced
from rlenhance.experiments.core.distributed import launch
from rlenhance.experiments.core.fit import FitResult
from rlenhance.experiments.core.loggers import Logger, check_loggers
from rlenhance.experiments.core.migrate import FORMAT, load_config
from rlenhance.experiments.core.plugins import (
    load_plugins,
    load_plugins_of,
    own_terms,
    require_terms,
    require_tools,
    run_plugins,
    settings_record,
    with_plugins,
)
from rlenhance.experiments.core.run import Run, state_bound
from rlenhance.experiments.core.run_lock import run_lock
from rlenhance.experiments.core.task import Session, Task
from rlenhance.experiments.core.training_report import read_report
from rlenhance.io.files import write_atomically
from rlenhance.learning.hub.export import export_checkpoint

#: Settings that may be chosen anew whenever a run goes on, beside those that make it longer.
_OF_A_CALL = ("resume", "auto_resume", "progress", "device", "devices", "plugin", "logger", "log_all_terms")


@dataclass
class TrainResult:
    """The result of a training run.

    Attributes:
        run: its folder.
        fitted: how the loop ended.
        scores: row -> score -> value on the validation split, of the network and of what it is compared with.
    """

    run: Path
    fitted: FitResult
    scores: dict[str, dict[str, float]]


def train(task: Task[Any, Any], config: Any, unasked: Any = None, listeners: Sequence[Logger] = ()) -> TrainResult:
    """Train, and print the result.

    With `config.train.resume` the settings are those of that run. Only those of this call (device, devices, progress,
    logger) and those that make the run longer (updates, minutes, patience) may be others; any other that was asked
    for is refused.

    Args:
        task: what is learned.
        config: of the task's class `Config`.
        unasked: beside `resume`, what `config` is where nothing is asked for; None: the defaults.
        listeners: loggers of this call, beside those of the settings.

    Raises:
        UsageError: settings or pictures that cannot be used; a run that cannot go on with them.
        KeyboardInterrupt: after Ctrl-C or SIGTERM (`Terminated`); the run was saved and can go on.
    """
    with ExitStack() as held:
        return _train(task, config, unasked, listeners, held)


def _train(task: Task[Any, Any], config: Any, unasked: Any, listeners: Sequence[Logger],
           held: ExitStack) -> TrainResult:
    """See `train`; the lock on the run folder is held until `held` closes."""
    run, stored = Run(Path()), dict[str, Any]()
    again = begun_before(config.train)
    if again or config.train.resume:
        run, stored = open_run(task, again or config.train.resume)
        load_plugins_of(stored, config.train.plugin)
        kind = with_plugins(task.Config)
        known = load_settings(kind, run.path, stored)
        if unasked is None:
            require_terms(known, config.train)
            require_tools(known, config)
        if again:  # the whole command is given again, and has to be that of the run
            config, unasked = replaced(anchored(task.adopted(config)), {"train.resume": again}), known
        config = resumed(config, known, unasked or kind())
    else:
        load_plugins(config.train.plugin)
        config = task.adopted(config)
    task.check(config, stored)
    check_loggers(config.train.logger)
    data = task.dataset(config)
    if stored and stored["data"].get("digest") != data.digest():
        raise UsageError(f"{run.path}: the pictures in {data.splits.source} are not those the run began with; "
                         f"restore them, or begin a new run with --init {run.path}")
    fabric = task.fabric(config)
    _check_processes(task, config.train, fabric.world_size)
    leads = fabric.global_rank == 0  # the first process alone writes and prints
    if leads and stored:
        held.enter_context(run_lock(run.path))
    with state_bound(run.path) if stored else nullcontext():
        learner = task.learner(config, data, fabric.device, fresh=not stored)
    model = {} if learner is None else {"model": learner.network.spec}
    plugins = run_plugins(config, model)
    if not leads:
        run = Run(Path())
    elif stored:
        _write_longer(run, {**stored, "task": task.name}, config)
    else:
        name = config.train.name or f"{task.default_name(config)}-{time.strftime('%Y%m%d-%H%M%S')}"
        Run.check_free(config.train.out / name)
        held.enter_context(run_lock(config.train.out / name))
        run = Run.create(config.train.out / name, settings_record(anchored(config)), {
            "format": FORMAT, "task": task.name, "data": {
                "source": data.splits.source, "digest": data.digest(), "skipped": data.skipped},
            "plugins": [plugin.record() for plugin in plugins], **task.facts(config), **model})
    if leads:
        run.use_loggers(config.train.logger, dict(leaves(anchored(config))), listeners, _unweighted(task, config))
        held.callback(run.close)
        lines = [task.headline(config, data), *(f"plugin {plugin} from {plugin.file}" for plugin in plugins)]
        print("\n".join([*lines, f"run folder {run.path}"]), flush=True)
    launch(fabric)
    session = Session(config, data, fabric, run, learner)
    fitted = task.fit(session)
    if not leads:
        return TrainResult(run.path, fitted, {})
    told = _write_report(run)
    if fitted.interrupted:
        run.close()
        named = "".join(f" --{option.replace('_', '-')} {shlex.join(sources)}" for option in ("plugin", "reward_term")
                        if (sources := getattr(config.train, option, ())))
        print(f"stopped and saved after {fitted.updates} updates; go on with\n"
              f"  {python()} -m {task.command} --resume {run.path}{named}")
        raise fitted.interrupted
    if fitted.stalled:
        print(f"\n{task.monitor(config)} has not improved for {task.patience(config)} validations: stopped at update "
              f"{fitted.updates} (--patience)")
    scores = task.report(session, fitted)
    if told:
        print(told)
    _export_best(run.path / "best")
    run.close()
    return TrainResult(run.path, fitted, scores)


def _export_best(folder: Path) -> None:
    """The graphs of the best network beside its weights, for use without torch. What hinders that is reported."""
    if not folder.is_dir():
        return
    try:
        export_checkpoint(folder)
    except (UsageError, RuntimeError, ValueError, TypeError, OSError) as error:
        print(f"{folder}: not written for use without torch ({one_line(error)})")


def _write_report(run: Run) -> str:
    """Write report.md; the line that is printed of it, empty where a run has no validation of its own."""
    if not (run.path / "last").exists():
        return ""
    report = read_report(run.path)
    write_atomically(run.path / "report.md", "\n".join([*report.lines(), ""]).encode())
    return f"{report.budget} (report.md)\nplateau {report.plateau}"


def begun_before(train: TrainConfig) -> Path | None:
    """The folder of the run that `auto_resume` goes on with; None where there is none, and the command begins it.

    Raises:
        UsageError: the run has no name by which it could be found.
    """
    if not train.auto_resume or train.resume:
        return None
    if not train.name:
        raise UsageError("--auto-resume finds the run by its name: give it one with --name")
    folder = train.out / train.name
    return folder if (folder / "config.json").is_file() else None


def open_run(task: Task[Any, Any], path: Path) -> tuple[Run, dict[str, Any]]:
    """A run of a task, and its config.json."""
    run, stored = Run.open(path)
    if stored.get("task", task.name) not in (task.name, *task.former_names):
        raise UsageError(f"{path}: a run of the task {stored['task']}, not of {task.name}; resume it with the command "
                         f"that began it")
    return run, stored


def load_settings(kind: Any, path: Path, stored: dict[str, Any]) -> Any:
    """The settings in a run's config.json.

    Raises:
        UsageError: one that is unknown, of another type or out of range; names the file.
    """
    try:
        with naming(path):
            return load_config(kind, stored)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path / 'config.json'}: damaged ({error!r:.120}); restore it, or begin a new run with "
                         f"--init {path / 'best'}") from error


def resumed(given: Any, stored: Any, plain: Any) -> Any:
    """The settings with which a run goes on.

    Args:
        given: what was asked for.
        stored: the run's own.
        plain: what `given` is where nothing is asked for: the defaults (a setting that has its default was not asked
            for), or the run's own.

    Raises:
        UsageError: names the settings that were asked for and would be ignored.
    """
    asked = set(differing(given, plain)) & set(differing(given, stored))
    extends = {f"train.{name}" for name in type(given.train).extends}
    calls = {f"train.{name}" for name in _OF_A_CALL}
    others = [path for path in differing(given, stored) if path in asked - extends - calls]
    if others:
        raise UsageError(f"--resume goes on with the settings of the run; leave out {option_names(others)} (to change "
                         f"them, begin a new run with --init {given.train.resume})")
    if {"train.updates", "train.epochs"} <= asked:
        raise UsageError("--updates and --epochs both say how long the run is to be: give one of them")
    changes = {path: getattr(given.train, path.partition(".")[2]) for path in asked & extends}
    if set(changes) - {"train.updates", "train.patience"} and "train.updates" not in changes:
        changes["train.updates"] = None  # time, or epochs, are the limit
    for name in ("progress", "devices", "resume", "auto_resume"):
        changes[f"train.{name}"] = getattr(given.train, name)
    for name in ("device", "logger", "log_all_terms"):
        if f"train.{name}" in asked:
            changes[f"train.{name}"] = getattr(given.train, name)
    if "train.plugin" in asked:  # those that lie elsewhere now
        moved = set(map(module_name, given.train.plugin))
        changes["train.plugin"] = (*(source for source in stored.train.plugin if module_name(source) not in moved),
                                   *given.train.plugin)
    return replaced(stored, changes)


def check_same(task: Task[Any, Any], run: Path, wanted: Any) -> None:
    """Refuse a run that was begun with other settings."""
    kept = load_settings(with_plugins(task.Config), run, open_run(task, run)[1])
    calls = {f"train.{name}" for name in (*_OF_A_CALL, "out")}
    others = [path for path in differing(kept, anchored(wanted)) if path not in calls]
    if others:
        raise UsageError(f"{run}: was trained with other settings ({option_names(others)}); choose another --out, or "
                         f"remove it")


def python() -> str:
    """The interpreter as it can be typed here."""
    return _from_here(Path(sys.executable).absolute(), "python")


def _unweighted(task: Task[Any, Any], config: Any) -> list[str]:
    """Reward terms of weight 0, which loggers do not get; they get a user's own, and all with --log-all-terms."""
    weights = task.facts(config).get("reward", {}).get("weights", {})
    own = own_terms(getattr(config.train, "reward_term", ()), config.train.plugin)
    return [] if config.train.log_all_terms else [name for name, weight in weights.items()
                                                  if not weight and name not in own]


def rlenhance_command() -> str:
    """The `rlenhance` command as it can be typed here."""
    script = Path(sysconfig.get_path("scripts")) / "rlenhance"
    return _from_here(script, "rlenhance") if script.exists() else f"{python()} -m rlenhance"


def _from_here(path: Path, otherwise: str) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else otherwise


def _check_processes(task: Task[Any, Any], config: TrainConfig, count: int) -> None:
    if count == 1:
        return
    if not task.supports_ddp:
        raise UsageError(f"{task.command} learns in one process; leave out --devices")
    if not task.registry[config.learner].supports_ddp:
        shared = ", ".join(name for name in LEARNERS if LEARNERS[name].supports_ddp)
        raise UsageError(f"{config.learner} learns in one process; --devices is for {shared}")
    distributed.local_batch_size(config.batch_size, count)


def _write_longer(run: Run, stored: dict[str, Any], config: Any) -> None:
    """Write a longer budget into config.json, so that the run goes on with it when it is interrupted."""
    kept = load_config(type(config), stored)
    longer = replaced(config, {f"train.{name}": getattr(kept.train, name) for name in _OF_A_CALL})
    if differing(longer, kept):
        run.write_config({**stored, "format": FORMAT, "arguments": settings_record(longer)})
