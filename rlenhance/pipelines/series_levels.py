"""The rule of a series: by how many stops each result is moved in each channel.

1. **What shows the same** (`rlenhance.ops.common_content`) forms a group. In it the means of each channel over the
   common pixels are made equal, by a gain of linear light whose curve keeps black and white (`white_curve`): at most
   `SAME_BOUND` stops in brightness and `SAME_COLOR_BOUND` in colour. The group keeps its median.
2. **Groups with different contents** are compared by four quantiles of brightness. Where all of them lie on one side of
   the target's, by more than `TOLERANCE` stops, the group is moved by what is beyond in the nearest of them, at most
   `OTHER_BOUND` stops. A white dress has the highlights of the rest, a black suit with a shirt too, and both stay:
   nothing is darkened for being white. The colours of the light are compared by the four estimates of the white
   balance; they count as far as they agree.
3. **Over time**: a group follows its own course, smoothed by a local line, which keeps a trend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.ops.white_balance import light_of_chroma, warmth_and_tint, white_curve

#: Stops: the largest changes of what shows the same, in brightness and, against it, in a channel.
SAME_BOUND, SAME_COLOR_BOUND = 2.5, 0.6
#: Stops: of different contents, how far the nearest quantile may be off, and the largest change beyond. Chosen on
#: training scenes, four in ten of which were made brighter or darker by 0.5 to 2 stops: medians alone take out more of
#: that, and change the scenes that were right 15 times as much.
TOLERANCE, OTHER_BOUND = 0.1, 1.0
#: Logarithms of gains: the largest change of warmth and of tint between different contents.
OTHER_COLOR_BOUND = 0.2
_QUANTILES = (0.25, 0.5, 0.75, 0.98)
_DISAGREEMENT = 2.0  # standard deviations of the estimates of the light
_FLOOR = 0.002  # linear light below which brightness is noise
_WHITE = 0.9  # linear light from which a highlight is white: none is darkened for being whiter than another
_REPEATS = 3  # of the local line, each with less weight for what lies off it
_LIGHT = linear_from_srgb(np.linspace(0, 1, 256)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Member:
    """What is kept of a photograph.

    Attributes:
        name: its path.
        histograms: of its small result, (4, 256): red, green, blue, brightness.
        lights: (4, 2), see `estimate_lights`.
        time: of its capture in seconds, or None.
        grey: its file has one channel.
        number: its place in the order in which members were met.
        group: name of the first member that shows the same.
        parent: name of an earlier member that shows the same; "" for the first.
        pair: histograms of the common pixels, the parent's and its own.
    """

    name: str
    histograms: np.ndarray
    lights: np.ndarray
    time: float | None = None
    grey: bool = False
    number: int = 0
    group: str = ""
    parent: str = ""
    pair: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Correction:
    """The change of one result of a series.

    Attributes:
        channels: (3,) stops of linear light.
    """

    channels: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @property
    def gains(self) -> np.ndarray:
        """(3,), for `apply_gains`."""
        return np.asarray(2.0**self.channels)

    @property
    def stops(self) -> float:
        """The change of brightness."""
        return float(self.channels.mean())

    @property
    def words(self) -> str:
        """In words, as in "series +0.31 stops"."""
        color = float(np.abs(self.channels - self.stops).max())
        return f"series {self.stops:+.2f} stops" + (f", colours {2**color - 1:.0%}" if color >= 0.014 else "")

    def as_json(self) -> dict[str, Any]:
        """Stops, and the gain of each channel."""
        return {"stops": round(self.stops, 3), "gains": [round(float(gain), 4) for gain in self.gains]}


def histogram(pixels: np.ndarray) -> np.ndarray:
    """(4, 256) uint16: of the channels of (..., 3) uint8, and of their mean; fewer than 65536 pixels."""
    flat = pixels.reshape(-1, 3)
    mean = np.rint(flat.mean(axis=1)).astype(np.uint8)
    return np.stack([np.bincount(values, minlength=256) for values in (*flat.T, mean)]).astype(np.uint16)


def means(histograms: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The mean of each channel in [0, 1], (3,), after gains of so many stops, (3,)."""
    counts = histograms[:3].astype(np.float64)
    values = np.stack([srgb_from_linear(white_curve(_LIGHT, gain)) for gain in 2.0**stops])
    return np.asarray((counts * values).sum(axis=1) / np.maximum(counts.sum(axis=1), 1))


def to_one_level(members: Sequence[Member], target: Member | None = None, white: bool = True) -> dict[str, Correction]:
    """The corrections of a series by name.

    Args:
        members: in the order in which they were met: parents first.
        target: the one that the others are brought to; None: what is usual in the series.
        white: colours are brought together too.
    """
    groups = _groups(members)
    start, level = {}, dict[str, np.ndarray]()
    for name, group in groups.items():
        level |= _settled(group, np.zeros(3), white)
        start[name] = -level[target.name] if target in group else \
            -np.median([level[member.name] for member in group], axis=0)
    shown = {member.name: start[member.group] + level[member.name] for member in members}
    usual = _Measure.of(members if target is None else [target], shown)
    found: dict[str, Correction] = {}
    for name, group in groups.items():
        first = start[name]
        if target not in group and (target is not None or len(groups) > 1):
            first = first + _toward(_Measure.of(group, shown), usual, white and not any(one.grey for one in group))
        found |= {one: Correction(stops) for one, stops in _settled(group, first, white).items()}
    return found


