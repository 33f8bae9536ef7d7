"""SIDD, real noise: PNG pairs by scene, and the validation blocks in .mat files."""

from __future__ import annotations

import math
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rlenhance.core.errors import UsageError, one_line, printable
from rlenhance.io.containers import EXTENSIONS
from rlenhance.io.isolate import run_in_child
from rlenhance.io.limits import DAMAGE
from rlenhance.learning.data.examples import Example
from rlenhance.learning.data.image_cache import ImageSource
from rlenhance.learning.data.splits import Splits, split_by_scene

_INSTANCE = re.compile(r"^(\d{4})_(\d{3})_")  # 0001_001_S6_00100_00060_3200_L: instance, scene, camera, ISO, ...
_PAIRED = re.compile(r"(?:^|_)(noisy|gt)(?=_)", re.IGNORECASE)  # 0001_NOISY_SRGB_010.PNG beside 0001_GT_SRGB_010.PNG
_BLOCKS = re.compile(r"^Validation(Noisy|Gt)BlocksSrgb\.mat$", re.IGNORECASE)
_HELD_OUT = {"val": 0.15}
_lock = threading.Lock()
_SECONDS, _MEMORY = 20.0, 512.0  # limits of the child that reads a .mat file: seconds, MiB, and more by its size
_UNPACKED = 8.0  # MiB of memory for each MiB of a file; the published ones take 2
_MOST_BLOCKS, _MOST_BYTES = 100_000, 4 << 30
R = TypeVar("R")


def _homes(folder: Path) -> Iterator[Path]:
    """The folders that may hold scene instances or blocks: itself, `SIDD_.../` in it, and `Data/` in those."""
    for home in (folder, *sorted(part for part in folder.glob("SIDD*") if part.is_dir())):
        yield home
        if (home / "Data").is_dir():
            yield home / "Data"


def _pictures(folder: Path) -> Iterator[Path]:
    """The images with a role in their names, in a folder and in its scene instances."""
    for home in _homes(folder):
        for entry in sorted(home.iterdir()):
            inside = sorted(entry.iterdir()) if _INSTANCE.match(entry.name) and entry.is_dir() else [entry]
            yield from (path for path in inside
                        if path.suffix.lower() in EXTENSIONS and _PAIRED.search(path.stem))


def blocks_in(folder: Path) -> dict[str, Path]:
    """The validation block files of a folder: "noisy" and "gt", if they exist."""
    return {match.group(1).lower(): path for home in _homes(folder) for path in sorted(home.iterdir())
            if (match := _BLOCKS.match(path.name))}


def is_sidd(folder: Path) -> bool:
    """Whether a folder holds scene instances, images named NOISY and GT, or the validation blocks."""
    return any((_INSTANCE.match(entry.name) and entry.is_dir()) or _BLOCKS.match(entry.name) or
               (_PAIRED.search(entry.stem) and "srgb" in entry.stem.lower())
               for home in _homes(folder) for entry in home.iterdir())


def _scene(path: Path) -> str:
    """The scene's number, from the instance's folder or the file's name; else the instance's, which is finer."""
    match = _INSTANCE.match(path.parent.name) or _INSTANCE.match(path.name)
    if match:
        return f"scene {match.group(2)}"
    leading = re.match(r"\d+", path.stem)
    return f"instance {leading.group()}" if leading else path.stem


def _key(path: Path) -> tuple[str, str]:
    """The common key of the images of a pair: their instance, and the name without the role."""
    instance = path.parent.name if _INSTANCE.match(path.parent.name) else ""
    return instance, _PAIRED.sub("", path.stem).strip("_").lower()


def sidd_pairs(noisy: Path, clean: Path) -> tuple[list[Example], list[str]]:
    """All pairs of NOISY images of one folder and GT images of another (or the same), and a line per unpaired file."""
    sides: dict[str, dict[tuple[str, str], Path]] = {"noisy": {}, "gt": {}}
    for role, folder in (("noisy", noisy), ("gt", clean)):
        for path in _pictures(folder):
            found = _PAIRED.search(path.stem)
            if found and found.group(1).lower() == role:
                sides[role][_key(path)] = path
    first, second = sides["noisy"], sides["gt"]
    unmatched = [f"{first[key]}: no GT picture of that name beside it" for key in first.keys() - second.keys()]
    unmatched += [f"{second[key]}: no NOISY picture of that name beside it" for key in second.keys() - first.keys()]
    examples = [Example("/".join(part for part in (key[0], first[key].stem) if part), _scene(first[key]),
                        first[key], second[key]) for key in sorted(first.keys() & second.keys())]
    return examples, sorted(unmatched)


def open_sidd(folder: Path | str, clean: Path | str | None = None, seed: int = 0, fold: int = 0) -> Splits:
    """The pairs, and the validation blocks as the test split; without the blocks there is no test split.

    Validation is carved from the pairs by the scene's number: SIDD has ten scenes, each under several cameras and
    lights. The blocks are of other instances of the same ten scenes.

    Args:
        folder: scene instances, `Data/` or `SIDD_..._sRGB_Only/` with them; and the blocks, here or in `SIDD_.../`.
        clean: folder of the GT images, if they are elsewhere.
        seed, fold: see `split_by_scene`.

    Raises:
        UsageError: no pair, too few scenes to hold one out, or one of the two files of blocks alone.
    """
    folder = Path(folder)
    examples, unmatched = sidd_pairs(folder, Path(clean or folder))
    if not examples:
        raise UsageError(f"{folder}: no pair of NOISY and GT pictures (0001_001_S6_.../0001_NOISY_SRGB_010.PNG beside "
                         f"0001_GT_SRGB_010.PNG), which training needs; the validation blocks are a test")
    parts = split_by_scene(examples, _HELD_OUT, seed, fold)
    if not parts["val"]:
        raise UsageError(f"{folder}: {len(examples)} pairs of {len({e.scene for e in examples})} scenes are too few to "
                         f"hold one out for validation: at least three scenes are needed")
    test = validation_blocks(folder, folder) if blocks_in(folder) else []
    return Splits(parts["train"], parts["val"], test, str(folder), unmatched)


