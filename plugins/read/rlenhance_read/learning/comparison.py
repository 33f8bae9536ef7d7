"""The comparison of ways to read: policies against every control at equal mean numbers of reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.config import one_of
from rlenhance.hub.shipped import locate
from rlenhance.io.files import write_atomically
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance_read.learning.controls import (
    Outcome,
    States,
    by_confidence,
    clone_loss,
    first_chains,
    fit,
    fixed,
    fixed_order,
    gain_loss,
    met_states,
    outcome,
    planned,
    random_chains,
    random_states,
    run,
    thresholds,
)
from rlenhance_read.learning.dataset import read_scenes
from rlenhance_read.learning.policy import ReadPolicy
from rlenhance_read.learning.scenes import ReadScenes
from rlenhance_read.ocr.engines import ENGINES

#: Prices at which policies and regressions are asked, from the dearest to nothing.
PRICES = (0.06, 0.04, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.003, 0.001, 0.0)
_STEPS = 6


@dataclass(frozen=True)
class ReadCompareConfig:
    """Score policies that read against every control, on rendered scenes that no one has seen."""

    runs: tuple[Path, ...] = ()
    """Runs of `rlenhance_read.train`, one for each seed."""
    tools: tuple[str, ...] = ()
    """Further ways to read, beside the package's, as those runs had them."""
    cache: Path = Path("runs/readings")
    """Folder where readings are kept."""
    engine: Annotated[str, one_of(ENGINES)] = "tesseract"
    """Who reads the test scenes; rows learn on readings of Tesseract, whoever reads there."""
    scenes: int = 400
    """Test scenes."""
    train_scenes: int = 1200
    """Scenes that controls learn on."""
    val_scenes: int = 250
    """Scenes on which thresholds are chosen."""
    seeds: int = 3
    """Of each control that is trained."""
    reads: tuple[float, ...] = (1.5, 2.0, 3.0, 4.0)
    """Mean numbers of reads at which rows are compared."""
    out: Path = Path("runs/read_compare")
    """Where the table goes."""


@dataclass(frozen=True)
class Curve:
    """A way to read at several numbers of reads.

    Attributes:
        name: of the row.
        points: outcomes on the test scenes, from few reads to many; one list for each seed.
    """

    name: str
    points: tuple[tuple[Outcome, ...], ...]

    def at(self, reads: float) -> np.ndarray | None:
        """The expected accuracy of each test scene at a mean number of reads, over all seeds: (N,); None where the
        row has no such numbers."""
        found = [each for each in (_at(points, reads) for points in self.points) if each is not None]
        return np.mean(found, axis=0) if len(found) == len(self.points) else None

    def seeds_at(self, reads: float) -> list[float]:
        """The mean of each seed."""
        found = [_at(points, reads) for points in self.points]
        return [float(each.mean()) for each in found if each is not None]


def _at(points: Sequence[Outcome], reads: float) -> np.ndarray | None:
    ordered = sorted(points, key=lambda point: float(point.reads.mean()))
    means = [float(point.reads.mean()) for point in ordered]
    if reads < means[0] - 0.05:
        return None
    if reads >= means[-1]:
        return ordered[-1].accuracy  # more reads are not used
    place = int(np.searchsorted(means, reads))
    if place == 0:
        return ordered[0].accuracy
    share = (reads - means[place - 1]) / max(1e-9, means[place] - means[place - 1])
    return ordered[place - 1].between(ordered[place], share).accuracy


