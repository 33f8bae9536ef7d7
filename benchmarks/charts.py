"""The tables as charts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.share import SECTIONS
from benchmarks.table import Table


def draw(tables: Mapping[str, Table], folder: Path) -> list[Path]:
    """Charts of the tables that are there, as PNG files in the folder; their paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = []
    for name, parts, drawer in (("share", ("share",), _share), ("speed", ("environment", "speed"), _speed),
                                ("scaling", ("batch", "size", "processes"), _scaling),
                                ("photo", ("photo",), _photo)):
        there = [tables[part] for part in parts if part in tables]
        if not there:
            continue
        figure, axes = plt.subplots(1, len(there), figsize=(5.2 * len(there) + 1.5, 3.4), squeeze=False)
        for axis, table in zip(axes[0], there, strict=True):
            drawer(axis, table)
            axis.tick_params(labelsize=7)
        figure.tight_layout()
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=90)
        plt.close(figure)
        made.append(path)
    return made


def _share(axis: Any, table: Table) -> None:
    left = [0.0] * len(table.rows)
    for index, section in enumerate(SECTIONS):
        values = table.column(f"{section}, %")
        color = ("0.55", "0.75")[index] if index < 2 else f"C{(0, 1, 2, 3, 4, 5, 6, 8)[index - 2]}"
        axis.barh(table.column("recipe"), values, left=left, label=section, color=color)
        left = [start + value for start, value in zip(left, values, strict=True)]
    axis.axvline(85, color="black", linewidth=0.8, linestyle="--")
    axis.set_xlabel("share of an update in % (dashed: 15 % outside the network)", fontsize=8)
    axis.invert_yaxis()
    axis.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))


def _speed(axis: Any, table: Table) -> None:
    count = list(table.columns)[1]
    labels = [f"{row[0]}, {row[1]}" for row in table.rows]
    names = {name: name for name in table.columns if name.endswith("times the loop")}
    if table.name == "speed":
        names = {"times the loop": "rollouts", "updates, times the loop": "updates"}
    for index, (name, label) in enumerate(names.items()):
        places = [place + 0.4 * index for place in range(len(labels))]
        axis.barh(places, table.column(name), height=0.4, label=label)
    axis.set_yticks([place + 0.2 * (len(names) - 1) for place in range(len(labels))], labels)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xlabel(f"speed over the NumPy and OpenCV loop (last number: {count})", fontsize=8)
    axis.invert_yaxis()
    if len(names) > 1:
        axis.legend(fontsize=7)


def _scaling(axis: Any, table: Table) -> None:
    if table.name == "processes":
        axis.barh(table.column("how"), table.column("updates per second"))
        axis.set_xlabel("updates per second", fontsize=8)
        axis.invert_yaxis()
        return
    unit, value = table.columns[1], "environment steps per second"
    for recipe in dict.fromkeys(table.column("recipe")):
        points = [(place, rate) for name, place, rate in zip(table.column("recipe"), table.column(unit),
                                                             table.column(value), strict=True) if name == recipe]
        axis.plot(*zip(*points, strict=True), marker="o", label=recipe)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel(unit, fontsize=8)
    axis.set_ylabel(value, fontsize=8)
    axis.legend(fontsize=7)


def _photo(axis: Any, table: Table) -> None:
    columns = [table.column(name) for name in ("megapixels", "what", "ms")]
    for what in ("non-local means", "whole, tiles", "CLAHE", "whole, 16 bit", "whole", "gamma"):
        points = [(size, spent) for size, name, spent in zip(*columns, strict=True) if name == what]
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=what)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("megapixels", fontsize=8)
    axis.set_ylabel("ms of processor time", fontsize=8)
    axis.legend(fontsize=6)
