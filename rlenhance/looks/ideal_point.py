"""What a person likes, learned from choices: a cloud of ideal points, and the questions that inform most.

The utility of a point x (D,), in units in which 0 is the usual value and 1 a usual departure, in a context s (C,) is

    u(x, s) = -sum_k c_k (x_k - b_k - v_k s)^2,   sum_k c_k = 1,

and of several options one is chosen by a logit: with probability proportional to exp(u / (t g)), where g is what can be
gained over 0 in the mean of the contexts, so that t is a share. b, v, log c and log t are not known; a sequential Monte
Carlo method keeps a few hundred samples of them. All of them together are moved after each choice.

Source: Chopin 2002, "A sequential particle filter method for static models"; ter Braak 2006, "A Markov Chain Monte
Carlo version of the genetic algorithm Differential Evolution" (the moves); Frazier et al. 2009, "The knowledge-gradient
policy for correlated normal beliefs" (the questions). The model and its prior are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SAMPLES, _MOVES = 700, 20  # of the cloud; moves after each choice
_LAPSE = 0.02  # share of the choices that are made blindly
#: Deviations: of v; of the logarithms of c and of t.
_FOLLOWS, _COUNTS, _NOISE = 0.2, 0.7, 0.5
_USUAL_NOISE = 0.1  # the middle of t
_FARTHEST = 1.75  # b lies within it
_TRIED, _ANYWHERE, _SWAPS = 110, 30, 30  # candidates of a question near what may be liked, anywhere; changes per option
_LEAST = 1e-6  # what can be gained, at least


@dataclass(frozen=True)
class Choice:
    """One answer.

    Attributes:
        photo: number of the context.
        options: (K, D).
        shares: (K,) of the answer: 1 for the option that was chosen; equal ones where they are alike.
    """

    photo: int
    options: np.ndarray
    shares: np.ndarray


class Belief:
    """Samples of what a person may like.

    Args:
        counts: (D,) how much each knob counts before any choice.
        low, high: (D,) bounds of points.
        contexts: (P, C) of the photographs.
        choices: so far; those of `former` are its first ones.
        former: the belief before the last choice; None: they are taken in one after the other.
    """

    def __init__(self, counts: np.ndarray, low: np.ndarray, high: np.ndarray, contexts: np.ndarray,
                 choices: Sequence[Choice] = (), former: Belief | None = None):
        self.counts, self.low, self.high, self.contexts = counts, low, high, contexts
        self.choices = tuple(choices)
        self._rng = np.random.default_rng(len(self.choices))
        if not choices:
            self._spread(self._drawn())
            return
        if former is None:
            former = Belief(counts, low, high, contexts, self.choices[:-1])
        self._spread(self._moved(former))

    def after(self, choice: Choice) -> Belief:
        """With one more choice."""
        return Belief(self.counts, self.low, self.high, self.contexts, (*self.choices, choice), self)

    def best(self, context: np.ndarray) -> np.ndarray:
        """The point (D,) of the highest expected utility, as a share of what can be gained."""
        weights = self._c / self._gain[:, None]
        ideal = self._b + self._v @ context
        return np.asarray(np.clip((weights * ideal).sum(axis=0) / weights.sum(axis=0), self.low, self.high))

    def utilities(self, points: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Of points (M, D), as shares of what can be gained over 0: (samples, M)."""
        ideal = self._b + self._v @ context
        first = np.einsum("nd,nd->n", self._c * ideal, ideal)
        found = -(self._c @ (points**2).T - 2 * (self._c * ideal) @ points.T + first[:, None])
        return np.asarray((found + first[:, None]) / self._gain[:, None])

    def attainable(self, context: np.ndarray) -> np.ndarray:
        """The utility of the best point, as a share of what can be gained over 0 in the mean of the contexts:
        (samples,)."""
        ideal = self._b + self._v @ context
        gaps = ideal - np.clip(ideal, self.low, self.high)
        return np.asarray((self._c * (ideal**2 - gaps**2)).sum(axis=1) / self._gain)

    def options(self, photo: int, count: int, generator: np.random.Generator) -> np.ndarray:
        """The options (count, D) after whose choice the best point is expected to be liked most.

        They begin with the best point and those that add most to the expected best of them; then options are swapped
        while that helps.
        """
        context = self.contexts[photo]
        ideal = np.clip(self._b + self._v @ context, self.low, self.high)
        near = ideal[generator.permutation(len(ideal))[:_TRIED]]
        anywhere = np.clip(generator.standard_normal((_ANYWHERE, len(self.low))), self.low, self.high)
        points = np.concatenate([self.best(context)[None], np.zeros((1, len(self.low))), near, anywhere])
        utilities = self.utilities(points, context)
        chosen = [int(np.argmax(utilities.mean(axis=0)))]
        while len(chosen) < count:
            most = utilities[:, chosen].max(axis=1)
            chosen.append(int(np.argmax(np.maximum(most[:, None], utilities).mean(axis=0))))
        value = self._value(utilities, chosen)
        for place in [*range(count)] * 2:
            for other in generator.permutation(len(points))[:_SWAPS].tolist():
                tried = [*chosen[:place], other, *chosen[place + 1 :]]
                if other not in chosen and (found := self._value(utilities, tried)) > value:
                    value, chosen = found, tried
        return points[chosen]

    def _value(self, utilities: np.ndarray, chosen: Sequence[int]) -> float:
        """The expected utility of the best candidate after a choice among these."""
        answers = _softmax(utilities[:, chosen] / self._t[:, None])
        return float((answers.T @ utilities).max(axis=1).sum() / len(utilities))

    # The cloud. A sample is a row: b (D), v (D, C), log c (D), log t.

    def _spread(self, rows: np.ndarray) -> None:
        size, more = len(self.low), self.contexts.shape[1]
        self._rows = rows
        self._b, self._v = rows[:, :size], rows[:, size : size * (1 + more)].reshape(-1, size, more)
        counts = np.exp(rows[:, size * (1 + more) : -1]) * self.counts
        self._c, self._t = counts / counts.sum(axis=1, keepdims=True), np.exp(rows[:, -1])
        ideal = self._b[:, None] + np.einsum("ndc,pc->npd", self._v, self.contexts)
        gaps = ideal - np.clip(ideal, self.low, self.high)
        self._gain = np.maximum(np.einsum("npd,nd->n", ideal**2 - gaps**2, self._c) / len(self.contexts), _LEAST)

    def _drawn(self) -> np.ndarray:
        size, more = len(self.low), self.contexts.shape[1]
        draw = self._rng.standard_normal
        return np.concatenate([
            self._rng.uniform(-_FARTHEST, _FARTHEST, (_SAMPLES, size)), _FOLLOWS * draw((_SAMPLES, size * more)),
            _COUNTS * draw((_SAMPLES, size)), np.log(_USUAL_NOISE) + _NOISE * draw((_SAMPLES, 1))], axis=1)

    def _log_prior(self, rows: np.ndarray) -> np.ndarray:
        size = len(self.low)
        v, c, t = rows[:, size : -size - 1], rows[:, -size - 1 : -1], rows[:, -1] - np.log(_USUAL_NOISE)
        found = (v**2).sum(axis=1) / _FOLLOWS**2 + (c**2).sum(axis=1) / _COUNTS**2 + t**2 / _NOISE**2
        return np.asarray(np.where((np.abs(rows[:, :size]) <= _FARTHEST).all(axis=1), -0.5 * found, -np.inf))

    def _log_likelihood(self, rows: np.ndarray, choices: Sequence[Choice]) -> np.ndarray:
        self._spread(rows)
        found = np.zeros(len(rows))
        for photo in {choice.photo for choice in choices}:
            here = [choice for choice in choices if choice.photo == photo]
            every = self.utilities(np.concatenate([choice.options for choice in here]), self.contexts[photo])
            first = 0
            for choice in here:
                count = len(choice.options)
                answers = _softmax(every[:, first : first + count] / self._t[:, None])
                found += np.log((1 - _LAPSE) * answers + _LAPSE / count) @ choice.shares
                first += count
        return found

    def _moved(self, former: Belief) -> np.ndarray:
        """The cloud of the former choices, resampled for the last one and moved."""
        rng, rows, size = self._rng, former._rows, len(self.low)
        last = self._log_likelihood(rows, self.choices[-1:])
        chances = np.cumsum(np.exp(last - last.max()))
        count, width = rows.shape
        places = np.searchsorted(chances, chances[-1] * (rng.random() + np.arange(count)) / count)
        rows = rows[places.clip(0, count - 1)]
        value = self._log_likelihood(rows, self.choices) + self._log_prior(rows)
        for _ in range(_MOVES):
            one, other = rng.permutation(count), rng.permutation(count)
            step = 2.38 / np.sqrt(2 * width) * rng.choice([0.3, 0.7, 1.5], count)
            knobs = rng.random((count, size)) < rng.choice([0.3, 1.0], count)[:, None]
            moves = np.repeat(knobs, self.contexts.shape[1], axis=1)
            mask = np.concatenate([knobs, moves, knobs, np.ones((count, 1), bool)], axis=1)
            change = step[:, None] * (rows[one] - rows[other]) + 0.01 * rng.standard_normal(rows.shape)
            tried = rows + change * mask
            trial = self._log_likelihood(tried, self.choices) + self._log_prior(tried)
            taken = np.log(rng.random(count)) < trial - value
            rows, value = np.where(taken[:, None], tried, rows), np.where(taken, trial, value)
        return np.asarray(rows)


def _softmax(values: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    found = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(found / found.sum(axis=-1, keepdims=True))
