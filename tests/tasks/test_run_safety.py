"""A run folder under attack: two trainings at once, SIGTERM, damaged state, settings of a stranger."""

import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlenhance.agents import LEARNERS
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.run_lock import LOCK, run_lock
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.learning.hub.checkpoint import read_config
from tests.support.data import make_pairs
from tests.support.training import resume, train_lowlight

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two updates, made once."""
    place = tmp_path_factory.mktemp("trained")
    return train_lowlight(make_pairs(place / "pairs"), out=place / "runs", name="run", updates=2, eval_interval=1,
                          batch_size=2, learner="supervised").run


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def test_one_training_writes_to_a_run(run):
    """The second --resume is refused by the process of the first; what a killed one left behind locks nothing."""
    with run_lock(run):
        with pytest.raises(UsageError, match=rf"process {os.getpid()} on .* is training this run"):
            resume(LOWLIGHT, run, updates=3)
        with pytest.raises(UsageError, match="is training this run"), run_lock(run):
            pass
    assert not (run / LOCK).exists()
    (run / LOCK).write_text("process 1 on here\n")
    (run / "last.0a0a.part").mkdir()
    (run / "rest.part").write_bytes(b"x")
    assert resume(LOWLIGHT, run, updates=3).fitted.updates == 3
    assert not (run / LOCK).exists() and not list(run.glob("**/*.part"))


def test_two_trainings_of_one_name(run, tmp_path, trained):
    """The name of a run that is being made is taken."""
    (tmp_path / "made").mkdir()
    with run_lock(tmp_path / "made"), pytest.raises(UsageError, match="is training this run"):
        train_lowlight(trained.parents[1] / "pairs", out=tmp_path, name="made", updates=2, batch_size=2)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_has_its_status(tmp_path, pairs, monkeypatch, capsys, number, status):
    """Ctrl-C and SIGTERM: the update in progress is finished and saved; resuming completes the run."""
    handler = signal.getsignal(number)
    kind = LEARNERS["a3c"]
    step, calls = kind.step, []

    def ended(self, batch, progress=0.0):
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return step(self, batch, progress)

    monkeypatch.setattr(kind, "step", ended)
    words = ["--data", str(pairs), "--out", str(tmp_path), "--name", "run", "--updates", "5", "--batch-size", "2",
             "--state-size", "16", "--horizon", "2", "--device", "cpu", "--no-progress"]
    assert train_command(LOWLIGHT, words) == status
    assert "stopped and saved after 3 updates" in capsys.readouterr().out and not (tmp_path / "run" / LOCK).exists()
    assert read_config(tmp_path / "run" / "last")["about"]["step"] == 3
    fitted = resume(LOWLIGHT, tmp_path / "run").fitted
    assert fitted.updates == 5 and not fitted.interrupted and signal.getsignal(number) is handler


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "bit", "missing", "empty", "other"])
def test_a_damaged_state_is_named_with_the_way_out(run, file, damage):
    path = run / "last" / file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other" and file != "config.json":
        twice = {name: torch.cat([value, value]) if value.dim() else value for name, value in load_file(path).items()}
        save_file(twice, path, {"outline": '{"value": 1}'})
    elif damage == "other":
        path.write_bytes(data.replace(b'"step": 2', b'"step": 1'))
    else:
        at = len(data) // 2
        flipped = data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]
        path.write_bytes({"cut": data[:at], "empty": b"", "bit": flipped}[damage])
    way_out = rf"last.*this run cannot go on: begin a new one with --init {run}/best"
    with pytest.raises(UsageError, match=way_out) as said:
        resume(LOWLIGHT, run, updates=4)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(("path", "value", "wanted"), [
    ("arguments", [], "arguments must be an object"), ("data", 5, "data must be an object"),
    ("task", 5, "task must be a text"),
    ("plugins", [{"module": 1}], "plugins must be a list"), ("reward_terms", {"a": 1}, "reward_terms must be"),
    ("arguments.train.updates", 1e400, r"updates must lie in .*got inf"),
    ("arguments.train.batch_size", 10**9, r"batch_size must lie in \[0, 65,536\]; got 1000000000"),
    ("arguments.train.batch_size", True, "holds True where a int belongs"),
    ("arguments.network", 5, "holds 5 where settings belong"), ("arguments.train.reward", 7, "where a list belongs"),
    ("arguments.train.nonsense", 7, "nonsense, which this version does not know"),
    ("kind", "else", "not a run"), ("format", {}, "config.json"), ("arguments", ..., "incomplete"),
    ("arguments.train.seed", "many", "many"),
])
def test_a_setting_of_a_foreign_run_is_named(run, path, value, wanted):
    config = json.loads((run / "config.json").read_text())
    *parts, last = path.split(".")
    holder = config
    for part in parts:
        holder = holder[part]
    holder[last] = value
    if value is ...:
        del holder[last]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=wanted) as said:
        resume(LOWLIGHT, run, updates=4)
    assert str(run) in str(said.value)


def test_a_run_larger_than_its_weights_is_not_built(run):
    """Settings that ask for a network of gigabytes beside weights of kilobytes are refused."""
    config = json.loads((run / "config.json").read_text())
    config["arguments"]["network"]["backbone_args"] = ["width=2048"]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"the config asks for more|does not fit the settings"):
        resume(LOWLIGHT, run, updates=4)
