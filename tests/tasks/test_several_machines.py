"""torchrun over two machines: one dies, and the run goes on with the other; the same command begins and goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core import fit
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.distributed import _processes
from rlenhance.experiments.core.run import read_metrics
from rlenhance.experiments.tasks.lowlight import LOWLIGHT

ROOT = Path(__file__).parents[2]


def words(pairs, folder, *more, updates=4):
    """A training of seconds that can be started again."""
    return ["--learner", "direct", "--data", str(pairs), "--out", str(folder), "--name", "job", "--auto-resume",
            "--updates", str(updates), "--eval-interval", "2", "--batch-size", "4", "--state-size", "16", "--crop",
            "16", "--horizon", "2", "--device", "cpu", "--no-progress", "--reward", "exposure=9", *more]


def rows(run):
    """metrics.csv without the clock."""
    return [{name: value for name, value in row.items() if name != "seconds"}
            for row in read_metrics(run / "metrics.csv")]


@pytest.mark.slow
def test_the_same_command_begins_goes_on_and_ends(tmp_path, pairs, monkeypatch, capsys):
    """Cut off at a validation, with a relative path, it ends as the run that was never cut; once more, it has nothing
    to do. Another setting is refused, a longer budget is not."""
    assert train_command(LOWLIGHT, words(pairs, tmp_path / "whole")) == 0
    monkeypatch.chdir(pairs.parent)
    relative, validate = Path(pairs.name), fit._RunState.validate

    def dies(self, step, *rest):
        scores = validate(self, step, *rest)
        if step == 2:
            raise KeyError("power cut")
        return scores

    monkeypatch.setattr(fit._RunState, "validate", dies)
    with pytest.raises(KeyError):
        train_command(LOWLIGHT, words(relative, tmp_path / "cut"))
    monkeypatch.setattr(fit._RunState, "validate", validate)
    assert train_command(LOWLIGHT, words(relative, tmp_path / "cut")) == 0
    assert rows(tmp_path / "cut" / "job") == rows(tmp_path / "whole" / "job")
    capsys.readouterr()
    assert train_command(LOWLIGHT, words(relative, tmp_path / "cut", "--seed", "3")) == 2
    assert "leave out seed" in capsys.readouterr().err
    assert train_command(LOWLIGHT, words(relative, tmp_path / "cut")) == 0
    assert train_command(LOWLIGHT, words(relative, tmp_path / "cut", updates=5)) == 0
    assert [row["step"] for row in rows(tmp_path / "cut" / "job")] == [0, 1, 2, 3, 4, 5]


def test_the_same_command_goes_on_and_another_is_refused(tmp_path, pairs, capsys):
    """Longer, it adds updates; with another seed, the run is not touched."""
    assert train_command(LOWLIGHT, words(pairs, tmp_path, updates=1)) == 0
    assert train_command(LOWLIGHT, words(pairs, tmp_path, updates=2)) == 0
    assert train_command(LOWLIGHT, words(pairs, tmp_path, "--seed", "3", updates=2)) == 2
    assert "leave out seed" in capsys.readouterr().err
    assert [row["step"] for row in rows(tmp_path / "job")] == [0, 1, 2]


def test_a_run_without_a_name_cannot_be_found_again(tmp_path, pairs, capsys):
    """So it is refused at once."""
    line = words(pairs, tmp_path)
    line[line.index("--name") : line.index("--name") + 2] = []
    assert train_command(LOWLIGHT, line) == 2 and "--name" in capsys.readouterr().err


def test_machines_with_unequal_numbers_of_processes_are_refused(monkeypatch):
    """Their shares of a batch would not be equal; equal ones are counted."""
    monkeypatch.setattr("torch.distributed.is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert _processes(1) == (2, 2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="--nproc-per-node"):
        _processes(1)


def until(done, seconds):
    """Wait for something."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_a_machine_dies_and_the_run_goes_on_with_the_other(tmp_path, pairs):
    """kill -9 of one torchrun and its process: the other one's restarts alone, at the last validation, with all updates
    in metrics.csv once; a third start, of one process without torchrun, finds nothing left to do."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts",
            "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "job", "--rdzv-conf",
            "last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=3", "-m",
            "rlenhance.experiments.lol_train", *words(pairs, tmp_path, updates=60)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    nodes = []
    for number in range(2):
        log = (tmp_path / f"node{number}.log").open("w")
        nodes.append(subprocess.Popen(line, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True))
        time.sleep(1)
    run = tmp_path / "job"
    until(lambda: (run / "metrics.csv").is_file() and len((run / "metrics.csv").read_text().splitlines()) > 8, 100)
    workers = Path(f"/proc/{nodes[1].pid}/task/{nodes[1].pid}/children").read_text().split()
    for number in (nodes[1].pid, *map(int, workers)):
        os.kill(number, signal.SIGKILL)
    assert nodes[1].wait(10) != 0
    assert nodes[0].wait(150) == 0, (tmp_path / "node0.log").read_text()
    told = (tmp_path / "node0.log").read_text()
    assert "Starting with 2 processes" in told and told.count("run folder") == 2 and "60 updates" in told
    assert [row["step"] for row in rows(run)] == list(range(61))
    assert train_command(LOWLIGHT, words(pairs, tmp_path, updates=60)) == 0
