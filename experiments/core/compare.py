"""Comparisons, the same for every task: baselines and models scored picture by picture, kept, and put into a table."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import plugins_of, texts_in
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.config import Flat, PluginNames
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.plugins import load_plugins
from rlenhance.experiments.core.scores import Baseline, Candidate, Column, Comparison, Row, ScoreCache, ScoreEntry
from rlenhance.experiments.core.seeds import has_seeds, row_statistics, statistics_text, write_statistics
from rlenhance.experiments.core.stored_tables import tables_made_here
from rlenhance.experiments.core.task import Task
from rlenhance.hub.shipped import locate
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import MODEL, find_checkpoint, load_model, read_config


@dataclass(frozen=True)
class CompareConfig:
    """Score baselines that need no training, and models, on the test split (validation where there is none)."""

    models: tuple[str, ...] = ()
    """Runs, checkpoints or shipped models; NAME=RUN names its row, NAME=RUN,RUN,... are seeds of one training."""
    baseline: str = ""
    """Name of a row: what the others' scores differ from its, with 95 % bootstrap intervals over pictures."""
    limit: int = 0
    """Score so many pictures, evenly spread (0: all)."""
    out: Path = Path("runs/compare")
    """Where the table goes; what was scored there on the same pictures is not scored again."""
    threads: int = 0
    """Threads of torch (0: its default)."""
    plugin: PluginNames = ()
    """Your own modules, files or importable names, that register what the models are made of, or learners
    (docs/howto/own_parts.md)."""


C = TypeVar("C", bound=CompareConfig)
D = TypeVar("D", bound=Dataset)


