"""The loop: resumes bit for bit, survives a kill, refuses NaN, stops on Ctrl-C."""

import csv
import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rlenhance.agents import LEARNERS, Supervised, distributed
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core import fit as loop
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.distributed import make_fabric
from rlenhance.experiments.core.fit import Budget, TrainingFailed, fit
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_evaluate import LowLightEvaluator
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, load_training, read_config
from rlenhance.learning.models import MODELS
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.training import SMALL, resume, train_lowlight

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_curves")


def run_lol(tmp_path, pairs, **changes):
    """A run of seconds."""
    settings = {"out": tmp_path / "runs", "name": "run", "updates": 6, "eval_interval": 2, "batch_size": 2}
    return train_lowlight(pairs, **(settings | changes))


def weights(run):
    return (run / "last" / "model.safetensors").read_bytes()


def numbers(run):
    """metrics.csv without the clock."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("learner, cut_at", [
    *((name, 4) for name in LEARNERS), pytest.param("a3c", 1, marks=pytest.mark.slow), ("a3c", 6)])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, pairs, learner, cut_at):
    """Weights, optimizer and every logged number are equal, bit for bit, wherever the run was stopped."""
    whole = run_lol(tmp_path, pairs, learner=learner).run

    class Stop(Exception):
        """A power cut."""

    kind = LEARNERS[learner]
    step, calls = kind.step, []

    def failing(self, batch, progress=0.0):
        calls.append(0)
        if len(calls) == cut_at:  # checkpoints stand at 0, 2 and 4; what the log has behind them goes
            raise Stop
        return step(self, batch, progress)

    kind.step = failing
    try:
        with pytest.raises(Stop):
            run_lol(tmp_path, pairs, learner=learner, name="cut")
    finally:
        kind.step = step
    cut = tmp_path / "runs" / "cut"
    assert len(numbers(cut)) == cut_at
    resume(LOWLIGHT, cut)
    assert weights(cut) == weights(whole)
    assert numbers(cut) == numbers(whole)
    one, two = (load_training(run / "last") for run in (cut, whole))
    assert torch.equal(one["generator"], two["generator"])
    assert read_config(cut / "best")["about"] == read_config(whole / "best")["about"]


def test_kill_at_any_moment_is_survived(tmp_path, pairs):
    """kill -9 while it saves after every update: the run goes on from a valid checkpoint."""
    command = [sys.executable, "-m", "rlenhance.experiments.lol_train", "--data", str(pairs), "--out",
               str(tmp_path / "runs"), "--name", "killed", "--updates", "500", "--eval-interval", "1", "--batch-size",
               "2", "--state-size", "16", "--horizon", "2", "--device", "cpu", "--no-progress"]
    run = tmp_path / "runs" / "killed"
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if (run / "last" / "config.json").is_file():
            break
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, _, about = Run(run).last_state()
    assert 0 <= about["step"] < 500
    config = json.loads((run / "config.json").read_text())
    config["arguments"]["train"]["updates"] = about["step"] + 2
    (run / "config.json").write_text(json.dumps(config))
    result = resume(LOWLIGHT, run)
    assert result.fitted.updates == about["step"] + 2
    assert [int(row["step"]) for row in numbers(run)] == list(range(about["step"] + 3))


def test_nan_skips_then_stops_and_keeps_the_last_good_checkpoint(tmp_path, image):
    """One bad batch is skipped; three in a row end the run with the term's name; last/ still loads."""
    torch.manual_seed(0)
    policy = MODELS.create("pixel_policy", actions={"name": "curve"}, backbone={"name": "compact", "width": 8},
                           horizon=2, decision_size=16)
    reward = Reward(RewardWeights())
    learner = LEARNERS["a3c"](policy, reward)
    bad = image.clone()
    bad[0] = float("nan")

    def batches(step):
        return Batch(bad if step == 1 or step > 3 else image)

    run = Run.create(tmp_path / "run", {}, {})
    with pytest.raises(TrainingFailed, match=r"reward term .*3 updates"):
        fit(learner, batches, LowLightEvaluator([Batch(image[:1])], reward), run, Budget(10, eval_interval=2),
            show=False)
    assert read_config(run.path / "last")["about"]["step"] in (4, 6)
    load_network(run.path / "last")
    assert [row.get("optim/skipped") for row in run.rows] == [None, None, 1.0, None, None, 1.0, 1.0]


def test_training_ends_when_the_score_has_stopped_rising(tmp_path, image):
    """After as many validations as the patience has; a run that ended so goes on with another patience alone."""
    batch = Batch(image * 0.2, image)

    def go_on(**budget):
        learner, run = Supervised(MODELS.create("restorer", backbone={"name": "compact"})), Run(tmp_path / "run")
        return fit(learner, lambda step: batch, lambda network: {"val/return": min(next(scores), 2.0)}, run,
                   Budget(eval_interval=2, **budget), show=False)

    Run.create(tmp_path / "run", {}, {})
    scores = iter(range(100))
    ended = go_on(updates=40, patience=3)
    assert (ended.updates, ended.best_step, ended.stalled) == (10, 4, True)
    assert go_on(updates=40, patience=3).updates == 10  # best scores and all are taken up again
    assert not (further := go_on(updates=14)).stalled and further.updates == 14
    longer = go_on(updates=40, patience=6)
    assert longer.updates == 16 and longer.stalled


