"""Which exposure a camera takes next, and which frames of a bracket are enough.

    planner = BracketPlanner(frames=4)
    exposure = planner.next([shot], [0.0], [-3, -2, -1, 0, 1, 2, 3])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import find_model
from rlenhance.ops.bracket import MOST_PRICE, PLACES, observe, places_of

#: The shipped model.
MODEL = "bracket"
_SAME = 0.05  # stops by which an exposure that was taken may differ from the one that was asked for


@dataclass(frozen=True)
class NextShot:
    """What a planner expects.

    Attributes:
        exposure: of the next shot, one of those available; None: stop.
        expected: PSNR in dB of the fusion at the end of the bracket, to the fusion of all exposures, less the price
            of the shots that are still to be taken; None where nothing was left to choose.
        stopping: the same of the shots that there are; None likewise.
    """

    exposure: float | None
    expected: float | None = None
    stopping: float | None = None


class BracketPlanner:
    """Chooses the exposures of a bracket one by one, so that few frames are fused to what all of them give.

    It is a network of what the shots so far show (`rlenhance.ops.bracket.observe`), learned by fitted Q iteration on
    brackets of a camera. It needs no torch, and a few milliseconds a shot.

    Args:
        frames: of a bracket in all, 1 or more. It was learned with four at most.
        price: of a frame, in dB: a frame that is expected to add less is not taken.
        model: the shipped one, or the folder of a checkpoint.

    Raises:
        UsageError: a number outside its range, or no such model.

    Example:
        >>> planner = BracketPlanner(frames=2)
        >>> shot = np.full((48, 64, 3), 60, np.uint8)
        >>> planner.next([shot], [0.0], [0.0]) is None  # it is taken, and no other is available
        True
    """

    def __init__(self, frames: int = 4, price: float = 0.0, model: Path | str = MODEL):
        if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
            raise UsageError(f"frames must be a whole number of at least 1; got {frames!r}")
        if not 0 <= price < float("inf"):
            raise UsageError(f"price must be a number of dB of at least 0; got {price!r}")
        self.frames, self.price = frames, float(price)
        self._network = open_network(find_model(model, "bracket")[0])

    def next(self, shots: Sequence[np.ndarray], exposures: Sequence[float],
             available: Sequence[float]) -> float | None:
        """The exposure of the next shot, or None: stop.

        Args:
            shots: those that were taken, one or more: (H, W, 3) RGB each, uint8, uint16 or float in [0, 1], all of one
                size, of one scene. A preview is enough.
            exposures: of the shots, in stops; only their differences count.
            available: what the camera offers, in stops on the same scale, in any order and spacing; those that
                were taken may be among them.

        Returns:
            One of `available`, never one that was taken; None where no more frame is allowed, available or worth it.

        Raises:
            UsageError: no shot, shots of several sizes, more or fewer exposures, or numbers that are not finite.
        """
        return self.advise(shots, exposures, available).exposure

    def advise(self, shots: Sequence[np.ndarray], exposures: Sequence[float],
               available: Sequence[float]) -> NextShot:
        """The same, with what is expected of it."""
        taken, offered = _checked(shots, exposures, available)
        left = self.frames - len(taken)
        shot_places, places = places_of(taken, offered)
        free = [number for number, place in enumerate(places) if place not in shot_places
                and all(abs(offered[number] - one) > _SAME for one in taken)]
        if left < 1 or not free:
            return NextShot(None)
        known = min(self.price, MOST_PRICE)
        rated = self._network.values(observe(shots, taken, [offered[number] for number in free], left, known))
        values, stopping = rated[places[free]] - (self.price - known), float(rated[-1])  # a shot at least is paid
        best = max(values)
        if best <= stopping:
            return NextShot(None, stopping, stopping)
        stops = np.array([*taken, *offered])
        scale = min(1.0, (PLACES - 1) / max(np.ptp(stops), 1e-9))
        off = np.abs((np.array(offered) - stops.min()) * scale - places)  # of several at a place, the nearest
        number = min((one for one, value in zip(free, values, strict=True) if value == best),
                     key=lambda one: (round(float(off[one]), 6), offered[one]))
        return NextShot(available[number], float(best), stopping)


def _checked(shots: Any, exposures: Any, available: Any) -> tuple[list[float], list[float]]:
    """Exposures of shots and those available as numbers, once all is seen to be right."""
    if len(shots) == 0:
        raise UsageError("shots: there is none; take the first one as the camera meters it")
    shapes = {np.shape(shot) for shot in shots}
    if len(shapes) > 1:
        raise UsageError(f"shots must have one size; got {', '.join(map(str, sorted(shapes)))}")
    if len(shots) != len(exposures):
        raise UsageError(f"each shot has its exposure; got {len(shots)} shots and {len(exposures)} exposures")
    numbers = []
    for name, values in (("exposures", exposures), ("available", available)):
        numbers.append([float(value) for value in values])
        if not np.isfinite(numbers[-1]).all():
            raise UsageError(f"{name} must be finite numbers of stops; got {list(values)}")
    return numbers[0], numbers[1]
