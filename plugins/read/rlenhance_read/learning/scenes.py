"""Scenes with text, what chains of filters and an engine read in them, and how much of it is right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError, one_line
from rlenhance.learning.data import Batch
from rlenhance.learning.data.sampler import shuffled
from rlenhance_read.learning.rendered_text import Scene
from rlenhance_read.ocr.cache import Prepared, ReadingCache
from rlenhance_read.ocr.engines import Engine, default_engine, engine_of
from rlenhance_read.ocr.filters import CHAINS, ReadChain, grey_of
from rlenhance_read.ocr.observation import answers, seen_readings
from rlenhance_read.ocr.picture_statistics import picture_statistics
from rlenhance_read.ocr.readings import STATISTICS, agreement, character_accuracy, statistics


class Scenes(Protocol):
    """A row of scenes, as `rlenhance_read.learning.rendered_text.RenderedText`."""

    @property
    def digest(self) -> str: ...

    def __getitem__(self, number: int) -> Scene: ...


@dataclass
class ReadScenes:
    """Scenes and their readings, which are made when they are asked for, and kept.

    Args:
        scenes: where they come from.
        count: how many of them, from `first` on.
        engine: its name, an engine, or None for the default one.
        chains: ways to read.
        folder: where readings outlive the process.
        side: of the small pictures in pixels.
        first: number of the first scene.
        seed: of the order in which they are drawn.

    Attributes:
        text: the true texts.
        small: (count, 3, side, side), the pictures, reduced to squares.
        look: (count, L), see `picture_statistics`.
        numbers: (count, C, S), see `rlenhance_read.ocr.readings.statistics`.
        accuracy: (count, C), of each reading.
        agreement: (count, C, C), of the readings with each other.
        known: (count, C), which readings were made.
    """

    scenes: Scenes
    count: int
    engine: str | Engine | None = None
    chains: Sequence[ReadChain] = CHAINS
    folder: Path | None = None
    side: int = 24
    first: int = 0
    seed: int = 0
    text: list[str] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"the number of scenes must be at least 1; got {self.count}")
        size = (self.count, len(self.chains))
        self.small = np.zeros((self.count, 3, self.side, self.side), np.float32)
        self.look = np.zeros((self.count, len(picture_statistics(np.zeros((16, 80), np.uint8)))), np.float32)
        self.numbers = np.zeros((*size, len(STATISTICS)), np.float32)
        self.accuracy = np.zeros(size, np.float32)
        self.agreement = np.zeros((*size, size[1]), np.float32)
        self.known = np.zeros(size, bool)
        self.text = [""] * self.count
        self._texts: dict[tuple[int, int], str] = {}
        self._row: dict[bytes, int] = {}
        self._opened = np.zeros(self.count, bool)

    def read_all(self, rows: Sequence[int] | None = None, told: Callable[[int], None] | None = None) -> None:
        """Make every reading of scenes, all of them without `rows`; `told` is called with the number of each."""
        for row in range(self.count) if rows is None else rows:
            self.need(np.array([row] * len(self.chains)), np.arange(len(self.chains)))
            if told is not None:
                told(row)

    def need(self, rows: np.ndarray, chains: np.ndarray) -> None:
        """Make readings: of scene `rows[i]` through chain `chains[i]`."""
        asked: dict[int, set[int]] = {}
        for row, chain in zip(rows.tolist(), chains.tolist(), strict=True):
            if not self.known[row, chain]:
                asked.setdefault(row, set()).add(chain)
        for row, places in asked.items():
            self._read(row, sorted(places))

    def open(self, row: int) -> Scene:
        """A scene; its small picture, its text and its look are known from then on."""
        scene = self.scenes[self.first + row]
        if not self._opened[row]:
            small = cv2.resize(scene.picture, (self.side, self.side), interpolation=cv2.INTER_AREA)
            self.small[row] = small.transpose(2, 0, 1) / np.float32(255)
            self.look[row] = picture_statistics(grey_of(scene.picture))
            self.text[row] = scene.text
            self._row[mark_of(torch.from_numpy(self.small[row]))] = row
            self._opened[row] = True
        return scene

    @cached_property
    def _reads_with(self) -> Engine:
        return default_engine("tesseract") if self.engine is None else engine_of(self.engine) if isinstance(
            self.engine, str) else self.engine

    @cached_property
    def _cache(self) -> ReadingCache | None:
        return None if self.folder is None else ReadingCache(self._reads_with, self.folder)

    def _read(self, row: int, places: list[int]) -> None:
        scene, chains = self.open(row), [self.chains[place] for place in places]
        if self._cache is not None and scene.name:
            found = self._cache.read(scene.name, lambda: scene.picture, chains)
        else:
            prepared = Prepared(scene.picture)
            found = [prepared.read(self._reads_with, chain) for chain in chains]
        for place, reading in zip(places, found, strict=True):
            self.numbers[row, place] = statistics(reading)
            self.accuracy[row, place] = character_accuracy(reading.text, scene.text)
            self.known[row, place] = True
            self._texts[row, place] = reading.text
        known = np.flatnonzero(self.known[row])
        self.agreement[row][np.ix_(known, known)] = agreement([self._texts[row, place] for place in known.tolist()])

    def rows_of(self, marks: Sequence[bytes]) -> np.ndarray:
        """The scenes that small pictures belong to, by `mark_of`.

        Raises:
            UsageError: a picture is none of them.
        """
        missing = [mark for mark in marks if mark not in self._row]
        if missing:
            raise UsageError("reading begins with scenes of its own: a picture alone does not say what is written "
                             "there; leave out the batch, or draw it from the environment's source")
        return np.array([self._row[mark] for mark in marks])

    def answer_accuracy(self, rows: np.ndarray, read: np.ndarray) -> np.ndarray:
        """The accuracy of the answers: scenes (N,), which chains were read (N, C) -> (N,); 0 without a reading."""
        place = answers(self.numbers[rows, :, 0], self.agreement[rows], read)
        return np.where(place < 0, 0, self.accuracy[rows, place.clip(0)]).astype(np.float32)

    def seen(self, rows: np.ndarray, read: np.ndarray) -> np.ndarray:
        """See `rlenhance_read.ocr.observation.seen_readings`."""
        return seen_readings(self.numbers[rows], self.agreement[rows], read)

    def save(self, path: Path) -> None:
        """Write what is known of the scenes, for `load`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part.npz")
        np.savez(beside, small=np.rint(255 * self.small).astype(np.uint8), look=self.look, numbers=self.numbers,
                 accuracy=self.accuracy, agreement=self.agreement, known=self.known, text=np.array(self.text))
        beside.replace(path)

    def load(self, path: Path) -> None:
        """Take what `save` has written: of these scenes or more, with every reading.

        Raises:
            UsageError: another kind of file, or of other chains.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: arrays[name][: self.count] for name in arrays.files}
            same = found["known"].shape == self.known.shape and bool(found["known"].all())
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{path}: no table of readings ({one_line(error)}); remove it") from error
        if not same:
            raise UsageError(f"{path}: a table of other chains, or of fewer than {self.count} scenes; remove it")
        self.small = found["small"].astype(np.float32) / np.float32(255)
        self.look, self.numbers, self.accuracy = found["look"], found["numbers"], found["accuracy"]
        self.agreement, self.known, self.text = found["agreement"], found["known"], found["text"].tolist()
        self._row = {mark_of(torch.from_numpy(small)): row for row, small in enumerate(self.small)}
        self._opened[:] = True

    # a source of batches

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The small pictures of draw `step`, in another order in each pass; of these only `part`."""
        rows = [int(shuffled(self.seed, number // self.count, self.count)[number % self.count])
                for number in range(step * count, (step + 1) * count)][part]
        return self.pictures(rows)

    def pictures(self, rows: Sequence[int]) -> Batch:
        """The small pictures of scenes."""
        for row in rows:
            if not self._opened[row]:
                self.open(row)
        return Batch(torch.from_numpy(self.small[list(rows)]))

    def with_seed(self, seed: int) -> ReadScenes:
        """The same scenes and readings, in another order."""
        made = object.__new__(type(self))
        vars(made).update(vars(self), seed=seed)
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Without the engine, where it was given by name."""
        return {name: value for name, value in vars(self).items() if name not in ("_reads_with", "_cache")}


def mark_of(image: Tensor) -> bytes:
    """Identifies a picture (3, H, W), as `rlenhance.envs.ToolchainEnv` does."""
    return hashlib.blake2b(image.numpy(force=True).tobytes(), digest_size=16).digest()


