"""Bootstrap intervals of a mean over held-out pictures, over scenes instead of frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from rlenhance.core.errors import UsageError

#: With fewer scenes an interval means nothing: five differences have one sign by chance in 6 of 100 cases.
MIN_SCENES = 5


@dataclass(frozen=True)
class Interval:
    """A mean, and where it may lie for other scenes of the same kind.

    Attributes:
        mean: over all frames.
        low, high: the 95 % interval, in the values' unit.
        scenes, frames: how many.
    """

    mean: float
    low: float
    high: float
    scenes: int
    frames: int

    @property
    def verdict(self) -> int:
        """1: above zero, -1: below, 0: neither is certain."""
        if self.scenes < MIN_SCENES:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def bootstrap_interval(values: Sequence[float], scenes: Sequence[str], *, resamples: int = 2000, seed: int = 0,
                   level: float = 0.95) -> Interval:
    """The mean of the frames, and its bootstrap interval over scenes.

    Frames of a scene are alike, so whole scenes are drawn again, each with all its frames. Differences of two models
    are paired by giving the differences frame by frame.

    Args:
        values: one number per frame.
        scenes: the scene of each.
        resamples: how often the scenes are drawn anew.
        seed: of the draws; the same seed draws the same scenes whatever the values.
        level: share of the cases in which the interval should hold the truth.

    Raises:
        UsageError: no values, another number of scenes than values, or a setting out of range.

    Source: percentile bootstrap (Efron 1979) of whole clusters, expanded for few clusters as in Hesterberg 2015, "What
    teachers should know about the bootstrap". We depart in widening it to the mean, should that lie outside.
    """
    if not values or len(values) != len(scenes):
        raise UsageError(f"an interval needs values, and the scene of each; got {len(values)} and {len(scenes)}")
    if resamples < 100 or not 0 < level < 1:
        raise UsageError(f"--resamples must be at least 100, the level between 0 and 1; got {resamples} and {level}")
    names = sorted(set(scenes))
    place = {name: index for index, name in enumerate(names)}
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    for value, scene in zip(values, scenes, strict=True):
        sums[place[scene]] += value
        counts[place[scene]] += 1
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    mean = float(sums.sum() / counts.sum())
    tail = (1 - level) / 2
    if len(names) > 1:
        wider = math.sqrt(len(names) / (len(names) - 1)) * student.ppf(tail, len(names) - 1)
        tail = float(norm.cdf(wider))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, min(float(low), mean), max(float(high), mean), len(names), len(values))
