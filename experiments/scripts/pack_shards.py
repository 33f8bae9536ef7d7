"""Put a data folder into shards, and measure drawing from them: `python -m experiments.scripts.pack_shards DATA`."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.experiments.core.cli import run_cli
from rlenhance.io.files import atomic_path
from rlenhance.learning.data import Example, ImageCache, Sampler, Splits, open_dataset


def main(data: Annotated[Path, tyro.conf.Positional], out: Path = Path("shards"), form: str = "tar",
         examples: int = 1000, row_group: int = 100, measure: int = 0) -> Path:
    """Copy the picture files of a data folder, as they are, into tar files of WebDataset or Parquet tables.

    Args:
        data: A folder that trainings take as --data; pictures in files.
        out: The folder of the shards; a new one.
        form: tar or parquet.
        examples: Of a shard.
        row_group: Rows that a Parquet table's readers take at once.
        measure: Draw so many training pictures from the files and from both kinds of shards, in turns, and
            print the ratios.

    Raises:
        UsageError: the folder exists; the pictures lie in no files of their own.
    """
    if form not in ("tar", "parquet") or examples < 1 or row_group < 1:
        raise UsageError(f"--form is tar or parquet, --examples and --row-group are at least 1; got "
                         f"{form!r}, {examples} and {row_group}")
    splits = open_dataset(data)
    if out.exists():
        raise UsageError(f"{out}: exists; choose another --out")
    ready = bool(splits.test) and splits.test == open_dataset(data, seed=1).test
    forms = ("tar", "parquet") if measure else (form,)
    for form in forms:
        folder = out / form if measure else out
        write_shards(splits, ready, folder, form, examples, row_group)
        print(f"{folder}: {sum(1 for _ in folder.iterdir())} shards of {form}, "
              f"{sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")
    if measure:
        measure_reading({"files": data, **{form: out / form for form in forms}}, measure)
    return out


def write_shards(splits: Splits, ready: bool, folder: Path, form: str, size: int, row_group: int) -> None:
    """All pictures in shards called train; but those of a test split that is `ready`-made, in shards called test."""
    parts = {"train": [*splits.train, *splits.val], "test": list(splits.test)} if ready else \
        {"train": [example for part in splits.parts.values() for example in part]}
    for name, part in parts.items():
        for number, first in enumerate(range(0, len(part), size)):
            with atomic_path(folder / f"{name}-{number:05d}.{form}") as path:
                (_write_tar if form == "tar" else _write_table)(path, part[first : first + size], row_group)


def _files(example: Example) -> Iterator[tuple[str, Path]]:
    for part, path in (("low", example.image), ("high", example.target)):
        if path is not None:
            if not isinstance(path, Path):
                raise UsageError(f"{path}: lies in a file of many already")
            yield part if example.target is not None and example.image is not None else "", path


def _write_tar(path: Path, examples: Sequence[Example], _: int) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for example in examples:
            for part, file in _files(example):
                data = file.read_bytes()
                member = tarfile.TarInfo(".".join(filter(None, (_key(example), part, file.suffix[1:]))))
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_table(path: Path, examples: Sequence[Example], row_group: int) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"writing Parquet needs the package pyarrow: {install_line('parquet')}") from error
    columns: dict[str, list[Any]] = {"name": [_key(example) for example in examples],
                                     "scene": [example.scene for example in examples]}
    for example in examples:
        for part, file in _files(example):
            columns.setdefault(part or "image", []).append({"bytes": file.read_bytes(), "path": file.name})
    parquet.write_table(pyarrow.table(columns), path, row_group_size=row_group, compression="none")


def _key(example: Example) -> str:
    return Path(example.name).stem.replace(".", "_")


def measure_reading(places: dict[str, Path], count: int, rounds: int = 3) -> dict[str, float]:
    """Print how many training examples a second are drawn from each place, and the ratio to the first one.

    Nothing is kept decoded. The places take turns; the middle of three rounds counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in places}
    draws: dict[str, Callable[[int], Any]] = {}
    for name, place in places.items():
        begun = time.perf_counter()
        draws[name] = Sampler(open_dataset(place).train, ImageCache(0), 64, seed=0).sample
        print(f"{name:<8} opened in {time.perf_counter() - begun:.2f} s")
    for number in range(rounds):
        for name, draw in draws.items():
            begun = time.perf_counter()
            for sample in range(number * count, (number + 1) * count):
                draw(sample)
            seconds[name].append(time.perf_counter() - begun)
    rates = {name: count / float(np.median(times)) for name, times in seconds.items()}
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        print(f"{name:<8} {rate:8.1f} examples/s   {rate / first:.2f} of the files")
    return rates


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
