"""Curves of several runs in one chart and how stable they are: `python -m research.seed_curves`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.run import Run, read_metrics

#: Panels of the chart: title -> column of metrics.csv, and whether its axis is logarithmic.
PANELS: dict[str, tuple[str, bool]] = {
    "validation return": ("val/return", False),
    "clip fraction, local": ("policy/clip_fraction/local", False),
    "clip fraction, global": ("policy/clip_fraction/global", False),
    "KL of an update, local": ("policy/approx_kl/local", True),
    "saturation, local": ("collapse/saturation/local", False),
    "size of the loss": ("loss", True),
}


def largest_fall(values: Sequence[float] | np.ndarray) -> float:
    """The largest distance from the best value so far down to a later one; 0 for values that only rise."""
    series = np.asarray(values, dtype=float)
    return float((np.maximum.accumulate(series) - series).max()) if len(series) else 0.0


def series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a logged number; "loss" is the largest size of all losses of a step."""
    if name == "loss":
        points = [(row["step"], max(abs(value) for key, value in row.items() if key.startswith("loss/")))
                  for row in rows if any(key.startswith("loss/") for key in row)]
    else:
        points = [(row["step"], row[name]) for row in rows if name in row]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.asarray(steps, dtype=float), np.asarray(values, dtype=float)


def main(chart: tyro.conf.Positional[Path], groups: tyro.conf.Positional[tuple[str, ...]]) -> str:
    """Draw the curves of runs that differ in their seed, and print how stable they are.

    Args:
        chart: The chart, a PNG file.
        groups: NAME=RUN,RUN,... for each group of run folders, as in `before=runs/lol/a-0,runs/lol/a-1`.
    """
    rows = {name: [_rows(Path(path)) for path in paths] for name, paths in map(_parse, groups)}
    _draw(rows, chart)
    table = stability_table(rows)
    print(f"{table}\n{chart}")
    return table


def stability_table(groups: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> str:
    """A row per run: validation return at its best and at the end, its largest fall, and the worst of the watched
    numbers (the largest loss; of clip fraction and KL the 95th percentile over updates)."""
    rows = []
    for name, runs in groups.items():
        for seed, logged in enumerate(runs):
            returns = series(logged, "val/return")[1]
            watched = [_quantile(series(logged, column)[1], 0.95) for column in (
                "policy/clip_fraction/local", "policy/clip_fraction/global", "policy/approx_kl/local",
                "policy/approx_kl/global")]
            saturation = series(logged, "collapse/saturation/local")[1]
            rows.append([name, str(seed), f"{returns.max():.3f}", f"{returns[-1]:.3f}", f"{largest_fall(returns):.3f}",
                         *watched, f"{saturation[-1]:.3g}" if len(saturation) else "-",
                         f"{series(logged, 'loss')[1].max():.3g}"])
    header = ["runs", "seed", "best return", "at the end", "largest fall", "clip local, 95 %", "clip global, 95 %",
              "KL local, 95 %", "KL global, 95 %", "saturation", "largest loss"]
    return "\n".join(markdown_table(header, rows))


def _quantile(values: np.ndarray, share: float) -> str:
    return f"{np.quantile(values, share):.3g}" if len(values) else "-"


def _parse(text: str) -> tuple[str, list[str]]:
    name, mark, paths = text.partition("=")
    if not (name and mark and paths):
        raise UsageError(f"a group is NAME=RUN,RUN,...; got {text!r}")
    return name, paths.split(",")


def _rows(path: Path) -> list[dict[str, Any]]:
    Run.open(path)
    try:
        rows = read_metrics(path / "metrics.csv")
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path / 'metrics.csv'}: cannot be read ({error}); name the folder of a run") from error
    if not any("val/return" in row for row in rows):
        raise UsageError(f"{path}: metrics.csv has no validation return; name the run folder of a policy")
    return rows


def _draw(groups: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 6.4))
    for axis, (title, (column, logarithmic)) in zip(axes.flat, PANELS.items(), strict=True):
        for index, (name, runs) in enumerate(groups.items()):
            for seed, rows in enumerate(runs):
                steps, values = series(rows, column)
                if len(steps):
                    axis.plot(steps, values, color=f"C{index}", linewidth=1, alpha=0.8, label=None if seed else name)
        if logarithmic:
            axis.set_yscale("log")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("update", fontsize=8)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(run_cli(main))
