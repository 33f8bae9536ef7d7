"""Folders of pictures on disk: pairs, ready-made splits, or dark photographs alone."""

from __future__ import annotations

import re
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.data.examples import Example
from rlenhance.data.sidd import is_sidd, open_sidd
from rlenhance.data.splits import Splits, split_by_scene
from rlenhance.io.files import EXTENSIONS

LAYOUTS = """known layouts of a data folder:
  our485/{low,high} and eval15/{low,high}   the LOL data set: validation is carved from our485, eval15 is the test
  low/ and high/, or input/ and gt/         pairs by name: split by scene where names begin with sNNN_
  train/{train,gt}, val/..., test/...       ready-made splits, each with one of the pairs of names above
  0001_001_S6_.../0001_{NOISY,GT}_SRGB_...  SIDD: pairs, split by scene; the test is Validation*BlocksSrgb.mat
  pictures directly inside                  dark photographs alone, no reference
for denoising also img_align_celeba/ beside list_eval_partition.txt, and TFRecord files (*-r08.tfrecords)"""

_INPUTS, _TARGETS = ("low", "input", "train", "val", "test"), ("high", "gt", "target", "normal")
_SCENE = re.compile(r"^(s\d+)_")
_ROLE = re.compile(r"^(low|high|normal|input|gt)(?=\d)")  # low00001.png beside normal00001.png


def scene_of(name: str) -> str:
    """The scene that a file name states (`s012_0034` -> `s012`), else the name itself."""
    match = _SCENE.match(name)
    return match.group(1) if match else _ROLE.sub("", name)


def picture_files(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))


def _by_name(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The pictures of one side of the pairs by the name they share with the other, and those whose name is taken."""
    named: dict[str, Path] = {}
    clashes = []
    for path in picture_files(folder):
        other = named.setdefault(_ROLE.sub("", path.stem), path)
        if other != path:
            clashes.append(f"{path}: pairs by the same name as {other}")
    return named, clashes


def _pair_folders(folder: Path) -> tuple[Path, Path] | None:
    inputs = next((folder / n for n in _INPUTS if (folder / n).is_dir()), None)
    targets = next((folder / n for n in _TARGETS if (folder / n).is_dir()), None)
    return (inputs, targets) if inputs and targets else None


def examples_in(folder: Path) -> tuple[list[Example], list[str]]:
    """The pairs of one folder, or its pictures alone, without splitting; and what has no partner."""
    pair = _pair_folders(folder)
    if pair is None:
        low = folder / "low"
        alone = picture_files(low if low.is_dir() else folder)
        return [Example(path.name, scene_of(path.stem), path) for path in alone], []
    (inputs, clashes), (targets, more) = _by_name(pair[0]), _by_name(pair[1])
    unmatched = clashes + more
    unmatched += [f"{inputs[key]}: no picture of that name in {pair[1]}" for key in inputs.keys() - targets.keys()]
    unmatched += [f"{targets[key]}: no picture of that name in {pair[0]}" for key in targets.keys() - inputs.keys()]
    matched = [key for key in inputs if key in targets]
    examples = [Example(inputs[k].stem, scene_of(inputs[k].stem), inputs[k], targets[k]) for k in matched]
    return examples, sorted(unmatched)


def open_dataset(folder: Path | str, seed: int = 0, fold: int = 0) -> Splits:
    """Find out how a data folder is laid out, and split it.

    Validation is always carved from training, never from the test split. Nothing is decoded here, see
    `validate_splits`.

    Args:
        folder: one of the layouts above.
        seed: of the deal of scenes.
        fold: another part of the scenes is held out, see `split_by_scene`.

    Raises:
        UsageError: no such folder, no picture, or too few scenes to hold one out; no such fold.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; {LAYOUTS}")
    if is_sidd(folder):
        return open_sidd(folder, seed=seed, fold=fold)
    # A pair (low beside high) is asked for first: "train" is both a split's name and an input folder's.
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    unmatched: list[str] = []
    names = {"our485": "train", "eval15": "test"} if (folder / "our485").is_dir() else \
            {} if _pair_folders(folder) else {name: name for name in parts if (folder / name).is_dir()}
    for name, part in names.items():
        if (folder / name).is_dir():
            parts[part], missing = examples_in(folder / name)
            unmatched += missing
    if not names:
        whole, unmatched = examples_in(folder)
        parts = split_by_scene(whole, {"val": 0.15, "test": 0.2} if _many(whole) else {"val": 0.15}, seed,
                               fold)
    elif not parts["val"]:
        parts |= split_by_scene(parts["train"], {"val": 0.15}, seed, fold)
    elif fold:
        raise UsageError(f"{folder}: its splits are ready-made, there is no fold {fold}")
    if not parts["train"]:
        raise UsageError(f"{folder}: no picture to train on; {LAYOUTS}")
    if not parts["val"]:
        raise UsageError(
            f"{folder}: {len(parts['train'])} pictures of {len({e.scene for e in parts['train']})} scenes are too few "
            f"to hold one out for validation: at least three scenes are needed"
        )
    return Splits(parts["train"], parts["val"], parts.get("test", []), str(folder), unmatched)


def _many(examples: list[Example]) -> bool:
    return len({example.scene for example in examples}) >= 10
