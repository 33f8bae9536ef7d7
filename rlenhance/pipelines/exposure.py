"""Actions by which a photograph gets the exposure that was named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlenhance.core import ArrayAction
from rlenhance.core.pixels import to_planes
from rlenhance.pipelines.tone_order import keep_order

_SIDE = 128  # pixels along a side on which a named exposure is measured, at least
_TRIES, _MET = 4, 0.005  # episodes until it is met; the brightness that is near enough


def sample_of(pixels: np.ndarray) -> np.ndarray:
    """A copy of every n-th pixel along each side: (H, W, 3) -> (h, w, 3)."""
    down, across = (max(1, side // _SIDE) for side in pixels.shape[:2])
    return pixels[::down, ::across].copy()


def decide_exposed(network: Any, small: np.ndarray, sample: np.ndarray,
                   preference: Mapping[str, float | None] | None) -> Sequence[ArrayAction]:
    """The actions for a picture; a named exposure is asked for so that the result has it, or comes nearest to it.

    Policies stay below a high level in the dark, and the mean of a reduced picture's curve is not that of the picture:
    what is missing is asked for in addition.

    Args:
        network: a policy that decides on a reduced picture.
        small: (1, 3, h, w), that picture.
        sample: see `sample_of`.
        preference: the user's, name -> value.
    """
    actions = keep_order(network.formula, network.decide(small, preference=preference))
    level = (preference or {}).get("exposure_level")
    if level is None:
        return actions
    low, _, high = network.preferences.ranges["exposure_level"]
    best, missed, asked = actions, math.inf, level
    for _ in range(_TRIES):
        reached = float(to_planes(np.asarray(network.render_array(sample, actions))).mean())
        if abs(level - reached) >= missed:
            break
        best, missed = actions, abs(level - reached)
        further = min(max(asked + level - reached, low), high)
        if missed < _MET or further == asked:
            break
        asked = further
        actions = keep_order(network.formula,
                             network.decide(small, preference={**(preference or {}), "exposure_level": asked}))
    return best
