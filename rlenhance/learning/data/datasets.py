"""Data sets on disk: folders of images or pairs in known layouts, and the sample photographs, as splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.io.files import EXTENSIONS
from rlenhance.io.pairs import pair_files
from rlenhance.io.samples import sample_path
from rlenhance.learning.data.celeba import open_celeba
from rlenhance.learning.data.degradations import Darken, Degradation, Noise, parse_noise
from rlenhance.learning.data.examples import Example, scene_of
from rlenhance.learning.data.image_cache import Source
from rlenhance.learning.data.shards import read_shard, shard_files
from rlenhance.learning.data.sidd import is_sidd, open_sidd
from rlenhance.learning.data.splits import Splits, split_by_scene

LAYOUTS = """known layouts of a data folder:
  our485/{low,high} and eval15/{low,high}   LOL (or ours485): validation is carved from our485, eval15 is the test
  low/ and high/, or input/ and gt/         pairs by name (low1.png and high1.png, train_00001.png and gt_00001.png):
                                            split by scene where names begin with sNNN_
  train/{train,gt}, val/..., test/...       ready-made splits, each with one of the pairs of names above; pictures in
                                            test/ or test/test/ without references are for inference
  0001_001_S6_.../0001_{NOISY,GT}_SRGB_...  SIDD: pairs, split by scene; the test is Validation*BlocksSrgb.mat
  pictures directly inside                  dark photographs alone, no reference
  *.tar or *.parquet, or one such file      shards of WebDataset, tables of Parquet (docs/howto/shards.md)
for denoising also img_align_celeba/ beside list_eval_partition.txt, and TFRecord files (*-r08.tfrecords)"""

_INPUTS, _TARGETS = ("low", "input", "train", "val", "test"), ("high", "gt", "target", "normal")
_LOL_TRAINING = "our485", "ours485"  # as the archive has it, and as ReLLIE's text calls it


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))


_NAMED = 5  # files of each kind that a message lists


def _pair_folders(folder: Path) -> tuple[Path, Path] | None:
    """The folders of a pair's two sides: low/ and high/, train/ and gt/, ..., or pictures around a gt/."""
    inputs = next((folder / n for n in _INPUTS if (folder / n).is_dir()), None)
    targets = next((folder / n for n in _TARGETS if (folder / n).is_dir()), None)
    if inputs is None and targets == folder / "gt" and image_files(folder):
        inputs = folder
    return (inputs, targets) if inputs and targets else None


def examples_in(folder: Path) -> tuple[list[Example], list[str]]:
    """The pairs of one folder, or its images alone, without splitting; and a line per file without a partner."""
    pair = _pair_folders(folder)
    if pair is None:
        inside = next((folder / n for n in ("low", "input", folder.name) if (folder / n).is_dir()), folder)
        return [Example(path.name, scene_of(path.stem), path) for path in image_files(inside)], []
    pairs, unmatched = pair_files(*map(image_files, pair))
    return [Example(image.stem, scene_of(image.stem), image, target) for image, target in pairs], unmatched


def open_dataset(folder: Path | str, seed: int = 0, fold: int = 0) -> Splits:
    """Detect the layout of a data folder, and split it.

    Validation is always carved from training, never from the test split. Pictures in val/ and test/ without references,
    beside a train/ with references, are for inference alone. Nothing is decoded, see `validate_splits`.

    Args:
        folder: one of `LAYOUTS`.
        seed, fold: see `split_by_scene`.

    Raises:
        UsageError: no such folder, no image, too few scenes to hold one out, or no such fold.
    """
    folder = Path(folder)
    if (shards := shard_files(folder)) and not (folder.is_dir() and _holds_pictures(folder)):
        return _open_shards(folder, shards, seed, fold)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; {LAYOUTS}")
    if is_sidd(folder):
        return open_sidd(folder, seed=seed, fold=fold)
    # A pair (low beside high) is looked for first: "train" is both a split's name and an input folder's.
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    unmatched: list[str] = []
    lol = next((name for name in _LOL_TRAINING if (folder / name).is_dir()), None)
    names = {lol: "train", "eval15": "test"} if lol else \
            {} if _pair_folders(folder) else {name: name for name in parts if (folder / name).is_dir()}
    for name, part in names.items():
        if (folder / name).is_dir():
            parts[part], missing = examples_in(folder / name)
            unmatched += missing
    inference = []
    if names and any(example.target is not None for example in parts["train"]):
        for part in ("val", "test"):
            inference += [example for example in parts[part] if example.target is None]
            parts[part] = [example for example in parts[part] if example.target is not None]
    if not names:
        whole, unmatched = examples_in(folder)
        parts = _dealt_out(whole, seed, fold)
    elif not parts["val"]:
        parts |= split_by_scene(parts["train"], {"val": 0.15}, seed, fold)
    elif fold:
        raise UsageError(f"{folder}: its splits are ready-made, there is no fold {fold}")
    if not parts["train"]:
        raise UsageError(f"{folder}: no picture to train on{_without_partners(unmatched)}; {LAYOUTS}")
    if not parts["val"]:
        raise UsageError(
            f"{folder}: {len(parts['train'])} pictures of {len({e.scene for e in parts['train']})} scenes are too few "
            f"to hold one out for validation: at least three scenes are needed{_without_partners(unmatched)}"
        )
    return Splits(parts["train"], parts["val"], parts.get("test", []), str(folder), unmatched, inference)


