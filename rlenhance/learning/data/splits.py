"""Training, validation and test splits: by scene, never overlapping, checked before training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rlenhance.core.errors import UsageError
from rlenhance.learning.data.examples import Example
from rlenhance.learning.data.image_cache import ImageCache, lasting_threads


@dataclass(frozen=True)
class Splits:
    """Three lists of examples.

    Attributes:
        train: for the learner.
        val: evaluated during training; carved from the training data, chooses the best checkpoint.
        test: evaluated once, by a comparison; may be empty.
        source: one line that says where the images come from.
        unmatched: a line for each file without a partner.
        inference: pictures without references beside splits that have them; nothing is trained or scored on them.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example] = ()
    source: str = ""
    unmatched: Sequence[str] = field(default=())
    inference: Sequence[Example] = ()

    @property
    def has_references(self) -> bool:
        """Every example has a target."""
        return all(example.target is not None for example in (*self.train, *self.val, *self.test))

    @property
    def parts(self) -> dict[str, Sequence[Example]]:
        """The splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def describe(self) -> str:
        """One line with the counts."""
        counts = ", ".join(
            f"{len(part)} {name} ({len({e.scene for e in part})} scenes)" for name, part in self.parts.items() if part
        )
        alone = f"; {len(self.inference)} more without references, for inference" if self.inference else ""
        lacking = [name for name, part in self.parts.items() if any(example.target is None for example in part)]
        some = f"{' and '.join(lacking)} " if len(lacking) < sum(map(bool, self.parts.values())) else ""
        return f"{self.source}: {counts}; {f'{some}without' if lacking else 'with'} references{alone}"


def join_splits(parts: Sequence[Splits]) -> Splits:
    """The splits of several folders as one."""
    train, val, test, inference = ([example for part in parts for example in found(part)] for found in (
        lambda part: part.train, lambda part: part.val, lambda part: part.test, lambda part: part.inference))
    return Splits(train, val, test, ", ".join(part.source for part in parts),
                  [line for part in parts for line in part.unmatched], inference)


def _order(scene: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}:{scene}".encode(), digest_size=8).hexdigest()


def split_by_scene(examples: Sequence[Example], fractions: dict[str, float], seed: int = 0,
                   fold: int = 0) -> dict[str, list[Example]]:
    """Assign whole scenes to splits; the rest is "train".

    Args:
        fractions: share of the scenes per split name, below 1 in all; every named split gets at least one scene
            where there are three scenes or more.
        seed: of the assignment. It depends on the scenes' names and the seed, not on the order of the files.
        fold: rotates the assignment, so that the last named split gets other scenes; its folds never overlap.

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
    assigned: dict[str, str] = {}
    start = 0
    for name, count in counts.items():
        assigned |= dict.fromkeys(scenes[start : start + count], name)
        start += count
    parts: dict[str, list[Example]] = {"train": [], **{name: [] for name in fractions}}
    for example in examples:
        parts[assigned.get(example.scene, "train")].append(example)
    return parts


def check_disjoint(splits: Splits, cache: ImageCache) -> None:
    """Refuse an image or reference that is in two splits, by the hash of its pixels.

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
                        f"the same picture is in two splits: {where} ({other}) and {path} ({name}); "
                        f"remove one, or put both under one scene name (sNNN_...)"
                    )


_MAX_LISTED = 20


def validate_splits(splits: Splits, cache: ImageCache, on_bad_image: str = "stop",
                    scale: int = 1) -> tuple[Splits, list[str]]:
    """Decode every file once, and name each that is unreadable, unmatched or of the wrong size.

    Args:
        on_bad_image: "stop" raises with the list; "skip" leaves those examples out.
        scale: ratio of the sides of a reference and its image.

    Returns:
        The splits without the bad examples, and a line for each of those.

    Raises:
        UsageError: on "stop", when there is a bad file; or when nothing is left of a split.
    """
    if on_bad_image not in ("stop", "skip"):
        raise UsageError(f"on_bad_image is stop or skip; got {on_bad_image!r}")
    faults: list[str] = list(splits.unmatched)
    good: dict[str, Sequence[Example]] = {}
    for name, part in splits.parts.items():
        found = list(lasting_threads().map(lambda example: _fault(example, cache, scale), part))
        faults += [fault for fault in found if fault]
        good[name] = [example for example, fault in zip(part, found, strict=True) if not fault]
    if faults and on_bad_image == "stop":
        shown = "\n  ".join(faults[:_MAX_LISTED])
        rest = f"\n  and {len(faults) - _MAX_LISTED} more" if len(faults) > _MAX_LISTED else ""
        raise UsageError(f"{splits.source}: {len(faults)} bad files:\n  {shown}{rest}\n"
                         f"repair them, or leave them out with on_bad_image skip")
    for name in ("train", "val"):
        if not good[name]:
            raise UsageError(f"{splits.source}: no usable picture is left in the {name} split")
    return replace(splits, train=good["train"], val=good["val"], test=good["test"], unmatched=()), faults


def _fault(example: Example, cache: ImageCache, scale: int) -> str | None:
    """What is wrong with an example, or None; decodes its files, which fills the cache."""
    try:
        sizes = [cache.info(path).size for path in example.paths]
    except UsageError as error:
        return str(error)
    (height, width), (target_height, target_width) = sizes[0], sizes[-1]
    same_file = len(sizes) < 2 or example.image == example.target
    if same_file or (height * scale, width * scale) == (target_height, target_width):
        return None
    return (f"{example.image}: {width}x{height}, but its reference {example.target} is {target_width}x{target_height}"
            + (f", not {scale} times as large" if scale > 1 else ""))
