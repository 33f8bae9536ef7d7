"""What a person likes, over the knobs of a look, from choices among versions of photographs; without any picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.looks.ideal_point import Belief, Choice

#: What may be answered but the number of an option.
Answer = int | Literal["neither", "skip", "alike"]
WORDS = ("neither", "skip", "alike")
_NEAR = 0.1  # of what can be gained, or of a usual departure: what is nearer is as good


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
    """The expected quality of the recommendation, over all tastes that the choices allow.

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
    _former: TasteModel | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        self._bounds = self.space.to_points(self.space.low), self.space.to_points(self.space.high)

    def after(self, pick: Pick) -> TasteModel:
        """The model with one more answer."""
        model = TasteModel(self.space, self.contexts, (*self.picks, pick))
        model._former = self
        return model

    @cached_property
    def belief(self) -> Belief:
        """What the answers say about the utility."""
        if self._former is None:
            found = Belief(self.space.weights, *self._bounds, self.contexts)
            picks = self.picks
        else:
            found, picks = self._former.belief, self.picks[-1:]
        for pick in picks:
            choice = _choice(self.space, pick)
            found = found if choice is None else found.after(choice)
        return found

    def best(self, context: np.ndarray) -> np.ndarray:
        """The recommended values (D,) in a context (C,)."""
        return self.space.to_values(self.belief.best(context))

    def options(self, photo: int, count: int, generator: np.random.Generator) -> np.ndarray:
        """The options of the next question on a photograph, in no order: (count, D) values."""
        return self.space.to_values(generator.permutation(self.belief.options(photo, count, generator)))

    def certainty(self) -> Certainty:
        """How sure the recommendations for the photographs are."""
        if not any(pick.answer != "skip" for pick in self.picks):
            return Certainty(0.0, 0.0)
        belief = self.belief
        reached = np.array([belief.utilities(belief.best(context)[None], context)[:, 0] for context in self.contexts])
        best = np.array([belief.attainable(context) for context in self.contexts])
        shares = reached.mean(axis=0) / np.maximum(best.mean(axis=0), 1e-9)
        return Certainty(min(max(float(shares.mean()), 0.0), 1.0), float((shares >= 1 - _NEAR).mean()))


def check_answer(answer: object, count: int) -> Answer:
    """An answer to a question with `count` options; anything else raises UsageError."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < count:
        return answer
    if isinstance(answer, str) and answer in WORDS:
        return answer  # type: ignore[return-value]
    raise UsageError(f"an answer is the number of an option, 0 to {count - 1}, or {', '.join(WORDS)}; "
                     f"got {answer!r:.60}")


def _choice(space: KnobSpace, pick: Pick) -> Choice | None:
    """The information in an answer; None where it has none.

    Where no option was good enough, what was recommended, unless it was among them, is chosen before all of them.
    """
    points, count = space.to_points(pick.options), len(pick.options)
    if pick.answer == "skip":
        return None
    if pick.answer == "alike":
        return Choice(pick.photo, points, np.full(count, 1 / count))
    if pick.answer == "neither":
        instead = space.to_points(np.asarray(pick.instead))
        worse = points[np.abs(points - instead).max(axis=1) > _NEAR]
        return Choice(pick.photo, np.concatenate([instead[None], worse]), np.eye(len(worse) + 1)[0])
    return Choice(pick.photo, points, np.eye(count)[int(pick.answer)])
