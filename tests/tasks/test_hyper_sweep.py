"""`python -m experiments.sweep`: settings reach the trainings, hopeless trials end, a sweep goes on and is drawn."""

import csv
import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.sweep import is_hopeless, open_study, report, run_sweep
from rlenhance.experiments.core.sweep_settings import GROUP, Span, SweepConfig, prepare, settings_of, task_of
from rlenhance.experiments.sweep import sweep_command
from rlenhance.io import read

pytestmark = pytest.mark.usefixtures("no_curves")

optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).parents[2]
SEARCH = ("reward.exposure=2:40:log", "horizon=1,2", "direct.optimizer.learning-rate=1e-4:1e-2:log")


def words(pairs, updates=2):
    """Of a training of a second."""
    return ("--data", str(pairs), "--learner", "direct", "--updates", str(updates), "--eval-interval", "1",
            "--state-size", "16", "--crop", "16", "--batch-size", "2", "--device", "cpu")


@pytest.mark.parametrize("text, wanted", [
    ("2:40", Span(2, 40)), ("2.0:40", Span(2.0, 40.0)), ("0.1:1:log", Span(0.1, 1.0, True)),
    ("a,b", Span(choices=("a", "b"))), ("-3:3", Span(-3, 3)),
])
def test_ranges_and_choices(text, wanted):
    """Whole numbers where both ends are."""
    span = Span.parse("x", text)
    assert span == wanted and type(span.low) is type(wanted.low)


@pytest.mark.parametrize("text", ["", "a", "a,a", "2", "3:2", "0:1:log", "nan:1", "1:inf", "a:b", "1:2:3", "2:2"])
def test_ranges_that_are_none_are_refused(text):
    """Each with what belongs there."""
    with pytest.raises(UsageError, match="--search"):
        prepare(SweepConfig("lol_train", search=(f"horizon={text}",)), ())


def test_every_command_that_the_page_names_can_be_swept():
    """And a refusal names the same ones."""
    page = (ROOT / "docs/howto/sweeps.md").read_text()
    named = re.findall(r"`(\w+_train)`", next(line for line in page.splitlines() if line.startswith("| `lol_train`")))
    with pytest.raises(UsageError, match="no command that trains a task; there are ") as told:
        task_of("nothing_train")
    installed = {point.name for point in entry_points(group=GROUP)}
    assert set(named) == set(str(told.value).split("there are ")[1].split(", ")) - installed
    assert [task_of(name).command for name in named] == [f"rlenhance.experiments.{name}" for name in named]


@pytest.mark.parametrize("changes, more, told", [
    ({"search": ("no-such-option=1:2",)}, (), "no-such-option"),
    ({"search": ("reward.no_such_term=1:2",)}, (), None),
    ({"search": ()}, (), "nothing to search"),
    ({"command": "lol_compare"}, (), "lol_train"),
    ({"command": "../x"}, (), "lol_train"),
    ({"objective": ("val/psnr:best",)}, (), "SCORE"),
    ({"trials": 0}, (), "--trials"),
    ({"name": "a/b"}, (), "--name"),
    ({"begin": ("horizon=9",)}, (), "outside"),
    ({"begin": ("seed=9",)}, (), "not in --search"),
    ({}, ("--name", "x"), "leave it out"),
    ({"space": Path("nowhere.json")}, (), "nowhere"),
])
def test_what_no_sweep_can_have_is_refused_before_the_first_training(tmp_path, changes, more, told):
    """And nothing is written; what only the task can judge fails in the trial."""
    config = SweepConfig(**{"command": "lol_train", "search": ("horizon=1,2",), "out": tmp_path / "out", **changes})
    if told is None:
        prepare(config, more)
        return
    with pytest.raises(UsageError, match=told):
        prepare(config, more)
    assert not (tmp_path / "out").exists()


def test_settings_reach_the_training(tmp_path):
    """Weights of the reward beside those of the preset, options of the learner, choices; those behind -- too."""
    sweep = prepare(SweepConfig("lol_train", search=SEARCH, out=tmp_path), ("--reward", "clipping=7"))
    config = settings_of(sweep, {"reward.exposure": 3.5, "horizon": "2", "direct.optimizer.learning-rate": 0.002}, 4)
    assert {"exposure=3.5", "clipping=7", "contrast=0"} <= set(config.train.reward)
    assert config.network.horizon == 2 and config.learners.direct.optimizer.learning_rate == 0.002
    assert config.train.name == "0004" and config.train.out == tmp_path / "sweep" / "trials"