class TaskComparison(Generic[C, D]):
    """The comparison of a task's models; derived classes override what differs from these defaults.

    Args:
        task: gives the pictures, baselines, scores and columns.

    Attributes:
        Config: the class of the configuration, a dataclass derived from `CompareConfig`; by default with the task's
            own `data`.
        config: of a comparison, see `of`.
        data, split: the pictures, and the split that is scored, once they have been opened.
    """

    Config: type[C]
    config: C
    data: D
    split: str

    def __init__(self, task: Task[Any, Any]):
        self.task = task
        if not hasattr(type(self), "Config"):
            part: Any = type(task.Config().data)
            data = ("data", Flat[part], dataclasses.field(default_factory=part))  # type: ignore[misc]
            self.Config = dataclasses.make_dataclass("CompareConfig", [data], bases=(CompareConfig,), frozen=True,
                                                     namespace={"__doc__": CompareConfig.__doc__})

    def of(self, config: C) -> Self:
        """The comparison with a configuration."""
        made = copy.copy(self)
        made.config = config
        return made

    @property
    def task_config(self) -> Any:
        """The task's configuration with the pictures of the comparison."""
        config: Any = self.config
        return dataclasses.replace(self.task.Config(), data=config.data)

    def check(self) -> None:
        """Refuse settings before anything is read (`UsageError`)."""

    def check_model(self, model: Any, place: Path) -> None:
        """Refuse a model of another kind before pictures are read (`UsageError`)."""

    def dataset(self) -> D:
        """The pictures, scanned and checked."""
        return self.task.dataset(self.task_config)

    def scored_split(self) -> str:
        """The split to score: test, or val where there is no test split."""
        return "test" if self.data.splits.test else "val"

    def pictures(self, condition: str) -> Sequence[Batch]:
        """The pictures to score, one batch each, with their references."""
        return self.data.load(self.split, limit=self.config.limit or None)

    def conditions(self) -> Sequence[str]:
        """Names of the sets of pictures on which every row is scored: levels of noise, sizes."""
        return ("",)

    def label(self, condition: str) -> str:
        """The name of a condition in the table."""
        return condition

    def groups(self, count: int) -> list[str]:
        """The scene of each scored picture; by default every picture is its own."""
        return [str(number) for number in range(count)]

    def cache_key(self) -> str:
        """Everything that scores depend on beside model and condition: the pictures, and settings."""
        digests = self.data.digest()
        return f"{digests.get('train', '')} {digests[self.split]} {self.config.limit}"

    def baselines(self, condition: str) -> Mapping[str, Baseline]:
        """The rows that need no training, by name. They are used only for what was not scored before."""
        return {baseline.name: baseline for baseline in self.task.baselines(self.task_config, self.data).values()}

    def trained(self) -> list[Candidate]:
        """Rows that are trained for this comparison."""
        return []

    def variants(self, candidates: list[Candidate]) -> list[Candidate]:
        """Further rows from the models that were named."""
        return []

    def fits(self, model: Any, condition: str) -> bool:
        """Whether a model is for this condition; otherwise its cell stays empty."""
        return True

    def apply(self, model: Any, batch: Batch, condition: str) -> tuple[Tensor, Any]:
        """A model's result for one picture, and details of it for `summarize`; its time is taken."""
        return model(batch.image, batch.mask), None

    def score(self, output: Tensor, batch: Batch) -> dict[str, float]:
        """The scores of a result in [0, 1]."""
        return self.task.score(output, batch)

    def summarize(self, details: list[Any]) -> Any:
        """The details of all pictures as one value for JSON."""
        return None

    def columns(self) -> Sequence[Column]:
        """The scores in the table."""
        return self.task.columns()

    def facts(self, row: Row) -> dict[str, str]:
        """Columns beside the scores: heading -> text."""
        return {"parameters": f"{row.parameters:,}" if row.parameters else ""}

    def cell(self, row: Row, condition: str, column: Column) -> str:
        """A score as text."""
        return column.cell(row.mean(condition, column.key), row.spread(condition, column.key))

    def about(self, comparison: Comparison) -> list[str]:
        """The lines above the table."""
        return [f"{self.data.splits.describe()}.", f"Scored on {comparison.count} {self.split} pictures.", ""]

    def tables(self, comparison: Comparison) -> list[str]:
        """The table: a part for each condition, with a row for each model that has scores for it."""
        lines, columns, baseline = [], self.columns(), self.config.baseline
        paired = [column for column in columns if column.difference and baseline]
        for condition in self.conditions():
            rows = [row for row in comparison.rows.values() if condition in row.entries]
            header = [self.label(condition), *(column.heading for column in columns),
                      *(f"{column.difference}, less {baseline}'s" for column in paired),
                      *(self.facts(rows[0]) if rows else ())]
            lines += [*markdown_table(header, [[
                row.name, *(self.cell(row, condition, column) for column in columns),
                *(self.difference(comparison, row, condition, column) for column in paired),
                *self.facts(row).values()] for row in rows]), ""]
        return lines

    def difference(self, comparison: Comparison, row: Row, condition: str, column: Column) -> str:
        """The difference of a row's score to the baseline's, as text."""
        baseline = self.config.baseline
        if row.name == baseline or condition not in comparison.rows[baseline].entries:
            return ""
        found = comparison.difference(row.name, baseline, condition, column.key)
        low, mean, high = (f"{value:+.{column.digits}f}" for value in (found.low, found.mean, found.high))
        return f"{mean} ({low} to {high})"

    def write(self, comparison: Comparison) -> list[str]:
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
    task = (task if isinstance(task, TaskComparison) else TaskComparison(task)).of(config)
    if config.limit < 0 or config.threads < 0:
        raise UsageError(f"--limit and --threads must not be negative; got {config.limit} and {config.threads}")
    load_plugins(config.plugin)
    task.check()
    if config.threads:
        torch.set_num_threads(config.threads)
    named = [named_model(task, word) for word in config.models]  # a wrong one is refused before the work begins
    task.data = task.dataset()
    task.split = task.scored_split()
    baselines = {condition: task.baselines(condition) for condition in task.conditions()}
    rows = {name: Row(name) for part in baselines.values() for name in part}
    candidates = task.trained()
    taken = {*rows, *(candidate.name for candidate in candidates)}
    for candidate in named:
        if candidate.name in taken and candidate.name == candidate.path.name:
            candidate.name = str(candidate.path)
    candidates += [*named, *task.variants(named)]
    for candidate in candidates:
        rows.setdefault(candidate.name, Row(candidate.name)).facts.update(candidate.facts)
    if config.baseline and config.baseline not in rows:
        raise UsageError(f"--baseline {config.baseline}: no such row; there are {', '.join(rows)}")
    comparison = Comparison(rows, task.data, task.split, baselines)
    scores = ScoreCache(config.out, task.cache_key())
    for condition in baselines:
        _score_condition(task, comparison, condition, candidates, scores)
    comparison.groups = task.groups(comparison.count)
    _write(task, comparison)
    return comparison


def compare_command(task: Task[Any, Any] | TaskComparison[Any, Any], words: Sequence[str] | None = None) -> int:
    """The command line of a comparison: `raise SystemExit(compare_command(TASK))` is a script.

    Returns:
        The exit status.
    """
    task = task if isinstance(task, TaskComparison) else TaskComparison(task)
    return run_cli(partial(compare, task), task.Config, words)


def named_model(task: TaskComparison[C, D], word: str) -> Candidate:
    """The model that RUN or NAME=RUN stands for, or those of NAME=RUN,RUN,...; a `UsageError` names the word."""
    name, sign, place = word.partition("=") if "=" in word and not Path(word).exists() else ("", "", word)
    if sign and not (name and place):
        raise UsageError(f"--models takes RUN or NAME=RUN; got {word!r}")
    places = place.split(",") if name and not Path(place).exists() else [place]
    paths, models, marks = [], [], []
    try:
        for each in places:
            path = locate(each)
            model = load_model(path)
            task.check_model(model, path)
            paths.append(path)
            models.append(model)
            marks.append(fingerprint(path))
    except UsageError as error:
        raise UsageError(f"--models {word}: {error}") from error
    if len(set(marks)) < len(marks):
        raise UsageError(f"--models {word}: two of these runs have the same weights; seeds differ")
    path = paths[0]
    return Candidate(name or (path.name if path.name not in ("best", "last", "") else str(path)), models, marks, path)


