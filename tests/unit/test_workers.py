"""Asynchronous workers: they learn, lose no step, and leave nothing behind however the run ends."""

import multiprocessing
import os
import signal

import pytest
import torch

from rlenhance.agents import A3C, A3CConfig, AsyncA3C, NonFiniteError, OptimizerConfig, OptimizerStep, WorkerError
from rlenhance.agents.shared_adam import SharedOptimizerStep, SharedWeights
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.fit import Budget, TrainingFailed, fit
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_evaluate import LowLightEvaluator
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, read_config
from tests.support.known_answer import FAST, REWARD, grey_batch, mean_error, policy
from tests.support.training import resume, train_lowlight

CONFIG = A3CConfig(optimizer=FAST)


def flat(network):
    """All weights."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_shared_adam_is_adam():
    """Steps through shared memory are torch's own, to rounding; moments and count come back with the weights."""
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)))
    plain, config = OptimizerStep(networks[0], OptimizerConfig()), OptimizerConfig()
    shared = SharedWeights(networks[1])
    shared.push(networks[1], OptimizerStep(networks[1], config))
    stepping = SharedOptimizerStep(networks[1], shared, config)
    stepping.adam.pull()
    for step in range(5):
        inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
        for network, optimizer in zip(networks, (plain, stepping), strict=True):
            optimizer.update({"loss": network(inputs).square().mean()}, step / 5)
    collected = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    optimizer = OptimizerStep(collected, config)
    shared.pull(collected, optimizer)
    assert torch.allclose(flat(collected), flat(networks[0]), atol=1e-7)
    mine, theirs = optimizer.state_dict(), plain.state_dict()
    assert mine["steps"] == theirs["steps"] == 5
    for index, moments in theirs["moments"].items():
        for name, value in moments.items():
            assert torch.allclose(mine["moments"][index][name], value, atol=1e-7)


@pytest.fixture(scope="module")
def learnt():
    """Two workers after 60 updates of the known answer, and the distance from it before."""
    learner = AsyncA3C(policy(), REWARD, CONFIG, seed=0, workers=2)
    before = mean_error(learner.network)
    rows = [learner.step(grey_batch(step), step / 60) for step in range(60)]
    rows.append(learner.synchronize())
    yield learner, before, rows
    learner.shutdown()


@pytest.mark.statistical
def test_workers_find_the_known_answer(learnt):
    """As the batched learner does, and say how stale their gradients were."""
    learner, before, rows = learnt
    assert before > 0.08 and mean_error(learner.network) < 0.04
    told = [row for row in rows if row]  # none at first
    assert all(row["async/staleness"] >= 0 for row in told) and told[-1]["rollout/return"] > told[0]["rollout/return"]


@pytest.mark.slow
def test_no_step_is_lost_and_the_batched_learner_takes_up_the_state(learnt):
    """Every update's gradient steps are counted once; settled weights stay; the state is that of any `a3c`."""
    learner, _, _ = learnt
    state = learner.state_dict()
    assert state["optimiser"]["steps"] == 60 * CONFIG.update_epochs
    batched = A3C(policy(), REWARD, CONFIG)
    batched.network.load_state_dict(learner.network.state_dict())
    batched.load_state_dict(state)
    batched.step(grey_batch(7), 0.9)
    assert batched.optimizer.state_dict()["steps"] == 61 * CONFIG.update_epochs
    before = flat(learner.network)
    assert torch.equal(before, flat(learner.network))


@pytest.mark.slow
def test_not_a_number_changes_no_weight_and_is_named(learnt):
    """The term comes back from the worker; the weights stay."""
    learner, _, _ = learnt
    before, image = flat(learner.network), grey_batch(0).image
    image[0, 0, 0, 0] = float("nan")
    learner.step(Batch(image))
    learner.synchronize()
    with pytest.raises(NonFiniteError, match="reward term exposure"):
        learner.step(Batch(image))
    learner.synchronize()
    assert torch.equal(before, flat(learner.network))


