"""Good pictures, to be spoiled on purpose: which are learned from, and which are kept for the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.data.celeba import open_celeba
from rlenhance.data.degradations import Degradation
from rlenhance.data.examples import Example
from rlenhance.data.folders import open_dataset
from rlenhance.data.sources import Source
from rlenhance.data.splits import Splits, split_by_scene

#: Pictures of a folder that are kept for the test, and how many of the others are validated on.
HELD_OUT, VALIDATED = 64, 16


def open_clean(folder: Path | str, degradation: Degradation | None = None, *, held_out: int = HELD_OUT,
                 validated: int = VALIDATED) -> Splits:
    """The good pictures of a folder as the splits that every denoising experiment takes.

    Pictures that lie directly in the folder are dealt out by a hash of their names. Where the folder has pairs or
    splits of its own (see `open_dataset`), its splits stay, and their references are the good pictures, one per scene;
    so do the splits of CelebA and CelebA-HQ (see `open_celeba`), whose pictures may lie in TFRecord files.

    Args:
        folder: pictures, pairs, CelebA, or TFRecord files (or one of them).
        degradation: makes the picture to work on from the good one; None: that is the good one itself.
        held_out, validated: how many of pictures that lie directly in the folder are tested and validated on; where
            fewer than `held_out + 2 * validated` are there, a sixth each.

    Raises:
        UsageError: no such folder, no picture, too few to hold one out; or pairs without references.

    Example:
        >>> splits = clean_folder("bsd432_gray")  # doctest: +SKIP
        >>> len(splits.test)  # doctest: +SKIP
        64
    """
    faces = open_celeba(folder)
    found = faces or open_dataset(folder)
    if found.has_references:
        train, val, test = (_references(part, degradation) for part in found.parts.values())
        return Splits(train, val, test, str(folder), faces.unmatched if faces else ())
    if any(example.target is not None for part in found.parts.values() for example in part):
        raise UsageError(f"{folder}: some of its splits have references and some have none; name a folder of pictures")
    examples = [_spoiled(example, example.image, degradation) for part in found.parts.values() for example in part]
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
    return [_spoiled(example, example.target, degradation) for example in first.values()]


def _spoiled(example: Example, good: Source | None, degradation: Degradation | None) -> Example:
    return Example(example.name, example.scene, None if degradation else good, good, degradation)