def _holds_pictures(folder: Path) -> bool:
    """Whether a folder has pictures in a layout of files, beside which an archive may lie."""
    inside = any((folder / name).is_dir() for name in (*_LOL_TRAINING, "train", "val", "test"))
    return inside or bool(_pair_folders(folder) or image_files(folder)) or is_sidd(folder)


def _dealt_out(whole: Sequence[Example], seed: int, fold: int) -> dict[str, list[Example]]:
    """The splits of examples that have none of their own."""
    many = len({example.scene for example in whole}) >= 10
    return split_by_scene(whole, {"val": 0.15, "test": 0.2} if many else {"val": 0.15}, seed, fold)


_SHARD_SPLIT = re.compile(r"^(train|val|validation|test)(?![a-z])", re.IGNORECASE)


def _open_shards(path: Path, files: Sequence[Path], seed: int, fold: int) -> Splits:
    """The splits of shards: those that their names begin with, as in test-000.tar, or by scene."""
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    unmatched: list[str] = []
    for file in files:
        found, lines = read_shard(file)
        match = _SHARD_SPLIT.match(file.stem)
        parts[match.group(1).lower().replace("validation", "val") if match else "train"] += found
        unmatched += lines
    if not parts["val"] and not parts["test"]:
        parts = {"test": [], **_dealt_out(parts["train"], seed, fold)}
    elif not parts["val"]:
        parts |= split_by_scene(parts["train"], {"val": 0.15}, seed, fold)
    elif fold:
        raise UsageError(f"{path}: its splits are ready-made, there is no fold {fold}")
    if not parts["train"] or not parts["val"]:
        raise UsageError(f"{path}: {sum(map(len, parts.values()))} pictures are too few to hold a scene out for "
                         f"validation: at least three scenes are needed")
    return Splits(parts["train"], parts["val"], parts["test"], str(path), unmatched)


def _without_partners(lines: Sequence[str]) -> str:
    """The first files that did not pair and their number, as a part of a message; empty where all did."""
    if not lines:
        return ""
    more = f"\n  and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return f"; {len(lines)} files have no partner:\n  " + "\n  ".join(lines[:_NAMED]) + more + "\n"


#: Number of test and validation images of a folder without splits of its own.
HELD_OUT, VALIDATED = 64, 16


