"""Pictures in shards: WebDataset's tar files and Parquet tables, read where they lie; nothing is unpacked."""

from __future__ import annotations

import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.io.decoder import decode
from rlenhance.io.files import EXTENSIONS
from rlenhance.io.parquet import TableInfo, read_cells, read_table_info, read_texts
from rlenhance.learning.data.examples import Example, scene_of
from rlenhance.learning.data.image_cache import ImageSource, Source

ENDINGS = (".tar", ".parquet")
#: The part that a member or a column plays in its sample. A picture alone may have any name.
INPUTS, TARGETS = ("low", "input", "noisy", "image"), ("high", "gt", "target", "normal", "clean")
_LARGEST = 1 << 28  # bytes of one picture's file
_GROUP = 1 << 30  # bytes of a column in one row group
_LABELS = 1 << 26  # bytes of the columns of names in one row group
_HELD = 1 << 29  # bytes of row groups in memory
_HEADER = 1 << 20  # bytes that a tar file's header may have


class ShardImage(ImageSource):
    """Base class of a picture in a shard; `block` names what lies beside it."""

    file: Path
    largest: ClassVar[int] = _LARGEST

    @property
    def block(self) -> Hashable:
        """Pictures of one block are read one after the other."""
        raise TypeError("a subclass of ShardImage defines block")


@dataclass(frozen=True)
class TarImage(ShardImage):
    """A picture file in a tar file.

    Attributes:
        file: the tar file.
        name: of the member; it is a label, and no path that anything is written to.
        place, size: of its bytes.
    """

    file: Path
    name: str
    place: int
    size: int

    @property
    def block(self) -> Hashable:
        return self.file

    def read(self) -> np.ndarray:
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.place)
                data = stream.read(self.size)
        except OSError as error:
            raise UsageError(f"{self.file}: cannot be read ({error.strerror})") from error
        if len(data) < self.size:
            raise UsageError(f"{self}: the file ends within it; it was cut off")
        return decode(data, str(self)).pixels

    def __str__(self) -> str:
        return f"{self.file}, {one_line(self.name)}"


@dataclass(frozen=True)
class ParquetImage(ShardImage):
    """A picture file in a cell of a Parquet table.

    Attributes:
        file: the table.
        column: its name; of bytes, or of structures with a field `bytes`.
        group: the row group.
        row: in that group.
    """

    file: Path
    column: str
    group: int
    row: int

    @property
    def block(self) -> Hashable:
        return self.file, self.group

    def read(self) -> np.ndarray:
        cells = _GROUPS.column(self.file, self.group, self.column)
        data = cells[self.row] if self.row < len(cells) else None
        if data is None:
            raise UsageError(f"{self}: is empty; leave that row out")
        if len(data) > self.largest:
            raise UsageError(f"{self}: {len(data):,} bytes; the limit is {self.largest:,}")
        return decode(data, str(self)).pixels

    def __str__(self) -> str:
        return f"{self.file}, {one_line(self.column)} of row {self.row} in group {self.group}"


class _RowGroups:
    """Columns of row groups, the last ones read, within a number of bytes; for several threads."""

    def __init__(self, budget: int):
        self._budget, self._lock = budget, threading.Lock()
        self._held = OrderedDict[tuple[Path, int, str], list[bytes | None]]()

    def column(self, file: Path, group: int, name: str) -> list[bytes | None]:
        key = file, group, name
        with self._lock:  # one reads for all
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            made = self._held[key] = read_cells(file, group, name, _GROUP)
            while len(self._held) > 1 and sum(map(_bytes, self._held.values())) > self._budget:
                self._held.popitem(last=False)
            return made


def _bytes(cells: list[bytes | None]) -> int:
    return sum(len(cell) for cell in cells if cell)


_GROUPS = _RowGroups(_HELD)


def shard_files(path: Path | str) -> list[Path]:
    """The shards that a path names: one file, or those directly in a folder; empty where there are none."""
    path = Path(path)
    if path.is_file():
        return [path] if path.suffix.lower() in ENDINGS else []
    found = sorted(path.iterdir()) if path.is_dir() else []
    return [file for file in found if file.suffix.lower() in ENDINGS and not file.name.startswith(".")]


def read_shard(file: Path) -> tuple[list[Example], list[str]]:
    """The examples of a shard, whose pictures are not read; and a line for each that is left out.

    A tar file's members belong together up to the first dot of their name: `s012_0034.low.jpg` and
    `s012_0034.high.jpg` are a pair. A table has a column for the pictures, or one for each part of the pair.

    Raises:
        UsageError: damaged, cut off, compressed as a whole, or no pictures in it.
    """
    found, lines = _read_tar(file) if file.suffix.lower() == ".tar" else _read_table(file)
    if not found:
        more = f": {lines[0]}" if lines else ""
        raise UsageError(f"{file}: no picture in it{more}")
    return found, lines


def _read_tar(file: Path) -> tuple[list[Example], list[str]]:
    samples: dict[str, dict[str, Source]] = {}
    lines = []
    for image, line in _members(file):
        if image is None:
            lines.append(line)
            continue
        folder, _, base = image.name.rpartition("/")
        key, _, rest = base.partition(".")
        part = rest.rpartition(".")[0].lower()
        sample = samples.setdefault(f"{folder}/{key}" if folder else key, {})
        if part in sample:
            lines.append(f"{image}: its sample has another of that name")
        sample.setdefault(part, image)
    found = []
    for key, sample in samples.items():
        example, line = _example(file, key, key.rpartition("/")[2], sample)
        found += [example] if example else []
        lines += [line] if line else []
    return found, lines


