"""Good pictures of several folders, which tasks damage themselves: denoisers, small tools, toolchains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.learning.data import (
    Example,
    ImageCache,
    join_splits,
    open_clean,
    validate_splits,
    without_near_duplicates,
)


@dataclass(kw_only=True)
class CleanPictures(Dataset):
    """Good pictures of several folders.

    Attributes:
        train: those to train on, so repeated that each folder counts alike.
    """

    train: Sequence[Example]


def load_clean(folders: Sequence[Path], max_side: int = 0, on_bad_image: str = "stop") -> CleanPictures:
    """Open and scan good pictures, or the references of pairs, split by a hash of their names or by scene, without
    near-duplicates; without folders the bundled photographs.

    Args:
        folders: each counts alike in training.
        max_side: reduce pictures to this longer side; 0: as they are.
        on_bad_image: see `validate_splits`.

    Raises:
        UsageError: a negative side, or a folder that cannot be used.
    """
    if max_side < 0:
        raise UsageError(f"--max-side must not be negative; got {max_side}")
    cache = ImageCache(max_side=max_side or None)
    parts = [open_clean(folder) for folder in folders] or [open_clean(None)]
    splits, skipped = validate_splits(join_splits(parts), cache, on_bad_image)
    splits, about = without_near_duplicates(splits, cache) if folders else (splits, "")
    left = set(splits.train)
    own = [part for part in ([e for e in part.train if e in left] for part in parts) if part]
    most = max(map(len, own))
    return CleanPictures(splits, cache, skipped, about, train=[
        example for part in own for example in part * -(-most // len(part))])