def open_clean(folder: Path | str | None, degradation: Degradation | None = None, *, held_out: int = HELD_OUT,
                 validated: int = VALIDATED) -> Splits:
    """The clean images of a folder, split, for denoising and other tasks that degrade them.

    Images directly in the folder are split by a hash of their names. Pairs and splits of its own (see `open_dataset`)
    stay, and the references are the clean images, one per scene; so do the splits of CelebA and CelebA-HQ (see
    `open_celeba`), which may be TFRecord files.

    Args:
        folder: images, pairs, CelebA, or TFRecord files (or one of them); None: the sample photographs.
        degradation: makes the input image from the clean one; None: the input is the clean image.
        held_out, validated: number of test and validation images where the folder has no splits; a sixth each where
            there are fewer than `held_out + 2 * validated`.

    Raises:
        UsageError: no such folder, no image, too few to hold one out; or pairs without references.

    Example:
        >>> splits = open_clean("bsd432_gray")  # doctest: +SKIP
        >>> len(splits.test)  # doctest: +SKIP
        64
    """
    if folder is None:
        train, val = ([Example(name, name, None if degradation else sample_path(name), sample_path(name), degradation)
                       for name, role in SAMPLE_ROLES.items() if role == part] for part in ("train", "val"))
        return Splits(train, val, (), _SAMPLES)
    faces = open_celeba(folder)
    found = faces or open_dataset(folder)
    if found.has_references:
        train, val, test = (_references(part, degradation) for part in found.parts.values())
        return Splits(train, val, test, str(folder), faces.unmatched if faces else ())
    if any(example.target is not None for part in found.parts.values() for example in part):
        raise UsageError(f"{folder}: some of its splits have references and some have none; name a folder of pictures")
    examples = [_degraded(example, example.image, degradation) for part in found.parts.values() for example in part]
    count = len({example.scene for example in examples})
    if count < held_out + 2 * validated:
        held_out = validated = max(1, count // 6)
    parts = split_by_scene(examples, {"test": held_out / count, "val": validated / count})
    train, val, test = (sorted(parts[name], key=lambda e: e.name) for name in ("train", "val", "test"))
    return Splits(train, val, test, str(folder))


def _references(part: Sequence[Example], degradation: Degradation | None) -> list[Example]:
    """The reference of the first example of each scene."""
    first: dict[str, Example] = {}
    for example in part:
        first.setdefault(example.scene, example)
    return [_degraded(example, example.target, degradation) for example in first.values()]


def _degraded(example: Example, good: Source | None, degradation: Degradation | None) -> Example:
    return Example(example.name, example.scene, None if degradation else good, good, degradation)


#: Name of the noise that pairs contain.
REAL = "real"


def noise_from(text: str, eight_bit: bool = False) -> Noise | None:
    """`parse_noise`, or None for the noise that pairs contain."""
    return None if text == REAL else parse_noise(text, eight_bit)


def open_noisy(folder: Path | str | None, noise: str, eight_bit: bool = False) -> Splits:
    """The splits of a denoising experiment.

    Args:
        folder: clean images, or pairs; None: the sample photographs.
        noise: see `parse_noise`; or "real": pairs (input/ and gt/, low/ and high/) are taken as they are.
        eight_bit: noisy images are clipped and rounded to 8 bits.

    Raises:
        UsageError: an unknown noise; "real" without pairs; see `open_clean`.
    """
    degradation = noise_from(noise, eight_bit)
    if degradation is None:
        if folder is None:
            raise UsageError(f"noise {REAL!r} is the noise of pairs: name their folder, with input/ (noisy) "
                             f"and gt/ (clean)")
        splits = open_dataset(folder)
        if not splits.has_references:
            raise UsageError(f"{folder}: noise {REAL!r} needs pairs, input/ (noisy) and gt/ (clean); for good pictures "
                             f"alone name the noise to make, as in 25")
        return splits
    return open_clean(folder, degradation)


#: The split of each of the four sample photographs of version 0.1, which never changes.
SAMPLE_ROLES = {"astronaut": "train", "coffee": "train", "rocket": "train", "chelsea": "val"}
#: Sets of sample photographs: name -> photograph -> split. "all" holds every photograph of an everyday scene in the
#: packages that rlenhance needs, one of each scene; two are held out.
SAMPLE_SETS: dict[str, dict[str, str]] = {
    "all": SAMPLE_ROLES | {
        "motorcycle_left": "train", "camera": "train", "coins": "train", "brick": "train", "grass": "train",
        "gravel": "train", "flower": "train", "grace_hopper": "train", "china": "val",
    },
    "four": SAMPLE_ROLES,
}
_SAMPLES = "sample photographs (a demonstration on four photographs)"
_SAMPLE_EXPOSURES = (1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 16, 1 / 32)


def sample_photographs(darken: Darken | None = None, names: str = "four") -> Splits:
    """Photographs to train on, darkened anew at each draw; others to validate on, at eight fixed exposures.

    Args:
        darken: makes the dark pictures; None: the usual range.
        names: one of `SAMPLE_SETS`.

    Raises:
        UnknownName: no such set.
    """
    if names not in SAMPLE_SETS:
        raise UnknownName("set of sample photographs", names, SAMPLE_SETS)
    darken, roles = darken or Darken(), SAMPLE_SETS[names]
    train = [Example(n, n, None, sample_path(n), darken) for n, role in roles.items() if role == "train"]
    val = [
        Example(f"{n}-{round(1 / exposure)}", n, None, sample_path(n),
                Darken(exposure, exposure, darken.shot, darken.read, darken.bits))
        for n, role in roles.items() if role == "val" for exposure in _SAMPLE_EXPOSURES
    ]
    source = _SAMPLES if names == "four" else f"sample photographs (a demonstration on {len(roles)} photographs)"
    return Splits(train, val, (), source)
