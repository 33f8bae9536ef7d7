"""Learn a look from photographs and their edits.

For every pair, the knobs are searched that bring the model nearest to the edit: Levenberg-Marquardt on a small picture.
Then the knobs of all pairs are regressed on the statistics of the pictures. A knob counts as far as it shows: the
regression weighs errors of the knobs by what they change in the picture. Knobs are functions of the picture only where
that predicts the edits that were left out better than constants do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import resized_planes
from rlenhance.pipelines.decision import White
from rlenhance.pipelines.look_functions import KNOBS, STATISTICS, LinearFunction, standardised, statistics, with_knobs
from rlenhance.pipelines.options import PREFERENCES, EnhanceSettings

if TYPE_CHECKING:
    from rlenhance.pipelines.enhance import Enhancer

#: The knobs that are searched, with a step of each that shows about as much as one of the others.
SCALES: Mapping[str, float] = {"exposure_shift": 0.05, "contrast": 0.5, "color": 0.8, "highlights": 0.5,
                               "strength": 0.15, "warmth": 30.0}
_SIDE = 64  # pixels of the picture on which knobs are searched
_ROUNDS, _ENOUGH = 6, 0.01  # of the search; share of the error by which a round must lower it
_PRIOR = 2e-6  # squared error that one step of a knob is worth: what does not show stays at its default
_FLOOR = 1e-4  # squared error, 40 dB, below which edits count as equal
#: Deviations, in steps: by which an editor's own choices scatter; of a weight; of the constants. Chosen on simulated
#: editors of training scenes (research/learn_look_compare.py).
_SCATTER, _WEIGHTS, _CENTRE = 0.5, 0.6, 3.0
_NEAR, _REFINED = 2.0, 2  # steps that a refinement may go; how often it is done
_DROPPED = 1.0  # decibels, summed over left-out edits, that a constant must gain to be used
_FOLLOWED = 0.2  # decibels on left-out edits that functions must gain over constants to be used
_INVISIBLE = 0.1  # root of the share of the error that a function must change, or it is a constant
_FEW = 3  # pairs from which on knobs may depend on the picture
_FOLDS = 12


@dataclass(frozen=True)
class FittedPair:
    """The result of the search for one pair.

    Attributes:
        name: of the photograph.
        values: the knobs of the search in their steps, (K,), less their defaults.
        sensitivity: squared error of the picture per squared step, (K, K).
        error, default_error: mean squared error at these knobs, and with the settings of `enhance`.
        found: statistics of the photograph.
    """

    name: str
    values: np.ndarray
    sensitivity: np.ndarray
    error: float
    default_error: float
    found: Mapping[str, float]

    @property
    def standardised(self) -> np.ndarray:
        """The statistics as functions take them."""
        return np.array([standardised(name, self.found[name]) for name in STATISTICS])


def knobs_of(enhancer: Enhancer) -> list[str]:
    """The knobs that are searched with a model: those that it takes and that change its pictures."""
    taken = set(enhancer.preference_ranges) - set(enhancer.without_effect)
    return [name for name in SCALES if ("exposure_level" if name == "exposure_shift" else name) in taken
            or (name not in PREFERENCES and name != "exposure_shift")]


def decibels(error: float) -> float:
    """Peak signal-to-noise ratio of a mean squared error; errors below 40 dB count as 40 dB."""
    return -10 * float(np.log10(max(error, _FLOOR)))


class KnobSearch:
    """The knobs that bring a model nearest to an edit.

    Args:
        enhancer: the model; its settings are not used.
        before, after: the photograph and its edit, (H, W, 3), of the same content; the sizes may differ.
        name: of the pair.
        whole: the photograph that `before` was cut from; None: `before` itself.
    """

    def __init__(self, enhancer: Enhancer, before: np.ndarray, after: np.ndarray, name: str = "",
                 whole: np.ndarray | None = None):
        self.names, self.name = knobs_of(enhancer), name
        self.before, self.after = (_small(pixels) for pixels in (before, after))
        self.found = statistics(before if whole is None else whole)
        self.enhancer = enhancer.with_settings(EnhanceSettings(denoise=0.0, white=0.0))
        self.usual = self.enhancer.with_settings(white=None)
        self.scales = np.array([SCALES[name] for name in self.names])
        spans = np.array([KNOBS[name] for name in self.names]) / self.scales[:, None]
        self.low, self.default, self.high = spans.T

    def run(self) -> FittedPair:
        """Search from the mean brightness of the edit."""
        levels = self.names[0] == "exposure_shift"
        start = self.default.copy()
        low, high = self._bounds()
        if levels:  # the level itself is searched, and becomes a shift at the end
            start[0] = np.clip(self.after.mean() / self.scales[0], low[0], high[0])
        place = start
        found = self.picture(place)
        slopes, damping = None, 1e-3
        for _ in range(_ROUNDS):
            slopes = self._slopes(place, found, high)
            now, moved = self._cost(found, place, start), False
            while damping < 1e3:
                trial = np.clip(self._step(place, found, slopes, start, damping, low, high), low, high)
                picture = self.picture(trial)
                if (cost := self._cost(picture, trial, start)) < now:
                    moved, damping = True, damping / 10
                    place, found = trial, picture
                    break
                damping *= 10
            if not moved or cost > (1 - _ENOUGH) * now:
                break
        slopes = self._slopes(place, found, high)
        values = place - self.default
        if levels:
            values[0] = place[0] - self._automatic(place) / self.scales[0]
        usual = self.usual(self.before)
        return FittedPair(self.name, values, slopes @ slopes.T / self.after.size, _error(found, self.after),
                          _error(usual, self.after), self.found)

    def around(self, values: np.ndarray) -> FittedPair:
        """The pair as it looks from knobs in steps from their defaults, where the change per step is measured anew."""
        low, high = self._bounds()
        place = values + self.default
        if self.names[0] == "exposure_shift":
            place = np.concatenate([[0.0], np.clip(place[1:], low[1:], high[1:])])
            place[0] = values[0] + self._automatic(place) / self.scales[0]
        place = np.clip(place, low, high)
        found = self.picture(place)
        slopes = self._slopes(place, found, high)
        moved = np.clip(self._step(place, found, slopes, place, 1e-2, low, high), place - _NEAR, place + _NEAR) - place
        rest = (self.after - found).ravel() - moved @ slopes
        return FittedPair(self.name, values + moved, slopes @ slopes.T / self.after.size, float(np.square(rest).mean()),
                          _error(self.usual(self.before), self.after), self.found)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The ranges of the search, where the first knob is the exposure level."""
        low, high = self.low.copy(), self.high.copy()
        if self.names[0] == "exposure_shift":
            least, _, most = self.enhancer.preference_ranges["exposure_level"]
            low[0], high[0] = least / self.scales[0], most / self.scales[0]
        return low, high

    def picture(self, place: np.ndarray) -> np.ndarray:
        """The model's result, (64, 64, 3), for knobs in their steps; the first is the exposure level."""
        return np.asarray(self.enhancer.with_settings(self._settings(place))(self.before))

    def _settings(self, place: np.ndarray) -> EnhanceSettings:
        values = dict(zip(self.names, (place * self.scales).tolist(), strict=True))
        level = values.pop("exposure_shift", None)
        settings = with_knobs(self.enhancer.settings, values)
        return settings if level is None else with_level(settings, level)

    def error_of(self, values: np.ndarray) -> float:
        """The mean squared error with knobs in steps from their defaults, as a look has them."""
        return _error(self.rendered(values), self.after)

    def rendered(self, values: np.ndarray) -> np.ndarray:
        """The model's result, (64, 64, 3), with knobs in steps from their defaults."""
        chosen = with_knobs(EnhanceSettings(denoise=0.0, white=0.0), named_knobs(self.names, values))
        return np.asarray(self.enhancer.with_settings(chosen)(self.before))

    @property
    def standardised(self) -> np.ndarray:
        """The statistics of the photograph, as functions take them."""
        return np.array([standardised(name, self.found[name]) for name in STATISTICS])

    def _automatic(self, place: np.ndarray) -> float:
        """The automatic exposure beside the other knobs."""
        settings = self._settings(place)
        others = {name: value for name, value in settings.preference.items() if name != "exposure_level"}
        chosen = self.enhancer.with_settings(settings, preference=others)
        return chosen.automatic_exposure(White.of(self.before, settings.white).before(self.before))

    def _slopes(self, place: np.ndarray, found: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Change of the picture per step of each knob, (K, P)."""
        rows = []
        for index, name in enumerate(self.names):
            step = 0.25 if place[index] + 0.25 <= high[index] else -0.25
            if name == "strength" and place[index] > 0.1:  # the result is before + strength (model - before)
                rows.append((found - self.before).ravel() / place[index])
                continue
            other = place.copy()
            other[index] += step
            rows.append((self.picture(other) - found).ravel() / step)
        return np.array(rows, np.float64)

    def _cost(self, picture: np.ndarray, place: np.ndarray, start: np.ndarray) -> float:
        return _error(picture, self.after) + _PRIOR * float(((place - start) ** 2)[1:].sum())

    def _step(self, place: np.ndarray, found: np.ndarray, slopes: np.ndarray, start: np.ndarray, damping: float,
              low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A damped Gauss-Newton step; knobs at an end of their range that would leave it stay."""
        size = self.after.size
        rest = (self.after - found).ravel()
        prior = np.full(len(place), _PRIOR)
        prior[0] = 0
        matrix = slopes @ slopes.T / size + np.diag(prior)
        matrix += damping * np.diag(np.diag(matrix)) + 1e-12 * np.eye(len(place))
        slope = slopes @ rest / size - prior * (place - start)
        free = np.ones(len(place), bool)
        while True:
            step = np.zeros(len(place))
            step[free] = np.linalg.solve(matrix[np.ix_(free, free)], slope[free])
            leaving = free & (((place >= high - 1e-9) & (step > 0)) | ((place <= low + 1e-9) & (step < 0)))
            if not leaving.any():
                return place + step
            free &= ~leaving


def named_knobs(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """Knobs by name, in their units, from steps from the defaults."""
    return {name: KNOBS[name][1] + SCALES[name] * float(value) for name, value in zip(names, values, strict=True)}


def make_functions(names: Sequence[str], found: Regression) -> dict[str, LinearFunction]:
    """The functions of a regression, in the units of the knobs."""
    return {names[knob]: LinearFunction(
        round(KNOBS[names[knob]][1] + SCALES[names[knob]] * float(found.bias[knob]), 5),
        {name: round(SCALES[names[knob]] * float(weight), 5)
         for name, weight in zip(STATISTICS, found.weights[knob], strict=True)}) for knob in found.active}


def with_level(settings: EnhanceSettings, level: float) -> EnhanceSettings:
    """Settings with an exposure level."""
    from dataclasses import replace

    return replace(settings, preference={**settings.preference, "exposure_level": level})


def _small(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(resized_planes(pixels, _SIDE)[0].transpose(1, 2, 0))


def _error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(one - other, dtype=np.float64).mean())


@dataclass(frozen=True)
class Regression:
    """Knobs as functions of the picture.

    Attributes:
        active: indices of the knobs that depend on the picture.
        bias: (K,), in steps from the defaults.
        weights: (K, S); zero for the others.
        errors: mean squared error of every pair, predicted without it, (N,).
    """

    active: tuple[int, ...]
    bias: np.ndarray
    weights: np.ndarray
    errors: np.ndarray

    @property
    def score(self) -> float:
        """Mean over the pairs in decibels."""
        return float(np.mean([decibels(error) for error in self.errors]))

    def values(self, pair: FittedPair) -> np.ndarray:
        """The knobs of a picture, in steps from the defaults."""
        return np.asarray(self.bias + self.weights @ pair.standardised)


def regress(pairs: Sequence[FittedPair]) -> tuple[Regression, Regression]:
    """The best constants, and the best functions, by the error on pairs that were left out.

    All knobs begin as functions. One after the other becomes a constant while that predicts the edits that were left
    out better; if constants alone do, all become constants.

    Raises:
        UsageError: no pair.
    """
    if not pairs:
        raise UsageError("a look is learned from at least one pair; got none")
    constant = _validated(pairs, ())
    if len(pairs) < _FEW:
        return constant, constant
    best = _validated(pairs, range(len(constant.bias)))
    while best.active:
        others = [_validated(pairs, [knob for knob in best.active if knob != dropped]) for dropped in best.active]
        if (found := max(others, key=lambda one: one.score)).score < best.score + _DROPPED / len(pairs):
            break
        best = found
    best = _validated(pairs, [knob for knob in best.active if _change(pairs, best, knob) > _INVISIBLE])
    return constant, best if best.score > constant.score else constant


def refine(searches: Sequence[KnobSearch], pairs: Sequence[FittedPair], constant: Regression,
           best: Regression) -> tuple[list[FittedPair], Regression, Regression]:
    """The same regressions, of what each pair shows around the knobs that they give it: far from its own knobs the
    sensitivity is another. The functions stay where they predict the edits that were left out better by `_FOLLOWED`
    than the constants, in pictures of the model.

    Returns:
        The pairs around the better regression, the constants, and the better regression.
    """
    near, constant = _refined(searches, pairs, constant)
    if best.active:
        others, best = _refined(searches, pairs, best)
        if left_out_score(searches, others, best) > left_out_score(searches, near, constant) + _FOLLOWED:
            return others, constant, best
    return near, constant, constant


def _refined(searches: Sequence[KnobSearch], pairs: Sequence[FittedPair],
             found: Regression) -> tuple[list[FittedPair], Regression]:
    near = list(pairs)
    for _ in range(_REFINED):
        near = [search.around(found.values(pair)) for search, pair in zip(searches, pairs, strict=True)]
        found = _validated(near, found.active)
    return near, found


def _change(pairs: Sequence[FittedPair], found: Regression, knob: int) -> float:
    """How much a function varies over the pairs, in roots of shares of the error."""
    seen = np.median([pair.sensitivity[knob, knob] / (pair.error + _FLOOR) for pair in pairs])
    return float(np.sqrt(seen) * np.std([found.weights[knob] @ pair.standardised for pair in pairs]))


def _validated(pairs: Sequence[FittedPair], active: Iterable[int]) -> Regression:
    """The regression of all pairs, with the errors of each pair as the others predict it."""
    active = tuple(active)
    bias, slopes = _solve(pairs, active)
    folds = min(len(pairs), _FOLDS)
    errors = np.array([pair.error for pair in pairs])
    for fold in range(folds) if folds > 1 else ():
        rest = [pair for number, pair in enumerate(pairs) if number % folds != fold]
        constants, functions = _solve(rest, active)
        for number in range(fold, len(pairs), folds):
            pair = pairs[number]
            off = constants + functions @ pair.standardised - pair.values
            errors[number] = pair.error + off @ pair.sensitivity @ off
    return Regression(active, bias, slopes, errors)


def _solve(pairs: Sequence[FittedPair], active: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The constants (K,) and the weights (K, S) of the least weighted squares with a Gaussian prior.

    The precision of the knobs of a pair is their sensitivity relative to the error that no knob takes away, bounded by
    the scatter of an editor's choices: (A^-1 + scatter^2)^-1 with A = sensitivity / (error + floor).
    """
    knobs, numbers = len(pairs[0].values), len(STATISTICS)
    columns = [(knob, None) for knob in range(knobs)] + [(knob, one) for knob in active for one in range(numbers)]
    prior = np.array([1 / _CENTRE**2 if one is None else 1 / _WEIGHTS**2 for _, one in columns])
    matrix, target = np.diag(prior), np.zeros(len(columns))
    for pair in pairs:
        relative = pair.sensitivity / (pair.error + _FLOOR)
        precision = relative @ np.linalg.inv(np.eye(knobs) + _SCATTER**2 * relative)
        inputs = pair.standardised
        design = np.zeros((knobs, len(columns)))
        for column, (knob, one) in enumerate(columns):
            design[knob, column] = 1.0 if one is None else inputs[one]
        matrix += design.T @ precision @ design
        target += design.T @ precision @ pair.values
    solved = np.linalg.solve(matrix, target)
    slopes = np.zeros((knobs, numbers))
    for column, (knob, one) in enumerate(columns[knobs:], start=knobs):
        slopes[knob, one] = solved[column]
    return solved[:knobs], slopes


def leave_one_out(pairs: Sequence[FittedPair], found: Regression) -> list[np.ndarray]:
    """The knobs of every pair as the same regression of the others gives them."""
    values = []
    for number, pair in enumerate(pairs):
        constants, functions = _solve([*pairs[:number], *pairs[number + 1 :]], found.active)
        values.append(constants + functions @ pair.standardised)
    return values


def left_out_score(searches: Sequence[KnobSearch], pairs: Sequence[FittedPair], found: Regression) -> float:
    """Mean decibels of the model's pictures with the knobs of `leave_one_out`."""
    return float(np.mean([decibels(search.error_of(values)) for search, values in
                          zip(searches, leave_one_out(pairs, found), strict=True)]))
