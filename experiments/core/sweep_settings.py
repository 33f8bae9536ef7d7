"""The settings of a sweep: what is searched, what is best, and the configuration of each of its trainings."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from rlenhance import experiments
from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.experiments.core.cli import lists_of, parse
from rlenhance.experiments.core.config import replaced
from rlenhance.experiments.core.plugins import load_plugins, named_plugins, with_plugins
from rlenhance.experiments.core.task import Task

#: Entry points of trainings of installed plugins, as "read_train"; the value of each is a module.
GROUP = "rlenhance.trainings"
_SPAN = re.compile(r"(?P<low>[^:]+):(?P<high>[^:]+?)(?P<log>:log)?")


@dataclass(frozen=True)
class SweepConfig:
    """Train a task many times, with settings that Optuna chooses; what stands behind `--` goes to every training:

    python -m experiments.sweep lol_train --search reward.exposure=2:40:log horizon=4,6,8 --objective val/mean
    val/clipped:min --trials 40 -- --data data --updates 60"""

    command: Annotated[str, tyro.conf.Positional]
    """The command that trains, as in lol_train."""
    search: tuple[str, ...] = ()
    """NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C, with an option of that command without its hyphens; OPTION.KEY of
    options that take KEY=VALUE, as in reward.exposure=2:40:log."""
    space: Path | None = None
    """A JSON file with more of them: an object, NAME to the text behind the equals sign."""
    begin: tuple[str, ...] = ()
    """Settings NAME=VALUE of the first trial, as those that one has; the others are free."""
    objective: tuple[str, ...] = ("val/psnr",)
    """Validation scores of the best checkpoint, the greatest is best; SCORE:min for the least. Several give a Pareto
    front."""
    trials: int = 20
    """How many in all; a sweep of the same name goes on."""
    processes: int = 1
    """How many train at once; more may be started with the same command, also on other machines with --storage."""
    prune: bool = True
    """End a trial at a validation where it is worse than the median of the finished ones, in every objective."""
    seed: int = 0
    """Of the choices; the trainings have their own."""
    name: str = "sweep"
    """Of its folder."""
    out: Path = Path("runs/sweeps")
    """Where that folder is made."""
    storage: str = ""
    """URL of Optuna's storage, where it is not sweep.db in that folder."""


@dataclass(frozen=True)
class Span:
    """The range or the choices of a setting.

    Attributes:
        low, high: numbers, both whole or both not; of a range.
        log: even in the logarithm.
        choices: texts, where it is no range.
    """

    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def parse(cls, name: str, text: str) -> Span:
        """Of the text behind `NAME=`.

        Raises:
            UsageError: another form, or an empty range.
        """
        if match := _SPAN.fullmatch(text):
            try:
                low, high = (int(part) if re.fullmatch(r"[+-]?\d+", part) else float(part)
                             for part in match.group("low", "high"))
            except ValueError:
                raise UsageError(f"--search {name}={text}: a range is LOW:HIGH or LOW:HIGH:log, in numbers") from None
            whole = isinstance(low, int) and isinstance(high, int)
            log = bool(match["log"])
            if not (np.isfinite((low, high)).all() and low < high and (low > 0 or not log)):
                raise UsageError(f"--search {name}={text}: LOW lies below HIGH, and above 0 for log")
            return cls(low if whole else float(low), high if whole else float(high), log)
        choices = tuple(filter(None, text.split(",")))
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise UsageError(f"--search {name}={text}: LOW:HIGH, LOW:HIGH:log, or at least two different choices A,B")
        return cls(choices=choices)

    def suggest(self, name: str, trial: Any) -> Any:
        """A value that Optuna chooses."""
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def read(self, name: str, text: str) -> Any:
        """A value that is given as a text.

        Raises:
            UsageError: it is outside.
        """
        try:
            value: Any = text if self.choices else type(self.low)(text)
        except ValueError as error:
            raise UsageError(f"--begin {name}={text}: must be a number") from error
        if value not in self.choices if self.choices else not self.low <= value <= self.high:
            raise UsageError(f"--begin {name}={text}: outside of --search")
        return value


@dataclass(frozen=True)
class Sweep:
    """A sweep, ready to be worked on by any number of processes.

    Attributes:
        config: as it was asked for.
        spans: name -> range or choices.
        objectives: score -> "maximize" or "minimize".
        words: of every training.
    """

    config: SweepConfig
    spans: Mapping[str, Span]
    objectives: Mapping[str, str]
    words: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.config.out / self.config.name

    @property
    def storage(self) -> str:
        return self.config.storage or f"sqlite:///{self.folder.absolute() / 'sweep.db'}"


