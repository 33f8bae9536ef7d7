"""Pictures and patches with mixed damage, for tools, policies over tools and their comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.tasks.clean_pictures import CleanPictures
from rlenhance.learning.data import Sampler
from rlenhance.learning.data.mixed_damage import MixedDamage
from rlenhance.learning.data.sampler import rng_of, shuffled

#: Side of a patch in pixels, that of RL-Restore's policy.
PATCH = 63
#: Seeds of the patches of a split that is not trained on: they are the same for every run.
_HELD_OUT = {"val": 1001, "test": 1002}


@dataclass(frozen=True)
class Patches:
    """Damaged patches with their references.

    Attributes:
        image, target: (N, 3, side, side) in [0, 1].
        degrees: (N, 5) int64, see `rlenhance.learning.data.mixed_damage.DAMAGES`.
        pictures: the scene of each patch; intervals are over these.
        digest: of the pictures, and how the patches were drawn.
    """

    image: Tensor
    target: Tensor
    degrees: Tensor
    pictures: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.image)

    def first(self, count: int) -> Patches:
        """The first patches, at most `count`."""
        return Patches(self.image[:count], self.target[:count], self.degrees[:count], self.pictures[:count],
                       self.digest)

    @property
    def ids(self) -> list[str]:
        """A name for each patch, for caches."""
        return [f"{self.digest}/{number}" for number in range(len(self))]


def draw_patches(data: Dataset, split: str, count: int, level: str, seed: int = 0, side: int = PATCH,
                 first: int = 0) -> Patches:
    """Patches of a split, the same at every call; every picture gives as many, as far as the count allows.

    Args:
        data: see `load_clean`.
        split: train, val or test.
        count: of the patches.
        level: of the damage.
        seed: of the patches to train on; held-out patches are always the same.
        side: in pixels.
        first: the number of the first patch: with it many patches may be drawn in parts.

    Raises:
        UsageError: the split is empty, or no patches are asked for.
    """
    examples = data.train if split == "train" and isinstance(data, CleanPictures) else data.splits.parts[split]
    if count < 1:
        raise UsageError(f"the number of patches must be at least 1; got {count}")
    key = _HELD_OUT.get(split, seed)
    sampler = Sampler(examples, data.cache, side, crop="native", seed=key)
    damage = MixedDamage(cast(Any, level))
    clean, damaged, degrees, pictures = [], [], [], []
    for number in range(first, first + count):
        epoch, place = divmod(number, len(examples))
        example = examples[int(shuffled(key, epoch, len(examples))[place])]
        rng = rng_of(key, number)
        patch = sampler.make(example, rng).image
        image, degree = damage(patch, rng)
        clean.append(patch)
        damaged.append(image)
        degrees.append(degree)
        pictures.append(example.scene)
    digest = f"{data.digest()[split]} {level} {key} {side}"
    return Patches(torch.cat(damaged), torch.cat(clean), torch.cat(degrees), tuple(pictures), digest)
