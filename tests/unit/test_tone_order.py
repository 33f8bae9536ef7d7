"""What is lighter in the photograph is not darker in the result."""

import numpy as np
import pytest

from rlenhance.engine.edits import BilateralEdits, ToneEdits
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.tone_order import keep_order


def _actions(edits, seed, steps=8):
    """The same action in every step, which a black picture asks for: dark bands up, light ones down."""
    numbers = np.random.default_rng(seed).uniform(-0.4, 0.4, (1, edits.action_dim, 1, 1)).astype(np.float32)
    numbers[0, : edits.bands, 0, 0] += np.linspace(0.5, -0.9, edits.bands, dtype=np.float32)
    return [{"global": numbers.clip(-1, 1)}] * steps


def _ramp(edits, actions):
    now = np.broadcast_to(np.linspace(0, 1, 256, dtype=np.float32), (3, 1, 256))
    guide = edits.guide(now, flat=True)
    for action in actions:
        now = edits.apply_parameters(now, edits.at_pixels(edits.parameters(action)[0], guide))
    return now[0, 0]


@pytest.mark.parametrize("gain", [0.0, 0.25])
@pytest.mark.parametrize("seed", range(6))
def test_a_grey_ramp_rises_where_light_bands_were_darkened(gain, seed):
    edits = BilateralEdits(gain=gain)
    actions = _actions(edits, seed)
    before, after = _ramp(edits, actions), _ramp(edits, keep_order(edits, actions))
    assert (np.maximum.accumulate(before) - before).max() > 0.05  # it fell
    assert (np.maximum.accumulate(after) - after).max() <= 2.01 / 255
    assert (after >= before - 1e-6).all()  # bands are raised, and none is lowered


def test_what_keeps_the_order_stays_as_it_is():
    edits = BilateralEdits()
    actions = [{"global": np.full((1, edits.action_dim, 1, 1), 0.3, np.float32)}]
    assert keep_order(edits, actions) is actions
    assert keep_order(ToneEdits(), actions) is actions


def test_a_lamp_in_a_black_room_is_not_darker_than_the_floor():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 2, (192, 256, 1), dtype=np.uint8).repeat(3, axis=2)
    picture[100:150, 20:230] = 12 + rng.integers(0, 25, (50, 210, 1), dtype=np.uint8)
    picture[60:140, 120:132] = 235
    result = Enhancer(denoise=0.0)(picture)
    assert result[65:95, 122:130].mean() > result[105:145, 30:110].mean() - 2
