"""What a person likes, over the knobs of a look, from choices among versions of photographs; without any picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.ops.preference_gp import Choices, Posterior, choose_options, draw, fit

#: What may be answered but the number of an option.
Answer = int | Literal["neither", "skip", "alike"]
WORDS = ("neither", "skip", "alike")
_IDEAL, _ANY, _SAMPLES = 150, 50, 400  # candidates near what may be liked, anywhere; samples of their utilities
_MILD = 4  # questions by which the options reach a usual departure farther
_NEAR = 0.1  # of what can be gained: a look that is nearer to the best one is as good as it


@dataclass(frozen=True)
class KnobSpace:
    """The knobs that are asked about.

    Attributes:
        names: of the knobs.
        low, default, high: (D,) values.
        usual: (D,) a usual departure from the default.
        weights: (D,) how much each counts before any choice.
    """

    names: tuple[str, ...]
    low: np.ndarray
    default: np.ndarray
    high: np.ndarray
    usual: np.ndarray
    weights: np.ndarray

    def to_points(self, values: np.ndarray) -> np.ndarray:
        """Values (..., D) in units of `usual` from the default."""
        return np.asarray((values - self.default) / self.usual)

    def to_values(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `to_points`, within the ranges."""
        return np.asarray(np.clip(self.default + points * self.usual, self.low, self.high))


@dataclass(frozen=True)
class Pick:
    """An answer to one question.

    Attributes:
        photo: number of the photograph.
        options: (K, D) values of the knobs.
        answer: the number of the option that was chosen; "neither" of them; "alike": they are equally good; "skip".
        instead: (D,) what was recommended for the photograph at the time; beside "neither".
    """

    photo: int
    options: np.ndarray
    answer: Answer
    instead: np.ndarray | None = None


@dataclass(frozen=True)
class Certainty:
    """How sure the recommendation is, in expectation over what the choices leave open.

    Attributes:
        share: of what can be gained over the default, in [0, 1].
        probability: that at least nine tenths of it are reached.
    """

    share: float
    probability: float


@dataclass
class TasteModel:
    """Choices, and what follows from them.

    Attributes:
        space: the knobs.
        contexts: (P, C) what is known of each photograph, standardised, with mean 0.
        picks: the answers so far.
    """

    space: KnobSpace
    contexts: np.ndarray
    picks: tuple[Pick, ...] = ()
    _bounds: tuple[np.ndarray, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._bounds = self.space.to_points(self.space.low), self.space.to_points(self.space.high)

    def after(self, pick: Pick) -> TasteModel:
        """The model with one more answer."""
        return TasteModel(self.space, self.contexts, (*self.picks, pick))

    @cached_property
    def posterior(self) -> Posterior:
        """What the answers say about the utility."""
        return fit(_choices(self.space, self.contexts, self.picks), self.space.weights)

    def best(self, context: np.ndarray) -> np.ndarray:
        """The recommended values (D,) in a context (C,)."""
        return self.space.to_values(self.posterior.ideal_points(context, *self._bounds)[0])

    def options(self, photo: int, count: int, generator: np.random.Generator) -> np.ndarray:
        """The options of the next question on a photograph, in no order: (count, D) values.

        The first ones are mild: they reach to a usual departure, and those of each question farther than the last.
        """
        reach = 1 + len(self.picks) / _MILD
        points, mean, covariance = self._candidates(self.contexts[photo], generator, reach)
        chosen = choose_options(mean, covariance, count, draw(mean, covariance, _SAMPLES, generator))
        return self.space.to_values(points[generator.permutation(chosen)])

    def certainty(self, generator: np.random.Generator) -> Certainty:
        """How sure the recommendations for the photographs are."""
        if not any(pick.answer != "skip" for pick in self.picks):
            return Certainty(0.0, 0.0)
        reached, attainable = [], []
        for context in self.contexts:
            _, mean, covariance = self._candidates(context, generator)
            samples = draw(mean, covariance, _SAMPLES, generator)  # of the recommended point, the default, others
            attainable.append(samples.max(axis=1) - samples[:, 1])
            reached.append(samples[:, 0] - samples[:, 1])
        gained, best = np.array(reached), np.array(attainable)
        share = float(gained.mean() / max(best.mean(), 1e-9))
        return Certainty(min(max(share, 0.0), 1.0), float((gained >= (1 - _NEAR) * best.mean(axis=1)[:, None]).mean()))

    def _candidates(self, context: np.ndarray,
                    generator: np.random.Generator,
                    reach: float = np.inf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points that may be the best ones and lie within `reach`, with the mean and the covariance of their utilities;
        the recommended one and the default come first."""
        best = self.posterior.ideal_points(context, *self._bounds)
        ideal = self.posterior.ideal_points(context, *self._bounds, generator, _IDEAL)
        other = np.clip(generator.standard_normal((_ANY, best.shape[1])), *self._bounds)
        points = np.clip(np.concatenate([best, np.zeros_like(best), ideal, other]), -reach, reach)
        return points, *self.posterior.predict(points, np.tile(context, (len(points), 1)))


def check_answer(answer: object, count: int) -> Answer:
    """An answer to a question with `count` options; anything else raises UsageError."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < count:
        return answer
    if isinstance(answer, str) and answer in WORDS:
        return answer  # type: ignore[return-value]
    raise UsageError(f"an answer is the number of an option, 0 to {count - 1}, or {', '.join(WORDS)}; "
                     f"got {answer!r:.60}")


def _choices(space: KnobSpace, contexts: np.ndarray, picks: Sequence[Pick]) -> Choices:
    """The pairs that the answers stand for.

    An option that was chosen is preferred to each of the others. Of options that are alike each is preferred to each
    other half. Where none was good enough, the recommended point, unless it was among them, is preferred to each.
    """
    points: list[np.ndarray] = []
    photos: list[int] = []
    pairs: list[tuple[int, int]] = []
    shares: list[float] = []
    for pick in picks:
        first, count = len(points), len(pick.options)
        shown = range(first, first + count)
        if pick.answer == "skip":
            continue
        points += list(space.to_points(pick.options))
        if pick.answer == "alike":
            found = [(i, j) for i in shown for j in shown if i != j]
        elif pick.answer == "neither":
            points.append(space.to_points(np.asarray(pick.instead)))
            found = [(first + count, i) for i in shown if np.abs(points[i] - points[-1]).max() > _NEAR]
        else:
            found = [(first + int(pick.answer), i) for i in shown if i != first + int(pick.answer)]
        photos += [pick.photo] * (len(points) - first)
        pairs += found
        shares += [0.5 if pick.answer == "alike" else 1.0] * len(found)
    size = len(space.names)
    return Choices(np.array(points).reshape(-1, size), contexts[photos].reshape(len(points), contexts.shape[1]),
                   np.array(pairs, int).reshape(-1, 2), np.array(shares))
