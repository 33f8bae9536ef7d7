"""What a run has had and what it gained: its budget, loss and validation, and whether it has come to a plateau."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.run import Run, read_metrics
from rlenhance.hub.info import weight_shapes
from rlenhance.learning.hub.checkpoint import find_checkpoint, read_config

_LEAST_UPDATES = 100  # a run of fewer has no plateau
#: Gain in dB of the last third of the updates below which a run has come to a plateau.
PLATEAU = 0.02
_POINTS, _COLUMNS = 8, 5  # validations and scores of the table


@dataclass(frozen=True)
class TrainingReport:
    """The report of a run.

    Attributes:
        name: of its folder.
        updates, pictures: so far; pictures None where they were not counted.
        seconds: of training, validation left out.
        cpu_seconds: of the process that leads; None where they were not measured.
        weights: numbers in the network.
        monitor: the score that chooses best/.
        best_step, best: where it was best, and its value there.
        validations: of each, the numbers of metrics.csv, with the mean `loss` since the one before.
    """

    name: str
    updates: int
    pictures: int | None
    seconds: float
    cpu_seconds: float | None
    weights: int
    monitor: str
    best_step: int
    best: float
    validations: Sequence[Mapping[str, Any]]

    @property
    def last_gain(self) -> float | None:
        """What the last third of the updates has added to the monitored score; None where it is no score in dB, or too
        few validations exist."""
        scores = [(row["step"], row[self.monitor]) for row in self.validations if self.monitor in row and row["step"]]
        before = [score for step, score in scores if step <= 2 / 3 * self.updates]
        if "psnr" not in self.monitor or not before or len(scores) == len(before) or self.updates < _LEAST_UPDATES:
            return None
        return max(score for _, score in scores) - max(before)

    @property
    def plateau(self) -> str:
        """Whether the run has come to a plateau, in words."""
        gain = self.last_gain
        if gain is None:
            return "unknown: too few updates or validations, or no score in dB"
        reached = f"reached: less than {PLATEAU:g} dB" if gain < PLATEAU else f"not reached: {PLATEAU:g} dB or more"
        return f"{reached}, the last third of the updates gained {gain:.3f} dB"

    @property
    def budget(self) -> str:
        """What the run has had, in words."""
        cpu = "" if self.cpu_seconds is None else f", {self.cpu_seconds:,.0f} CPU seconds"
        pictures = "" if self.pictures is None else f", {self.pictures:,} pictures or crops drawn"
        return f"{self.updates:,} updates{pictures}, {self.seconds:,.0f} s of training{cpu}"

    def lines(self) -> list[str]:
        """The report in Markdown."""
        names = [name for name in dict.fromkeys(name for row in self.validations for name in row)
                 if name.startswith("val/")]
        names = [self.monitor, *(name for name in names if name != self.monitor)][:_COLUMNS]
        last = len(self.validations) - 1
        chosen = sorted({round(place * last / (_POINTS - 1)) for place in range(_POINTS)}) if self.validations else []
        rows = [[f"{row['step']:,}", f"{row['seconds'] / 60:.1f}", *(
            f"{row[name]:{'.2f' if 'psnr' in name else '.4g'}}" if name in row else "" for name in ("loss", *names))]
            for row in (self.validations[place] for place in chosen)]
        return [f"# {self.name}", "", f"- Budget: {self.budget}", f"- Network: {self.weights:,} weights",
                f"- Best: {self.monitor} {self.best:.3f} at update {self.best_step:,}",
                f"- Plateau: {self.plateau}", "", *markdown_table(["updates", "minutes", "loss", *names], rows), "",
                "The loss is the mean since the row before. ![Curves](curves.png)"]


def read_report(path: Path) -> TrainingReport:
    """The report of a run folder.

    Raises:
        UsageError: no run, or none that has been validated.
    """
    config = Run.open(path)[1]
    folder = find_checkpoint(path / "last")
    about, rows = read_config(folder)["about"], read_metrics(path / "metrics.csv")
    monitor = about.get("monitor") or _chosen_by(about["best"], rows, about["best_step"])
    return TrainingReport(
        path.name, about["step"], about.get("pictures") or _pictures(config, about["step"]), about["seconds"],
        about.get("cpu_seconds"), sum(math.prod(shape) for shape in weight_shapes(folder).values()), monitor,
        about["best_step"], about["best"][monitor], _validations(rows, monitor))


def _chosen_by(best: Mapping[str, float], rows: Sequence[Mapping[str, Any]], step: int) -> str:
    """The score that has chosen best/ of a run that does not record it: the first that is highest there."""
    for name in ("val/psnr/camera", "val/psnr", *best):
        values = {row["step"]: row[name] for row in rows if name in row}
        if name in best and values.get(step) == max(values.values(), default=None):
            return name
    return next(iter(best))


def _pictures(config: Mapping[str, Any], updates: int) -> int | None:
    """Pictures of a run that has not counted them: updates times the size of the batch."""
    size = config.get("recipe", {}).get("batch_size") or config["arguments"].get("train", {}).get("batch_size")
    return updates * size if size else None


def _validations(rows: Sequence[Mapping[str, Any]], monitor: str) -> list[Mapping[str, Any]]:
    found, losses = list[Mapping[str, Any]](), list[float]()
    for row in rows:
        losses += [row["loss"]] if "loss" in row else []
        if monitor in row:
            mean = {"loss": sum(losses) / len(losses)} if losses else {}
            found.append({"seconds": 0.0, **row, **mean})
            losses = []
    return found
