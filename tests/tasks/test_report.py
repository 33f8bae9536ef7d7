"""Is it worth it: intervals that keep their promise, and words that say what the intervals say."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import MIN_SCENES, bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.scores import Comparison, Row, ScoreEntry
from rlenhance.experiments.tasks.lowlight_compare import LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig
from rlenhance.experiments.tasks.lowlight_report import LowLightReportConfig, make_report, report
from tests.support.data import make_pairs

pytestmark = pytest.mark.usefixtures("no_curves")


def frames(scenes, each=2, seed=0, spread=1.0):
    """Values and scenes: a mean per scene, and a little noise per frame."""
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal(scenes)
    values = [float(mean + 0.1 * rng.standard_normal()) for mean in means for _ in range(each)]
    return values, [f"s{scene}" for scene in range(scenes) for _ in range(each)]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-50, 50), st.integers(0, 6)), min_size=1, max_size=20), st.integers(0, 2**31))
def test_an_interval_holds_its_mean_and_stays_within_the_scenes(rows, seed):
    """Whatever the frames: low <= mean <= high, none beyond the lowest and the highest frame."""
    values, scenes = [value for value, _ in rows], [str(scene) for _, scene in rows]
    found = bootstrap_interval(values, scenes, resamples=100, seed=seed)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert min(values) - 1e-9 <= found.low <= found.mean <= found.high <= max(values) + 1e-9
    assert (found.scenes, found.frames) == (len(set(scenes)), len(values))


@pytest.mark.parametrize("value", [0.0, -0.25, 3.5])
def test_what_never_varies_has_no_width(value):
    """Constant differences are certain, also with scenes of unequal size."""
    found = bootstrap_interval([value] * 9, list("aaaabbcde"))
    assert found.low == found.mean == found.high == value
    assert found.verdict == np.sign(value)


def test_the_same_seed_gives_the_same_interval():
    """Reproducible by the seed; another seed draws other scenes."""
    values, scenes = frames(12)
    one, again, other = (bootstrap_interval(values, scenes, seed=seed) for seed in (3, 3, 4))
    assert one == again and one != other


def test_more_scenes_narrow_it_more_frames_do_not():
    """Sixteen times the scenes, about a quarter of the width; the same frames ten times over change nothing."""
    few, many = bootstrap_interval(*frames(20)), bootstrap_interval(*frames(320))
    assert 0.15 < (many.high - many.low) / (few.high - few.low) < 0.4
    values, scenes = frames(20)
    repeated = bootstrap_interval(values * 10, scenes * 10)
    assert (repeated.mean, repeated.low, repeated.high) == pytest.approx((few.mean, few.low, few.high))


def test_another_unit_moves_it_along():
    """Scaled and shifted values have the scaled and shifted interval."""
    values, scenes = frames(15)
    found, moved = bootstrap_interval(values, scenes), bootstrap_interval([3 * value + 2 for value in values], scenes)
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        (3 * found.mean + 2, 3 * found.low + 2, 3 * found.high + 2))


def test_it_equals_scipys_bootstrap_where_scenes_are_many():
    """One frame per scene, 300 of them: SciPy's percentile interval, within the noise of the draws."""
    values, scenes = frames(300, each=1)
    found = bootstrap_interval(values, scenes, resamples=5000)
    theirs = bootstrap((values,), np.mean, n_resamples=5000, method="percentile",
                       rng=np.random.default_rng(1)).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_it_holds_the_truth_as_often_as_it_says():
    """Of 300 samples of ten scenes whose true mean is zero, about 95 % have an interval around zero."""
    held = 0
    for seed in range(300):
        found = bootstrap_interval(*frames(10, seed=seed), resamples=400, seed=seed)
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / 300 <= 0.99


@pytest.mark.parametrize("arguments", [{"values": []}, {"scenes": ["a"]}, {"resamples": 99}, {"level": 1.0}])
def test_what_has_no_interval_is_refused(arguments):
    """No values, scenes that do not fit, too few resamples, a level that is none."""
    with pytest.raises(UsageError):
        bootstrap_interval(**{"values": [1.0, 2.0], "scenes": ["a", "b"], **arguments})


def test_few_scenes_say_nothing():
    """Below five scenes nothing is concluded, however clear it looks."""
    for count in (1, MIN_SCENES - 1, MIN_SCENES):
        found = bootstrap_interval([1.0] * count, [str(scene) for scene in range(count)])
        assert found.verdict == (count >= MIN_SCENES)


def comparison(scenes=12, **differences):
    """Two frames per scene; each learner's PSNR is stop-at-mean's plus its difference, which varies by 0.2 dB."""
    rng = np.random.default_rng(0)
    base = 20 + rng.standard_normal(2 * scenes)

    def row(name, values, learner=""):
        return Row(name, {"": [ScoreEntry([{"psnr": float(value)} for value in values])]}, facts={"learner": learner})

    rows = [row("stop at mean 0.4", base), row("oracle stop", base + 3)]
    rows += [row(f"{learner}, reward", base + difference + 0.2 * rng.standard_normal(2 * scenes), learner)
             for learner, difference in differences.items()]
    return Comparison({each.name: each for each in rows}, None, "test", {},
                      [f"s{scene}" for scene in range(scenes) for _ in range(2)])


