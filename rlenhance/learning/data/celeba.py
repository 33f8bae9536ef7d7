"""CelebA's photographs and CelebA-HQ's TFRecords, with their splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import EXTENSIONS
from rlenhance.learning.data.examples import Example
from rlenhance.learning.data.splits import Splits, split_by_scene
from rlenhance.learning.data.tfrecords import records

_INSIDE = "img_align_celeba"
_PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
_PARTS = ("train", "val", "test")  # in the order of the numbers 0, 1, 2 in the list
_LEVEL = re.compile(r"-r(\d{2})(?=[-.])")  # celebahq-r08.tfrecords: sides of 2**8 pixels
_PUBLISHED = 8
_HELD_OUT = re.compile(r"^(validation|valid|val|test)(?![a-z])", re.IGNORECASE)


def open_celeba(path: Path | str) -> Splits | None:
    """The splits of CelebA or CelebA-HQ; None where the path is neither.

    Where the data defines the splits, image and target of an example are the same file. Otherwise there are no targets,
    all examples are in `train`, and `open_clean` splits them.

    Args:
        path: `img_align_celeba/` or the folder around it, with `list_eval_partition.txt` (0 is training, 1 validation,
            2 the test) in it or beside it; a file of records; or a folder of such files: those of 256x256 pixels
            (`-r08`) where there are several sizes. Files in `validation/`, or of that name, are the test split.

    Raises:
        UsageError: a damaged file; files of several sizes without 256x256; a list without training images.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".tfrecords":
        return Splits(_recorded([path]), [], (), str(path))
    if not path.is_dir():
        return None
    files = [file for folder in (path, *(part for part in sorted(path.iterdir()) if part.is_dir()))
             for file in sorted(folder.glob("*.tfrecords"))]
    if files:
        return _of_records(path, files)
    inside = path
    for part in (path / _INSIDE, path / "Img" / _INSIDE, path / _INSIDE / _INSIDE):  # the last: unpacked twice
        inside = part if part.is_dir() else inside
    around = [path, inside]
    if inside.name == _INSIDE:
        around += list(inside.absolute().parents)[:2]
    listed = next((home / name for place in around for home in (place, place / "Eval") for name in _PARTITION
                   if (home / name).is_file()), None)
    if listed is None and inside == path:
        return None
    return _of_photographs(path, inside, listed)


def _of_photographs(path: Path, inside: Path, listed: Path | None) -> Splits:
    pictures = sorted(p for p in inside.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
    if listed is None:
        return Splits([Example(p.name, p.stem, p) for p in pictures], [], (), str(path))
    parts: dict[str, list[Example]] = {name: [] for name in _PARTS}
    roles, unlisted = _partition(listed), []
    for picture in pictures:
        role = roles.get(picture.name)
        if role is None:
            unlisted.append(f"{picture}: {listed.name} does not name it")
        else:
            parts[role].append(Example(picture.name, picture.stem, picture, picture))
    if not parts["train"]:
        raise UsageError(f"{listed}: of the {len(pictures)} pictures in {inside} it names none as training (0)")
    return _with_validation(parts, path, unlisted)


def _partition(listed: Path) -> dict[str, str]:
    """File name -> split: lines of a name and 0, 1 or 2, separated by blanks or a comma; a heading is skipped."""
    roles = {}
    for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.replace(",", " ").split()
        if len(words) == 2 and words[1] in ("0", "1", "2"):
            roles[words[0]] = _PARTS[int(words[1])]
    return roles


def _of_records(path: Path, files: Sequence[Path]) -> Splits:
    levels = {int(match.group(1)) if (match := _LEVEL.search(file.name)) else 0 for file in files}
    if len(levels) > 1:
        if _PUBLISHED not in levels:
            raise UsageError(f"{path}: records of several sizes, {', '.join(file.name for file in files[:8])}; name "
                             f"one file")
        files = [file for file in files if f"-r{_PUBLISHED:02d}" in file.name]
    held = [file for file in files
            if _HELD_OUT.match(file.name) or (file.parent != path and _HELD_OUT.match(file.parent.name))]
    if not held or len(held) == len(files):
        return Splits(_recorded(files), [], (), str(path))
    parts = {"train": _recorded([file for file in files if file not in held], known=True), "val": [],
             "test": _recorded(held, known=True)}
    return _with_validation(parts, path, [])


def _recorded(files: Sequence[Path], known: bool = False) -> list[Example]:
    found = [(f"{file.stem}-{record.number:05d}", record) for file in files for record in records(file)]
    return [Example(name, name, record, record if known else None) for name, record in found]


def _with_validation(parts: dict[str, list[Example]], path: Path, unmatched: list[str]) -> Splits:
    """Validation carved from training where the data has none."""
    if not parts["val"]:
        parts = {"test": parts["test"], **split_by_scene(parts["train"], {"val": 0.02})}
    if not parts["val"]:
        raise UsageError(f"{path}: {len(parts['train'])} pictures are too few to hold one out: at least three are "
                         f"needed")
    return Splits(parts["train"], parts["val"], parts["test"], str(path), unmatched)
