"""The pictures of self-enhancement: good ones on which noise is made, or real noise beside its clean pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from rlenhance.core.errors import UsageError
from rlenhance.envs.self_enhance import PUBLISHED_NOISE
from rlenhance.experiments.core.config import default_is, one_of
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.tasks.denoise import middles
from rlenhance.learning.data import (
    Batch,
    Example,
    ImageCache,
    Splits,
    check_disjoint,
    evenly_spread,
    load_split,
    open_celeba,
    open_clean,
    open_noisy,
    open_sidd,
    parse_noise,
    validate_splits,
    validation_blocks,
    without_near_duplicates,
)
from rlenhance.learning.data.datasets import examples_in, image_files
from rlenhance.learning.data.sampler import by_file
from rlenhance.learning.data.sidd import blocks_in, is_sidd, sidd_pairs
from rlenhance.learning.ops.image import center_crop

#: What a data set brings: good pictures on which noise is made, or pairs.
DATA_SETS = ("celeba", "sidd")
#: The noise of the bundled photographs where real pairs belong: a sensor's.
SENSOR_NOISE = "poisson_gaussian:40"
_BANK_SIDE = 512  # of a picture, its middle is coded
_COMPARED = 5000  # pictures that are compared with each other: beyond, copies alone are refused


@dataclass(frozen=True)
class RSEDataConfig:
    """Which pictures; without a path the bundled photographs: a demonstration."""

    data_set: Annotated[tyro.conf.Positional[str], one_of(DATA_SETS)] = "celeba"
    """celeba (good pictures; noise of variance 0.02 is made) or sidd (real noise beside its clean pictures)."""
    train_files_path: Path | None = None
    """celeba: a folder of good pictures, CelebA, or TFRecord files. sidd: scene instances, or other pairs."""
    validation_file_path: Path | None = None
    """sidd: the GT pictures, where train_files_path holds the NOISY ones alone."""
    test_files_path: Path | None = None
    """Pictures of the same kind to be tested on, or ValidationNoisyBlocksSrgb.mat."""
    test_validation_files_path: Path | None = None
    """sidd: ValidationGtBlocksSrgb.mat, or the GT pictures of the test."""
    file_batch: Annotated[int | None, default_is("5; of celeba in a folder of pictures 256", "INT")] = None
    """Files that are in memory at a time: TFRecord files with all their pictures, pictures, or pairs of sidd. Training
    goes through the others portion by portion."""
    crop: int = 64
    """Side of the crops in pixels."""
    crops_per_image: int = 4
    """Crops that each picture gives each time it is gone through."""
    on_bad_image: str = "stop"
    """stop names every bad file and ends; skip leaves them out."""


@dataclass
class RSEDataset(Dataset):
    """Splits of noisy pictures and their references.

    Attributes:
        held: name of the split in the table.
    """

    held: str = "test"

    def describe(self) -> str:
        return f"{super().describe()}\nthe table is of the {self.held} split"

    def shown(self, split: str, limit: int, side: int) -> list[Batch]:
        """The middles of pictures of a split, evenly spread, in memory."""
        return middles(self.load(split, limit=limit), side)

    def bank(self, count: int) -> list[Batch]:
        """The middles of training pictures with their noise, from which the bank is filled."""
        return self.shown("train", count, _BANK_SIDE)

    def tested(self, limit: int, side: int) -> tuple[list[Example], Iterator[Batch]]:
        """The middles of held-out pictures, evenly spread: what they are, and one batch each."""
        part = self.splits.parts[self.held]
        chosen = list(evenly_spread(part, limit))
        return chosen, (batch.map(partial(center_crop, side=side)) for batch in load_split(chosen, self.cache))


def open_rse(paths: RSEDataConfig) -> RSEDataset:
    """The pictures of a run, scanned and without overlap."""
    data_set = paths.data_set
    if data_set not in DATA_SETS:
        raise UsageError(f"the data set is one of {', '.join(DATA_SETS)}; got {data_set!r}")
    if data_set == "celeba" and (paths.validation_file_path or paths.test_validation_files_path):
        raise UsageError("celeba makes the noise itself: leave out --validation_file_path and "
                         "--test_validation_files_path, or name sidd")
    if paths.train_files_path is None and (paths.validation_file_path or paths.test_files_path
                                           or paths.test_validation_files_path):
        raise UsageError("name the pictures to learn from as well: --train_files_path DIR")
    splits = _celeba(paths) if data_set == "celeba" else _sidd(paths)
    files = sorted(map(len, by_file(splits.train)), reverse=True)
    most = sum(files[: portion_of(paths, splits.train)])
    cache = ImageCache(most=most if data_set == "celeba" else 2 * most)
    splits, skipped = validate_splits(splits, cache, paths.on_bad_image)
    if paths.test_files_path:  # before near-duplicates are left out: the user chose them
        check_disjoint(splits, cache)
    if paths.train_files_path and data_set == "celeba" and sum(map(len, splits.parts.values())) <= _COMPARED:
        splits, alike = without_near_duplicates(splits, cache)
        print(alike, flush=True)
    if paths.train_files_path:
        check_disjoint(splits, cache)
    return RSEDataset(splits, cache, skipped, held="test" if splits.test else "val")


def portion_of(paths: RSEDataConfig, examples: Sequence[Example]) -> int:
    """Files in memory at a time."""
    if paths.file_batch is not None and paths.file_batch < 1:
        raise UsageError(f"--file_batch must be at least 1; got {paths.file_batch}")
    alone = len(by_file(examples)) == len(examples)
    return paths.file_batch or (256 if paths.data_set == "celeba" and alone else 5)


def _celeba(paths: RSEDataConfig) -> Splits:
    splits = open_noisy(paths.train_files_path, PUBLISHED_NOISE, eight_bit=True)
    if paths.test_files_path is None:
        return splits
    noise = parse_noise(PUBLISHED_NOISE, eight_bit=True)
    test = [Example(e.name, e.scene, None, e.target or e.image, noise) for e in _every_one(paths.test_files_path)]
    return replace(splits, train=[*splits.train, *splits.test], test=test)


def _every_one(path: Path) -> list[Example]:
    """All good pictures of a folder, however few."""
    found = open_celeba(path)
    if found is None and path.is_dir() and image_files(path):
        return examples_in(path)[0]
    found = found or open_clean(path)
    return [example for part in found.parts.values() for example in part]


def _sidd(paths: RSEDataConfig) -> Splits:
    train, test = paths.train_files_path, paths.test_files_path
    if train is None:
        return open_noisy(None, SENSOR_NOISE, eight_bit=True)
    splits = open_sidd(train, paths.validation_file_path) if paths.validation_file_path else \
        open_noisy(train, "real")
    if test is None:
        return splits
    clean = paths.test_validation_files_path
    if test.suffix == ".mat" or (test.is_dir() and blocks_in(test)):
        pairs = validation_blocks(test, clean)
    elif clean is not None or (test.is_dir() and is_sidd(test)):
        pairs = sidd_pairs(test, clean or test)[0]
    else:
        pairs = examples_in(test)[0]
    if not pairs or not all(example.image is not None and example.target is not None for example in pairs):
        raise UsageError(f"{test}: a test of real noise is noisy pictures and the clean ones, which are not here; name "
                         f"these with --test_validation_files_path, or a folder of pairs")
    return replace(splits, train=[*splits.train, *splits.test], test=pairs)
