"""The picture of a sweep: what its trials reached, and with which settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_PRUNED, _OTHER = "#9a9a9a", "#c9d3e0"


def draw_sweep(study: Any, path: Path) -> Path:
    """Two panels: with two objectives the trials and their Pareto front, with one the trials in their order and the
    best so far; and the settings and objectives of every finished trial in parallel coordinates.

    Args:
        study: of Optuna, with the objectives that `rlenhance.experiments.core.sweep.open_study` keeps.
        path: of the PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.trial import TrialState

    names = list(study.user_attrs["sweep"]["objectives"])
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    width = max(6.0, 1.25 * (len(finished[0].params) + len(names)))
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.2 + width, 4.4), width_ratios=(5, width),
                                         layout="constrained")
    best = {trial.number for trial in study.best_trials}
    if len(names) > 1:
        _front(left, study, finished, best, names)
    else:
        _history(left, study, finished, names[0])
    _coordinates(right, study, finished, best, names)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _front(axis: Any, study: Any, finished: list[Any], best: set[int], names: list[str]) -> None:
    from optuna.trial import TrialState

    pruned = [values[-1] for trial in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
              if (values := [value for name, value in trial.user_attrs.items() if name.startswith("validation/")])]
    if pruned:
        axis.scatter(*np.array(pruned)[:, :2].T, marker="x", s=22, color=_PRUNED, linewidths=1,
                     label=f"pruned ({len(pruned)}), where they ended")
    others = [trial.values[:2] for trial in finished if trial.number not in best]
    if others:
        axis.scatter(*np.array(others).T, s=24, color="#7f9cc0", label=f"finished ({len(others)})")
    front = sorted((trial for trial in finished if trial.number in best), key=lambda trial: trial.values[0])
    points = np.array([trial.values[:2] for trial in front])
    axis.plot(*points.T, "o-", color="#c8501e", markersize=6, linewidth=1.2, label=f"Pareto front ({len(front)})")
    for trial in front:
        axis.annotate(trial.number, trial.values[:2], xytext=(5, -9), textcoords="offset points", fontsize=7)
    signs = list(study.user_attrs["sweep"]["objectives"].values())
    axis.set_xlabel(f"{names[0]} ({signs[0]})")
    axis.set_ylabel(f"{names[1]} ({signs[1]})")
    axis.legend(fontsize=8)


def _history(axis: Any, study: Any, finished: list[Any], name: str) -> None:
    sign = 1 if study.user_attrs["sweep"]["objectives"][name] == "maximize" else -1
    numbers, values = [trial.number for trial in finished], np.array([trial.values[0] for trial in finished])
    axis.scatter(numbers, values, s=24, color="#7f9cc0", label="finished")
    axis.step(numbers, sign * np.maximum.accumulate(sign * values), where="post", color="#c8501e", label="best so far")
    axis.set_xlabel("trial")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylabel(name)
    axis.legend(fontsize=8)


def _coordinates(axis: Any, study: Any, finished: list[Any], best: set[int], names: list[str]) -> None:
    from optuna.distributions import CategoricalDistribution

    columns: list[tuple[str, np.ndarray]] = []
    for name in finished[0].params:
        spread = finished[0].distributions[name]
        if isinstance(spread, CategoricalDistribution):
            places = np.array([spread.choices.index(trial.params[name]) for trial in finished], float)
            _ticks(axis, len(columns), {place / max(1, len(spread.choices) - 1): str(choice)
                                        for place, choice in enumerate(spread.choices)})
            columns.append((name, places / max(1, len(spread.choices) - 1)))
        else:
            log = getattr(spread, "log", False)
            columns.append((name, _scaled(axis, len(columns), [trial.params[name] for trial in finished],
                                          (spread.low, spread.high), log)))
    for place, name in enumerate(names):
        values = [trial.values[place] for trial in finished]
        columns.append((name, _scaled(axis, len(columns), values, (min(values), max(values)), False)))
    lines = np.stack([values for _, values in columns], axis=1)
    shade = lines[:, len(columns) - len(names)]
    import matplotlib.pyplot as plt

    for line, trial, level in sorted(zip(lines, finished, shade, strict=True), key=lambda row: row[1].number in best):
        chosen = trial.number in best
        axis.plot(range(len(columns)), line, color=plt.get_cmap("viridis")(0.9 * level) if chosen else _OTHER,
                  linewidth=1.6 if chosen else 0.7, alpha=0.95 if chosen else 0.8)
    for place in range(len(columns)):
        axis.axvline(place, color="#555", linewidth=0.8)
    axis.set_xticks(range(len(columns)), [name for name, _ in columns], rotation=25, ha="right", fontsize=8)
    axis.set_yticks([])
    axis.set_xlim(-0.35, len(columns) - 0.4)
    axis.set_ylim(-0.04, 1.04)
    axis.set_title(f"settings and scores; the best trials in the colour of {names[0]}, light is high", fontsize=9)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)


def _scaled(axis: Any, place: int, values: list[float], span: tuple[float, float], log: bool) -> np.ndarray:
    """Values from 0 to 1 over a span, with its ends and middle written at the axis."""
    low, high = span
    marks = (low, (low * high) ** 0.5 if log else (low + high) / 2, high)
    _ticks(axis, place, {height: f"{mark:.3g}" for height, mark in zip((0.0, 0.5, 1.0), marks, strict=True)})
    if high <= low:
        return np.full(len(values), 0.5)
    numbers = np.array(values, float)
    return np.log(numbers / low) / np.log(high / low) if log else (numbers - low) / (high - low)


def _ticks(axis: Any, place: int, texts: dict[float, str]) -> None:
    for height, text in texts.items():
        axis.text(place + 0.03, height, text, fontsize=7, color="#222", va="center",
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})
