"""Near-duplicates among pictures, by a perceptual hash: a picture that looks like a test picture is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.learning.data.examples import Example
from rlenhance.learning.data.image_cache import ImageCache, lasting_threads
from rlenhance.learning.data.splits import Splits

#: Correlation of two hashes from which pictures are near-duplicates. Of the 511 faces, 900 bedrooms and 400 pictures of
#: BSD, pairs with 0.96 and more are copies; pairs with up to 0.94 are other pictures, and between lies none.
NEAR = 0.95
_SIDE = 32  # pixels of the reduced luma along each side
_FLAT = 2.0  # standard deviation of the luma, in 255ths, below which a picture looks like no other
_BLOCK = 1024  # pictures that are compared with all before them at a time


def perceptual_hash(picture: np.ndarray) -> np.ndarray:
    """What hardly changes with size, compression, brightness and contrast.

    Args:
        picture: (H, W, 3) uint8.

    Returns:
        (32, 32) float32: the reduced luma with a mean of 0 and a sum of squares of 1, so that the sum of the product of
        two is their correlation; zeros for a picture without content.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > _FLAT * _SIDE else np.zeros_like(small)


def similar_pairs(hashes: np.ndarray, near: float = NEAR) -> list[tuple[int, int]]:
    """The pairs of pictures that are near-duplicates, one of them mirrored or not.

    Args:
        hashes: (N, 32, 32), see `perceptual_hash`.
        near: correlation from which they are.

    Returns:
        (first, second) with first < second, in the order of second.
    """
    straight, mirrored = hashes.reshape(len(hashes), -1), hashes[:, :, ::-1].reshape(len(hashes), -1)
    found = []
    for start in range(0, len(hashes), _BLOCK):
        part = straight[start:start + _BLOCK]
        before = slice(0, start + len(part))
        alike = np.maximum(part @ straight[before].T, part @ mirrored[before].T) >= near
        found += [(int(first), start + int(second)) for second, first in zip(*np.nonzero(alike), strict=True)
                  if first < start + second]
    return found


def without_near_duplicates(splits: Splits, cache: ImageCache, near: float = NEAR) -> tuple[Splits, str]:
    """Keep one of the pictures that look alike, in the order test, validation, training.

    No training picture then resembles an evaluation picture, and none of two validation pictures counts twice. Of
    pairs the references are compared; pairs of one scene, which share theirs, stay together.

    Args:
        near: see `similar_pairs`.

    Returns:
        The splits, and a line with the threshold and the count.

    Raises:
        UsageError: nothing is left of a split.
    """
    order = [(name, example) for name in ("test", "val", "train") for example in splits.parts[name]]
    hashes = np.stack(list(lasting_threads().map(
        lambda item: cache.remember("perceptual_hash", item[1].paths[-1], perceptual_hash), order)))
    dropped: set[int] = set()
    for first, second in similar_pairs(hashes, near):
        (split, example), (other, twin) = order[first], order[second]
        frames = example.image not in (None, example.target) and (split, example.scene) == (other, twin.scene)
        if first not in dropped and not frames:
            dropped.add(second)
    kept: dict[str, Sequence[Example]] = {
        part: [example for place, (name, example) in enumerate(order) if name == part and place not in dropped]
        for part in splits.parts}
    if not kept["train"] or not kept["val"]:
        raise UsageError(f"{splits.source}: all pictures of a split look like others; give more different ones")
    line = (f"{splits.source}: {len(dropped)} of {len(order)} pictures left out as near-duplicates (their luma, reduced"
            f" to {_SIDE} x {_SIDE} and mirrored or not, correlates by {near:g} or more)")
    return replace(splits, train=kept["train"], val=kept["val"], test=kept["test"]), line