def task_of(command: str) -> Task[Any, Any]:
    """The task of a command that trains.

    Raises:
        UsageError: no such command.
    """
    task = _task_in(command.removeprefix("rlenhance.").removeprefix("experiments."))
    if task is None:
        own = {name: _task_in(name) for name in (path.stem for path in Path(experiments.__file__).parent.glob(
            "*_train.py"))}
        names = {*(name for name, task in own.items() if task and task.command.endswith(name)),  # no former names
                 *(point.name for point in entry_points(group=GROUP) if _task_in(point.name))}
        raise UsageError(f"{command!r}: no command that trains a task; there are {', '.join(sorted(names))}")
    return task


def _task_in(name: str) -> Task[Any, Any] | None:
    """The task of a module of `experiments` or of an installed plugin; None where there is no such module, or not one
    task in it."""
    installed = {point.name: point.value for point in entry_points(group=GROUP)}
    try:
        module = importlib.import_module(installed.get(name, f"rlenhance.experiments.{name}")) \
            if name.isidentifier() else None
    except ModuleNotFoundError:
        module = None
    found = [value for value in vars(module).values() if isinstance(value, Task)] if module else []
    return found[0] if len(found) == 1 else None


def prepare(config: SweepConfig, words: Sequence[str]) -> Sweep:
    """Check everything before the first training.

    Raises:
        UsageError: Optuna is missing; a setting, range or objective that is none; an option of every training that a
            sweep sets.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(f"a sweep needs the package optuna: {install_line('sweep')}")
    if config.trials < 1 or config.processes < 1:
        raise UsageError(f"--trials and --processes must be at least 1; got {config.trials} and {config.processes}")
    if Path(config.name).name != config.name:
        raise UsageError(f"--name is the name of a folder in --out, without separators; got {config.name!r}")
    task_of(config.command)
    texts = dict(pairs_in("--search", config.search))
    if config.space is not None:
        texts = {**_space(config.space), **texts}
    if not texts:
        raise UsageError("nothing to search: name settings and their ranges, as in --search reward.exposure=2:40:log")
    objectives = {}
    for text in config.objective:
        score, _, direction = text.partition(":")
        if direction not in ("", "min", "max") or not score:
            raise UsageError(f"--objective {text!r}: SCORE, SCORE:max or SCORE:min, as in val/clipped:min")
        objectives[score] = "minimize" if direction == "min" or (not direction and score == "val/loss") else "maximize"
    taken = {"--name", "--out", "--resume", "--devices"} & {word.partition("=")[0] for word in words}
    if taken:
        raise UsageError(f"{', '.join(sorted(taken))}: a sweep gives every training its own; leave it out behind --")
    sweep = Sweep(config, {name: Span.parse(name, text) for name, text in texts.items()}, objectives, tuple(words))
    first = {name: sweep.spans[name].read(name, text) for name, text in pairs_in("--begin", config.begin)
             if name in sweep.spans or _raise(UsageError(f"--begin {name}: not in --search"))}
    ends = {name: span.choices[0] if span.choices else span.low for name, span in sweep.spans.items()}
    settings_of(sweep, {**ends, **first}, 0)
    return sweep


def settings_of(sweep: Sweep, values: Mapping[str, Any], number: int) -> Any:
    """The configuration of a trial.

    Raises:
        UsageError: the command takes no such option.
    """
    task = task_of(sweep.config.command)
    load_plugins(named_plugins(sweep.words))
    kind = with_plugins(task.Config)
    several, words = set(lists_of(kind)), list(sweep.words)
    for name, value in values.items():
        option, _, key = name.rpartition(".")
        flag = f"--{option.replace('_', '-')}"
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        words += [flag, f"{key}={text}"] if option and flag in several else [f"--{name.replace('_', '-')}", text]
    refused = io.StringIO()
    try:
        with contextlib.redirect_stderr(refused), contextlib.redirect_stdout(refused):
            config = parse(kind, words, task.command)
    except SystemExit as error:
        told = " ".join(re.sub("[─│╭╮╰╯]|-{3,}", " ", refused.getvalue()).split())
        raise UsageError(f"{task.command} does not take {shlex.join(words)}: {told[:300]}") from error
    return replaced(config, {"train.out": sweep.folder / "trials", "train.name": f"{number:04d}",
                             "train.progress": False})


def pairs_in(option: str, words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and text of the words NAME=TEXT of an option.

    Raises:
        UsageError: another form.
    """
    for word in words:
        name, sign, text = word.partition("=")
        if not (sign and name and text):
            raise UsageError(f"{option} {word!r}: NAME=... belongs there")
        yield name, text


def _space(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise UsageError(f"{path}: an object of texts belongs there, as in {{\"reward.exposure\": \"2:40:log\"}}")
    return found


def _raise(error: Exception) -> bool:
    raise error
