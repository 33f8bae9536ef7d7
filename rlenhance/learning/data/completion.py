"""Data of completion: pairs of occluded and original images on disk, or holes made in any good images."""

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
from rlenhance.learning.data.batch import Batch
from rlenhance.learning.data.datasets import LAYOUTS, image_files, open_clean
from rlenhance.learning.data.examples import Example, to_planes
from rlenhance.learning.data.image_cache import ImageCache
from rlenhance.learning.data.sampler import ExampleSampler, random_box
from rlenhance.learning.data.splits import Splits, split_by_scene
from rlenhance.learning.ops.image import resize
from rlenhance.learning.ops.masked_tensors import downscale_masked, mask_out
from rlenhance.ops.masks import (
    DIFFERENCE,
    MASK_GENERATORS,
    SQUARE_SHARE,
    detect_mask,
    dilate_soft_edge,
    mask_from_difference,
)

COMPLETION_LAYOUTS = """known layouts of pictures to complete:
  original_images/ and occluded_images/     pairs NAME and occluded_NAME, split by name
  train/{original_images,occluded_images}   the same; occluded_test/ beside train/ is the test, without originals
  pictures directly inside                  good pictures, in which holes are made"""

#: Which holes a pair is trained with: its own, new ones in its original, or each in half of the draws.
MASKS = ("given", "drawn", "both")
#: Share of the ids in each held-out split.
HELD_OUT = {"val": 0.1, "test": 0.15}
_PREFIX = "occluded_"
_NUMBER = re.compile(r"(\d+)$")


def open_completion(folder: Path | str | None, seed: int = 0) -> Splits:
    """The splits of a completion experiment.

    Args:
        folder: `original_images/` next to `occluded_images/` (or both below `train/`, with images to complete in
            `occluded_test/`): pairs by name, `occluded_` removed, split by id. Any
            other folder: good images, in which holes are made. None: the sample photographs.
        seed: of the split.

    Raises:
        UsageError: no such folder, no pair, too few of them; the layouts are named (`COMPLETION_LAYOUTS`).
    """
    if folder is None:
        return _originals(open_clean(None))
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; {COMPLETION_LAYOUTS}")
    root = next((root for root in (folder, folder / "train") if _sides(root)), None)
    if root is None:
        return _without_pairs(folder)
    pairs, unmatched = _pairs(root / "occluded_images", root / "original_images")
    if len(pairs) < 3:
        raise UsageError(f"{root}: {len(pairs)} pairs of occluded_images/occluded_NAME and original_images/NAME; at "
                         f"least three are needed")
    unpaired = [Example(path.stem, path.stem, path) for path in image_files(folder / "occluded_test")] \
        if (folder / "occluded_test").is_dir() else []
    parts = split_by_scene(pairs, {"val": HELD_OUT["val"]} if unpaired else HELD_OUT, seed)
    return Splits(parts["train"], parts["val"], unpaired or parts["test"], str(folder), unmatched)


def _sides(root: Path) -> bool:
    """Whether a folder holds a side of the pairs."""
    return any((root / name).is_dir() for name in ("original_images", "occluded_images"))


def _without_pairs(folder: Path) -> Splits:
    """A folder of good images."""
    inside = [child for child in sorted(folder.iterdir()) if _sides(child) or _sides(child / "train")]
    if inside:
        raise UsageError(f"{folder}: the pairs are in {inside[0]}: name that folder; {COMPLETION_LAYOUTS}")
    try:
        return _originals(open_clean(folder))
    except UsageError as error:
        raise UsageError(str(error).replace(LAYOUTS, COMPLETION_LAYOUTS)) from error


def _originals(splits: Splits) -> Splits:
    """The same splits with targets alone."""
    train, val, test = ([replace(e, image=None) for e in part] for part in splits.parts.values())
    return Splits(train, val, test, splits.source)


def _pairs(occluded: Path, originals: Path) -> tuple[list[Example], list[str]]:
    """Pairs by name in the order of their numbers, and a line for each file without a partner."""
    for folder, other in ((occluded, originals), (originals, occluded)):
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; beside {other.name}/ it holds the other side of the pairs; "
                             f"{COMPLETION_LAYOUTS}")
    theirs = {path.stem.removeprefix(_PREFIX): path for path in image_files(occluded)}
    ours = {path.stem: path for path in image_files(originals)}
    unmatched = [f"{theirs[name]}: no picture {name} in {originals}" for name in sorted(theirs.keys() - ours.keys())]
    unmatched += [f"{ours[name]}: no picture {_PREFIX}{name} in {occluded}"
                  for name in sorted(ours.keys() - theirs.keys())]
    names = sorted(theirs.keys() & ours.keys(), key=_by_number)
    return [Example(name, name, theirs[name], ours[name]) for name in names], unmatched


def _by_number(name: str) -> tuple[str, int]:
    match = _NUMBER.search(name)
    return (name[: match.start()], int(match.group(1))) if match else (name, -1)


