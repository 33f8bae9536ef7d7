"""Comparisons, the same for every task: baselines and models scored picture by picture, kept, and put into a table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from experiments.core.cli import run_cli
from experiments.core.config import Flat
from experiments.core.dataset import Dataset
from experiments.core.markdown import markdown_table
from experiments.core.scores import Baseline, Candidate, Column, Comparison, Row, ScoreCache, ScoreEntry
from experiments.core.task import Task
from rlenhance.core.errors import UsageError
from rlenhance.data import Batch
from rlenhance.hub.checkpoint import MODEL, find_checkpoint, load_model, read_config
from rlenhance.hub.shipped import locate
from rlenhance.io.files import write_atomically


@dataclass(frozen=True)
class CompareConfig:
    """Score baselines that need no training, and models, on the test split (validation where there is none)."""

    models: tuple[str, ...] = ()
    """Runs, checkpoints or shipped models; NAME=RUN names its row."""
    baseline: str = ""
    """Name of a row: what the others' scores differ from its, with 95 % bootstrap intervals over pictures."""
    limit: int = 0
    """Score so many pictures, evenly spread (0: all)."""
    out: Path = Path("runs/compare")
    """Where the table goes; what was scored there on the same pictures is not scored again."""
    threads: int = 0
    """Threads of torch (0: its default)."""


C = TypeVar("C", bound=CompareConfig)
D = TypeVar("D", bound=Dataset)


class TaskComparison(Generic[C, D]):
    """How the models of a task are compared: as here for any task, or as a derived class says otherwise.

    Args:
        task: says the pictures, baselines, scores and columns.

    Attributes:
        Config: the class of the configuration, a dataclass derived from `CompareConfig`; by default with the task's
            own `data`.
    """

    Config: type[C]

    def __init__(self, task: Task[Any, Any]):
        self.task = task
        if not hasattr(type(self), "Config"):
            part: Any = type(task.Config().data)
            data = ("data", Flat[part], dataclasses.field(default_factory=part))  # type: ignore[misc]
            self.Config = dataclasses.make_dataclass("CompareConfig", [data], bases=(CompareConfig,), frozen=True,
                                                     namespace={"__doc__": CompareConfig.__doc__})

    def of_task(self, config: Any) -> Any:
        """The task's configuration with the pictures of a comparison."""
        return dataclasses.replace(self.task.Config(), data=config.data)

    def dataset(self, config: C) -> D:
        """The pictures, scanned and checked."""
        return self.task.dataset(self.of_task(config))

    def pictures(self, config: C, data: D, split: str, condition: str) -> Sequence[Batch]:
        """The pictures to score, one batch each, with their references."""
        return data.load(split, limit=config.limit or None)

    def check(self, config: C) -> None:
        """Refuse settings before anything is read.

        Raises:
            UsageError: names them.
        """

    def check_model(self, config: C, model: Any, place: Path) -> None:
        """Refuse a model of another kind, before pictures are read.

        Raises:
            UsageError: says what the task takes.
        """

    def conditions(self, config: C) -> Sequence[str]:
        """Names of the sets of pictures on which every row is scored: levels of noise, sizes."""
        return ("",)

    def label(self, condition: str) -> str:
        """What the table calls a condition."""
        return condition

    def split(self, config: C, data: D) -> str:
        """The split to score: test, or val where there is no test split."""
        return "test" if data.splits.test else "val"

    def groups(self, config: C, data: D, split: str, count: int) -> list[str]:
        """The scene of each scored picture; by default every picture is its own."""
        return [str(number) for number in range(count)]

    def cache_key(self, config: C, data: D, split: str) -> str:
        """What scores depend on beside model and condition: the pictures, and settings."""
        digests = data.digest()
        return f"{digests.get('train', '')} {digests[split]} {config.limit}"

    def baselines(self, config: C, data: D, condition: str) -> Mapping[str, Baseline]:
        """The rows that need no training, by name. They are used only for what was not scored before."""
        return {baseline.name: baseline for baseline in self.task.baselines(self.of_task(config), data).values()}

    def trained(self, config: C, data: D) -> list[Candidate]:
        """Rows that are trained for this comparison."""
        return []

    def variants(self, config: C, candidates: list[Candidate]) -> list[Candidate]:
        """Further rows from the models that were named."""
        return []

    def fits(self, config: C, model: Any, condition: str) -> bool:
        """Whether a model is for this condition; otherwise its cell stays empty."""
        return True

    def apply(self, config: C, model: Any, batch: Batch, condition: str) -> tuple[Tensor, Any]:
        """A model's result for one picture, and details of it for `summarize`; its time is taken."""
        return model(batch.image, batch.mask), None

    def score(self, config: C, output: Tensor, batch: Batch) -> dict[str, float]:
        """The scores of a result in [0, 1]."""
        return self.task.score(output, batch)

    def summarize(self, details: list[Any]) -> Any:
        """What is kept of the details of all pictures, as JSON can hold it."""
        return None

    def columns(self, config: C) -> Sequence[Column]:
        """The scores that the table shows."""
        return self.task.columns()

    def facts(self, config: C, row: Row) -> dict[str, str]:
        """What the table shows of a row beside the scores: heading -> text."""
        return {"parameters": f"{row.parameters:,}" if row.parameters else ""}

    def cell(self, row: Row, condition: str, column: Column) -> str:
        """A score as text."""
        return column.cell(row.mean(condition, column.key), row.spread(condition, column.key))

    def about(self, config: C, comparison: Comparison) -> list[str]:
        """The lines above the table."""
        return [f"{comparison.data.splits.describe()}.", f"Scored on {comparison.count} {comparison.split} pictures.",
                ""]

    def tables(self, config: C, comparison: Comparison) -> list[str]:
        """The table: a part for each condition, with a row for each model that has scores for it."""
        lines = []
        for condition in self.conditions(config):
            rows = [row for row in comparison.rows.values() if condition in row.entries]
            paired = [column for column in self.columns(config) if column.difference and config.baseline]
            header = [self.label(condition), *(column.heading for column in self.columns(config)),
                      *(f"{column.difference}, less {config.baseline}'s" for column in paired),
                      *(self.facts(config, rows[0]) if rows else ())]
            lines += [*markdown_table(header, [[
                row.name, *(self.cell(row, condition, column) for column in self.columns(config)),
                *(self.difference(config, comparison, row, condition, column) for column in paired),
                *self.facts(config, row).values()] for row in rows]), ""]
        return lines

    def difference(self, config: C, comparison: Comparison, row: Row, condition: str, column: Column) -> str:
        """What a row's score differs from the baseline's, as text."""
        if row.name == config.baseline or condition not in comparison.rows[config.baseline].entries:
            return ""
        found = comparison.difference(row.name, config.baseline, condition, column.key)
        low, mean, high = (f"{value:+.{column.digits}f}" for value in (found.low, found.mean, found.high))
        return f"{mean} ({low} to {high})"

    def write(self, config: C, comparison: Comparison) -> list[str]:
        """Write further files into `config.out`; their names."""
        return []


