"""`a3c`: what its objective bounds, and how far an update moves each scope of agents."""

import math

import pytest
import torch

from rlenhance.agents import A3C, A3CConfig, OptimizerConfig, OptimizerStep, distributed
from rlenhance.agents.a3c import StepSize, clipped_objective
from rlenhance.agents.async_a3c import AsyncA3C, _Task, _Worker
from rlenhance.agents.base import clone_weights
from rlenhance.agents.shared_adam import SharedOptimizerStep, SharedWeights
from rlenhance.core.errors import UsageError
from rlenhance.learning.data import Batch
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.known_answer import REWARD, grey_batch, policy


def _slope(ratio, advantage, clip_range=0.2, dual_clip=3.0):
    """Objective and its gradient by the log-ratio."""
    log_ratio = torch.tensor(ratio).log().requires_grad_()
    value = clipped_objective(log_ratio.exp(), torch.tensor(advantage), clip_range, dual_clip)
    value.backward()
    return value.item(), log_ratio.grad.item()


@pytest.mark.parametrize("ratio", [3.1, 20.0, 4e8])
def test_a_bad_action_that_has_become_likely_gives_no_gradient(ratio):
    """Dual clip: the loss of a negative advantage is bounded by three times it, whatever the ratio."""
    assert _slope(ratio, -2.0) == (pytest.approx(-6.0), 0.0)
    value, slope = _slope(ratio, -2.0, dual_clip=0.0)
    assert value == pytest.approx(-2 * ratio, rel=1e-5) and slope == pytest.approx(-2 * ratio, rel=1e-5)


@pytest.mark.parametrize("ratio", [0.3, 0.7, 0.9, 1.0, 1.1, 1.4, 2.9])
@pytest.mark.parametrize("advantage", [-1.5, 0.0, 0.7])
def test_below_the_dual_clip_the_objective_is_that_of_ppo(ratio, advantage):
    """min(r A, clip(r) A), with and without the second bound."""
    expected = min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
    assert _slope(ratio, advantage)[0] == pytest.approx(expected, abs=1e-6)
    assert _slope(ratio, advantage) == _slope(ratio, advantage, dual_clip=0.0)
    assert _slope(ratio, advantage, clip_range=0.0)[0] == pytest.approx(ratio * advantage, abs=1e-6)


@pytest.mark.parametrize("dual_clip", [0.5, 1.0, -1.0, math.inf])
def test_a_dual_clip_that_would_bind_at_once_is_refused(dual_clip):
    """It is 0 for none, or above 1."""
    with pytest.raises(UsageError, match="dual_clip"):
        A3CConfig(dual_clip=dual_clip)


def test_the_learner_takes_its_dual_clip():
    """A learner whose old policy never took the actions of now: its loss stays near three times the advantage."""
    losses = []
    for dual_clip in (0.0, 3.0):
        learner = A3C(policy(), REWARD, A3CConfig(dual_clip=dual_clip, update_epochs=1))
        original = learner._losses
        learner._losses = lambda *words, original=original: original(  # old log-probabilities far below the new ones
            *words[:3], {scope: value - 8 for scope, value in words[3].items()}, *words[4:])
        losses.append(learner.step(grey_batch(0))["loss"])
    assert losses[0] > 100 and losses[1] < 3.5


class _Line(torch.nn.Module):
    """Two parameters with the same gradient."""

    def __init__(self):
        super().__init__()
        self.one, self.two = (torch.nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2))


def _stepped(network, sizes, shared):
    """The network after one step in which its parameters take these shares of theirs."""
    optimizer = OptimizerStep(network, OptimizerConfig())
    if shared:
        weights = SharedWeights(network)
        weights.push(network, optimizer)
        optimizer = SharedOptimizerStep(network, weights, OptimizerConfig())
    loss = (network.one**2 + network.two**2).sum()
    optimizer.update({"loss": loss}, 0.0, dict(zip((network.one, network.two), sizes, strict=True)))
    return network


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "workers"])
def test_a_parameter_takes_its_share_of_the_step(shared):
    """None of it at 0, bit by bit; half of it at 0.5; of the others all."""
    start, whole = _Line(), _stepped(_Line(), (1.0, 1.0), shared)
    some = _stepped(_Line(), (0.0, 0.5), shared)
    assert torch.equal(some.one, start.one) and not torch.equal(whole.one, start.one)
    assert torch.allclose(some.two, (start.two + whole.two) / 2, atol=1e-7)


def test_a_step_size_follows_the_root_of_the_divergence():
    """Four times the target: half the step. Below it the step grows by a tenth, to at most the whole."""
    step = StepSize(0.01)
    step.update(0.04)
    assert step.size == pytest.approx(0.5)
    step.update(0.0)
    assert step.size == pytest.approx(0.55)
    for _ in range(20):
        step.update(0.001)
    assert step.size == 1
    for _ in range(20):
        step.update(5.0)
    assert step.size == 0.01
    assert step.exceeded(0.016) and not step.exceeded(0.014)


BOTH = Reward(RewardWeights.only(exposure=4, local_exposure=4, exposure_level=0.5))
"""A reward for agents of both scopes."""


def _pictures(seed):
    return Batch(0.5 * torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))


def _learner(**arguments):
    network = policy(actions={"name": "curve", "agent_stride": 4})
    return A3C(network, BOTH, A3CConfig(rollouts_per_image=4, **arguments))


