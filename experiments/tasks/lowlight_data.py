"""The pictures of low-light enhancement: dark ones, their references, and references relit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.config import one_of
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.io import list_photos
from rlenhance.learning.data import (
    Example,
    ImageCache,
    Relight,
    check_disjoint,
    open_dataset,
    sample_photographs,
    validate_splits,
)
from rlenhance.learning.data.datasets import SAMPLE_SETS


@dataclass(frozen=True)
class LowLightDataConfig:
    """Which pictures."""

    data: Path | None = None
    """Data folder (layouts in docs/howto/data.md); without it, the sample photographs: a demonstration."""
    sample_set: Annotated[str, one_of(SAMPLE_SETS)] = "all"
    """Which sample photographs, without --data; four are those of versions 0.1 and 0.2."""
    fold: int = 0
    """Which part of the scenes is held out: of a folder of pairs, a fifth is the test split of each fold, 0 to 4."""
    on_bad_image: str = "stop"
    """stop names every bad file and ends; skip leaves them out."""
    cache_megabytes: int = 1024
    """Memory for decoded pictures."""
    train_on_references: bool = True
    """The references, where there are any, stand among the training pictures too: they are to be left alone."""
    relight: bool = False
    """The references stand among the training pictures relit, too: back-lit, a lamp at night, a dark corner."""
    extra_references: Path | None = None
    """Folder of well-lit photographs that stand beside the references for --train-on-references and --relight."""
    reward_relit_only: bool = False
    """Use the references of dark frames for scores alone; in the reward, only relit pictures have one."""
    crop: int = 128
    """Side in pixels of the native crops that `supervised`, and policies with --state-size 0, learn from."""


def load_pictures(config: LowLightDataConfig, seed: int = 0, max_side: int | None = None) -> Dataset:
    """Open, scan and check the pictures.

    Args:
        seed: of the deal of scenes.
        max_side: keep decoded pictures at this longer side.
    """
    if config.cache_megabytes < 1:
        raise UsageError(f"--cache-megabytes must be at least 1; got {config.cache_megabytes}")
    cache = ImageCache(config.cache_megabytes << 20, max_side)
    samples = config.sample_set
    splits = open_dataset(config.data, seed, config.fold) if config.data else sample_photographs(names=samples)
    splits, skipped = validate_splits(splits, cache, config.on_bad_image)
    if config.data:
        check_disjoint(splits, cache)
    return Dataset(splits, cache, skipped)


def with_more_light(examples: Sequence[Example], config: LowLightDataConfig) -> list[Example]:
    """The examples, and for each well-lit picture, if there is any, one that is to be left alone, and one that is
    relit.

    Where these are more than the examples, the examples are repeated: they stay about half of what is drawn.
    """
    if config.reward_relit_only:
        examples = [replace(example, target_in_reward=False) for example in examples]
    if not (config.train_on_references or config.relight):
        return list(examples)
    goods = {example.target: example for example in examples if example.target is not None}
    if config.extra_references is not None:
        goods |= {path: Example(path.name, path.name, path) for path in list_photos(config.extra_references)}
    if config.relight and not goods:
        raise UsageError("--relight takes its light from references, and these pictures have none: use pairs (low/ and "
                         "high/), name a folder with --extra-references, or leave it out")
    more = [variant for good, example in goods.items() for variant in (
        Example(f"{example.name}-good", example.scene, good, good) if config.train_on_references else None,
        Example(f"{example.name}-relit", example.scene, None, good, Relight()) if config.relight else None) if variant]
    return [*list(examples) * max(1, len(more) // len(examples)), *more]