def test_numbers_in_the_log_have_six_digits_and_their_exponents(tmp_path):
    """Read and written again they stay as they are."""
    run = Run.create(tmp_path / "run", {}, {})
    run.log(1, {"share": 8.138021045923233e-05, "level": 0.30000001192092896, "loss": 3.77e6})
    run.log(2, {"share": 0.5, "level": float("nan"), "loss": 7})
    text = (run.path / "metrics.csv").read_text()
    assert text.splitlines() == ["step,share,level,loss", "1,8.13802e-05,0.3,3.77e+06", "2,0.5,nan,7"]
    Run(run.path).truncate_log(2)
    assert (run.path / "metrics.csv").read_text().replace("\r", "") == text.replace("\r", "")
    run.close()


def test_init_begins_with_the_weights_of_a_run(tmp_path, pairs):
    """Fine-tuning starts where the other run was best; another network is refused."""
    first = run_lol(tmp_path, pairs).run
    tuned = run_lol(tmp_path, pairs, name="tuned", init=first, updates=1, eval_interval=9)
    begun = numbers(tuned.run)[0]
    assert float(begun["val/psnr"]) == pytest.approx(read_config(first / "best")["about"]["scores"]["val/psnr"])
    with pytest.raises(UsageError, match="--init"):
        run_lol(tmp_path, pairs, name="other", init=first, policy=replace(SMALL, backbone="fcn"))


def test_folders_that_are_no_new_run_are_refused(tmp_path, pairs):
    """A run that exists points to --resume; a folder that is none is left alone; resuming needs a run."""
    run = run_lol(tmp_path, pairs, updates=1).run
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(UsageError, match="--resume"):
        run_lol(tmp_path, pairs)
    other = tmp_path / "runs" / "diary"
    other.mkdir()
    (other / "entry.txt").write_text("dear diary")
    with pytest.raises(UsageError, match="not a run"):
        run_lol(tmp_path, pairs, name="diary")
    with pytest.raises(UsageError, match="not a run"):
        resume(LOWLIGHT, other)
    assert sorted(path.name for path in run.iterdir()) == before and [p.name for p in other.iterdir()] == ["entry.txt"]


@pytest.mark.parametrize("device, precision, text", [
    ("tpu", "32", "--device"), ("cpu", "64", "--precision"), ("cpu", "fp16", "CUDA"),
])
def test_devices_and_precisions_that_cannot_be_had_are_refused(device, precision, text):
    """With the ones that can."""
    with pytest.raises(UsageError, match=text):
        make_fabric(device, precision)


def test_mixed_precision_trains(tmp_path, pairs):
    """bf16 runs to its end with finite numbers."""
    result = run_lol(tmp_path, pairs, precision="bf16", updates=2)
    assert result.fitted.updates == 2 and result.scores["a3c"]["psnr"] > 0


def test_killed_before_the_first_checkpoint_begins_again(tmp_path, pairs):
    """A run that holds nothing but its config.json goes on from the start, and equals one that was never killed."""
    whole = run_lol(tmp_path, pairs, name="whole", updates=2).run
    run = run_lol(tmp_path, pairs, updates=2).run
    for name in ("best", "last"):
        shutil.rmtree(run / name)
    (run / "last.1234.part").mkdir()
    resume(LOWLIGHT, run)
    assert weights(run) == weights(whole) and numbers(run) == numbers(whole)
    assert not (run / "last.1234.part").exists()


def test_damaged_log_is_set_aside(tmp_path, pairs):
    """metrics.csv that cannot be read does not stop a run from going on."""
    run = run_lol(tmp_path, pairs, updates=1).run
    (run / "metrics.csv").write_bytes(b"\xff\xfe\x00step")
    resume(LOWLIGHT, run)
    assert (run / "metrics.csv.damaged").exists()


def test_settings_beside_resume_are_refused(tmp_path, pairs, capsys):
    """They would be ignored otherwise; a default too, where the run has another value."""
    run = run_lol(tmp_path, pairs, updates=1, seed=3).run
    with pytest.raises(UsageError, match=r"leave out batch_size \("):
        resume(LOWLIGHT, run, batch_size=3)
    words = ["--resume", str(run), "--learner", "sac", "--a3c.gamma", "0.5", "--no-progress"]
    assert train_command(LOWLIGHT, words) == 2
    assert "leave out learner, a3c.gamma (" in " ".join(capsys.readouterr().err.split())
    assert train_command(LOWLIGHT, ["--resume", str(run), "--seed", "0", "--no-progress"]) == 2
    assert "leave out seed" in capsys.readouterr().err
    before = (run / "config.json").read_text()
    assert train_command(LOWLIGHT, ["--resume", str(run), "--seed", "3", "--device", "cpu", "--no-progress"]) == 0
    assert (run / "config.json").read_text() == before  # what the run has may be named


def test_full_disk_ends_with_one_line(tmp_path, pairs, monkeypatch, capsys):
    """No traceback, status 2, and what was saved before stands."""
    run = run_lol(tmp_path, pairs, updates=2).run
    before = weights(run)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr("rlenhance.learning.hub.checkpoint._write", full)
    words = ["--data", str(pairs), "--out", str(tmp_path / "runs"), "--name", "other", "--updates", "1", "--state-size",
             "16", "--horizon", "2", "--device", "cpu", "--no-progress"]
    assert train_command(LOWLIGHT, words) == 2
    assert "No space left" in capsys.readouterr().err and weights(run) == before


@pytest.mark.parametrize(("workers", "world"), [(1, 1), (3, 1), (1, 2)])
def test_what_several_processes_do_is_counted(monkeypatch, workers, world):
    """Pictures of all of them; CPU time of one process alone is given for none."""
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    state = loop._RunState(SimpleNamespace(num_workers=workers), None, None)
    for _ in range(2):
        state.count(1.0, 0.5, 4)
    assert (state.seconds, state.pictures) == (2.0, 8 * world)
    assert state.cpu_seconds == (1.0 if workers == world == 1 else None)
