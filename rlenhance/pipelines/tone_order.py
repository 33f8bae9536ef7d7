"""Actions that keep the order of grey: what is lighter in the photograph is not darker in the result.

The agents of `BilateralEdits` have a curve for every band of luminance, and nothing binds these to each other: in a
nearly black photograph a lamp may come out darker than what it lights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlenhance.core import ArrayAction

_FALLS = 2 / 255  # of a grey ramp that count as none
_HALVINGS = 6
_RAMP = np.broadcast_to(np.linspace(0, 1, 256, dtype=np.float32), (3, 1, 256))


def keep_order(edits: Any, actions: Sequence[ArrayAction]) -> Sequence[ArrayAction]:
    """The actions, with the lighter bands raised as little as a grey ramp needs to rise.

    Where each band has at least the strength and the gain of those darker than it, the ramp rises in every step; the
    least share of the way there is taken at which it falls by no more than 2 of 255.

    Args:
        edits: of the policy, `ArrayNetwork.formula`; where there are no bands, the actions are returned as they are.
        actions: one for each step; "global" (1, C, 1, 1). Local agents are left as they are.
    """
    if edits is None or not edits.band_heads or any("global" not in action for action in actions) or \
            _falls(edits, actions) <= _FALLS:
        return actions
    less, enough = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = (less + enough) / 2
        less, enough = (less, share) if _falls(edits, _raised(edits, actions, share)) <= _FALLS else (share, enough)
    return _raised(edits, actions, enough)


def _raised(edits: Any, actions: Sequence[ArrayAction], share: float) -> list[ArrayAction]:
    """Each band a share of the way to the largest number of those up to it; saturations stay."""
    result: list[ArrayAction] = []
    for action in actions:
        kinds = np.array(action["global"]).reshape(1, edits.band_heads, -1, 1, 1)
        for kind in (0, 2)[: edits.band_heads - 1]:
            kinds[:, kind] += share * (np.maximum.accumulate(kinds[:, kind], axis=1) - kinds[:, kind])
        result.append({**action, "global": kinds.reshape(np.shape(action["global"]))})
    return result


def _falls(edits: Any, actions: Sequence[ArrayAction]) -> float:
    """By how much a grey ramp falls at most below what it has reached, by the global agent alone."""
    now, guide = _RAMP, edits.guide(_RAMP, flat=True)
    for action in actions:
        numbers = edits.parameters({"global": np.asarray(action["global"], np.float32)})[0]
        now = np.asarray(edits.apply_parameters(now, edits.at_pixels(numbers, guide)))
    return float((np.maximum.accumulate(now[0, 0]) - now[0, 0]).max())
