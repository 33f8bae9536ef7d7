"""Results of chains of tools that are kept, so that no tool runs twice on the same picture."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UnknownName, UsageError, one_line
from rlenhance.core.pixels import check_planes
from rlenhance.tools.base import Tool, like, planes_of

#: Names of the tools that a picture went through, in order.
Chain = tuple[str, ...]
_Key = tuple[Hashable, Chain]
_STEPS = 65535  # results are rounded to 16 bits, kept or not: both are then equal


class ToolCache:
    """Applies tools and keeps the results by picture and chain, in memory and, if wished, in a folder.

    Results are rounded to 1/65535, so that a result that was kept equals one that is worked out again. Results of a
    chain with a tool that is not deterministic are not kept.

    Args:
        tools: those that chains may name.
        memory: bytes of results that are kept in memory; the ones that were not asked for longest are left out.
        folder: where results outlive the process; several processes may share it. They belong to the content of the
            picture and the versions of the tools, whatever the identities are. None: memory alone.

    Example:
        >>> darker = Tool("darker", "made darker", lambda picture: picture / 2, cost=0.01, radius=0)
        >>> cache = ToolCache([darker])
        >>> pictures = np.ones((1, 3, 4, 4), np.float32)
        >>> round(float(cache.run(["a"], pictures, ("darker", "darker")).mean()), 3)
        0.25
        >>> cache.computed, cache.found
        (2, 0)
    """

    def __init__(self, tools: Sequence[Tool], memory: int = 1 << 30, folder: Path | str | None = None):
        self.tools = {tool.name: tool for tool in tools}
        if len(self.tools) < len(tools):
            raise UsageError(f"tools must have different names; got {', '.join(tool.name for tool in tools)}")
        if memory < 0:
            raise UsageError(f"memory must be 0 or more bytes; got {memory}")
        self.memory = memory
        self.used = 0  # bytes in memory
        self.computed = self.found = 0  # results worked out and results that were kept
        self._kept: OrderedDict[_Key, np.ndarray] = OrderedDict()
        self._store = None if folder is None else _Store(Path(folder))

    def extend(self, ids: Sequence[Hashable], images: Any, chains: Sequence[Chain], names: Sequence[str]) -> Any:
        """Each picture after one more tool.

        Args:
            ids: of the pictures before any tool.
            images: (N, 3, H, W) float in [0, 1], an array or a tensor: what `chains` have made of them.
            chains: the tools that each went through so far.
            names: the next tool of each.

        Returns:
            (N, 3, H, W) float32, of the same kind.

        Raises:
            UnknownName: a tool is none of this cache's.
            UsageError: see `Tool.batch`; or the sequences differ in length.
        """
        given, images = images, check_planes(planes_of(images)).astype(np.float32, copy=False)
        if not len(ids) == len(images) == len(chains) == len(names):
            raise UsageError(f"ids, images, chains and names must have one entry per picture; got {len(ids)}, "
                             f"{len(images)}, {len(chains)} and {len(names)}")
        keys = [(identity, (*chain, name)) for identity, chain, name in zip(ids, chains, names, strict=True)]
        codes = self._find(keys, images)
        missing: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            if codes[i] is None:
                missing.setdefault(name, []).append(i)
        for name, rows in missing.items():
            made = np.rint(self._tool(name).batch(images[rows]) * np.float32(_STEPS)).astype(np.uint16)
            for i, code in zip(rows, made, strict=True):
                codes[i] = code
        new = [i for rows in missing.values() for i in rows]
        self.computed, self.found = self.computed + len(new), self.found + len(codes) - len(new)
        self._keep(keys, images, codes, new)
        stacked = np.stack([code for code in codes if code is not None]).astype(np.float32)
        return like(given, stacked / np.float32(_STEPS))

    def run(self, ids: Sequence[Hashable], pictures: Any, names: Sequence[str]) -> Any:
        """Pictures after the same chain of tools: (N, 3, H, W) -> (N, 3, H, W); see `extend`."""
        for step, name in enumerate(names):
            chain = tuple(names[:step])
            pictures = self.extend(ids, pictures, [chain] * len(ids), [name] * len(ids))
        return pictures

    def clear(self) -> None:
        """Forget the results in memory; those in the folder stay."""
        self._kept.clear()
        self.used = 0

    def _tool(self, name: str) -> Tool:
        if name not in self.tools:
            raise UnknownName("tool", name, self.tools)
        return self.tools[name]

    def _find(self, keys: Sequence[_Key], images: np.ndarray) -> list[np.ndarray | None]:
        """What is kept for each key, in memory or in the folder."""
        found: list[np.ndarray | None] = []
        for key in keys:
            kept = self._kept.get(key)
            found.append(kept if kept is not None and kept.shape == images.shape[1:] else None)
            if found[-1] is not None:
                self._kept.move_to_end(key)
        rows = [i for i, kept in enumerate(found) if kept is None and self._tool(keys[i][1][-1]).deterministic]
        if self._store is not None and rows:
            stored = self._store.get([_digest(images[i], self._tool(keys[i][1][-1])) for i in rows], images.shape[1:])
            for i, code in zip(rows, stored, strict=True):
                found[i] = code
                if code is not None:
                    self._remember(keys[i], code)
        return found

    def _keep(self, keys: Sequence[_Key], images: np.ndarray, codes: Sequence[np.ndarray | None],
              rows: Sequence[int]) -> None:
        """Keep the new results in `rows`."""
        rows = [i for i in rows if all(self._tool(name).deterministic for name in keys[i][1])]
        for i in rows:
            self._remember(keys[i], codes[i])
        if self._store is not None and rows:
            self._store.put([(_digest(images[i], self._tool(keys[i][1][-1])), codes[i]) for i in rows])

    def _remember(self, key: _Key, code: np.ndarray | None) -> None:
        if code is None or code.nbytes > self.memory:
            return
        old = self._kept.pop(key, None)
        self._kept[key] = np.array(code)  # its own memory, not a view of the batch
        self.used += code.nbytes - (0 if old is None else old.nbytes)
        while self.used > self.memory:
            self.used -= self._kept.popitem(last=False)[1].nbytes


class _Store:
    """Results in a database in a folder, by the digest of the picture before the tool and of the tool."""

    def __init__(self, folder: Path):
        self.path = folder / "results.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
        with self._open() as database:
            database.execute("CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, code BLOB) WITHOUT ROWID")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The database, in one transaction; several processes and threads may have it open."""
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as database, database:
                database.execute("PRAGMA synchronous = OFF")  # what a crash of the system damages is worked out again
                yield database
        except sqlite3.Error as error:
            raise UsageError(f"{self.path}: cannot be used ({one_line(error)}); name another folder, or remove the "
                             f"file") from error

    def get(self, keys: Sequence[bytes], shape: Sequence[int]) -> list[np.ndarray | None]:
        """The stored result; None where there is none, or one of another size."""
        with self._open() as database:
            rows = [database.execute("SELECT code FROM results WHERE key = ?", (key,)).fetchone() for key in keys]
        size = 2 * math.prod(shape)
        return [np.frombuffer(row[0], np.uint16).reshape(tuple(shape))
                if row is not None and isinstance(row[0], bytes) and len(row[0]) == size else None for row in rows]

    def put(self, results: Sequence[tuple[bytes, np.ndarray | None]]) -> None:
        """Store results by their keys."""
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)",
                                 [(key, code.tobytes()) for key, code in results if code is not None])


def _digest(image: np.ndarray, tool: Tool) -> bytes:
    digest = hashlib.blake2b(f"{tool.name}\0{tool.version}\0{tuple(image.shape)}\0".encode(), digest_size=20)
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.digest()