def compare(task: Task[Any, Any] | TaskComparison[Any, Any], config: Any) -> Comparison:
    """Score what is missing, and write table.md and table.json.

    Args:
        task: what the models do.
        config: of the class `Config` of its comparison.

    Raises:
        UsageError: settings, models or pictures that cannot be used.
    """
    task = task if isinstance(task, TaskComparison) else TaskComparison(task)
    if config.limit < 0 or config.threads < 0:
        raise UsageError(f"--limit and --threads must not be negative; got {config.limit} and {config.threads}")
    task.check(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    named = [named_model(task, config, word) for word in config.models]  # a wrong one is told before the work begins
    data = task.dataset(config)
    split = task.split(config, data)
    baselines = {condition: task.baselines(config, data, condition) for condition in task.conditions(config)}
    rows = {name: Row(name) for part in baselines.values() for name in part}
    candidates = task.trained(config, data)
    taken = {*rows, *(candidate.name for candidate in candidates)}
    for candidate in named:
        if candidate.name in taken and candidate.name == candidate.path.name:
            candidate.name = str(candidate.path)
    candidates += [*named, *task.variants(config, named)]
    for candidate in candidates:
        rows.setdefault(candidate.name, Row(candidate.name)).facts.update(candidate.facts)
    if config.baseline and config.baseline not in rows:
        raise UsageError(f"--baseline {config.baseline}: no such row; there are {', '.join(rows)}")
    comparison = Comparison(rows, data, split, baselines)
    scores = ScoreCache(config.out, task.cache_key(config, data, split))
    for condition in baselines:
        _score_condition(task, config, comparison, condition, candidates, scores)
    comparison.groups = task.groups(config, data, split, comparison.count)
    _write(task, config, comparison)
    return comparison


def compare_command(task: Task[Any, Any] | TaskComparison[Any, Any], words: Sequence[str] | None = None) -> int:
    """The command line of a comparison: `raise SystemExit(compare_command(TASK))` is a script.

    Returns:
        The exit status.
    """
    task = task if isinstance(task, TaskComparison) else TaskComparison(task)
    return run_cli(partial(compare, task), task.Config, words)


def named_model(task: TaskComparison[C, D], config: C, word: str) -> Candidate:
    """The model that RUN or NAME=RUN stands for.

    Raises:
        UsageError: names the word.
    """
    name, sign, place = word.partition("=") if "=" in word and not Path(word).exists() else ("", "", word)
    if sign and not (name and place):
        raise UsageError(f"--models takes RUN or NAME=RUN; got {word!r}")
    try:
        path = locate(place)
        model = load_model(path)
        task.check_model(config, model, path)
        mark = fingerprint(path)
    except UsageError as error:
        raise UsageError(f"--models {word}: {error}") from error
    return Candidate(name or (path.name if path.name not in ("best", "last", "") else str(path)), [model], [mark], path)


def fingerprint(path: Path) -> str:
    """A hash of the weights and the recipe of a run's model."""
    folder = find_checkpoint(path)
    recipe = json.dumps(read_config(folder)["model"], sort_keys=True).encode()
    return hashlib.sha256((folder / MODEL).read_bytes() + recipe).hexdigest()[:16]


def _score_condition(task: TaskComparison[C, D], config: C, comparison: Comparison, condition: str,
                     candidates: Sequence[Candidate], scores: ScoreCache) -> None:
    """Score every row on the pictures of a condition, as far as that was not done before."""
    pictures = cache(partial(task.pictures, config, comparison.data, comparison.split, condition))
    baselines = comparison.baselines[condition]
    for name in baselines:
        entry = scores.get_or_compute(f"{name} {condition}", lambda name=name: _score_baseline(  # type: ignore[misc]
            task, config, baselines[name], pictures()))
        _keep(task, config, comparison.rows[name], condition, [entry])
    for candidate in candidates:
        row = comparison.rows[candidate.name]
        if not task.fits(config, candidate.models[0], condition):
            continue
        if condition in row.entries:
            raise UsageError(f"--models: two of the name {row.name} have scores for "
                             f"{task.label(condition) or 'these pictures'}; name them apart, NAME=RUN")
        row.models[condition] = candidate.models
        _keep(task, config, row, condition, [
            scores.get_or_compute(f"{mark} {condition}", lambda model=model: _score_model(  # type: ignore[misc]
                task, config, model, pictures(), condition))
            for model, mark in zip(candidate.models, candidate.marks, strict=True)])


def _keep(task: TaskComparison[C, D], config: C, row: Row, condition: str, entries: list[ScoreEntry]) -> None:
    """Put the scores into their row, and say so."""
    row.entries[condition] = entries
    first = task.columns(config)[0]
    about = f" ({entries[0].about})" if entries[0].about else ""
    where = f", {task.label(condition)}" if condition else ""
    unit = first.difference or first.heading
    print(f"{row.name}{about}{where}: {row.mean(condition, first.key):.3f} {unit}", flush=True)


def _score_baseline(task: TaskComparison[C, D], config: C, baseline: Baseline, pictures: Sequence[Batch]) -> ScoreEntry:
    entry = _score(task, config, lambda batch: (baseline(batch), None), pictures)
    return dataclasses.replace(entry, about=baseline.about())


def _score_model(task: TaskComparison[C, D], config: C, model: Any, pictures: Sequence[Batch],
                 condition: str) -> ScoreEntry:
    return _score(task, config, lambda batch: task.apply(config, model, batch, condition), pictures)


def _score(task: TaskComparison[C, D], config: C, function: Callable[[Batch], tuple[Tensor, Any]],
           pictures: Sequence[Batch]) -> ScoreEntry:
    rows, details = [], []
    with torch.no_grad():
        for batch in pictures:
            begun = time.process_time()
            output, detail = function(batch)
            spent = time.process_time() - begun
            rows.append({**task.score(config, output.float().clamp(0, 1), batch), "cpu_s": spent,
                         "megapixels": output.shape[-1] * output.shape[-2] / 1e6})
            details.append(detail)
    return ScoreEntry(rows, details=task.summarize(details) if details and details[0] is not None else None)


def _write(task: TaskComparison[C, D], config: C, comparison: Comparison) -> None:
    """table.md, table.json, and what else the task writes."""
    comparison.text = "\n".join([*task.about(config, comparison), *task.tables(config, comparison)]).rstrip() + "\n"
    write_atomically(config.out / "table.md", comparison.text.encode())
    rows = {row.name: {**row.facts, "parameters": row.parameters, "conditions": {condition: [
        {"means": {key: entry.mean(key) for key in entry.scores[0]}, **dataclasses.asdict(entry)} for entry in entries]
        for condition, entries in row.entries.items()}} for row in comparison.rows.values()}
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(config), "split": comparison.split,
             "groups": comparison.groups, "rows": rows}
    write_atomically(config.out / "table.json", json.dumps(facts, indent=1, default=str).encode())
    more = task.write(config, comparison)
    print(f"\n{comparison.text}\nwritten to {config.out} ({', '.join(['table.md', 'table.json', *more])})")