def _members(file: Path) -> Iterator[tuple[TarImage | None, str]]:
    """The pictures among the members of a tar file, or why one is left out."""
    try:
        end = file.stat().st_size
        with file.open("rb") as stream, tarfile.TarFile(fileobj=cast(Any, _Headers(stream, file)), mode="r") as tar:
            for member in tar:
                if member.size < 0:  # tarfile would go back, and read the same member for ever
                    raise UsageError(f"{file}: damaged (a member of {member.size:,} bytes); take another copy of it")
                if Path(member.name).suffix.lower() not in EXTENSIONS or not member.isreg() or member.issparse():
                    if not member.isdir() and Path(member.name).suffix.lower() in EXTENSIONS:
                        yield None, f"{file}, {one_line(member.name)}: a link or a device, and no file"
                    continue
                image = TarImage(file, member.name, member.offset_data, member.size)
                if member.offset_data + member.size > end:
                    raise UsageError(f"{image}: the file ends within it; it was cut off")
                if member.size > TarImage.largest:
                    yield None, f"{image}: {member.size:,} bytes; the limit is {TarImage.largest:,}"
                    continue
                yield image, ""
            place = tar.offset
            stream.seek(max(0, place - 512) if place >= end else place)
            if end < 1024 or any(stream.read(512)):
                raise UsageError(f"{file}: has no end; it was cut off")
    except tarfile.TarError as error:
        told = "compressed as a whole; unpack it with gunzip, its pictures are compressed already" \
            if _is_gzip(file) else f"damaged, cut off, or no tar file ({one_line(str(error))})"
        raise UsageError(f"{file}: {told}") from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from error


class _Headers:
    """A file of which only headers are read: a long one, which would fill the memory, is refused."""

    def __init__(self, stream: BinaryIO, file: Path):
        self._stream, self._file = stream, file
        self.seek, self.tell = stream.seek, stream.tell
        self.name = None

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER:
            raise UsageError(f"{self._file}: damaged (a header of {size:,} bytes; the limit is {_HEADER:,})")
        return self._stream.read(size)


def _is_gzip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _read_table(file: Path) -> tuple[list[Example], list[str]]:
    table = read_table_info(file)
    columns = _picture_columns(table)
    if not columns:
        raise UsageError(f"{file}: no column of pictures; it has {one_line(', '.join(table.columns))[:200]}, and "
                         f"pictures are bytes, or structures with a field bytes, in a column called image, or low and "
                         f"high")
    labels = [name for name in ("scene", "name", "__key__", "path") if name in table.columns]
    found, lines, first = [], [], 0
    for group, part in enumerate(table.groups):
        for name in columns.values():
            if part.sizes.get(name, 0) > _GROUP:
                raise UsageError(f"{file}: {part.sizes[name]:,} bytes of pictures in row group {group}, which are read "
                                 f"together; the limit is {_GROUP:,}: write it with smaller row groups "
                                 f"(row_group_size)")
        texts = read_texts(file, group, labels, _LABELS) if labels and part.rows else {}
        if any(len(column) != part.rows for column in texts.values()):
            raise UsageError(f"{file}: damaged (row group {group} says {part.rows} rows, and holds others)")
        for row in range(part.rows):
            told = {name: texts[name][row] or "" for name in labels if texts[name][row] is not None}
            key = told.get("name") or told.get("__key__") or told.get("path") or f"{first + row:08d}"
            sample: dict[str, Source] = {part_name: ParquetImage(file, name, group, row)
                                         for part_name, name in columns.items()}
            example, line = _example(file, key, Path(key).stem, sample, told.get("scene"))
            found += [example] if example else []
            lines += [line] if line else []
        first += part.rows
    return found, lines


def _picture_columns(table: TableInfo) -> dict[str, str]:
    """Part of the sample -> column."""
    named = {name.lower(): name for name in table.bytes_columns}
    known = {part: name for part, name in named.items() if part in (*INPUTS, *TARGETS)}
    return known or (named if len(named) == 1 else {})


def _example(file: Path, key: str, stem: str, sample: Mapping[str, Source],
             scene: str | None = None) -> tuple[Example | None, str]:
    """The example of a sample's pictures by their part, or why there is none."""
    inputs = [sample[part] for part in INPUTS if part in sample]
    targets = [sample[part] for part in TARGETS if part in sample]
    if len(sample) == 1 and not targets:
        inputs = list(sample.values())
    if len(inputs) != 1 or len(targets) > 1 or len(sample) != len(inputs) + len(targets):
        return None, (f"{file}, {one_line(key)[:100]}: its pictures are called "
                      f"{one_line(', '.join(part or 'nothing' for part in sample))[:100]}; a sample has one picture, "
                      f"or one of {', '.join(INPUTS)} and one of {', '.join(TARGETS)}")
    name = f"{file.stem}-{re.sub(r'[^A-Za-z0-9_-]+', '-', key).strip('-')[-80:]}"
    if scene is None:
        scene = scene_of(stem)
        scene = f"{file.stem}/{key}" if scene == stem else scene  # a number alone begins anew in every shard
    return Example(name, scene, inputs[0], targets[0] if targets else None), ""
