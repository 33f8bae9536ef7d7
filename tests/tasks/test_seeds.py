"""Statistics over seeds: they equal SciPy's, their intervals keep their promise, and comparisons say them in words."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu, norm, trim_mean

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import interquartile_mean, performance_profile, probability_of_improvement
from rlenhance.experiments.core.scores import Baseline, Column, Comparison, Row, ScoreEntry
from rlenhance.experiments.core.seeds import has_seeds, row_statistics, statistics_text, write_statistics

SCORES = arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(-50, 50))
PSNR = Column("psnr", "PSNR", 2)


def seeds(count, pictures, seed, common=1.0):
    """Scores (count, pictures): a part that a seed has in common on all pictures, and a small one of its own."""
    rng = np.random.default_rng(seed)
    return common * rng.standard_normal((count, 1)) + 0.3 * rng.standard_normal((count, pictures))


@settings(deadline=None, max_examples=40)
@given(SCORES, st.integers(0, 2**31))
def test_the_interquartile_mean_is_scipys_trimmed_mean(scores, seed):
    """Of all scores together; it lies in its interval, and the interval among the scores."""
    found = interquartile_mean([scores], resamples=100, seed=seed)
    assert found.value == pytest.approx(trim_mean(scores.ravel(), 0.25)) and found.seeds == len(scores)
    assert scores.min() - 1e-9 <= found.low <= found.value <= found.high <= scores.max() + 1e-9
    assert len(scores) > 1 or found.low == found.value == found.high


def test_strata_keep_their_own_seeds():
    """Several matrices count as their scores together, in any order and with different numbers of seeds."""
    parts = [seeds(3, 4, 0), seeds(5, 2, 1)]
    assert interquartile_mean(parts).value == pytest.approx(trim_mean(np.concatenate([p.ravel() for p in parts]), 0.25))
    constant = [np.full((3, 2), 1.0), np.full((4, 3), 2.0)]  # nothing varies within a stratum
    found = interquartile_mean(constant)
    assert found.low == found.value == found.high == pytest.approx(trim_mean([1.0] * 6 + [2.0] * 12, 0.25))


@settings(deadline=None, max_examples=40)
@given(SCORES, st.integers(1, 6), st.integers(0, 2**31))
def test_probability_of_improvement_is_antisymmetric(ours, count, seed):
    """P(X > Y) + P(Y > X) = 1, a row against itself has 0.5, and each picture's share is the Mann-Whitney statistic."""
    theirs = np.random.default_rng(seed).integers(-50, 50, (count, ours.shape[1])).astype(float)
    found, other = (probability_of_improvement([pair], resamples=100) for pair in ((ours, theirs), (theirs, ours)))
    assert found.value + other.value == pytest.approx(1)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert probability_of_improvement([(ours, ours)], resamples=100).value == pytest.approx(0.5)
    statistics = [mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(ours.T, theirs.T, strict=True)]
    assert found.value == pytest.approx(np.mean(statistics))


def test_all_seeds_better_is_one_and_another_unit_changes_nothing():
    """The probability counts who is higher, whatever by how much."""
    ours, theirs = seeds(4, 3, 0), seeds(5, 3, 1)
    found = probability_of_improvement([(ours + 100, theirs)])
    assert found.low == found.value == found.high == 1
    assert probability_of_improvement([(ours, theirs)]) == probability_of_improvement([(3 * ours + 7, 3 * theirs + 7)])


def test_the_interval_over_seeds_holds_the_truth_as_often_as_it_says():
    """Ten seeds, 300 times: about 95 % hold zero. Were the seeds drawn picture by picture, most would miss it, since
    what a seed has in common on all pictures would average out; tasks with runs of their own are strata rightly."""
    held, by_picture, by_task = 0, 0, 0
    for seed in range(300):
        scores = seeds(10, 6, seed)
        apart = np.random.default_rng(seed).standard_normal((10, 6))  # tasks, each with runs of its own
        for name, strata in (("held", [scores]), ("picture", np.hsplit(scores, 6)), ("task", np.hsplit(apart, 6))):
            found = interquartile_mean(list(strata), resamples=400, seed=seed)
            inside = found.low <= 0 <= found.high
            held, by_picture, by_task = (held + inside * (name == "held"), by_picture + inside * (name == "picture"),
                                         by_task + inside * (name == "task"))
    assert 0.92 <= held / 300 <= 0.99 and 0.92 <= by_task / 300 <= 0.99 and by_picture / 300 < 0.7


