"""Pictures with holes, and what was there: pairs on disk, or holes made in any good pictures."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.core.image import resize
from rlenhance.data.batch import Batch
from rlenhance.data.clean import open_clean
from rlenhance.data.examples import Example, to_planes
from rlenhance.data.folders import picture_files
from rlenhance.data.image_cache import ImageCache
from rlenhance.data.samples import ROLES, photograph
from rlenhance.data.splits import Splits, split_by_scene
from rlenhance.ops.masks import (
    HOLE_SHARE,
    MASK_GENERATORS,
    detect_hole,
    downscale_masked,
    mask_from_difference,
    mask_out,
)

#: Bits of the 64 of two pictures' hashes that may differ in near-duplicates.
NEAR = 6
#: Shares of the ids that are held out.
HELD_OUT = {"val": 0.1, "test": 0.15}
_PREFIX = "occluded_"
_NUMBER = re.compile(r"(\d+)$")


def open_completion(folder: Path | str | None, seed: int = 0) -> Splits:
    """The splits of a completion experiment.

    Args:
        folder: `original_images/` beside `occluded_images/` (the same below `train/`, with pictures to complete in
            `occluded_test/`): pairs by name, `occluded_` removed, split by id; near-duplicates have one id (see
            `without_near_duplicates`). Else good pictures, in which holes are made. None: the sample photographs.
        seed: of the deal.

    Raises:
        UsageError: no such folder, no pair, too few of them.
    """
    if folder is None:
        train, val = ([Example(name, name, None, photograph(name)) for name, is_for in ROLES.items() if is_for == role]
                      for role in ("train", "val"))
        return Splits(train, val, (), "sample photographs (a demonstration on four photographs)")
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; completing learns from original_images/ beside occluded_images/, "
                         f"or from a folder of good pictures")
    home = folder / "train" if (folder / "train" / "original_images").is_dir() else folder
    if not (home / "original_images").is_dir():
        found = open_clean(folder)
        train, val, test = ([replace(e, image=None) for e in part] for part in found.parts.values())
        return Splits(train, val, test, found.source)
    pairs, unmatched = _pairs(home / "occluded_images", home / "original_images")
    if len(pairs) < 3:
        raise UsageError(f"{home}: {len(pairs)} pairs of occluded_images/occluded_NAME and original_images/NAME; at "
                         f"least three are needed")
    loose = [Example(path.stem, path.stem, path) for path in picture_files(folder / "occluded_test")] \
        if (folder / "occluded_test").is_dir() else []
    parts = split_by_scene(pairs, {"val": HELD_OUT["val"]} if loose else HELD_OUT, seed)
    return Splits(parts["train"], parts["val"], loose or parts["test"], str(folder), unmatched)


def _pairs(occluded: Path, originals: Path) -> tuple[list[Example], list[str]]:
    """Pairs by name in the order of their numbers, and what has no partner."""
    if not occluded.is_dir():
        raise UsageError(f"{occluded}: no such folder; beside {originals.name}/ it holds {_PREFIX}NAME for each NAME")
    theirs = {path.stem.removeprefix(_PREFIX): path for path in picture_files(occluded)}
    ours = {path.stem: path for path in picture_files(originals)}
    unmatched = [f"{theirs[name]}: no picture {name} in {originals}" for name in sorted(theirs.keys() - ours.keys())]
    unmatched += [f"{ours[name]}: no picture {_PREFIX}{name} in {occluded}"
                  for name in sorted(ours.keys() - theirs.keys())]
    names = sorted(theirs.keys() & ours.keys(), key=_by_number)
    return [Example(name, name, theirs[name], ours[name]) for name in names], unmatched


def _by_number(name: str) -> tuple[str, int]:
    match = _NUMBER.search(name)
    return (name[: match.start()], int(match.group(1))) if match else (name, -1)


def without_near_duplicates(splits: Splits, cache: ImageCache, near: int = NEAR) -> tuple[Splits, str]:
    """Of pictures that look alike, one stays: the first, in the order test, validation, training.

    So none that is learned from resembles one that is judged on.

    Args:
        near: how many of the 64 bits of two hashes may differ.

    Returns:
        The splits, and a line that tells the threshold and the count.

    Source: the difference hash (Krawetz 2013): whether each of 8 x 8 places of a picture of 9 x 8 grey means is
    brighter than the next to its right.
    """
    order = [(name, example) for name in ("test", "val", "train") for example in splits.parts[name]]
    bits = np.array([difference_hash(cache.load(example.target or example.paths[0])) for _, example in order])
    kept: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    places: list[int] = []
    for place, (name, example) in enumerate(order):
        if places and (bits[places] != bits[place]).sum(axis=1).min() <= near:
            continue
        places.append(place)
        kept[name].append(example)
    if not kept["train"] or not kept["val"]:
        raise UsageError(f"{splits.source}: all pictures of a split look like others; give more different ones")
    line = (f"{splits.source}: {len(order) - len(places)} of {len(order)} pictures left out as near-duplicates "
            f"(at most {near} of 64 bits of the difference hash differ)")
    return replace(splits, train=kept["train"], val=kept["val"], test=kept["test"]), line


def difference_hash(picture: np.ndarray) -> np.ndarray:
    """64 bits of a picture (H, W, 3) uint8 that hardly change with size, coding and brightness: (64,) bool."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return (small[:, 1:] > small[:, :-1]).ravel()


