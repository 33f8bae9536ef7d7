"""Several processes: two with half of each batch are one with all of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from rlenhance.agents import LEARNERS, NonFiniteError, distributed
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.distributed import make_fabric
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.learning.data import Batch, ImageCache, Sampler, open_dataset
from rlenhance.learning.hub.checkpoint import load_training
from rlenhance.learning.models import MODELS, build_model
from rlenhance.learning.rewards import Reward, RewardWeights

ROOT = Path(__file__).parents[2]
PLAIN = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}


def make(name):
    """A small learner, the same at every call; its preferences vary, and no weight is zero."""
    torch.manual_seed(0)
    if LEARNERS[name].is_policy:
        network = MODELS.create("pixel_policy", actions={"name": "curve"}, backbone={"name": "compact", "width": 8},
                                horizon=3, decision_size=16, preferences={"exposure_level": (0.3, 0.475, 0.65)})
    else:
        network = MODELS.create("restorer", backbone={"name": "compact", "width": 8})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return LEARNERS[name](network, *([Reward(RewardWeights())] if LEARNERS[name].is_policy else []), seed=3)


def joint_batch(step, count=4):
    """Pictures with references; no two alike."""
    image = 0.05 + 0.3 * torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(step))
    return Batch(image, (2 * image).clamp(0, 1))


def flat(network):
    """All weights."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def one_of_two(rank, folder):
    """A process: four updates of each learner on its half, then a batch that is bad in the second process alone."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    share = distributed.local_batch_size(4)
    for name in LEARNERS:
        if not LEARNERS[name].supports_ddp:
            continue
        learner = make(name)
        for step in range(4):
            numbers = learner.step(joint_batch(step)[rank * share : (rank + 1) * share], step / 4)
        before = flat(learner.network)
        bad = joint_batch(9)[:share]
        if rank:
            bad.image[0, 0, 0, 0] = float("nan")
            if not LEARNERS[name].is_policy:
                learner.network.forward = learner.network.residual  # past the door that refuses NaN
        try:
            learner.step(bad)
            term = ""
        except NonFiniteError as error:
            term = error.term
        torch.save({"weights": before, "after": flat(learner.network), "numbers": numbers, "term": term,
                    "stream": learner.generator.get_state()}, folder / f"{name}-{rank}.pt")
    torch.distributed.barrier()  # neither leaves while the other still reads
    torch.distributed.destroy_process_group()
    os._exit(0)  # threads of gloo that are still ending abort a process that ends in the usual way


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Learner -> what each of two processes came to."""
    folder = tmp_path_factory.mktemp("halves")
    torch.multiprocessing.spawn(one_of_two, (folder,), nprocs=2)
    names = {path.stem.rsplit("-", 1)[0] for path in folder.glob("*.pt")}
    return {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(2)] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["direct", "supervised"])
def test_two_processes_equal_one_with_the_joint_batch(halves, name):
    """Weights and logged numbers, after updates with clipped gradients and drawn preferences."""
    learner = make(name)
    for step in range(4):
        numbers = learner.step(joint_batch(step), step / 4)
    one, two = flat(learner.network), halves[name][0]["weights"]
    # where a gradient is zero but for rounding (the local agents' mean is removed: their bias), Adam makes a step of it
    gradients = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                           for p in learner.network.parameters()])
    real = (gradients.abs() > 1e-6) | (gradients == 0)
    assert real.float().mean() > 0.95 and torch.allclose(two[real], one[real], rtol=0, atol=1e-5)
    assert not torch.allclose(flat(make(name).network), one, atol=1e-3)
    other = make(name).network
    torch.nn.utils.vector_to_parameters(two, other.parameters())
    with torch.no_grad():
        outputs = [build_model(network)(joint_batch(0).image) for network in (other, learner.network)]
    assert torch.allclose(*outputs, rtol=0, atol=1e-5)
    assert halves[name][0]["numbers"] == pytest.approx(numbers, rel=1e-3, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a3c", "direct", "supervised"])
def test_processes_hold_the_same_weights_and_refuse_a_bad_batch_together(halves, name):
    """Bit for bit, numbers and random stream too; NaN in one process changes no weight in any, and all name it."""
    first, second = halves[name]
    assert torch.equal(first["weights"], second["weights"]) and torch.isfinite(first["weights"]).all()
    assert not torch.equal(first["weights"], flat(make(name).network))
    assert first["numbers"] == second["numbers"] and torch.equal(first["stream"], second["stream"])
    assert first["term"] == second["term"] and first["term"].startswith(("reward term", "loss/l1"))
    assert all(torch.equal(half["after"], half["weights"]) for half in halves[name])


def test_shares_of_a_batch_are_the_batch(pairs):
    """What one process draws does not depend on how many share the update."""
    sampler = Sampler(open_dataset(pairs).train, ImageCache(), 16, seed=1)
    whole = sampler.batch(5, 4)
    parts = Batch.stack([sampler.batch(5, 4, slice(start, start + 2)) for start in (0, 2)])
    assert torch.equal(whole.image, parts.image) and torch.equal(whole.target, parts.target)


@pytest.mark.parametrize("words, text", [
    (["--devices", "3", "--batch-size", "8"], "6 or 9"), (["--devices", "0"], "at least 1"),
])
def test_batches_that_do_not_divide_are_refused(tmp_path, pairs, capsys, words, text):
    """The batch is never silently changed; nothing is started or left behind."""
    words = [*words, "--data", str(pairs), "--out", str(tmp_path / "runs"), "--device", "cpu", "--no-progress"]
    assert train_command(LOWLIGHT, words) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.device_count() != 1, reason="needs exactly one GPU")
