"""What policies that read are compared with: fixed chains, thresholds, regression, cloning; and how that is done."""

import numpy as np
import pytest

from made_up_reading import CHAINS, level_scenes
from rlenhance_read.learning.comparison import Curve, frontier
from rlenhance_read.learning.controls import (
    Outcome,
    by_confidence,
    clone_loss,
    fit,
    fixed,
    fixed_order,
    gain_loss,
    met_states,
    planned,
    random_chains,
    random_states,
    run,
    thresholds,
)

NAMES = [str(chain) for chain in CHAINS]


@pytest.fixture(scope="module")
def scenes():
    """Eight scenes: the plain chain reads the bright half, the inverted one the dark half."""
    made = level_scenes(8)
    made.read_all()
    return made


def test_fixed_chains_and_their_order(scenes):
    """One chain reads half of the scenes, the two that complement each other all."""
    order = fixed_order(scenes, 2)
    assert set(order) == {0, 1} and fixed(scenes, order).accuracy.tolist() == [1] * 8
    assert fixed(scenes, [2]).accuracy.mean() < 1 and fixed(scenes, order).reads.tolist() == [2] * 8
    every = np.ones_like(scenes.known)
    assert by_confidence(scenes, every).accuracy.mean() == 1
    assert random_chains(scenes, 2).sum(axis=1).tolist() == [2] * 8


def test_thresholds_stop_where_the_answer_is_sure(scenes):
    """A high one reads the dark scenes again, a low one none, and agreement is no reason to stop here."""
    assert run(thresholds([0, 1], 0.8, 2.0), scenes, 3).reads.tolist() == [2, 1] * 4
    assert run(thresholds([0, 1], 0.8, 2.0), scenes, 3).accuracy.tolist() == [1] * 8
    assert run(thresholds([0, 1], 0.1, 2.0), scenes, 3).reads.tolist() == [1] * 8
    assert run(thresholds([0, 1, 2], 0.95, 0.01), scenes, 3).reads.max() <= 3


@pytest.mark.parametrize("loss, values", [(gain_loss, True), (clone_loss(0.05), False)])
def test_regression_and_cloning_learn_which_chain(scenes, loss, values):
    """From the picture alone: hardly more than one read each, and everything right."""
    states = random_states(scenes, 6, 3)
    assert np.isinf(states.gain.numpy()).any() and states.gain.max() == 1
    policy = fit(NAMES, states, loss, seed=0, values=values, updates=400, hidden=32, dropout=0.0)
    found = run(planned(policy, 0.05, 3), scenes, 3)
    assert found.accuracy.tolist() == [1] * 8 and found.reads.mean() < 1.5
    met = met_states(scenes, planned(policy, 0.05, 3), 3)
    assert len(met.seen) >= 16 and np.isfinite(met.gain.numpy()[:8]).all()


def test_settings_that_are_beaten_on_validation_scenes_are_left_out():
    """And between two settings scenes are drawn, so that numbers of reads are equal."""
    def made(accuracy, reads):
        return Outcome(np.full(4, accuracy), np.full(4, reads))

    val = [made(0.5, 1), made(0.4, 2), made(0.7, 3)]
    test = [made(0.5, 1.0), made(0.9, 2.0), made(0.6, 3.0)]
    kept = frontier(val, test)
    assert [float(point.reads[0]) for point in kept] == [1, 3]
    curve = Curve("row", (kept, kept))
    assert curve.at(2.0).tolist() == pytest.approx([0.55] * 4) and curve.at(0.5) is None
    assert curve.at(9).tolist() == [0.6] * 4 and curve.seeds_at(1.0) == [0.5, 0.5]
