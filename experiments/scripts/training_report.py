"""The budget, the loss, the validation and the plateau of runs: `python -m experiments.scripts.training_report RUN`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tyro

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.training_report import TrainingReport, read_report


def main(runs: tyro.conf.Positional[tuple[str, ...]], plot: Path | None = None) -> None:
    """Print what runs have had and gained, as report.md in their folders says it; also of runs of older versions.

    Args:
        runs: Run folders, RUN or NAME=RUN.
        plot: Draw the loss and the validation score of all of them into this PNG.
    """
    reports = []
    for word in runs:
        name, _, run = word.rpartition("=")
        report = read_report(Path(run))
        reports.append(replace(report, name=name or report.name))
        print("\n".join(reports[-1].lines()) + "\n")
    if plot:
        draw(reports, plot)


def draw(reports: Sequence[TrainingReport], path: Path) -> None:
    """A column for each run: its loss, and below its validation score, over the minutes of training."""
    import matplotlib  # here: slow to import

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(reports), figsize=(3 * len(reports), 4.6), squeeze=False)
    for column, report in enumerate(reports):
        for axis, name in zip(axes[:, column], ("loss", report.monitor), strict=True):
            points = [(row["seconds"] / 60, row[name]) for row in report.validations if name in row and row["step"]]
            axis.plot(*zip(*points, strict=True), marker=".", linewidth=1)
            axis.set_title(f"{report.name}: {name}", fontsize=8)
            axis.tick_params(labelsize=7)
        axes[1, column].set_xlabel("minutes", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(run_cli(main))
