"""What a measurement gives: rows with names, for the page, the charts and benchmarks.json."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.stored_tables import table_made_here


@dataclass
class Table:
    """Rows of one measurement.

    Attributes:
        name: of the part, as on the command line.
        title: what was measured, in a line.
        columns: names; the first is what the row is about.
        rows: text and numbers, one per column; None where there is nothing to say.
        about: cores, threads, repeats, the machine's load at the end, versions.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """As it stands on the page."""
        return "\n".join(markdown_table(self.columns, self.cells()))

    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[_cell(column, value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def stored(self) -> dict[str, Any]:
        """With its command, commit and machine, as `python -m research.results --take` takes it."""
        return table_made_here(list(self.columns), self.cells())

    def column(self, name: str) -> list[Any]:
        """All values of one column."""
        index = list(self.columns).index(name)
        return [row[index] for row in self.rows]


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, str)):
        return f"{value:,}" if isinstance(value, int) else value
    if "%" in column:
        return f"{value:.1f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def interleaved(works: Mapping[str, Callable[[], Any]], repeats: int,
                clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Seconds of each work: all of them once, then all again, and the median of the rounds: it leaves out the first
    one, which warms up, and what else the machine does meanwhile meets all works alike."""
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            begun = clock()
            work()
            rounds[name].append(clock() - begun)
    return {name: statistics.median(seconds) for name, seconds in rounds.items()}
