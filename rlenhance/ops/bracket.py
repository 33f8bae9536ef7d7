"""Exposure brackets: what a planner sees of the shots that are taken so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, to_pixels, to_planes

#: Places of a bracket: place 0 is the darkest exposure that is taken or offered, one stop lies between places.
PLACES = 7
#: Most shots of an episode that a planner has learned.
MOST_SHOTS = 4
#: Side in pixels to which shots are reduced.
SIDE = 128
#: Price of a shot that counts as 1, and the highest that planners learn, in dB.
PRICE, MOST_PRICE = 1.5, 3.0
#: What an output of 1 of the networks that value exposures is, in dB.
VALUE_SCALE = 5.0
_BINS = 16  # of the brightness of a shot
_LIGHT_BINS = 24  # of the light of the scene, half a stop each
_BRIGHTEST = 2.0  # stops above white of the darkest place at which these begin
_DARK, _BRIGHT = 8, 247  # values beyond which a pixel shows no light that can be trusted
_PER_BIN = 48  # sums of three values in a bin of the histogram
_VALUES = np.arange(256) / 255
_WELL = np.exp(-((_VALUES - 0.5) ** 2) / (2 * 0.2**2)).astype(np.float32)  # how well exposed a value is (Mertens)
_STOPS = np.log2(np.maximum(linear_from_srgb(np.arange(766) / 765), 1e-4))  # light of a sum of three values
_SHOT = _BINS + 4
#: Length of an observation.
NUM_OBSERVED = PLACES * (2 + _SHOT) + _LIGHT_BINS + 6 + MOST_SHOTS + 1


def reduce_shot(shot: np.ndarray) -> np.ndarray:
    """A shot as a planner sees it: (H, W, 3) uint8, uint16 or float in [0, 1] -> (SIDE, SIDE, 3) uint8."""
    return cv2.resize(_to_uint8(shot), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def places_of(exposures: Sequence[float], available: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The places of the shots that are taken, and of the exposures that are offered, each from 0 to PLACES - 1.

    Exposures count from the darkest. A range of more than PLACES - 1 stops is compressed to it.

    Args:
        exposures: of the shots, in stops, in any order; only their differences count.
        available: what the camera offers, in stops.

    Raises:
        UsageError: a number that is not finite.

    Example:
        >>> places_of([0.0], [-2.0, 2.0])
        (array([2]), array([0, 4]))
    """
    stops = np.asarray([*exposures, *available], dtype=float)
    if not len(stops) or not np.isfinite(stops).all():
        raise UsageError(f"exposures are finite numbers in stops; got {list(exposures)} and {list(available)}")
    stops = stops - stops.min()
    places = np.round(stops * min(1.0, (PLACES - 1) / max(stops.max(), 1e-9))).astype(int)
    return places[: len(exposures)], places[len(exposures) :]


def observe(shots: Sequence[np.ndarray], exposures: Sequence[float], available: Sequence[float], left: int,
            price: float = 0.0) -> np.ndarray:
    """What a planner sees after some shots: (NUM_OBSERVED,) float32.

    Of each place of the bracket (see `places_of`): whether it is taken, whether it is offered, and the histogram of its
    shot; then the light of the scene, each pixel from the shot that exposes it best, counted in half stops from
    the darkest place; how much of the picture no shot exposes well; the shots that are left, and the price.

    Args:
        shots: (H, W, 3) RGB, uint8, uint16 or float in [0, 1], one or more, of one size and aligned.
        exposures: of the shots, in stops; only their differences count.
        available: exposures that may follow, without those that are taken.
        left: shots that may follow, from 0 to MOST_SHOTS - 1; more count as that.
        price: of a shot, in dB.

    Raises:
        UsageError: no shots, more or fewer exposures than shots, or negative numbers.
    """
    if not len(shots) or len(shots) != len(exposures):
        raise UsageError(f"each shot has its exposure, and there is at least one; got {len(shots)} shots and "
                         f"{len(exposures)} exposures")
    if left < 0 or not 0 <= price < np.inf:
        raise UsageError(f"left and price are not negative; got {left} and {price}")
    taken, offered = places_of(exposures, available)
    return observe_places({int(place): shot if shot.shape == (SIDE, SIDE, 3) and shot.dtype == np.uint8 else
                           reduce_shot(shot) for place, shot in zip(taken, shots, strict=True)}, offered, left, price)


def observe_places(shots: Mapping[int, np.ndarray], offered: Sequence[int] | np.ndarray, left: int,
                   price: float = 0.0) -> np.ndarray:
    """`observe` where places are known: reduced shots by place, and the places that are offered."""
    per_place = np.zeros((PLACES, 2 + _SHOT), np.float32)
    per_place[offered, 1] = 1
    order, kept = sorted(shots), []
    for place in order:
        planes = np.ascontiguousarray(shots[place].reshape(-1, 3).T)
        total, least, most = planes.sum(axis=0, dtype=np.uint16), planes.min(axis=0), planes.max(axis=0)
        counts = np.bincount(total // _PER_BIN, minlength=_BINS)
        per_place[place] = [1, 0, *np.sqrt(counts / len(total)), (most < _DARK).mean(), (least > _BRIGHT).mean(),
                            (most > _BRIGHT).mean(), (most - least).mean() / 255]
        some = slice(None, None, 2)
        kept.append((total[some], least[some], most[some], _WELL[planes[:, some]].prod(axis=0)))
    total, least, most, well = (np.stack(part) for part in zip(*kept, strict=True))
    lost = (least < _DARK).astype(np.int32) + (most > _BRIGHT)
    badness = np.abs(total.astype(np.int32) - 382) + 7650 * lost
    best = badness.argmin(axis=0)[None]
    stops = _STOPS[np.take_along_axis(total, best, axis=0)[0]] - np.asarray(order, np.float32)[best[0]]
    counts = np.bincount(((_BRIGHTEST - stops) * 2).astype(int).clip(0, _LIGHT_BINS - 1), minlength=_LIGHT_BINS)
    shown = well.max(axis=0)
    lacks = [(lost.min(axis=0) > 0).mean(), (most.max(axis=0) < 64).mean(), (least.min(axis=0) > 191).mean(),
             shown.mean(), (shown < 0.1).mean(), (shown < 0.5).mean()]
    return with_request(np.concatenate([per_place.ravel(), np.sqrt(counts / len(stops)), lacks,
                                        np.zeros(MOST_SHOTS + 1)], dtype=np.float32), left, price)


def with_request(observation: np.ndarray, left: int, price: float) -> np.ndarray:
    """The same observation (NUM_OBSERVED,) with another number of shots that are left, and another price in dB."""
    made = observation.copy()
    made[-MOST_SHOTS - 1 :] = 0
    made[min(left, MOST_SHOTS - 1) - MOST_SHOTS - 1] = 1
    made[-1] = price / PRICE
    return made


def taken_places(observations: np.ndarray) -> list[frozenset[int]]:
    """The places of the shots that observations (N, NUM_OBSERVED) are of."""
    flags = observations[:, : PLACES * (2 + _SHOT)].reshape(len(observations), PLACES, -1)[:, :, 0]
    return [frozenset(np.flatnonzero(row).tolist()) for row in flags > 0]


def _to_uint8(shot: np.ndarray) -> np.ndarray:
    return shot if shot.dtype == np.uint8 else to_pixels(to_planes(shot))
