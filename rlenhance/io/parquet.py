"""Untrusted Parquet tables, read in a child process: pyarrow trusts their sizes, and a damaged one can end it.

The functions of this module that begin with an underscore run in the child; what they return is plain.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.installation import install_line
from rlenhance.io.isolate import run_in_child

_SECONDS = 60.0  # of processor time for a call, and more by the size of the file
_MEMORY = 1024.0  # MiB beside what is asked for


@dataclass(frozen=True)
class RowGroup:
    """A part of a table.

    Attributes:
        rows: their number.
        sizes: column -> bytes that it unpacks to.
    """

    rows: int
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class TableInfo:
    """The metadata in a table's footer.

    Attributes:
        columns: their names.
        bytes_columns: those that hold bytes, or structures with a field `bytes`.
        groups: its row groups.
    """

    columns: tuple[str, ...]
    bytes_columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]


def read_table_info(file: Path) -> TableInfo:
    """The description of a table; its values are not read.

    Raises:
        UsageError: the extra `parquet` is missing; no such file, no table, or one that crashes its reader.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"{file}: reading Parquet needs the package pyarrow: {install_line('parquet')}")
    return _called(_table_info, file, limit=0)


def read_texts(file: Path, group: int, columns: Sequence[str], limit: int) -> dict[str, list[str | None]]:
    """Columns of a row group as texts.

    Args:
        file: the table.
        group: number of the row group.
        columns: their names.
        limit: bytes that they may have.

    Raises:
        UsageError: they have more, or the table is damaged.
    """
    return _called(_texts, file, group, list(columns), limit, limit=limit)


def read_cells(file: Path, group: int, column: str, limit: int) -> list[bytes | None]:
    """A column of bytes of a row group: the cells, None for those that are empty; see `read_texts`."""
    return _called(_cells, file, group, column, limit, limit=limit)


def _called(function: Any, file: Path, *arguments: Any, limit: int) -> Any:
    try:
        megabytes = file.stat().st_size / 2**20
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    return run_in_child(function, file, *arguments, name=file, seconds=_SECONDS + megabytes / 4,
                        memory=_MEMORY + 4 * limit / 2**20)


@lru_cache(maxsize=8)
def _open(file: Path, changed: int) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(file)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """The table, and what goes wrong with it as a UsageError."""
    try:
        yield _open(file, file.stat().st_mtime_ns)
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, IndexError, MemoryError) as error:  # pyarrow's are among them
        raise UsageError(f"{file}: damaged, cut off, or no Parquet table ({one_line(str(error))[:200]})") from error


def _table_info(file: Path) -> TableInfo:
    import pyarrow

    def holds(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            index = kind.get_field_index("bytes")
            return index >= 0 and holds(kind.field(index).type)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    with _opened(file) as table:
        schema, description = table.schema_arrow, table.metadata
        if description.num_rows > (size := file.stat().st_size):
            raise UsageError(f"{file}: damaged ({description.num_rows:,} rows in {size:,} bytes); take another copy of "
                             f"it")
        groups = []
        for number in range(description.num_row_groups):
            part, sizes = description.row_group(number), dict[str, int]()
            for index in range(part.num_columns):
                column = part.column(index)
                name = column.path_in_schema.split(".")[0]
                sizes[name] = sizes.get(name, 0) + column.total_uncompressed_size
            groups.append(RowGroup(part.num_rows, sizes))
        return TableInfo(tuple(schema.names), tuple(field.name for field in schema if holds(field.type)), tuple(groups))


def _texts(file: Path, group: int, columns: list[str], limit: int) -> dict[str, list[str | None]]:
    found = _columns(file, group, columns, 64, limit)
    return {name: [None if value is None else str(value) for value in found[name]] for name in columns}


def _cells(file: Path, group: int, column: str, limit: int) -> list[bytes | None]:
    cells = _columns(file, group, [column], 1, limit)[column]
    values = [cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells]
    return [value if isinstance(value, bytes) else None for value in values]


def _columns(file: Path, group: int, names: list[str], rows: int, limit: int) -> dict[str, list[Any]]:
    """Columns of a row group, read so many rows at a time: a dictionary of a few bytes may stand for gigabytes."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    size = 0
    with _opened(file) as table:
        for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=names):
            size += batch.nbytes
            if size > limit:
                raise UsageError(f"{file}: more than {limit:,} bytes of {one_line(', '.join(names))[:100]} in row "
                                 f"group {group}, which are read together: write it with smaller row groups "
                                 f"(row_group_size)")
            for name, values in batch.to_pydict().items():
                found[name] += values
    return found