def test_steps_that_are_too_large_shrink_until_few_agents_leave_the_clip_range():
    """At thirty times the usual learning rate: with a target of the KL the clip fraction of each scope falls below
    0.2, without one it does not; the KL is never negative."""
    means = {}
    for target in (0.0, 0.015):
        learner = _learner(target_kl=target, optimizer=OptimizerConfig(learning_rate=0.1))
        rows = [learner.step(_pictures(step), 0.0) for step in range(20)]
        for scope in ("global", "local"):
            assert all(row[f"policy/approx_kl/{scope}"] >= 0 for row in rows)
            means[target, scope] = sum(row[f"policy/clip_fraction/{scope}"] for row in rows[10:]) / 10
    assert max(means[0.0, scope] for scope in ("global", "local")) > 0.3
    assert means[0.015, "global"] < 0.2 and means[0.015, "local"] < 0.2


@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_scope_that_is_far_enough_is_not_moved_in_the_rest_of_the_update(scope, monkeypatch):
    """Its head and the backbone stay; the value heads and the other scope's head go on."""
    learner = _learner(update_epochs=3)
    monkeypatch.setattr(learner.step_sizes[scope], "exceeded", lambda divergence: True)
    weights = []
    update = learner.optimizer.update
    learner.optimizer.update = lambda *words: (update(*words), weights.append(clone_weights(learner.policy)))[0]
    learner.step(_pictures(0))
    learner.step(_pictures(1))
    moved = dict[str, bool]()
    for name in weights[0]:
        part = ".".join(name.split(".")[:2])
        moved[part] = moved.get(part, False) or not torch.equal(weights[3][name], weights[5][name])
    other = {"global": "local", "local": "global"}[scope]
    assert moved[f"heads.{other}"] and moved["values.global"] and moved["values.local"]
    assert not moved[f"heads.{scope}"] and not any(moved[part] for part in moved if part.startswith("backbone"))


def test_processes_stop_a_scope_together(monkeypatch):
    """What counts is the mean over the processes, not one's own share."""
    learner = _learner()
    distances = {f"policy/approx_kl/{scope}": torch.tensor(0.0) for scope in ("global", "local")}
    assert learner._follow(distances, 1, set(), {}) == set()
    monkeypatch.setattr(distributed, "average", lambda values: values + torch.tensor([0.0, 1.0]))
    forecast = {}
    assert learner._follow(distances, 1, set(), forecast) == {"local"}
    assert forecast == {"global": 0.0, "local": 9.0}  # three steps go three times as far
    assert learner._follow(distances, 2, {"local"}, forecast) == set() and forecast["local"] == 9.0


def test_step_sizes_are_kept_with_the_run():
    """A run goes on with its step sizes; one of an earlier version begins with whole steps."""
    learner, other = _learner(), _learner()
    learner.step_sizes["local"].size = 0.25
    state = learner.state_dict()
    other.load_state_dict(state)
    assert {scope: step.size for scope, step in other.step_sizes.items()} == {"global": 1.0, "local": 0.25}
    del state["step_sizes"]
    other.load_state_dict(state)
    assert other.step_sizes["local"].size == 1


def test_the_average_of_the_weights_is_what_is_used():
    """The network moves toward the trained weights by 1 - decay after each update; exploration stays the trained
    policy's."""
    learner = A3C(policy(), REWARD, A3CConfig(ema_decay=0.2), seed=3)
    assert learner.trained is learner.policy is not learner.network
    for _ in range(3):
        before = clone_weights(learner.network)
        learner.step(grey_batch(0))
        trained, average = clone_weights(learner.policy), clone_weights(learner.network)
        for name, value in average.items():
            wanted = trained[name] if name.startswith("log_std") else torch.lerp(before[name], trained[name], 0.8)
            torch.testing.assert_close(value, wanted)
    plain = A3C(policy(), REWARD, A3CConfig(), seed=3)
    assert plain.policy is plain.network
    for _ in range(3):
        plain.step(grey_batch(0))
    for name, value in clone_weights(plain.network).items():  # the average changes nothing of what is trained
        torch.testing.assert_close(value, trained[name], rtol=0, atol=0)


def test_an_averaged_run_goes_on_as_if_it_had_not_stopped():
    """Trained weights and average are both in the state; a state without an average begins one."""
    def begun():
        return A3C(policy(), REWARD, A3CConfig(ema_decay=0.9), seed=3)

    whole, first, second = begun(), begun(), begun()
    for _ in range(2):
        first.step(grey_batch(0))
    second.network.load_state_dict(first.network.state_dict())
    second.load_state_dict(first.state_dict())
    second.step(grey_batch(0))
    for _ in range(3):
        whole.step(grey_batch(0))
    for name, value in clone_weights(second.network).items():
        torch.testing.assert_close(value, clone_weights(whole.network)[name], rtol=0, atol=0)
    state = {key: value for key, value in first.state_dict().items() if key != "trained"}
    second.load_state_dict(state)
    for name, value in clone_weights(second.trained).items():
        torch.testing.assert_close(value, clone_weights(second.network)[name], rtol=0, atol=0)


def test_the_leading_process_adapts_the_steps_of_its_workers():
    """By the numbers that a worker sends back; the next update of any worker gets the new sizes."""
    learner = AsyncA3C(policy(), REWARD, A3CConfig())
    learner._workers = [_Worker(None, None, _Task((), 0.0, 0, 0, {}, {}), True)]
    learner._handle(learner._workers[0], "done", {"policy/forecast_kl/local": 1.0, "policy/forecast_kl/global": 0.0})
    assert {scope: step.size for scope, step in learner.step_sizes.items()} == {"global": 1.0, "local": 0.5}