def smoothed(members: Sequence[Member], beside: int, white: bool = True) -> dict[str, Correction]:
    """The corrections of a time-lapse: each group is brought to its own course, smoothed.

    Args:
        members: in the order of time.
        beside: so many on each side have a part in the line through a point.
        white: colours are smoothed too.
    """
    found = {}
    for group in _groups(members).values():
        level = _links(sorted(group, key=lambda member: member.number), white)
        course = -np.array([level[member.name] for member in group])
        wanted = np.stack([local_line(channel, beside) for channel in course.T], axis=1) - course
        for member, stops in zip(group, wanted, strict=True):
            found[member.name] = Correction(_bounded(stops, white and not member.grey))
    return found


def local_line(values: np.ndarray, beside: int) -> np.ndarray:
    """Values (n,) in order, each replaced by a line through those around it; what lies far off counts little.

    Source: Cleveland 1979, Robust locally weighted regression and smoothing scatterplots (LOWESS).
    """
    places = np.arange(len(values), dtype=np.float64)
    trust, result = np.ones(len(values)), np.array(values, dtype=np.float64)
    for _ in range(_REPEATS):
        for place in range(len(values)):
            near = slice(max(0, place - beside), place + beside + 1)
            x = places[near] - place
            weight = trust[near] * (1 - (np.abs(x) / (beside + 1)) ** 3) ** 3 + 1e-9
            x, y = x - np.average(x, weights=weight), values[near]
            slope = (weight * x * y).sum() / max((weight * x * x).sum(), 1e-9)
            centre = np.average(places[near] - place, weights=weight)
            result[place] = np.average(y, weights=weight) - slope * centre
        off = np.abs(values - result)
        trust = np.clip(1 - (off / max(6 * float(np.median(off)), 1e-3)) ** 2, 0, None) ** 2
    return result


def _groups(members: Sequence[Member]) -> dict[str, list[Member]]:
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(member.group, []).append(member)
    return groups


def _settled(group: Sequence[Member], first: np.ndarray, white: bool) -> dict[str, np.ndarray]:
    """Stops (3,) by name that make each member as bright as its parent, where the first one gets `first`."""
    found: dict[str, np.ndarray] = {}
    for member in group:
        if member.pair is None:
            found[member.name] = first
        else:
            wanted = means(member.pair[0], found[member.parent])
            found[member.name] = _bounded(_stops_for(member.pair[1], wanted, white and not member.grey), True)
    return found


def _links(group: Sequence[Member], white: bool) -> dict[str, np.ndarray]:
    """Stops (3,) by name between each member and the first, as the sum of the steps to its parents, however many."""
    found: dict[str, np.ndarray] = {}
    for member in group:
        found[member.name] = np.zeros(3) if member.pair is None else found[member.parent] + _stops_for(
            member.pair[1], means(member.pair[0], np.zeros(3)), white and not member.grey)
    return found


def _stops_for(histograms: np.ndarray, wanted: np.ndarray, white: bool) -> np.ndarray:
    """The stops (3,), in colour within the bound, after which the means of the channels are those wanted."""
    color = np.zeros(3)
    if white:
        color = _bounded(_bisected(lambda stops: means(histograms, stops) - wanted, 3), True)
        color = color - color.mean()
    even = _bisected(lambda stops: np.array([(means(histograms, stops[0] + color) - wanted).mean()]), 1)
    return np.asarray(even[0] + color)


def _bisected(beyond: Any, count: int) -> np.ndarray:
    """Where increasing functions of stops, (count,), cross 0."""
    low, high = np.full(count, -4.0), np.full(count, 4.0)
    for _ in range(20):
        middle = (low + high) / 2
        above = beyond(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray((low + high) / 2)


def _bounded(stops: np.ndarray, white: bool) -> np.ndarray:
    even = stops.mean()
    color = np.clip(stops - even, -SAME_COLOR_BOUND, SAME_COLOR_BOUND) if white else np.zeros(3)
    return np.asarray(np.clip(even, -SAME_BOUND, SAME_BOUND) + color)


@dataclass(frozen=True)
class _Measure:
    """Brightness of different contents: quantiles (4,) in stops; lights (4, 2)."""

    quantiles: np.ndarray
    lights: np.ndarray

    @classmethod
    def of(cls, members: Sequence[Member], stops: Mapping[str, np.ndarray]) -> _Measure:
        """The medians of results that were moved by so many stops (3,)."""
        quantiles, lights = [], []
        for member in members:
            moved = stops[member.name]
            share = np.cumsum(member.histograms[3]) / member.histograms[3].sum()
            light = np.clip(_LIGHT[np.searchsorted(share, _QUANTILES)], _FLOOR, _WHITE)
            quantiles.append(np.log2(light / np.cbrt(1 - light**3)) + moved.mean())  # gains add
            lights.append(member.lights + np.log(2) * (moved[::2] - moved[1]))
        return cls(np.median(quantiles, axis=0), np.median(lights, axis=0))


def _toward(own: _Measure, usual: _Measure, white: bool) -> np.ndarray:
    """The change of a group, in stops (3,), towards what is usual."""
    off = own.quantiles - usual.quantiles
    sign = np.sign(off[0])
    beyond = max(0.0, float(np.abs(off).min()) - TOLERANCE) if (np.sign(off) == sign).all() else 0.0
    even = -sign * min(beyond, OTHER_BOUND)
    if not white:
        return np.full(3, even)
    warmth, tint = warmth_and_tint(own.lights - usual.lights).T
    light = light_of_chroma(_agreed(warmth), _agreed(tint))
    color = -np.log2(light)
    return np.asarray(even + color - color.mean())


def _agreed(estimates: np.ndarray) -> float:
    mean = float(estimates.mean())
    sure = np.sign(mean) * max(0.0, abs(mean) - _DISAGREEMENT * float(estimates.std()))
    return float(np.clip(sure, -OTHER_COLOR_BOUND, OTHER_COLOR_BOUND))
