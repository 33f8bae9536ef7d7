"""Tables of results as JSON, with what made them: the pages of docs/results show these, and none is typed by hand."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.io.files import write_atomically


@dataclass(frozen=True)
class StoredTable:
    """A table as pages show it, and what made it.

    Attributes:
        columns: headings; that of the names may be empty.
        rows: cells as text, one for each column.
        command: the commands that measured it.
        commit: of the code; None: not known.
        seed: one or several; None: not known, or nothing is drawn.
        machine: in words; None: not known.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    command: Sequence[str] = ()
    commit: str | None = None
    seed: int | Sequence[int] | None = None
    machine: str | None = None

    @classmethod
    def of(cls, found: Any, source: Path) -> StoredTable:
        """A table from its JSON object.

        Raises:
            UsageError: other keys, or a row of another length than the headings; it names the source.
        """
        if not isinstance(found, dict) or set(found) != {field.name for field in fields(cls)}:
            raise UsageError(f"{source}: is no table of results; its keys are "
                             f"{', '.join(field.name for field in fields(cls))}")
        wrong = [row for row in found["rows"] if len(row) != len(found["columns"])]
        if wrong:
            raise UsageError(f"{source}: the row {wrong[0]} has not the {len(found['columns'])} cells of the headings")
        return cls(**found)

    @classmethod
    def read(cls, path: Path) -> StoredTable:
        """A table from its file, see `of`."""
        return cls.of(read_object(path), path)

    def write(self, path: Path) -> None:
        """Write it with a line for each row, so that a change of a figure is a change of a line."""
        rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in self.rows)
        lines = [f' "{name}": ' + (f"[\n  {rows}\n ]" if name == "rows" else json.dumps(value, ensure_ascii=False))
                 for name, value in asdict(self).items()]
        write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())

    def markdown(self) -> list[str]:
        """Its lines on a page."""
        return markdown_table(self.columns, self.rows)


def table_made_here(columns: Sequence[str], rows: Iterable[Sequence[str]],
                    seed: int | Sequence[int] | None = None) -> dict[str, Any]:
    """The JSON object of a table that this process has measured: with its command, commit and machine."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    script = ["-m", main.name.removesuffix(".__main__")] if main else sys.argv[:1]
    return asdict(StoredTable(columns, [list(row) for row in rows], [shlex.join(["python", *script, *sys.argv[1:]])],
                              _commit(), seed, f"{os.cpu_count()} cores, {platform.platform()}"))


def tables_made_here(lines: Iterable[str], seed: int | Sequence[int] | None = None) -> list[dict[str, Any]]:
    """The same of each table in the lines of a text in Markdown."""
    found: list[list[list[str]]] = []
    for before, line in pairwise(["", *lines]):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip()[1:-1].split("|")])
    return [table_made_here(columns, rows, seed) for columns, _, *rows in found]


def _commit() -> str | None:
    """Of the checkout that runs, with a plus sign where it has changes; None outside of one."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True,
                               cwd=Path(__file__).parent, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