def fingerprint(path: Path) -> str:
    """A hash of the weights and the recipe of a run's model."""
    folder = find_checkpoint(path)
    spec = read_config(folder)["model"]
    digests = [plugin.digest for plugin in plugins_of(set(texts_in(spec)))]
    recipe = json.dumps([spec, digests] if digests else spec, sort_keys=True).encode()
    return hashlib.sha256((folder / MODEL).read_bytes() + recipe).hexdigest()[:16]


def _score_condition(task: TaskComparison[C, D], comparison: Comparison, condition: str,
                     candidates: Sequence[Candidate], scores: ScoreCache) -> None:
    """Score every row on the pictures of a condition, as far as that was not done before."""
    pictures = cache(partial(task.pictures, condition))

    def scored(mark: str, function: Callable[[Batch], tuple[Tensor, Any]],
               about: Callable[[], str] = str) -> ScoreEntry:
        return scores.get_or_compute(f"{mark} {condition}", lambda: _score(task, function, pictures(), about))

    for name, baseline in comparison.baselines[condition].items():
        entry = scored(name, lambda batch, baseline=baseline: (baseline(batch), None), baseline.about)  # type: ignore[misc]
        _keep(task, comparison.rows[name], condition, [entry])
    for candidate in candidates:
        row = comparison.rows[candidate.name]
        if not task.fits(candidate.models[0], condition):
            continue
        if condition in row.entries:
            raise UsageError(f"--models: two of the name {row.name} have scores for "
                             f"{task.label(condition) or 'these pictures'}; name them apart, NAME=RUN")
        row.models[condition] = candidate.models
        _keep(task, row, condition, [scored(mark, partial(task.apply, model, condition=condition))
                                     for model, mark in zip(candidate.models, candidate.marks, strict=True)])


def _keep(task: TaskComparison[C, D], row: Row, condition: str, entries: list[ScoreEntry]) -> None:
    """Put the scores into their row, and print them."""
    row.entries[condition] = entries
    first = task.columns()[0]
    about = f" ({entries[0].about})" if entries[0].about else ""
    where = f", {task.label(condition)}" if condition else ""
    print(f"{row.name}{about}{where}: {row.mean(condition, first.key):.3f} {first.difference or first.heading}",
          flush=True)


def _score(task: TaskComparison[C, D], function: Callable[[Batch], tuple[Tensor, Any]], pictures: Sequence[Batch],
           about: Callable[[], str] = str) -> ScoreEntry:
    """Apply a function to every picture; `about` is read when it has been used."""
    rows, details = [], []
    with torch.no_grad():
        for batch in pictures:
            begun = time.process_time()
            output, detail = function(batch)
            spent = time.process_time() - begun
            rows.append({**task.score(output.float().clamp(0, 1), batch), "cpu_s": spent,
                         "megapixels": output.shape[-1] * output.shape[-2] / 1e6})
            details.append(detail)
    summary = task.summarize(details) if details and details[0] is not None else None
    return ScoreEntry(rows, about(), summary)


def _write(task: TaskComparison[C, D], comparison: Comparison) -> None:
    """table.md, table.json, what several seeds say, and what else the task writes."""
    out, column = task.config.out, task.columns()[0]
    labels = {condition: task.label(condition) for condition in task.conditions()}
    statistics = {condition: row_statistics(comparison, condition, column.key) for condition in labels}
    parts = ([*task.about(comparison), *task.tables(comparison)],
             statistics_text(comparison, column, labels, statistics))
    comparison.text = "\n\n".join("\n".join(lines).rstrip() for lines in parts if lines) + "\n"
    write_atomically(out / "table.md", comparison.text.encode())
    rows = {row.name: {**row.facts, "parameters": row.parameters, "conditions": {condition: [
        {"means": {key: entry.mean(key) for key in entry.scores[0]}, **dataclasses.asdict(entry)} for entry in entries]
        for condition, entries in row.entries.items()}} for row in comparison.rows.values()}
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(task.config), "split": task.split,
             "groups": comparison.groups, "rows": rows,
             "tables": tables_made_here(parts[0], getattr(task.config, "seeds", None)),
             "statistics": [dataclasses.asdict(each) for part in statistics.values() for each in part]}
    write_atomically(out / "table.json", json.dumps(facts, indent=1, default=str).encode())
    more = task.write(comparison)
    if has_seeds(comparison):
        more += write_statistics(comparison, column, labels, statistics, out)
    print(f"\n{comparison.text}\nwritten to {out} ({', '.join(['table.md', 'table.json', *more])})")
