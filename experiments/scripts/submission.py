"""Restored pictures as a competition's table: `python -m experiments.scripts.submission restored -o submission.csv`."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.io import read
from rlenhance.io.files import write_atomically
from rlenhance.learning.data.datasets import image_files

_NUMBER = re.compile(r"\d+")
_ID = re.compile(r"gt_\d{5,}")


def main(folder: Annotated[Path, tyro.conf.Positional],
         out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("submission.csv"), every: int = 8,
         suffix: str = "") -> Path:
    """Write the table ID,pixel_0,pixel_1,...: of each picture every eighth grey value, rows one after the other.

    Args:
        folder: Restored pictures; the last number in a name becomes its ID, gt_00001.
        out: The file to write.
        every: Of the values, one out of so many.
        suffix: Take pictures whose name ends in this (as in _upscaled), and no others.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; name the one that holds the restored pictures")
    if every < 1:
        raise UsageError(f"--every must be at least 1; got {every}")
    files = [path for path in image_files(folder) if path.stem.endswith(suffix)]
    if not files:
        raise UsageError(f"{folder}: holds no picture whose name ends in {suffix!r}"
                         if suffix else f"{folder}: holds no picture")
    rows: dict[str, np.ndarray] = {}
    for path in sorted(files, key=natural):
        name = identifier(path.stem.removesuffix(suffix))
        if name in rows:
            raise UsageError(f"{path}: another picture is {name} already; keep one of each number, or name --suffix")
        rows[name] = sampled(read(path).pixels, every)
        first = next(iter(rows.values()))
        if len(rows[name]) != len(first):
            raise UsageError(f"{path}: gives {len(rows[name])} values and the first picture {len(first)}: all have one "
                             f"size in this table")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, rows)
    read_table(out)
    print(f"{out}: {len(rows)} pictures, {len(first)} values each")
    return out


def natural(path: Path) -> tuple[int | str, ...]:
    """A key that sorts 2 before 10: the parts of the name, numbers as numbers."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem))


def identifier(stem: str) -> str:
    """gt_NNNNN, from the last number in a name."""
    numbers = _NUMBER.findall(stem)
    if not numbers:
        raise UsageError(f"{stem}: has no number, and the table's IDs are gt_00001 and so on; rename it")
    return f"gt_{int(numbers[-1]):05d}"


def sampled(picture: np.ndarray, every: int) -> np.ndarray:
    """Every n-th of a picture's grey values (ITU-R BT.601, 0 to 255), rows one after the other: uint8."""
    if picture.dtype == np.uint16:
        picture = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)).ravel()[::every]


def write_table(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    """The header ID,pixel_0,... and a row for each picture, in the order given."""
    count = len(next(iter(rows.values())))
    lines = [",".join(["ID", *(f"pixel_{i}" for i in range(count))])]
    lines += [",".join([name, *map(str, values.tolist())]) for name, values in rows.items()]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def read_table(path: Path) -> dict[str, np.ndarray]:
    """A table of `write_table`."""
    with path.open(newline="") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if header[:1] != ["ID"] or header[1:] != [f"pixel_{i}" for i in range(len(header) - 1)]:
        raise UsageError(f"{path}: begins with {','.join(header[:3])}..., not with ID,pixel_0,pixel_1,...")
    rows: dict[str, np.ndarray] = {}
    for number, line in enumerate(lines, 2):
        whole = len(line) == len(header) and all(value.isdigit() and int(value) < 256 for value in line[1:])
        if not whole or not _ID.fullmatch(line[0]) or line[0] in rows:
            raise UsageError(f"{path}, line {number}: needs an ID of its own, as in gt_00001, and {len(header) - 1} "
                             f"numbers from 0 to 255")
        rows[line[0]] = np.array([int(value) for value in line[1:]], np.uint8)
    return rows


if __name__ == "__main__":
    sys.exit(run_cli(main))