def validation_blocks(noisy: Path | str, clean: Path | str | None = None) -> list[Example]:
    """The validation blocks, one pair each, read on access.

    Args:
        noisy: `ValidationNoisyBlocksSrgb.mat`, or the folder of both files.
        clean: `ValidationGtBlocksSrgb.mat`, if it is elsewhere.

    SciPy reads whole variables: the first access loads the file (252 MB as published), and the last two files stay in
    memory.

    Raises:
        UsageError: a file is missing or damaged, is of MATLAB 7.3, or holds something else than pictures.
    """
    noisy = _blocks_file(Path(noisy), "noisy")
    clean = _blocks_file(Path(clean) if clean else noisy.parent, "gt")
    (name, shape), (partner, other_shape) = _variable(noisy), _variable(clean)
    if shape != other_shape:
        raise UsageError(f"{noisy}: {name} is {shape}, but {partner} in {clean} is {other_shape}")
    return [Example(f"block {picture:02d}-{block:02d}", f"validation {picture:02d}",
                    MatBlock(noisy, name, picture, block), MatBlock(clean, partner, picture, block))
            for picture in range(shape[0]) for block in range(shape[1])]


def _blocks_file(path: Path, role: str) -> Path:
    """The file of one side, given by its path or its folder."""
    published = f"Validation{role.capitalize()}BlocksSrgb.mat"
    path = blocks_in(path).get(role, path / published) if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path}: no such file; validation blocks are two files, ValidationNoisyBlocksSrgb.mat and "
                         f"ValidationGtBlocksSrgb.mat beside it")
    return path


@dataclass(frozen=True)
class MatBlock(ImageSource):
    """One block of a .mat file of them.

    Attributes:
        file: the .mat file.
        variable: its name in there, (pictures, blocks, H, W, 3) uint8.
        picture, block: which.
    """

    file: Path
    variable: str
    picture: int
    block: int

    def read(self) -> np.ndarray:
        with _lock:  # or two threads would both read the whole file
            stored = _load(self.file, self.variable, self.file.stat().st_mtime_ns)
        if self.picture >= stored.shape[0] or self.block >= stored.shape[1]:
            raise UsageError(f"{self.file}: has changed, or its header states no size; take another copy of it")
        return np.ascontiguousarray(stored[self.picture, self.block])

    def __str__(self) -> str:
        return f"{self.file}, block {self.picture}-{self.block}"


def _variable(path: Path) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the blocks in a file, without reading the values."""
    found = _isolated(variables_of, path)
    blocks = [(name, shape) for name, shape, kind in found if len(shape) == 5 and shape[4] == 3 and kind == "uint8"]
    if len(blocks) != 1:
        inside = ", ".join(f"{printable(name)} {shape} {kind}" for name, shape, kind in found) or "nothing"
        raise UsageError(f"{path}: validation blocks are one variable (pictures, blocks, height, width, 3) uint8; it "
                         f"holds {inside}")
    (name, shape), = blocks
    if shape[0] * shape[1] > _MOST_BLOCKS or math.prod(shape) > _MOST_BYTES:
        raise UsageError(f"{path}: {printable(name)} is {shape}, more than {_MOST_BLOCKS:,} blocks or "
                         f"{_MOST_BYTES / 1e9:.0f} GB")
    return name, shape


@lru_cache(maxsize=2)
def _load(path: Path, variable: str, changed: int) -> np.ndarray:
    return _isolated(read_variable, path, variable)


def _isolated(function: Callable[..., R], path: Path, *arguments: Any) -> R:
    """Call a reader of .mat files in a child process, which a damaged file may crash: SciPy trusts its sizes."""
    megabytes = path.stat().st_size / 2**20
    return run_in_child(function, path, *arguments, name=path, seconds=_SECONDS + megabytes / 4,
                        memory=_MEMORY + _UNPACKED * megabytes)


def variables_of(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """The name, shape and type of each variable in a .mat file, without their values."""
    from scipy.io import whosmat  # here: it costs start-up time

    return [(name, tuple(map(int, shape)), str(kind)) for name, shape, kind in _read(path, lambda: whosmat(path))]


def read_variable(path: Path, variable: str) -> np.ndarray:
    """A variable of a .mat file that holds numbers.

    Raises:
        UsageError: damaged, or not 8-bit numbers of five dimensions.
    """
    from scipy.io import loadmat  # here: it costs start-up time

    found = _read(path, lambda: loadmat(path, variable_names=[variable])).get(variable)
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != 5:
        raise UsageError(f"{path}: no readable .mat file (the values of {variable} are not what its head says)")
    return found


def _read(path: Path, reading: Callable[[], Any]) -> Any:
    """Call a reader of SciPy and turn its errors into UsageError."""
    from scipy.io.matlab import MatReadError

    try:
        return reading()
    except NotImplementedError as error:
        raise UsageError(f"{path}: a MATLAB 7.3 file (HDF5), which SciPy does not read; the blocks ship as version 5: "
                         f"save them so (in MATLAB with -v7)") from error
    except (*DAMAGE, MatReadError, zlib.error, UnboundLocalError) as error:
        raise UsageError(f"{path}: no readable .mat file ({one_line(error, 200)})") from error
