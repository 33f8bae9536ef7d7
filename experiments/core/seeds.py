"""What several seeds of a training say: robust means, chances of being better, and profiles, of a comparison's rows."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.experiments.core.bootstrap import (
    Array,
    SeedEstimate,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.scores import Column, Comparison
from rlenhance.io.files import write_atomically

_THRESHOLDS = 101
_ENOUGH = 6  # seeds from which an interval may be narrower than their span


@dataclass(frozen=True)
class RowStatistics:
    """What a row's seeds say of a score under one condition.

    Attributes:
        row, condition, score: of which it is.
        pictures: how many.
        iqm: interquartile mean over seeds and pictures.
        rival: the row of the highest interquartile mean among the others; "" for baselines.
        improvement: how probably a run of the row is better than one of the rival; None for baselines.
    """

    row: str
    condition: str
    score: str
    pictures: int
    iqm: SeedEstimate
    rival: str = ""
    improvement: SeedEstimate | None = None


def has_seeds(comparison: Comparison) -> bool:
    """Whether a row has several seeds."""
    return any(len(entries) > 1 for row in comparison.rows.values() for entries in row.entries.values())


def score_matrices(comparison: Comparison, condition: str, key: str) -> dict[str, Array]:
    """The scores of every competitor under a condition: row -> (seeds, pictures).

    Rows that are shown the reference of the very picture do not compete, nor do rows whose scores are not all finite.
    """
    baselines, found = comparison.baselines.get(condition, {}), {}
    for name, row in comparison.rows.items():
        if condition in row.entries and not (name in baselines and baselines[name].uses_target):
            scores = np.array([[picture[key] for picture in entry.scores] for entry in row.entries[condition]])
            if np.isfinite(scores).all():
                found[name] = scores
    return found


def row_statistics(comparison: Comparison, condition: str, key: str, resamples: int = 2000,
                   seed: int = 0) -> list[RowStatistics]:
    """The statistics of every competitor under a condition, for a score that is better when higher.

    Args:
        comparison: its rows and scores.
        condition, key: of the score.
        resamples, seed: see `interquartile_mean`.
    """
    matrices = score_matrices(comparison, condition, key)
    iqms = {name: interquartile_mean([scores], resamples=resamples, seed=seed) for name, scores in matrices.items()}
    found = []
    for name, scores in matrices.items():
        others = [other for other in iqms if other != name]
        made = RowStatistics(name, condition, key, scores.shape[1], iqms[name])
        if others and name not in comparison.baselines.get(condition, {}):
            rival = max(others, key=lambda other: iqms[other].value)
            made = dataclasses.replace(made, rival=rival, improvement=probability_of_improvement(
                [(scores, matrices[rival])], resamples=resamples, seed=seed))
        found.append(made)
    return found


def statistics_text(comparison: Comparison, column: Column, labels: Mapping[str, str],
                    statistics: Mapping[str, Sequence[RowStatistics]]) -> list[str]:
    """The part of a page that is about seeds: a table per condition and what its numbers are, or that there is one.

    Args:
        comparison: its rows.
        column: the score.
        labels: names of the conditions.
        statistics: those of `row_statistics`, by condition.
    """
    trained = {each.row: each.iqm.seeds for part in statistics.values() for each in part if each.rival}
    if not trained:
        return []
    if not has_seeds(comparison):
        return ["One seed of each row: these numbers do not say how other seeds of the same training would do."]
    lines = ["## Over seeds", ""]
    for condition, part in statistics.items():
        header = [labels[condition], "seeds", f"{column.heading}, interquartile mean", "strongest rival",
                  "probability of improvement"]
        lines += [*markdown_table(header, [
            [each.row, str(each.iqm.seeds) if each.rival else "", span(each.iqm, column.digits, column.scale),
             each.rival, span(each.improvement) if each.improvement else ""] for each in part]), ""]
    lines.append(
        "The interquartile mean is the mean of the middle half of all scores, those of every seed on every picture. "
        "The probability of improvement is the share of the pairs of a seed of the row and one of its strongest rival"
        " (of the others, the row of the highest interquartile mean) in which the row scores higher on the same "
        "picture: 0.5 is a tie. In brackets 95 % bootstrap intervals over seeds, on these pictures. profile.png shows"
        " the share of the scores above each threshold, with bands over seeds.")
    fewest = min(count for count in trained.values() if count > 1)
    if fewest < _ENOUGH:
        lines.append(f"With {fewest} seeds an interval is about the span of the seeds, which holds the truth in "
                     f"{100 * (1 - 0.5 ** (fewest - 1)):.0f} of 100 cases, not in 95.")
    alone = [name for name, count in trained.items() if count == 1]
    if alone:
        lines.append(f"One seed, so that nothing is known of others: {', '.join(alone)}.")
    return lines


def span(estimate: SeedEstimate, digits: int = 2, scale: float = 1.0) -> str:
    """An estimate as text, with its interval where several seeds give one."""
    value, low, high = (f"{scale * each:.{digits}f}" for each in (estimate.value, estimate.low, estimate.high))
    return value if estimate.seeds == 1 else f"{value} ({low} to {high})"


def write_statistics(comparison: Comparison, column: Column, labels: Mapping[str, str],
                     statistics: Mapping[str, Sequence[RowStatistics]], folder: Path) -> list[str]:
    """Write statistics.csv, and the performance profiles as profile.csv and profile.png; the names of the files.

    Args:
        comparison, column, labels, statistics: see `statistics_text`.
        folder: where they go.
    """
    header = ("row", "condition", "score", "pictures", "seeds", "iqm", "iqm_low", "iqm_high", "rival", "improvement",
              "improvement_low", "improvement_high")
    _write_csv(folder / "statistics.csv", header, (
        (each.row, each.condition, each.score, each.pictures, *_numbers(each.iqm), each.rival,
         *(_numbers(each.improvement)[1:] if each.improvement else ("", "", "")))
        for part in statistics.values() for each in part))
    profiles = {condition: _profiles(comparison, condition, column.key) for condition in labels}
    _write_csv(folder / "profile.csv", ("row", "condition", "score", "threshold", "share", "low", "high"), (
        (name, condition, column.key, *(f"{number:.6g}" for number in numbers))
        for condition, part in profiles.items() for name, curves in part.items()
        for numbers in zip(*curves, strict=True)))
    _draw_profiles(profiles, comparison, column, labels, folder / "profile.png")
    return ["statistics.csv", "profile.csv", "profile.png"]


def _numbers(estimate: SeedEstimate) -> tuple[str, ...]:
    """Seeds, value and bounds; no bounds for one seed."""
    known = estimate.seeds > 1
    return (str(estimate.seeds), f"{estimate.value:.6g}",
            *(f"{bound:.6g}" if known else "" for bound in (estimate.low, estimate.high)))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, text.getvalue().encode())


def _profiles(comparison: Comparison, condition: str, key: str) -> dict[str, tuple[Array, Array, Array, Array]]:
    """Thresholds, shares, and the bounds of the shares of every competitor."""
    matrices = score_matrices(comparison, condition, key)
    if not matrices:
        return {}
    low, high = (bound([bound(scores) for scores in matrices.values()]) for bound in (np.min, np.max))
    thresholds = np.linspace(low, high, _THRESHOLDS)
    return {name: (thresholds, *performance_profile([scores], thresholds)) for name, scores in matrices.items()}


def _draw_profiles(profiles: Mapping[str, Mapping[str, tuple[Array, Array, Array, Array]]], comparison: Comparison,
                   column: Column, labels: Mapping[str, str], path: Path) -> None:
    """A panel per condition: a line per row, dashed for baselines, with its band, names beside it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = dict.fromkeys(name for part in profiles.values() for name in part)
    colors = {name: f"C{number % 10}" for number, name in enumerate(names)}
    lines: dict[str, Any] = {}
    figure, axes = plt.subplots(1, len(labels), figsize=(5 * len(labels) + 2.5, 3.6), squeeze=False)
    for axis, (condition, part) in zip(axes[0], profiles.items(), strict=True):
        for name, (thresholds, shares, low, high) in part.items():
            style = "--" if name in comparison.baselines.get(condition, {}) else "-"
            lines[name], = axis.plot(column.scale * thresholds, shares, style, color=colors[name], linewidth=1.2)
            axis.fill_between(column.scale * thresholds, low, high, color=colors[name], alpha=0.2, linewidth=0)
        axis.set_title(labels[condition], fontsize=10)
        axis.set_xlabel(f"threshold: {column.heading}")
        axis.set_ylabel("share of the scores above it")
    axes[0, -1].legend(lines.values(), lines, fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
