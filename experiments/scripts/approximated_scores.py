"""Score networks trained through an approximated engine: `python -m experiments.scripts.approximated_scores RUN`.

Beside them stand what needs no training, the rule and the shipped policy, each scene read as `rlenhance read` reads it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.config import one_of
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.tasks.read_approximation import load_preprocessor
from rlenhance.experiments.tasks.read_approximation_lines import Page
from rlenhance.experiments.tasks.read_approximation_networks import Preprocessor
from rlenhance.io import write
from rlenhance.io.files import write_atomically
from rlenhance.learning.data.rendered_text import RenderedText, Scene, find_fonts
from rlenhance.ocr.cache import Prepared
from rlenhance.ocr.consensus import best_reading
from rlenhance.ocr.engines import ENGINES, Engine, engine_of
from rlenhance.ocr.filters import CHAINS, grey_of
from rlenhance.ocr.planner import ORDER, RulePlanner, TrainedPlanner
from rlenhance.ocr.readings import Reading, character_accuracy

_MOST = 6  # reads, as of `rlenhance read`
_AGAINST = f"best fixed chain ({CHAINS[ORDER[0]]})"  # the row that others are compared with


@dataclass(frozen=True)
class ApproximatedScoresConfig:
    """Score networks of `rlenhance.experiments.read_approximate` on rendered scenes."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs of `rlenhance.experiments.read_approximate`."""
    engine: Annotated[str, one_of(ENGINES)] = "tesseract"
    """Who reads."""
    split: str = "test"
    """train, val or test."""
    scenes: int = 400
    """Scenes, from the first on."""
    prices: tuple[float, ...] = (0.0, 0.01)
    """Of a read, for the shipped policy."""
    pictures: int = 0
    """Write so many scenes with what the chain and the networks make of them."""
    out: Path = Path("runs/approximated_scores")
    """Where the table, the scores and the pictures go."""


@dataclass
class _Readings:
    """What is read in a scene, by the number of the chain; networks come after the chains."""

    scene: Scene
    engine: Engine
    networks: Sequence[Preprocessor]

    def __post_init__(self) -> None:
        self.grey = grey_of(self.scene.picture)
        self._prepared, self._known = Prepared(self.scene.picture), dict[int, Reading]()
        self._page = Page.of(self.scene).grey

    def made(self, place: int) -> np.ndarray:
        """The picture that is read: (H, W) uint8."""
        if place < len(CHAINS):
            return self._prepared.after(CHAINS[place].filters)
        return self.networks[place - len(CHAINS)].prepare(self._page)

    def __getitem__(self, place: int) -> Reading:
        if place not in self._known:
            self._known[place] = self._prepared.read(self.engine, CHAINS[place]) if place < len(CHAINS) else \
                self.engine.read(self.made(place), "block")
        return self._known[place]


#: Chooses what is read in a scene: the numbers of the chains.
_Way = Callable[[_Readings], Sequence[int]]


def _fixed(*places: int) -> _Way:
    """These for every scene."""
    return lambda scene: places


def _planned(planner: RulePlanner | TrainedPlanner) -> _Way:
    """As `rlenhance.pipelines.read.PhotoReader` reads."""
    def read(scene: _Readings) -> Sequence[int]:
        readings = dict[int, Reading]()
        while len(readings) < _MOST:
            place = planner.next(scene.grey, readings, 1 - len(readings) / _MOST)
            if place is None and readings:
                break
            readings[place or 0] = scene[place or 0]
        return [*readings]

    return read


def ways(config: ApproximatedScoresConfig) -> Iterator[tuple[str, _Way]]:
    """The rows of the table."""
    yield "nothing", _fixed(0)
    yield _AGAINST, _fixed(ORDER[0])
    yield "two fixed chains, consensus", _fixed(*ORDER[:2])
    yield "rule of `rlenhance read`", _planned(RulePlanner())
    for price in config.prices:
        yield f"shipped policy, price {price:g}", _planned(TrainedPlanner(price=price))
    for number, run in enumerate(config.runs, len(CHAINS)):
        yield f"network ({run.name})", _fixed(number)
        yield f"best fixed chain and network ({run.name})", _fixed(ORDER[0], number)
        yield f"rule, the network first ({run.name})", _planned(RulePlanner((number, *ORDER)))
        yield f"rule, the network second ({run.name})", _planned(RulePlanner((ORDER[0], number, *ORDER[1:])))


def scores(config: ApproximatedScoresConfig) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """The character accuracy of the answers, and the numbers of reads, of each row: (N,) both."""
    networks, engine = [load_preprocessor(run) for run in config.runs], engine_of(config.engine)
    scenes, rows = RenderedText(config.split, find_fonts()), [*ways(config)]
    found = np.zeros((len(rows), 2, config.scenes))
    for number in tqdm(range(config.scenes), "scenes", leave=False):
        scene = _Readings(scenes[number], engine, networks)
        for row, (_, way) in enumerate(rows):
            places = way(scene)
            readings = [scene[place] for place in places]
            answer = readings[best_reading(readings)]
            found[row, :, number] = character_accuracy(answer.text, scene.scene.text), len(places)
        if number < config.pictures:
            write(_sheet(scene), config.out / f"scene_{number}.png")
    return {name: (accuracy, reads) for (name, _), (accuracy, reads) in zip(rows, found, strict=True)}


def _sheet(scene: _Readings) -> np.ndarray:
    """A scene, and below it what is read after the best chain and after each network: (H, W, 3) uint8."""
    places = (*ORDER[:1], *range(len(CHAINS), len(CHAINS) + len(scene.networks)))
    return np.concatenate([scene.scene.picture, *(np.repeat(scene.made(place)[:, :, None], 3, axis=2)
                                                  for place in places)])


def main(config: ApproximatedScoresConfig) -> str:
    """Score, write table.md and scores.json; returns the table."""
    config.out.mkdir(parents=True, exist_ok=True)
    found, ids = scores(config), [str(number) for number in range(config.scenes)]
    cells = []
    for name, (accuracy, reads) in found.items():
        own, gap = (bootstrap_interval(values.tolist(), ids) for values in (accuracy, accuracy - found[_AGAINST][0]))
        cells.append([name, f"{reads.mean():.2f}", f"{own.mean:.3f} ({own.low:.3f} to {own.high:.3f})",
                      f"{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"])
    header = ["", "reads", "character accuracy", "more than the best fixed chain"]
    table = "\n".join(markdown_table(header, cells)) + "\n"
    write_atomically(config.out / "table.md", table.encode())
    write_atomically(config.out / "scores.json", json.dumps(
        {name: [accuracy.tolist(), reads.tolist()] for name, (accuracy, reads) in found.items()}).encode())
    print(table)
    return table


if __name__ == "__main__":
    sys.exit(run_cli(main, ApproximatedScoresConfig))
