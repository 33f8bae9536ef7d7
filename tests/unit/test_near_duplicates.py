"""Near-duplicates: what changes a hash, and what may stand in training beside a test picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.learning.data import ImageCache, Splits, without_near_duplicates
from rlenhance.learning.data.examples import Example
from rlenhance.learning.data.near_duplicates import NEAR, perceptual_hash, similar_pairs


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Large random shapes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def coded(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1))


@pytest.mark.parametrize("change", [
    coded, lambda p: cv2.resize(p, (90, 70), interpolation=cv2.INTER_AREA), lambda p: p // 2 + 40,
    lambda p: p[:, ::-1], lambda p: p[1:, 2:],
    lambda p: cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)])
def test_a_copy_has_nearly_the_same_hash(change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Coding, another size, less contrast, mirroring, a narrow crop and grey make near-duplicates; others are none."""
    hashes = np.stack([perceptual_hash(np.ascontiguousarray(p)) for p in
                       (picture(0), picture(1), change(picture(0)), picture(2))])
    assert similar_pairs(hashes) == [(0, 2)]


def test_a_flat_picture_resembles_none() -> None:
    flat = np.full((50, 40, 3), 90, np.uint8)
    assert not perceptual_hash(flat).any()
    assert similar_pairs(np.stack([perceptual_hash(flat)] * 3)) == []


def test_the_pairs_are_those_of_the_definition() -> None:
    """Blocks of comparisons miss none: against all correlations at once."""
    hashes = np.stack([perceptual_hash(picture(seed % 700, 40, 40)) for seed in range(1500)])
    straight, mirrored = hashes.reshape(1500, -1), hashes[:, :, ::-1].reshape(1500, -1)
    first, second = np.nonzero(np.triu(np.maximum(straight @ straight.T, straight @ mirrored.T) >= NEAR, 1))
    assert set(similar_pairs(hashes)) == set(zip(first.tolist(), second.tolist(), strict=True))


def test_a_copy_of_a_test_picture_is_not_trained_on(tmp_path) -> None:
    """The held-out one stays; pairs of one scene stay together; a name that two folders share is no scene."""
    def example(name: str, seed: int, folder: str = "a", scene: str = "", mirrored: bool = False) -> Example:
        path = tmp_path / folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        write(picture(seed)[:, ::-1] if mirrored else picture(seed), path)
        return Example(name, scene or name, tmp_path / "dark.png" if scene else path, path)

    splits = Splits(
        [example("one", 1, mirrored=True), example("same", 0, "b"), example("new", 3), example("s1_a", 4, scene="s1"),
         example("s1_b", 4, scene="s1"), example("new-copy", 3)],
        [example("val", 2), example("val-copy", 2)], [example("same", 0), example("other", 1)], "made")
    fewer, line = without_near_duplicates(splits, ImageCache())
    assert [e.name for e in fewer.train] == ["new", "s1_a", "s1_b"]
    assert [e.name for e in fewer.val] == ["val"] and len(fewer.test) == 2
    assert "4 of 10 pictures left out" in line
    with pytest.raises(UsageError, match="look like others"):
        without_near_duplicates(Splits(splits.train[:1], splits.val, splits.test), ImageCache())


def test_a_hash_is_made_once(tmp_path) -> None:
    write(picture(0), tmp_path / "a.png")
    cache, calls = ImageCache(budget=0), []
    for _ in range(3):
        cache.remember("size", tmp_path / "a.png", lambda pixels: calls.append(1) or np.array(pixels.shape))
    assert calls == [1]
