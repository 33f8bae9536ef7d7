"""Read a run folder for the page: arguments, curves, sample sheets, and signs of collapse."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.web.model_catalog import run_folders

#: What is drawn of every run that logs it: title, patterns of columns, a line of alarm.
PANELS: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("Reward of an episode (return)", (r"rollout/return", r"val/return"), None),
    ("Likeness to the references in dB (val/psnr)", (r"val/psnr(/camera)?", r"train/psnr"), None),
    ("What training makes smaller (loss)", (r"loss",), None),
    ("Undecidedness (entropy)", (r"policy/entropy/.*",), None),
    ("Likeness to one fixed curve in dB (collapse/constant_psnr)", (r"collapse/constant_psnr",), 45.0),
)
_ROWS, _POINTS = 200_000, 400  # rows read, and points drawn per curve
_LINE = 300  # characters of a line of a report
_SAMPLE = re.compile(r"(.+)-(\d+)\.png")


@dataclass(frozen=True)
class CollapseSign:
    """A sign of collapse: its description, and whether it is an alarm."""

    text: str
    alarm: bool


@dataclass(frozen=True)
class Run:
    """A run, as its files describe it.

    Attributes:
        folder: the run folder.
        asked: its arguments by name.
        curves: column of metrics.csv -> points (update, value).
        samples: name of a sheet -> (update, file), in order.
        facts: the lines of report.md on its budget and its plateau; none before its end.
    """

    folder: Path
    asked: Mapping[str, object]
    curves: Mapping[str, Sequence[tuple[float, float]]]
    samples: Mapping[str, Sequence[tuple[int, Path]]]
    facts: Sequence[str] = ()

    def matching(self, patterns: Sequence[str]) -> dict[str, Sequence[tuple[float, float]]]:
        """The curves whose whole name matches one of the patterns."""
        return {name: points for name, points in self.curves.items()
                if points and any(re.fullmatch(pattern, name) for pattern in patterns)}

    def watch(self) -> list[CollapseSign]:
        """Signs of collapse in the last evaluation (docs/reference/training.md says what the numbers are)."""
        last = {name.removeprefix("collapse/"): points[-1][1] for name, points in self.curves.items()
                if name.startswith("collapse/") and points}
        signs = []
        if "constant_psnr" in last:
            alarm = last["constant_psnr"] > 45
            signs.append(CollapseSign(f"likeness to one fixed curve: {last['constant_psnr']:.1f} dB; " + (
                "the policy does the same to every picture" if alarm else "pictures are treated each in its own way "
                "(above 45 dB they would not be)"), alarm))
        if "top_choice_share" in last:
            alarm = last["top_choice_share"] > 0.99
            text = f"the commonest action is taken by {100 * last['top_choice_share']:.0f} % of the agents"
            signs.append(CollapseSign(text + (
                ": they have stopped choosing" if alarm else " (above 99 % they have stopped choosing)"), alarm))
        for name in (name for name in last if name.startswith("saturation/")):
            alarm = last[name] > 0.25
            text = f"{name.partition('/')[2]} agents at the end of their range: {100 * last[name]:.0f} %"
            signs.append(CollapseSign(text + (": they hardly learn" if alarm else " (above 25 % they hardly learn)"),
                                      alarm))
        if "num_choices" in last:
            alarm = last["num_choices"] <= 1
            signs.append(CollapseSign(f"{last['num_choices']:.0f} different actions are in use", alarm))
        return signs


def list_runs(root: Path | None) -> dict[str, Path]:
    """Runs below a root by their paths from there, the newest first."""
    return {str(folder.relative_to(root)) if folder != root else folder.name: folder
            for folder in run_folders(root)} if root is not None else {}


def open_run(root: Path | None, label: object) -> Run:
    """Read a run of `list_runs`, and no other folder."""
    known = list_runs(root)
    if not isinstance(label, str) or label not in known:
        raise UsageError(f"no run {label!r} in {root}; there are {', '.join(known) or 'none'}")
    folder = known[label]
    try:
        config = read_object(folder / "config.json", finite=False)
        curves = read_curves(folder / "metrics.csv")
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{label}: cannot be read ({error})") from error
    samples: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted((folder / "samples").glob("*.png")):
        match = _SAMPLE.fullmatch(path.name)
        name, step = (match[1], int(match[2])) if match else (path.stem, 0)
        samples.setdefault(name, []).append((step, path))
    asked = config.get("arguments", {})
    asked = asked if isinstance(asked, dict) else {}
    parts = {name: value for part in asked.values() if isinstance(part, dict) for name, value in part.items()}
    return Run(folder, {**asked, **parts}, curves,
               {name: sorted(files) for name, files in samples.items()}, read_facts(folder / "report.md"))


def read_facts(path: Path) -> list[str]:
    """The items of the list in a report.md; none where there is none."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line[2:].strip()[:_LINE] for line in islice(file, _POINTS) if line.startswith("- ")]


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The columns of a metrics.csv; a run that goes on may be writing its last line, which is then left out."""
    curves: dict[str, list[tuple[float, float]]] = {}
    if not path.is_file():
        return curves
    with path.open(newline="", encoding="utf-8") as file:
        for row in islice(csv.DictReader(file), _ROWS):
            try:
                step = float(row.pop("step"))
            except (KeyError, TypeError, ValueError):
                continue
            for name, text in row.items():
                value = _number(text) if name and text else None
                if value is not None:
                    curves.setdefault(name, []).append((step, value))
    return {name: subsample(points) for name, points in curves.items()}


def subsample(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 400 points, the last one included."""
    every = -(-len(points) // _POINTS)
    return [*points[::every], points[-1]] if every > 1 else points


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