@pytest.mark.parametrize("differences, answer", [
    ({"a3c": 1.0, "direct": 0.2, "supervised": 0.0}, "Worth it: a3c is better than stop at mean 0.4, and than"),
    ({"a3c": 1.0, "direct": 1.0}, "is not shown: it cannot be distinguished from direct"),
    ({"a3c": 1.0, "direct": 2.0, "supervised": 3.0}, "learning trains it is not: direct and supervised did better"),
    ({"a3c": 1.0, "supervised": 0.0}, "Worth it, against stop at mean 0.4; direct was not trained"),
    ({"a3c": 0.0, "direct": 1.0}, "Not shown to be worth it"),
    ({"a3c": -1.0, "direct": -1.0}, "Not worth it here: stop at mean 0.4 needs no training"),
    ({"a3c": 9.0, "direct": 0.0, "scenes": 3}, "No conclusion: 3 held-out scenes"),
])
def test_the_verdict_follows_the_intervals(differences, answer):
    """Better than the rule and than back-propagation, or which of them is in the way, or too few scenes."""
    made = make_report(LowLightReportConfig(), comparison(**differences))
    assert answer in made.verdict[-1]
    difference = made.differences["stop at mean 0.4"]
    assert difference.low <= difference.mean <= difference.high
    assert difference.mean == pytest.approx(
        made.scores["a3c, reward"].mean - made.scores["stop at mean 0.4"].mean)
    assert "a3c, reward" not in made.differences


def test_sentences_name_the_difference_and_its_interval():
    """Clear differences with their size, others with the number of scenes; pairing makes them narrow."""
    made = make_report(LowLightReportConfig(), comparison(a3c=1.0, direct=1.0))
    assert made.verdict[0].startswith("a3c is 1.") and "above stop at mean 0.4." in made.verdict[0]
    assert made.verdict[1].startswith("No difference between a3c and direct can be shown with 12 scenes")
    paired, alone = made.differences["stop at mean 0.4"], made.scores["a3c, reward"]
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_the_probability_of_improvement_is_in_the_verdict():
    """Against the strongest rival; with one seed it says so, with three it has an interval."""
    found = comparison(a3c=1.0, direct=0.5)
    made = make_report(LowLightReportConfig(), found)
    assert "a picture than oracle stop: 0." in made.verdict[-2] and "with one seed" in made.verdict[-2]
    row = found.rows["a3c, reward"]
    row.entries[""] *= 3
    assert "interval over 3 seeds" in make_report(LowLightReportConfig(), found).verdict[-2]


@pytest.fixture
def arguments(tmp_path):
    """A tiny report on twelve scenes."""
    return LowLightReportConfig(resamples=100, comparison=LowLightCompareConfig(
        learners=("a3c", "direct", "supervised"), rewards=("no reference",), seeds=(0,), minutes=0.0, updates=1,
        batch_size=2, out=tmp_path / "report",
        data=LowLightDataConfig(data=make_pairs(tmp_path / "pairs", scenes=12), crop=16),
        network=PolicyConfig(state_size=16, horizon=2)))


def test_a_report_is_written_and_trains_nothing_twice(arguments, capsys):
    """Words, intervals and all scores; the means are those of the comparison's table."""
    made = report(arguments)
    out = arguments.comparison.out
    text, facts = (out / "report.md").read_text(), json.loads((out / "report.json").read_text())
    assert text.startswith("# Is reinforcement learning worth it here?") and made.verdict[-1] in text
    assert "a3c less that" in text and "GT-mean PSNR" in text and "95 % intervals over scenes" in text
    assert facts["verdict"] == made.verdict and made.verdict[-1] in capsys.readouterr().out
    assert {"a3c, no reference", "direct, no reference", "supervised"} < set(made.scores)
    table = json.loads((out / "table.json").read_text())
    for name, row in table["rows"].items():
        entry = row["conditions"][""][0]
        assert made.scores[name].mean == pytest.approx(entry["means"]["psnr"])
        assert len(entry["scores"]) == len(table["groups"]) == made.scores[name].frames
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/metrics.csv")}
    again = report(dataclasses.replace(arguments, metric="ssim", resample_seed=1))
    assert len(times) == 3 and all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert again.scores["input"].mean < 1


@pytest.mark.parametrize("words, text", [
    (["--learner", "direct"], "--learner is a3c or sac"),
    (["--learners", "direct"], "--learner is a3c or sac, and one of --learners"),
    (["--metric", "clipped"], "--metric is psnr"),
    (["--resamples", "5"], "--resamples must be at least 100"),
    (["--rewards", "no reference", "SSIM + PSNR"], "one reward"),
    (["--dark-only"], "use pairs (low/ and high/)"),
])
def test_what_cannot_be_reported_is_refused(tmp_path, pairs, capsys, words, text):
    """One line, status 2, and nothing left behind."""
    folder = pairs / "low" if "--dark-only" in words else pairs
    words = [word for word in words if word != "--dark-only"]
    status = run_cli(report, LowLightReportConfig,
                         [*words, "--data", str(folder), "--out", str(tmp_path / "report")])
    assert status == 2 and text in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "report").exists()