def load_completion(example: Example, cache: ImageCache, side: int | None = None, holes: str = "square",
                    threshold: float = DIFFERENCE) -> Batch:
    """The image, its original (where there is one) and its mask, the same at every call: (1, C, side, side).

    Args:
        side: resize the whole image to this square; None: keep its size.
        holes: mask generator for an image without a hole, seeded by the example's name.
        threshold: of the difference of image and original in the hole, see `mask_from_difference`.

    Raises:
        UsageError: the image has no hole, or none that can be found.
    """
    image, target = example.load(cache)
    if image is not None:
        if target is not None:
            mask = _given_mask(example, image, target, threshold)
        else:
            found = detect_mask(image)
            if found is None:
                found = detect_mask(image, round(SQUARE_SHARE * min(image.shape[:2])))
            if found is None:
                raise UsageError(f"{example.image}: no black rectangle is found in it, and it has no original; give a "
                                 f"mask")
            mask = dilate_soft_edge(image, found)
        return _batch(image, target, mask, side)
    assert target is not None
    rng = np.random.default_rng(zlib.crc32(example.name.encode()))
    return _batch(target, target, MASK_GENERATORS[holes](*target.shape[:2], rng), side)


def _given_mask(example: Example, image: np.ndarray, target: np.ndarray, threshold: float) -> np.ndarray:
    try:
        return mask_from_difference(image, target, threshold)
    except UsageError as error:
        raise UsageError(f"{example.image}: {error}") from error


def _batch(image: np.ndarray, target: np.ndarray | None, mask: np.ndarray, side: int | None) -> Batch:
    picture = to_planes(image)
    hole = torch.from_numpy(mask)[None, None].float()
    size = (picture.shape[-2], picture.shape[-1]) if side is None else (side, side)
    small, small_hole = downscale_masked(picture, hole, size)
    return Batch(small, None if target is None else resize(to_planes(target), size), small_hole)


class CompletionSampler(ExampleSampler):
    """Draws originals with a new hole in each, or pairs with their own: a batch has image, target and mask.

    A sample is a part of the image of at least `least` of its sides, reduced to `size` x `size`, mirrored in half of
    the draws, with a hole. A part without a pixel of a pair's own hole gives way to the whole picture.

    Args:
        examples: the split; their targets are drawn from.
        cache, size, seed: see `ExampleSampler`; `size` is at least 16.
        holes: name of a mask generator, see `rlenhance.ops.masks.MASK_GENERATORS`.
        least: see above, in (0, 1]; 1 takes the whole image.
        masks: "drawn" anew, "given" by the difference of the pair, or "both", each in half of the draws.
        threshold: of that difference, see `mask_from_difference`.
        mirrored: see above.

    Raises:
        UsageError: a `least` outside its range, an example without a target, or other masks; "given" or "both" with
            an example that is no pair; see `ExampleSampler`.
    """

    min_size = 16

    def __init__(self, examples: Sequence[Example], cache: ImageCache, size: int = 128, *, holes: str = "square",
                 seed: int = 0, least: float = 0.75, masks: str = "drawn", threshold: float = DIFFERENCE,
                 mirrored: bool = True):
        if not 0 < least <= 1:
            raise UsageError(f"the least part of a picture lies in (0, 1]; got {least}")
        if any(example.target is None for example in examples) or not examples:
            raise UsageError("learning to complete needs originals: original_images/, or a folder of good pictures")
        if masks not in MASKS:
            raise UsageError(f"masks is one of {', '.join(MASKS)}; got {masks!r}")
        if masks != "drawn" and any(example.image is None for example in examples):
            raise UsageError(f"masks {masks!r} are those of pairs, and these pictures are none; {COMPLETION_LAYOUTS}")
        super().__init__(examples, cache, size, seed)
        self.holes, self.least, self._make_mask = holes, least, MASK_GENERATORS[holes]
        self.masks, self.threshold, self.mirrored = masks, threshold, mirrored

    def make(self, example: Example, rng: np.random.Generator) -> Batch:
        if self.masks == "given" or (self.masks == "both" and rng.random() < 0.5):
            return self._given(example, rng)
        assert example.target is not None
        pixels = self.cache.load(example.target)
        height, width = (max(1, round(side * rng.uniform(self.least, 1))) for side in pixels.shape[:2])
        part = pixels[random_box(pixels.shape, (height, width), rng)]
        part = np.asarray(cv2.resize(part, (self.size, self.size), interpolation=cv2.INTER_AREA
                                     if min(height, width) >= self.size else cv2.INTER_LINEAR))
        if self.mirrored and rng.random() < 0.5:
            part = part[:, ::-1]
        image = to_planes(part)
        mask = torch.from_numpy(self._make_mask(self.size, self.size, rng))[None, None].float()
        return Batch(mask_out(image, mask), image, mask)

    def _given(self, example: Example, rng: np.random.Generator) -> Batch:
        """A pair as it is."""
        image, target = example.load(self.cache)
        assert image is not None and target is not None
        mask = _given_mask(example, image, target, self.threshold)
        height, width = (max(1, round(side * rng.uniform(self.least, 1))) for side in mask.shape)
        box = random_box(mask.shape, (height, width), rng)
        parts = [image, target, mask] if not mask[box].any() or mask[box].all() else \
            [part[box] for part in (image, target, mask)]
        if self.mirrored and rng.random() < 0.5:
            parts = [part[:, ::-1] for part in parts]
        return _batch(parts[0], parts[1], np.ascontiguousarray(parts[2]), self.size)
