"""Bootstrap intervals: of a mean over held-out pictures, and of what several seeds of a training say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, trim_mean
from scipy.stats import t as student

from rlenhance.core.errors import UsageError

Array = npt.NDArray[np.float64]

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
    low, high = _percentiles(means, len(names), level)
    return Interval(mean, min(float(low), mean), max(float(high), mean), len(names), len(values))


def _percentiles(drawn: Array, clusters: int, level: float = 0.95) -> Array:
    """The bounds of an interval from statistics of resamples, along their first dimension; wider for few clusters."""
    tail = (1 - level) / 2
    if clusters > 1:
        tail = float(norm.cdf(math.sqrt(clusters / (clusters - 1)) * student.ppf(tail, clusters - 1)))
    bounds: Array = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return bounds


@dataclass(frozen=True)
class SeedEstimate:
    """A statistic of several seeds, and where it may lie for other seeds on the same pictures.

    Attributes:
        value: of the statistic.
        low, high: the 95 % interval; the value itself, where there is one seed.
        seeds: how many; of two rows, those of the one that has fewer, but more than one.
    """

    value: float
    low: float
    high: float
    seeds: int


def interquartile_mean(strata: Sequence[Array], *, resamples: int = 2000, seed: int = 0) -> SeedEstimate:
    """The mean of the middle half of all scores, and its interval over seeds by a stratified bootstrap.

    One bad seed moves it less than the mean, one good seed less than the best; it needs fewer seeds than the median.

    Args:
        strata: matrices (seeds, pictures), one for each set of pictures that has models of its own. Seeds are drawn
            anew within each; pictures stay, since they are what is compared on.
        resamples: how often the seeds are drawn.
        seed: of the draws.

    Raises:
        UsageError: no scores, or one that is not finite.

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.
    Each of their tasks has runs of its own: a matrix (seeds, 1). Here one model scores all pictures of a matrix, so a
    seed is drawn with all of them; drawn picture by picture, what its scores have in common would average out, and the
    interval would be too narrow.
    """
    flat = np.concatenate([_checked(scores).ravel() for scores in strata])
    value, seeds = float(trim_mean(flat, 0.25)), max(len(scores) for scores in strata)
    if seeds == 1:
        return SeedEstimate(value, value, value, 1)
    rng, parts = np.random.default_rng(seed), max(1, resamples * flat.size // 2**22)  # 32 MB at once
    drawn = np.concatenate([trim_mean(np.concatenate(
        [scores[_draw(rng, len(scores), len(part))].reshape(len(part), -1) for scores in strata], axis=1), 0.25, axis=1)
        for part in np.array_split(np.arange(resamples), parts)])
    low, high = _percentiles(drawn, seeds)
    return SeedEstimate(value, min(float(low), value), max(float(high), value), seeds)


def probability_of_improvement(strata: Sequence[tuple[Array, Array]], *, resamples: int = 2000,
                               seed: int = 0) -> SeedEstimate:
    """How probably a run of the one kind scores higher than a run of the other on the same picture.

    The share of the pairs of seeds in which it does (the Mann-Whitney statistic; a tie counts half), averaged over the
    pictures. It says how often, not by how much.

    Args:
        strata: pairs of matrices (seeds, pictures) with the same pictures, see `interquartile_mean`.
        resamples, seed: see there.

    Raises:
        UsageError: no scores, one that is not finite, or pairs with different pictures.

    Source: Agarwal et al. 2021, section 4.3; seeds are drawn as in `interquartile_mean`.
    """
    wins = []
    for ours, theirs in strata:
        if _checked(ours).shape[1] != _checked(theirs).shape[1]:
            raise UsageError(f"rows are compared on the same pictures; got {ours.shape[1]} and {theirs.shape[1]}")
        wins.append(np.stack([0.5 + 0.5 * np.sign(one - theirs).mean(axis=1) for one in ours]))  # (our seeds, theirs)
    weights = np.array([ours.shape[1] for ours, _ in strata], dtype=float)
    weights /= weights.sum()
    value = float(sum(weight * part.mean() for weight, part in zip(weights, wins, strict=True)))
    seeds = min((count for part in wins for count in part.shape if count > 1), default=1)
    if seeds == 1:
        return SeedEstimate(value, value, value, 1)
    rng, drawn = np.random.default_rng(seed), np.zeros(resamples)
    for weight, part in zip(weights, wins, strict=True):
        one, other = (_draw(rng, count, resamples) for count in part.shape)
        drawn += weight * part[one[:, :, None], other[:, None, :]].mean(axis=(1, 2))
    low, high = _percentiles(drawn, seeds)
    return SeedEstimate(value, min(float(low), value), max(float(high), value), seeds)


def performance_profile(strata: Sequence[Array], thresholds: Array, *, resamples: int = 2000,
                        seed: int = 0) -> tuple[Array, Array, Array]:
    """The share of all scores (a seed on a picture) above each threshold, and the bounds of its 95 % band over seeds.

    Where one curve is above another's at every threshold, the first kind of run is better at every quantile.

    Args:
        strata: see `interquartile_mean`.
        thresholds: (K,).
        resamples, seed: see there.

    Returns:
        Shares, low and high: (K,) each; with one seed all three are the same.

    Source: Agarwal et al. 2021, section 4.2, run-score distributions, pointwise bands.
    """
    weights = np.array([_checked(scores).shape[1] for scores in strata], dtype=float)
    weights /= weights.sum()
    shares = [(scores[:, :, None] > thresholds).mean(axis=1) for scores in strata]  # (seeds, K)
    value: Array = np.sum([weight * part.mean(axis=0) for weight, part in zip(weights, shares, strict=True)], axis=0)
    seeds = max(len(scores) for scores in strata)
    if seeds == 1:
        return value, value, value
    rng, drawn = np.random.default_rng(seed), np.zeros((resamples, len(thresholds)))
    for weight, part in zip(weights, shares, strict=True):
        counts = np.apply_along_axis(np.bincount, 1, _draw(rng, len(part), resamples), minlength=len(part))
        drawn += weight * counts @ part / len(part)
    low, high = _percentiles(drawn, seeds)
    return value, np.minimum(low, value), np.maximum(high, value)


def _draw(rng: np.random.Generator, seeds: int, resamples: int) -> npt.NDArray[np.int64]:
    """Seeds of each resample, with replacement: (resamples, seeds)."""
    return rng.integers(seeds, size=(resamples, seeds))


def _checked(scores: Array) -> Array:
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise UsageError(f"statistics over seeds need a matrix (seeds, pictures) of finite scores; got "
                         f"{scores.shape}{'' if np.isfinite(scores).all() else ', not all finite'}")
    return scores