def frontier(val: Sequence[Outcome], test: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """The test outcomes of those settings that none has beaten on validation scenes with as few reads."""
    kept: list[Outcome] = []
    best = -1.0
    for place in sorted(range(len(val)), key=lambda place: (float(val[place].reads.mean()),
                                                            -float(val[place].accuracy.mean()))):
        if val[place].accuracy.mean() > best + 1e-6:
            best = float(val[place].accuracy.mean())
            kept.append(test[place])
    return tuple(kept)


@dataclass
class ReadComparison:
    """Controls and policies on the same scenes.

    Attributes:
        config: the settings.
        train, val, test: the scenes; those of validation are read by Tesseract too.
    """

    config: ReadCompareConfig
    train: ReadScenes
    val: ReadScenes
    test: ReadScenes

    @classmethod
    def open(cls, config: ReadCompareConfig) -> ReadComparison:
        """Read the scenes, or take them from the folder."""
        def scenes(split: str, count: int, engine: str = "tesseract") -> ReadScenes:
            return read_scenes(split, count, config.cache, engine, tools=config.tools)

        return cls(config, scenes("train", config.train_scenes), scenes("val", config.val_scenes),
                   scenes("test", config.scenes, config.engine))

    def single(self) -> dict[str, Outcome]:
        """Rows with one number of reads."""
        test, every, chains = self.test, np.ones_like(self.test.known), self.test.chains
        best = int(self.train.accuracy.mean(axis=0).argmax())
        oracle = test.accuracy.argmax(axis=1)[:, None] == np.arange(test.known.shape[1])
        plain = [place for place, chain in enumerate(chains) if not {"tophat"} & set(chain.filters)]
        classic = plain[int(self.train.accuracy[:, plain].mean(axis=0).argmax())]
        count = len(chains)
        return {"nothing": fixed(test, [0]), f"best chain without top-hat ({chains[classic]})": fixed(test, [classic]),
                f"best fixed chain ({chains[best]})": fixed(test, [best]),
                f"all {count} by confidence": by_confidence(test, every),
                f"all {count} by consensus": outcome(test, every),
                "oracle: the best chain of each": outcome(test, oracle)}

    def curves(self) -> Iterator[Curve]:
        """Rows with several."""
        test, most = self.test, 8
        order = fixed_order(self.train, most)
        yield Curve("fixed chains, consensus", (tuple(fixed(test, order[:count]) for count in range(1, most + 1)),))
        yield Curve("fixed chains, confidence", (tuple(by_confidence(test, first_chains(test, order[:count]))
                                                       for count in range(1, most + 1)),))
        yield Curve("random k, confidence", (tuple(_mean([by_confidence(test, random_chains(test, count, seed))
                                                          for seed in range(10)]) for count in range(1, most + 1)),))
        yield Curve("random k, consensus", (tuple(_mean([outcome(test, random_chains(test, count, seed))
                                                         for seed in range(10)]) for count in range(1, most + 1)),))
        sure = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97)
        for name, levels in (("threshold on confidence", (2.0,)),
                             ("threshold on confidence or agreement", (0.8, 0.9, 0.95, 2.0))):
            rules = [thresholds(order, level, agreed, count) for level in sure for agreed in levels
                     for count in (2, 3, 4, 6, most)]
            tried = [[run(rule, scenes, most) for rule in rules] for scenes in (self.val, test)]
            yield Curve(name, (frontier(*tried),))
        yield from self.learned()

    def learned(self) -> Iterator[Curve]:
        """Rows that are trained: here, and before."""
        names, seeds = [str(chain) for chain in self.test.chains], range(self.config.seeds)
        first = random_states(self.train, 1, 1)
        once = [fit(names, first, gain_loss, seed=seed, values=True) for seed in seeds]
        yield Curve("one-shot choice by the picture", tuple((run(planned(policy, -1.0, 1), self.test, 1),)
                                                            for policy in once))
        states = random_states(self.train, 10, 5)
        gains = []
        for seed in seeds:
            policy, known = fit(names, states, gain_loss, seed=seed, values=True), states
            for price in (0.003, 0.02):
                known = States.join([known, met_states(self.train, planned(policy, price, _STEPS), _STEPS)])
                policy = fit(names, known, gain_loss, seed=seed, values=True)
            gains.append(self.priced(policy))
        yield Curve("regression of gains, greedy", tuple(gains))
        clones = []
        for seed in seeds:
            made = [fit(names, states, clone_loss(price), seed=seed, values=False)
                    for price in (0.05, 0.02, 0.005, 0.0)]
            clones.append(frontier(*([run(planned(policy, 0.0, _STEPS), scenes, _STEPS) for policy in made]
                                     for scenes in (self.val, self.test))))
        yield Curve("oracle cloned", tuple(clones))
        if self.config.runs:
            policies = [load_network(locate(str(path))).eval() for path in self.config.runs]
            if any(not isinstance(policy, ReadPolicy) for policy in policies):
                raise UsageError("--runs are of rlenhance_read.train; got others")
            kind = "dqn" if cast(ReadPolicy, policies[0]).learns_values else "vine"
            yield Curve(kind, tuple(self.priced(cast(ReadPolicy, policy)) for policy in policies))

    def priced(self, policy: ReadPolicy) -> tuple[Outcome, ...]:
        """A policy at all prices; those that validation scenes do not speak for are left out."""
        rules = [planned(policy, price, _STEPS) for price in PRICES]
        return frontier(*([run(rule, scenes, _STEPS) for rule in rules] for scenes in (self.val, self.test)))

    def table(self) -> tuple[str, dict[str, Any]]:
        """The table in Markdown, and its numbers."""
        config, ids = self.config, [str(row) for row in range(self.test.count)]
        lines = ["| one number of reads | reads | character accuracy |", "|---|---|---|"]
        numbers: dict[str, Any] = {"single": {}, "curves": {}}
        for name, found in self.single().items():
            interval = bootstrap_interval(found.accuracy.tolist(), ids)
            lines.append(f"| {name} | {found.reads.mean():.0f} | {interval.mean:.3f} ({interval.low:.3f} to "
                         f"{interval.high:.3f}) |")
            numbers["single"][name] = [float(found.reads.mean()), interval.mean, interval.low, interval.high]
        curves = [*self.curves()]
        lines += ["", "| mean reads | " + " | ".join(f"{reads:g}" for reads in config.reads) + " |",
                  "|---|" + "---|" * len(config.reads)]
        learner = curves[-1] if config.runs else None
        for curve in curves:
            cells = []
            for reads in config.reads:
                own, best = curve.at(reads), None if learner is None else learner.at(reads)
                if own is None:
                    cells.append("")
                    continue
                seeds = curve.seeds_at(reads)
                text = f"{own.mean():.3f}" + (f" ± {np.std(seeds, ddof=1):.3f}" if len(seeds) > 1 else "")
                if best is not None and curve is not learner:
                    gap = bootstrap_interval((best - own).tolist(), ids)
                    text += f"; {gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
                cells.append(text)
            lines.append(f"| {curve.name} | " + " | ".join(cells) + " |")
            numbers["curves"][curve.name] = [[[float(point.reads.mean()), float(point.accuracy.mean())]
                                              for point in points] for points in curve.points]
        return "\n".join(lines) + "\n", numbers


def _mean(found: Sequence[Outcome]) -> Outcome:
    return Outcome(np.mean([each.accuracy for each in found], axis=0), np.mean([each.reads for each in found], axis=0))


def compare(config: ReadCompareConfig) -> str:
    """Score everything, and write table.md and scores.json; returns the table."""
    table, numbers = ReadComparison.open(config).table()
    config.out.mkdir(parents=True, exist_ok=True)
    write_atomically(config.out / "table.md", table.encode())
    write_atomically(config.out / "scores.json", json.dumps(numbers).encode())
    print(table)
    return table
