"""The parts of a comparison: baselines, columns, rows of scores picture by picture, and their cache on disk."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.bootstrap import Interval, bootstrap_interval
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Batch


@dataclass(frozen=True)
class Column:
    """A column of a comparison.

    Attributes:
        key: of the score.
        heading: what the table calls it.
        digits: that are shown.
        scale: by which the score is multiplied first.
        difference: the unit of differences to the baseline's score, which are shown with their interval; "": they are
            not.
    """

    key: str
    heading: str
    digits: int = 2
    scale: float = 1.0
    difference: str = ""

    def cell(self, value: float, spread: float | None = None) -> str:
        """A number of the column as text, with its standard deviation where there is one."""
        text = f"{self.scale * value:.{self.digits}f}"
        return text if spread is None else f"{text} ± {self.scale * spread:.{self.digits}f}"


@dataclass(frozen=True)
class Baseline:
    """A function of a picture that needs no training; what it chooses it has chosen on training pictures.

    Attributes:
        name: of its row.
        function: (1, C, H, W) of a batch of one -> the same shape.
        uses_target: it is shown the reference of the very picture: a ceiling, not a competitor.
        about: gives what it has chosen, once it has been used.
    """

    name: str
    function: Callable[[Batch], Tensor]
    uses_target: bool = False
    about: Callable[[], str] = str

    def __call__(self, batch: Batch) -> Tensor:
        """The result for one picture; the function gets the reference only with `uses_target`."""
        return self.function(batch if self.uses_target else dataclasses.replace(batch, target=None))


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over pictures."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


_MAX_BYTES = 64 << 20  # of scores.json


@dataclass
class ScoreEntry:
    """Scores of one model or baseline on one set of pictures.

    Attributes:
        scores: name -> value, of each picture; with `cpu_s`, the CPU seconds that it took, and its `megapixels`.
        about: what a baseline has chosen.
        details: what the task keeps beside the scores, as JSON can hold it.
    """

    scores: list[dict[str, float]]
    about: str = ""
    details: Any = None

    def mean(self, key: str) -> float:
        """Over the pictures; `cpu_s_per_megapixel` is the sum of the times by the sum of the sizes."""
        if key == "cpu_s_per_megapixel":
            return self.mean("cpu_s") / self.mean("megapixels")
        return sum(row[key] for row in self.scores) / len(self.scores)


@dataclass
class Candidate:
    """A model, or several that were trained alike with other seeds, for a row.

    Attributes:
        name: of the row.
        models: one per seed.
        marks: of each, a hash that changes with its weights.
        path: where it is from.
        facts: entries of the row beside the scores.
    """

    name: str
    models: list[Any]
    marks: list[str]
    path: Path
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """A row of the table.

    Attributes:
        name: of the row.
        entries: condition -> scores, one entry per seed.
        models: condition -> what was scored, one per seed; empty for baselines.
        facts: see `Candidate`.
    """

    name: str
    entries: dict[str, list[ScoreEntry]] = field(default_factory=dict)
    models: dict[str, list[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def mean(self, condition: str, key: str) -> float:
        """Over pictures and seeds."""
        return statistics.fmean(entry.mean(key) for entry in self.entries[condition])

    def spread(self, condition: str, key: str) -> float | None:
        """Standard deviation over the seeds of the means; None for one seed, and for times."""
        means = [entry.mean(key) for entry in self.entries[condition]]
        return statistics.stdev(means) if len(means) > 1 and not key.startswith("cpu_s") else None

    def of_pictures(self, condition: str, key: str) -> list[float]:
        """One number per picture, the mean over the seeds."""
        scores = [entry.scores for entry in self.entries[condition]]
        return [statistics.fmean(row[key] for row in picture) for picture in zip(*scores, strict=True)]

    @property
    def parameters(self) -> int:
        """Of the network; 0 for baselines."""
        models = [model for part in self.models.values() for model in part if isinstance(model, nn.Module)]
        return sum(parameter.numel() for parameter in models[0].parameters()) if models else 0


@dataclass
class Comparison:
    """The rows of a comparison, and the pictures that were scored.

    Attributes:
        rows: by name, in the table's order.
        data: the pictures.
        split: that was scored.
        baselines: condition -> those that need no training.
        groups: the scene of each scored picture, or its own number: intervals are over these.
        text: the table and what stands about it, in Markdown.
    """

    rows: dict[str, Row]
    data: Any
    split: str
    baselines: dict[str, Mapping[str, Baseline]]
    groups: list[str] = field(default_factory=list)
    text: str = ""

    @property
    def count(self) -> int:
        """Of the scored pictures."""
        return max((len(entries[0].scores) for row in self.rows.values() for entries in row.entries.values()),
                   default=0)

    def difference(self, name: str, other: str, condition: str, key: str, **bootstrap: Any) -> Interval:
        """The difference of a row's score to another's, picture by picture, with its interval.

        Args:
            name, other: of the rows.
            condition, key: of the score.
            bootstrap: see `bootstrap_interval`.
        """
        pairs = zip(*(self.rows[row].of_pictures(condition, key) for row in (name, other)), strict=True)
        return bootstrap_interval([ours - theirs for ours, theirs in pairs], self.groups, **bootstrap)


class ScoreCache:
    """The scores of a folder on disk, so that a comparison that was stopped, or gets one more row, goes on.

    Args:
        folder: where scores.json is kept; it is made.
        prefix: of all keys; identifies the pictures.
    """

    def __init__(self, folder: Path, prefix: str):
        self._path, self._prefix = folder / "scores.json", f"{prefix} "
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._found = read_object(self._path, max_bytes=_MAX_BYTES, finite=False) if self._path.is_file() else {}
        except UsageError as error:
            raise UsageError(f"{error}; remove it, and everything is scored again") from error

    def get_or_compute(self, key: str, compute: Callable[[], ScoreEntry]) -> ScoreEntry:
        """The entry under a key, computed and written if it is not there."""
        key = self._prefix + key
        if key not in self._found:
            self._found[key] = dataclasses.asdict(compute())
            write_atomically(self._path, json.dumps(self._found).encode())
        try:
            return ScoreEntry(**self._found[key])
        except TypeError as error:
            raise UsageError(f"{self._path}: damaged at {key!r:.60} ({error!s:.100}); remove it, and everything is "
                             f"scored again") from error
