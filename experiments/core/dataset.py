"""Pictures in splits, and the cache that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlenhance.learning.data import Batch, ImageCache, Splits, load_split


@dataclass
class Dataset:
    """Splits that were scanned, and the cache that holds their decoded pictures.

    Attributes:
        splits: the examples of train, val and test.
        cache: decoded pictures.
        skipped: files that were left out, a line each.
        about: a line on examples that were left out, printed before training.
    """

    splits: Splits
    cache: ImageCache
    skipped: list[str] = field(default_factory=list)
    about: str = ""

    def describe(self) -> str:
        """One or more lines about the pictures, printed before training."""
        return "\n".join(filter(None, [self.about, self.splits.describe()]))

    def load(self, split: str, *, limit: int | None = None, side: int | None = None) -> Sequence[Batch]:
        """Whole pictures of a split, one batch each.

        Args:
            split: train, val or test.
            limit: so many, evenly spread; None for all.
            side: reduce to this longer side in pixels; None for full size.
        """
        return load_split(self.splits.parts[split], self.cache, limit=limit, side=side)

    def digest(self) -> dict[str, str]:
        """A hash of each split's pictures, independent of their order and names."""
        return {
            name: hashlib.blake2b("".join(sorted(
                self.cache.info(path).digest for example in part for path in example.paths)).encode(),
                digest_size=16).hexdigest()
            for name, part in self.splits.parts.items() if part
        }
