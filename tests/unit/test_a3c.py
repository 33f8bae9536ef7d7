"""The objective of `a3c`: what it bounds, and what it leaves alone."""

import math

import pytest
import torch

from agents import A3C, A3CConfig
from agents.a3c import clipped_objective
from rlenhance.core.errors import UsageError
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