def load_completion(example: Example, cache: ImageCache, side: int | None = None, holes: str = "square") -> Batch:
    """The picture, its original (where there is one) and its mask, the same at every call: (1, C, side, side).

    Args:
        side: reduce (or enlarge) the whole picture to this square; None: as it is.
        holes: what is made in a picture that has no hole; drawn by the example's name.

    Raises:
        UsageError: the picture has no hole, or none that can be found.
    """
    image, target = example.load(cache)
    if image is not None:
        if target is not None:
            mask = mask_from_difference(image, target)
        else:
            known = round(HOLE_SHARE * min(image.shape[:2]))
            found = detect_hole(image, known)
            if found is None:
                raise UsageError(f"{example.image}: no black square of {known} pixels is found in it, and it has no "
                                 f"original; give a mask")
            mask = found
        return _batch(image, target, mask, side)
    assert target is not None
    rng = np.random.default_rng(zlib.crc32(example.name.encode()))
    return _batch(target, target, MASK_GENERATORS[holes](*target.shape[:2], rng), side)


def _batch(image: np.ndarray, target: np.ndarray | None, mask: np.ndarray, side: int | None) -> Batch:
    picture = to_planes(image)
    hole = torch.from_numpy(mask)[None, None].float()
    size = (picture.shape[-2], picture.shape[-1]) if side is None else (side, side)
    small, small_hole = downscale_masked(picture, hole, size)
    return Batch(small, None if target is None else resize(to_planes(target), size), small_hole)


class CompletionSampler:
    """Draws originals with holes made anew in each: `batch(step, count)` gives a `Batch(image, target, mask)`.

    Every sample has a random stream of its own, keyed by (seed, its number): a part of the picture of at least `least`
    of its sides, reduced to `size` x `size`, mirrored in half of the draws, then a hole.

    Args:
        examples: the split; their originals are drawn from.
        cache: decodes the files.
        size: side of the square pictures in pixels.
        holes: name of a maker, see `rlenhance.ops.masks.MASK_GENERATORS`.
        seed: of the stream.
        least: see above; 1 takes the whole picture.
    """

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int = 128, *, holes: str = "square",
                 seed: int = 0, least: float = 0.75):
        if size < 16:
            raise UsageError(f"pictures with holes are at least 16 pixels wide; got size {size}")
        if not 0 < least <= 1:
            raise UsageError(f"the least part of a picture lies in (0, 1]; got {least}")
        if any(example.target is None for example in examples) or not examples:
            raise UsageError("learning to complete needs originals: original_images/, or a folder of good pictures")
        self.examples, self.cache, self.size, self.holes = list(examples), cache, size, holes
        self.seed, self.least = seed, least
        self._make = MASK_GENERATORS[holes]  # refuses unknown names

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` pictures of update `step`, on the CPU; of these only `part`, where processes share them."""
        return Batch.stack([self._sample(step * count + i) for i in range(count)[part]])

    def with_seed(self, seed: int) -> CompletionSampler:
        """Another stream over the same pictures; the cache is shared."""
        return CompletionSampler(self.examples, self.cache, self.size, holes=self.holes, seed=seed, least=self.least)

    def _sample(self, number: int) -> Batch:
        epoch, place = divmod(number, len(self.examples))
        order = np.random.Generator(np.random.Philox(key=[self.seed, 1 << 40 | epoch])).permutation(len(self.examples))
        target = self.examples[order[place]].target
        assert target is not None
        rng, picture = np.random.Generator(np.random.Philox(key=[self.seed, number])), self.cache.load(target)
        height, width = (max(1, round(length * rng.uniform(self.least, 1))) for length in picture.shape[:2])
        top, left = (rng.integers(0, whole - part + 1)
                     for whole, part in zip(picture.shape[:2], (height, width), strict=True))
        cut = picture[top : top + height, left : left + width]
        small = np.asarray(cv2.resize(cut, (self.size, self.size), interpolation=cv2.INTER_AREA
                                      if min(height, width) >= self.size else cv2.INTER_LINEAR))
        if rng.random() < 0.5:
            small = small[:, ::-1]
        image = to_planes(small)
        mask = torch.from_numpy(self._make(self.size, self.size, rng))[None, None].float()
        return Batch(mask_out(image, mask), image, mask)