@pytest.mark.slow
def test_a_worker_that_dies_is_named_and_the_run_stops(learnt, tmp_path, image):
    """kill -9: index and exit code in the message, last/ loads, no process is left."""
    learner, _, _ = learnt
    others = set(multiprocessing.active_children()) - {worker.process for worker in learner._workers}

    def batches(step):
        if step == 6:
            os.kill(learner._workers[1].process.pid, signal.SIGKILL)
        return grey_batch(step)

    run = Run.create(tmp_path / "run", {}, {})
    with pytest.raises(TrainingFailed, match=r"worker 1 died \(exit code -9\).*last.*--resume"):
        fit(learner, batches, LowLightEvaluator([Batch(image[:1])], REWARD), run, Budget(50, eval_interval=3),
            show=False)
    assert read_config(run.path / "last")["about"]["step"] in (3, 6)
    load_network(run.path / "last")
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.slow
def test_workers_that_do_not_answer_are_named():
    """Nothing waits for ever, and closing ends them."""
    others = set(multiprocessing.active_children())
    learner = AsyncA3C(policy(), REWARD, CONFIG, workers=2, patience=0.05)
    with pytest.raises(WorkerError, match="worker 0 and 1 gave no answer"):
        learner.step(grey_batch(0))
    learner.shutdown()
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.slow
def test_ctrl_c_is_saved_and_the_run_goes_on(tmp_path, pairs, monkeypatch):
    """What was handed out is finished and saved; resuming completes the run; one number more than the batched has."""
    step, calls, others = AsyncA3C.step, [], set(multiprocessing.active_children())

    def pressing(self, batch, progress=0.0):
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, progress)

    monkeypatch.setattr(AsyncA3C, "step", pressing)
    words = ["--data", str(pairs), "--out", str(tmp_path), "--updates", "5", "--batch-size", "2", "--state-size", "16",
             "--horizon", "2", "--device", "cpu", "--no-progress"]
    assert train_command(LOWLIGHT, [*words, "--name", "run", "--workers", "2"]) == 130
    assert read_config(tmp_path / "run" / "last")["about"]["step"] == 3
    result = resume(LOWLIGHT, tmp_path / "run")
    assert result.fitted.updates == 5 and not result.fitted.interrupted
    assert train_command(LOWLIGHT, [*words, "--name", "batched"]) == 0
    columns = [set((tmp_path / name / "metrics.csv").read_text().splitlines()[0].split(","))
               for name in ("run", "batched")]
    assert columns[0] - columns[1] == {"async/staleness"} and not columns[1] - columns[0]
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.parametrize("changes, text", [
    ({"workers": 0}, "at least 1"), ({"workers": 2, "learner": "direct"}, "are for a3c"),
    ({"workers": 2, "device": "cuda"}, "--device cpu"), ({"workers": 2, "precision": "bf16"}, "--precision 32"),
    ({"workers": 2, "devices": 2}, "--devices 1"),
])
def test_what_workers_cannot_do_is_refused(tmp_path, pairs, changes, text):
    """Before anything is started or written."""
    with pytest.raises(UsageError, match=text):
        train_lowlight(pairs, out=tmp_path / "runs", **changes)
    assert not (tmp_path / "runs").exists()


def test_workers_measure_the_kl_to_the_policy_that_began():
    """Not to a network of their own, which is far from it: after one update the distance is small."""
    learner = AsyncA3C(policy(), REWARD, A3CConfig(optimizer=FAST, kl_ref_coef=(1.0, 1.0)), seed=0, workers=2)
    start = flat(learner.network).clone()
    with torch.no_grad():
        for name, parameter in learner.network.named_parameters():  # a start that no worker would come upon
            parameter.add_(1.0 if name.startswith("heads.") and name.endswith("bias") else 0.0)
    learner.reference_policy.load_state_dict(learner.network.state_dict())
    try:
        learner.step(grey_batch(0), 0.0)
        assert learner.synchronize()["loss/kl_ref"] < 1.0 and not torch.equal(start, flat(learner.network))
    finally:
        learner.shutdown()


def test_value_warm_up_counts_the_updates_of_all_workers():
    """And goes on after a resume."""
    config = A3CConfig(optimizer=FAST, value_warmup_updates=3)
    learner = AsyncA3C(policy(), REWARD, config, seed=0, workers=2)
    try:
        seen = []
        for number in range(5):
            learner.step(grey_batch(number), 0.0)
            seen.append("loss/value_warmup" in learner.synchronize())
        state = learner.state_dict()
    finally:
        learner.shutdown()
    assert learner.updates == 5 and seen == [True] * 3 + [False] * 2
    again = AsyncA3C(policy(), REWARD, config, seed=0, workers=1)
    try:
        again.load_state_dict(state)
        again.step(grey_batch(5), 0.0)
        assert "loss/value_warmup" not in again.synchronize() and again.updates == 6
    finally:
        again.shutdown()


def test_a_policy_without_a_recipe_is_refused():
    """Workers cannot build it; the message says how it is made."""
    network = policy()
    del network.spec
    learner = AsyncA3C(network, REWARD, CONFIG, seed=0, workers=1)
    with pytest.raises(UsageError, match=r"MODELS\.create"):
        learner.step(grey_batch(0), 0.0)
