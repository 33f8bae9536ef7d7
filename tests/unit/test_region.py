"""Regions: where a look applies, and what stays as it was."""

import numpy as np
import pytest

from rlenhance.core.errors import UsageError
from rlenhance.ops.region import blend_region, region_weights
from rlenhance.pipelines.enhance import Enhancer


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_region_changes_nothing_outside(tone_run, dark, dtype):
    """Outside every bit stays, deep inside all of the change is made, at the edge part of it."""
    picture = dark.astype(dtype) * (257 if dtype == np.uint16 else 1)
    picture = (picture / 255).astype(dtype) if dtype == np.float32 else picture
    mask = np.zeros((60, 90), np.uint8)
    mask[10:50, 20:80] = 255
    whole, part = Enhancer(tone_run)(picture), Enhancer(tone_run, region=mask)(picture)
    assert np.array_equal(part[mask == 0], picture[mask == 0])
    assert np.array_equal(part[25:35, 40:60], whole[25:35, 40:60])
    assert not np.array_equal(part, whole) and part.dtype == dtype


def test_the_edge_of_a_region_is_soft_and_lies_inside():
    """Weights rise from the edge inward without a jump; greys are partial; the picture's border is no edge."""
    mask = np.zeros((100, 400))
    mask[:, :200] = 1.0
    weights = region_weights(mask, soft=0.05)
    assert (weights[:, 200:] == 0).all() and (weights[:, :150] == 1).all()
    assert 0 < np.abs(np.diff(weights, axis=1)).max() < 0.12 and (np.diff(weights[50]) <= 0).all()
    assert np.allclose(region_weights(np.full((9, 9), 51, np.uint8)), 0.2)
    assert (region_weights(np.ones((9, 9), bool)) == 1).all()


def test_a_grey_region_makes_part_of_the_change(dark):
    """Half grey is half of the change, within rounding."""
    other = dark + 40
    blended = blend_region(dark, other, np.full(dark.shape[:2], 0.5, np.float32))
    assert np.array_equal(blended, dark + 20)


@pytest.mark.parametrize("region, words", [
    (np.zeros((10, 12), np.uint8), "12x10 and the picture 90x60"), (np.zeros((4, 4, 3), np.uint8), r"\(H, W\)"),
    (np.full((60, 90), 7.0), r"\[0, 1\]"), (np.zeros((60, 90), np.int64), "int64"), (np.full((60, 90), np.nan), "0, 1"),
], ids=["size", "colours", "range", "integers", "nan"])
def test_a_wrong_region_is_refused(tone_run, dark, region, words):
    """Another size names both; another kind of number names what would do."""
    with pytest.raises(UsageError, match=words):
        Enhancer(tone_run, region=region)(dark)
