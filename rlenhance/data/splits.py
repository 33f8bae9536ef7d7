"""Training, validation and test: by scene, never overlapping."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlenhance.core.errors import UsageError
from rlenhance.data.examples import Example
from rlenhance.data.image_cache import ImageCache


@dataclass(frozen=True)
class Splits:
    """Three lists of examples; the name of a split is the only way to its pictures.

    Attributes:
        train: learned from.
        val: watched during training; carved from the training material, chooses the best checkpoint.
        test: looked at once, by a comparison; may be empty.
        source: one line that says where the pictures come from.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example] = ()
    source: str = ""
    unmatched: Sequence[str] = field(default=())

    @property
    def has_references(self) -> bool:
        """Every example has a target."""
        return all(example.target is not None for example in (*self.train, *self.val, *self.test))

    @property
    def parts(self) -> dict[str, Sequence[Example]]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def describe(self) -> str:
        """One line with the counts."""
        counts = ", ".join(
            f"{len(part)} {name} ({len({e.scene for e in part})} scenes)" for name, part in self.parts.items() if part
        )
        return f"{self.source}: {counts}; {'with' if self.has_references else 'without'} references"


def _order(scene: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}:{scene}".encode(), digest_size=8).hexdigest()


def split_by_scene(examples: Sequence[Example], fractions: dict[str, float], seed: int = 0,
                   fold: int = 0) -> dict[str, list[Example]]:
    """Deal whole scenes out; what is left over is "train".

    Args:
        fractions: share of the scenes per split name, below 1 in all; every named split gets at least one scene
            where there are three scenes or more.
        seed: another deal. A scene's place depends on its name and the seed, not on the order of the files.
        fold: the same deal, turned so that the split that is named last gets other scenes; its folds never overlap.

    Raises:
        UsageError: there are fewer folds than that.
    """
    scenes = sorted({example.scene for example in examples}, key=lambda scene: _order(scene, seed))
    counts = {name: max(1, round(fraction * len(scenes))) if len(scenes) >= 3 else 0
              for name, fraction in fractions.items()}
    last = list(counts.values())[-1] if counts else 0
    if fold and not 0 < fold < len(scenes) // max(1, last):
        raise UsageError(f"{len(scenes)} scenes make {len(scenes) // max(1, last)} folds, counted from 0; got {fold}")
    scenes = scenes[fold * last :] + scenes[: fold * last]
    dealt: dict[str, str] = {}
    start = 0
    for name, count in counts.items():
        dealt |= dict.fromkeys(scenes[start : start + count], name)
        start += count
    parts: dict[str, list[Example]] = {"train": [], **{name: [] for name in fractions}}
    for example in examples:
        parts[dealt.get(example.scene, "train")].append(example)
    return parts


def check_disjoint(splits: Splits, cache: ImageCache) -> None:
    """Refuse a picture that stands in two splits, by the hash of its pixels (a reference too).

    Raises:
        UsageError: names the two files and the two splits.
    """
    seen: dict[str, tuple[str, str]] = {}
    for name, part in splits.parts.items():
        for example in part:
            for path in example.paths:
                digest = cache.info(path).digest
                other, where = seen.setdefault(digest, (name, str(path)))
                if other != name:
                    raise UsageError(
                        f"the same picture stands in two splits: {where} ({other}) and {path} ({name}); "
                        f"take one away, or put both under one scene name (sNNN_...)"
                    )