def test_the_interval_of_a_probability_holds_the_truth():
    """Ten seeds each, 300 times: a run that is better by half a deviation wins with the normal distribution's share."""
    truth, held = norm.cdf(0.5 / np.sqrt(2 * 1.09)), 0
    for seed in range(300):
        found = probability_of_improvement([(0.5 + seeds(10, 6, 2 * seed), seeds(10, 6, 2 * seed + 1))], resamples=400,
                                           seed=seed)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 300 <= 0.99


@settings(deadline=None, max_examples=40)
@given(SCORES)
def test_a_profile_falls_from_one_to_zero(scores):
    """Every share is the share of the scores above the threshold; it never rises, nor do the bounds of its band."""
    thresholds = np.linspace(scores.min() - 1, scores.max(), 31)
    share, low, high = performance_profile([scores], thresholds, resamples=100)
    assert share[0] == 1 and share[-1] == 0
    assert np.allclose(share, [(scores > threshold).mean() for threshold in thresholds])
    for curve in (share, low, high):
        assert (np.diff(curve) <= 1e-12).all()
    assert (low <= share).all() and (share <= high).all()


@pytest.mark.parametrize("scores", [np.zeros((0, 3)), np.zeros(3), np.array([[1.0, np.nan]])])
def test_what_has_no_statistics_is_refused(scores):
    """No seeds, no pictures, a score that is not finite, other pictures."""
    for call in (lambda: interquartile_mean([scores]), lambda: performance_profile([scores], np.zeros(2)),
                 lambda: probability_of_improvement([(scores, scores)])):
        with pytest.raises(UsageError, match="finite scores"):
            call()
    with pytest.raises(UsageError, match="same pictures"):
        probability_of_improvement([(np.zeros((2, 3)), np.zeros((2, 4)))])


def comparison(**rows):
    """Rows of scores (seeds, pictures); `input` and `oracle` are baselines."""
    made = {name: Row(name, {"": [ScoreEntry([{"psnr": float(value)} for value in entry]) for entry in scores]})
            for name, scores in rows.items()}
    baselines = {name: Baseline(name, lambda batch: batch.image, uses_target=name == "oracle")
                 for name in ("input", "oracle") if name in rows}
    return Comparison(made, None, "test", {"": baselines})


def test_rows_meet_their_strongest_rival(tmp_path):
    """The oracle is none, nor is a row with an infinite score; baselines have none; the files hold the numbers."""
    found = comparison(input=np.zeros((1, 4)), oracle=np.full((1, 4), 9.0), good=2 + seeds(3, 4, 0),
                       plain=np.ones((1, 4)), endless=np.full((2, 4), np.inf))
    statistics = {"": row_statistics(found, "", "psnr", resamples=200)}
    rivals = {each.row: each.rival for each in statistics[""]}
    assert rivals == {"input": "", "good": "plain", "plain": "good"}
    by_name = {each.row: each for each in statistics[""]}
    assert by_name["good"].improvement.value + by_name["plain"].improvement.value == pytest.approx(1)
    text = "\n".join(statistics_text(found, PSNR, {"": ""}, statistics))
    assert "With 3 seeds" in text and "75 of 100 cases" in text and "nothing is known of others: plain." in text
    assert write_statistics(found, PSNR, {"": ""}, statistics, tmp_path) == [
        "statistics.csv", "profile.csv", "profile.png"]
    rows = list(csv.DictReader((tmp_path / "statistics.csv").open()))
    assert [row["row"] for row in rows] == list(rivals) and json.loads(rows[1]["iqm"]) == pytest.approx(
        by_name["good"].iqm.value, rel=1e-5)
    assert (rows[1]["improvement_low"] != "") and rows[0]["iqm_low"] == rows[0]["improvement"] == ""
    profile = list(csv.DictReader((tmp_path / "profile.csv").open()))
    assert len(profile) == 3 * 101 and {row["row"] for row in profile} == set(rivals)
    assert (tmp_path / "profile.png").stat().st_size > 1000


def test_one_seed_is_said():
    """No interval, no table: a sentence. Baselines alone need none."""
    alone = comparison(input=np.zeros((1, 4)), plain=np.ones((1, 4)))
    text = statistics_text(alone, PSNR, {"": ""}, {"": row_statistics(alone, "", "psnr")})
    assert not has_seeds(alone) and len(text) == 1 and text[0].startswith("One seed of each row")
    rules = comparison(input=np.zeros((1, 4)))
    assert not statistics_text(rules, PSNR, {"": ""}, {"": row_statistics(rules, "", "psnr")})