def test_more_devices_than_there_are_are_refused():
    """With how many there are."""
    with pytest.raises(UsageError, match="--devices 1"):
        make_fabric("cuda", devices=2)


def words(pairs, folder, name, updates, learner="direct"):
    return ["--learner", learner, "--data", str(pairs), "--out", str(folder), "--name", name, "--updates",
            str(updates), "--eval-interval", "2", "--batch-size", "4", "--state-size", "16", "--horizon", "2",
            "--device", "cpu", "--no-progress"]


def numbers(run):
    """The rows of metrics.csv without the clock."""
    folder = Run(run)
    folder.truncate_log(10**6)
    return [{name: value for name, value in row.items() if name != "seconds"} for row in folder.rows]


def run_command_line(*command):
    """A command in a process of its own, which has to end well."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=PLAIN, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(tmp_path, pairs):
    """One run folder and one voice, and every logged number of a run in one process, to rounding."""
    out = run_command_line("rlenhance.experiments.lol_train", *words(pairs, tmp_path, "two", 4), "--devices", "2")
    assert out.count("run folder") == 1
    assert train_command(LOWLIGHT, words(pairs, tmp_path, "one", 4)) == 0
    for one, two in zip(numbers(tmp_path / "one"), numbers(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-2, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["direct", "a3c"])
def test_torchrun_goes_on_with_a_run(tmp_path, pairs, learner):
    """Two processes take up what the first of two has saved; the whole equals a run that was never stopped."""
    for name, updates in (("cut", 2), ("whole", 4)):
        run_command_line("rlenhance.experiments.lol_train", *words(pairs, tmp_path, name, updates, learner),
                         "--devices", "2")
    run = tmp_path / "cut"
    config = json.loads((run / "config.json").read_text())
    config["arguments"]["train"]["updates"] = 4
    (run / "config.json").write_text(json.dumps(config))
    out = run_command_line("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
                           "rlenhance.experiments.lol_train", "--resume", str(run), "--device", "cpu", "--no-progress")
    assert out.count("run folder") == 1
    assert load_training(run / "last")["optimiser"]["steps"] == (4 if learner == "direct" else 12)
    assert [row["step"] for row in numbers(run)] == [0, 1, 2, 3, 4]
    # the schedule of a run of two updates differs from that of four; what both share is the pictures and preferences
    assert numbers(run)[1]["rollout/return"] == numbers(tmp_path / "whole")[1]["rollout/return"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["first", "second"])
def test_no_process_outlives_another(tmp_path, pairs, victim):
    """kill -9 of either ends the other with a non-zero status, soon; last/ stands."""
    process = subprocess.Popen([sys.executable, "-m", "rlenhance.experiments.lol_train", *words(pairs, tmp_path, "run",
                                10**6), "--devices", "2"], cwd=ROOT, env=PLAIN, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    run = tmp_path / "run"
    until = time.monotonic() + 60
    while not (run / "metrics.csv").is_file() or len((run / "metrics.csv").read_text().splitlines()) < 4:
        assert time.monotonic() < until
        time.sleep(0.1)
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1])
    os.kill(process.pid if victim == "first" else child, signal.SIGKILL)
    assert process.wait(60) != 0
    until = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert Run(run).last_state() is not None