@pytest.mark.slow
def test_a_sweep_runs_goes_on_and_draws(tmp_path, pairs, capsys):
    """Two objectives; the space half in a file; the first trial as asked; two trials, then one more; other settings
    under its name are refused."""
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"reward.exposure": "2:40:log"}))
    asked = ["lol_train", "--space", str(space), "--search", "reward.clipping=0.5:5", "--begin", "reward.exposure=10",
             "--objective", "val/mean", "val/clipped:min", "--out", str(tmp_path)]
    assert sweep_command([*asked, "--trials", "2", "--", *words(pairs, 1)]) == 0
    assert sweep_command([*asked, "--trials", "3", "--", *words(pairs, 1)]) == 0
    told = capsys.readouterr().out
    with (tmp_path / "sweep" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0", "1", "2"] and float(rows[0]["reward.exposure"]) == 10
    assert all(row["state"] == "complete" and Path(row["run"], "best", "config.json").exists() for row in rows)
    assert "best" in told and read(tmp_path / "sweep" / "sweep.png").pixels.shape[1] > 800
    assert sweep_command([*asked, "--trials", "3", "--", *words(pairs, 2)]) == 2
    assert "begun with another words" in capsys.readouterr().err


@pytest.mark.slow
def test_one_objective_a_failing_trial_and_a_score_that_is_none(tmp_path, pairs, capsys):
    """A trial whose settings the task refuses is recorded as failed; an unknown score names the known ones."""
    config = SweepConfig("lol_train", search=("reward.exposure=2:40", "batch-size=1,0"), out=tmp_path, trials=4)
    sweep = prepare(config, words(pairs, 1))
    study = run_sweep(sweep)
    report(sweep, study)
    states = {trial.params["batch-size"]: trial.state.name for trial in study.trials}
    assert states == {"1": "COMPLETE", "0": "FAIL"} and "--batch-size must be at least 1" in capsys.readouterr().out
    sweep = prepare(SweepConfig("lol_train", search=("horizon=1,2",), out=tmp_path, name="none", trials=1,
                                objective=("val/beauty",)), words(pairs, 1))
    with pytest.raises(UsageError, match="val/beauty: not among the validation scores, which are val/clipped"):
        run_sweep(sweep)


def test_only_the_hopeless_are_pruned():
    """Worse than the median in every objective, and never beside fewer than five."""
    others, directions = [(0.1 * n, 0.1 * n) for n in range(5)], ("maximize", "minimize")
    assert is_hopeless((0.1, 0.3), others, directions) and not is_hopeless((0.1, 0.3), others[:4], directions)
    assert not is_hopeless((0.1, 0.1), others, directions) and not is_hopeless((0.3, 0.3), others, directions)
    assert not is_hopeless((0.2,), [other[:1] for other in others], ("maximize",))


def test_a_trial_is_pruned_at_a_validation(tmp_path, pairs):
    """Its run ends there, and is kept; the picture shows where."""
    sweep = prepare(SweepConfig("lol_train", search=("reward.exposure=2:40",), out=tmp_path, trials=6,
                                objective=("val/mean",)), words(pairs, 2))
    sweep.folder.mkdir(parents=True)
    study = open_study(sweep)
    known = optuna.trial.create_trial(
        params={"reward.exposure": 9}, distributions={"reward.exposure": optuna.distributions.IntDistribution(2, 40)},
        value=0.9, user_attrs={"validation/1": [0.9]})
    study.add_trials([known] * 5)
    study = run_sweep(sweep)
    assert study.trials[5].state.name == "PRUNED" and "validation/1" in study.trials[5].user_attrs
    assert "validation/2" not in study.trials[5].user_attrs
    report(sweep, study)


@pytest.mark.slow
def test_two_processes_share_a_sweep(tmp_path, pairs):
    """Together they make as many trials as one; each number once."""
    command = [sys.executable, "-m", "rlenhance.experiments.sweep", "lol_train", "--search", "reward.exposure=2:40:log",
               "--trials", "5", "--processes", "2", "--out", str(tmp_path), "--", *words(pairs, 1)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "sweep" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert 5 <= len(rows) <= 6 and len({row["run"] for row in rows}) == len(rows)
    assert {row["state"] for row in rows} == {"complete"}
