"""Readings that are kept in a folder, so that no picture is read twice through the same chain."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance_read.ocr.engines import Engine
from rlenhance_read.ocr.filters import FILTERS, ColorFilter, ReadChain, chain_versions, grey_of
from rlenhance_read.ocr.readings import Reading, scaled

#: Goes up when a filter changes, so that no folder has readings of an older one.
FILTERS_VERSION = 1


class Prepared:
    """A picture and what filters have made of it, in grey; each beginning of a chain is worked out once.

    Args:
        picture: (H, W, 3) or (H, W), uint8 or uint16; of one in colour, tools that no filter precedes see the colours.
    """

    def __init__(self, picture: np.ndarray):
        self._made: dict[tuple[str, ...], np.ndarray] = {(): grey_of(picture)}
        eight = np.rint(picture / 257).astype(np.uint8) if picture.dtype == np.uint16 else picture
        self._colors: dict[tuple[str, ...], np.ndarray | None] = {(): eight if picture.ndim == 3 else None}

    def after(self, filters: tuple[str, ...]) -> np.ndarray:
        """The picture after filters: (h, w) uint8."""
        if filters not in self._made:
            color = self._in_color(filters)
            self._made[filters] = FILTERS[filters[-1]](self.after(filters[:-1])) if color is None else grey_of(color)
        return self._made[filters]

    def _in_color(self, filters: tuple[str, ...]) -> np.ndarray | None:
        """The same in colour, where none of the filters is grey."""
        if filters not in self._colors:
            before, last = self._in_color(filters[:-1]), FILTERS[filters[-1]]
            self._colors[filters] = None if before is None or not isinstance(last, ColorFilter) else \
                last.on_color(before)
        return self._colors[filters]

    def read(self, engine: Engine, chain: ReadChain) -> Reading:
        """What an engine reads after a chain; boxes are in pixels of the picture itself."""
        found = engine.read(self.after(chain.filters), chain.layout)
        return scaled(found, 0.5 ** chain.filters.count("enlarge"))


class ReadingCache:
    """Readings of an engine that a folder keeps; several processes may share it. What is damaged there is read anew.

    Args:
        engine: reads what is not known.
        folder: where readings are kept, in a database.

    Attributes:
        computed: readings that were worked out.

    Raises:
        UsageError: the folder cannot be used.
    """

    def __init__(self, engine: Engine, folder: Path | str):
        self.engine, self.computed = engine, 0
        self.path = Path(folder) / "readings.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
        self._mark = f"{engine.name} {engine.version} {FILTERS_VERSION}"
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS readings (key TEXT PRIMARY KEY, words TEXT) WITHOUT ROWID")

    def read(self, name: str, picture: Callable[[], np.ndarray], chains: Sequence[ReadChain]) -> list[Reading]:
        """The readings of a picture after each chain.

        Args:
            name: identifies the picture.
            picture: makes it, where a reading is not known.
            chains: of filters.
        """
        keys = [f"{self._mark} {name} {chain} {chain_versions(chain)}".rstrip() for chain in chains]
        with self._open() as database:
            rows = [database.execute("SELECT words FROM readings WHERE key = ?", (key,)).fetchone() for key in keys]
        found = [None if row is None else _kept(row[0]) for row in rows]
        missing = [place for place, reading in enumerate(found) if reading is None]
        if missing:
            prepared = Prepared(picture())
            for place in missing:
                found[place] = prepared.read(self.engine, chains[place])
            self.computed += len(missing)
            with self._open() as database:
                database.executemany("INSERT OR REPLACE INTO readings VALUES (?, ?)", [
                    (keys[place], json.dumps((found[place] or Reading()).to_json())) for place in missing])
        return [reading or Reading() for reading in found]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as database, database:
                database.execute("PRAGMA synchronous = OFF")
                yield database
        except sqlite3.Error as error:
            raise UsageError(f"{self.path}: cannot be used ({one_line(error)}); name another folder, or remove the "
                             f"file") from error


def _kept(words: str) -> Reading | None:
    """The reading of a row; None of a damaged one."""
    try:
        return Reading.from_json(json.loads(words))
    except (TypeError, ValueError, RecursionError):
        return None
