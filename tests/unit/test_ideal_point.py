"""The belief about a person's taste: choices move it as they should, and questions are those that tell most."""

import numpy as np
import pytest

from rlenhance.looks.ideal_point import Belief, Choice

SIZE, CONTEXT = 2, 1
LOW, HIGH = -2 * np.ones(SIZE), 2 * np.ones(SIZE)


def _belief(photos=1):
    return Belief(np.ones(SIZE), LOW, HIGH, np.linspace(-1, 1, photos)[:, None] if photos > 1 else np.zeros((1, 1)))


def _asked(belief, likes, count=8, options=3, photos=1):
    """After noise-free answers of someone who likes `likes(context)`."""
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = number % photos
        shown = belief.options(photo, options, rng)
        best = int(np.argmin(((shown - likes(belief.contexts[photo])) ** 2).sum(axis=1)))
        belief = belief.after(Choice(photo, shown, np.eye(options)[best]))
    return belief


def test_without_choices_the_default_is_best():
    """And nothing is known: what may be gained lies on every side."""
    belief = _belief()
    assert belief.best(np.zeros(CONTEXT)) == pytest.approx(np.zeros(SIZE), abs=0.25)
    assert belief.utilities(np.zeros((1, SIZE)), np.zeros(CONTEXT)) == pytest.approx(np.zeros((700, 1)), abs=1e-9)


def test_what_is_chosen_is_found():
    """From some answers the recommendation comes near, and the belief is surer than before."""
    likes = np.array([1.2, -0.8])
    belief = _asked(_belief(), lambda _: likes)
    assert belief.best(np.zeros(CONTEXT)) == pytest.approx(likes, abs=0.3)
    chances = belief.utilities(likes[None], np.zeros(CONTEXT)) / belief.attainable(np.zeros(CONTEXT))[:, None]
    assert chances.mean() > 0.85


def test_what_moves_with_the_picture_is_found():
    """The ideal of one knob rises with the context; between and beyond the photographs of the questions too."""
    belief = _asked(_belief(3), lambda context: np.array([0.8 + 0.4 * context[0], 0.5]), count=12, photos=3)
    low, high = (belief.best(np.array([place])) for place in (-1.0, 1.0))
    assert high[0] - low[0] > 0.3 and abs(high[1] - low[1]) < 0.3


def test_alike_brings_the_ideal_between():
    """Two versions that are equally good, on both sides, keep the middle."""
    shown = np.array([[-1.0, 0.0], [1.0, 0.0]])
    belief = _belief()
    for _ in range(4):
        belief = belief.after(Choice(0, shown, np.full(2, 0.5)))
    chosen = _belief().after(Choice(0, shown, np.array([0.0, 1.0]))).best(np.zeros(1))
    assert abs(belief.best(np.zeros(1))[0]) < 0.25 < chosen[0]


def test_the_same_choices_give_the_same_belief():
    """One after the other, or all at once."""
    one = _asked(_belief(), lambda _: np.ones(SIZE), count=3)
    again = Belief(one.counts, LOW, HIGH, one.contexts, one.choices)
    assert np.array_equal(one.best(np.zeros(1)), again.best(np.zeros(1)))


def test_options_are_worth_more_than_random_ones():
    """In the expected utility after the choice; they differ, and lie within the bounds."""
    belief, rng = _belief(), np.random.default_rng(1)
    shown = belief.options(0, 4, rng)
    assert len(np.unique(shown.round(6), axis=0)) == 4 and (np.abs(shown) <= 2).all()
    random = [np.clip(rng.standard_normal((4, SIZE)), LOW, HIGH) for _ in range(20)]
    rated = np.random.default_rng(2).uniform(-2, 2, (200, SIZE))
    values = []
    for options in (shown, *random):
        utilities = belief.utilities(np.concatenate([options, rated]), np.zeros(1))
        values.append(belief._value(utilities, range(4)))
    assert values[0] > np.mean(values[1:])


def test_contradictions_and_one_knob_are_borne():
    """The same question with both answers, many times; numbers stay finite."""
    belief, shown = Belief(np.ones(1), LOW[:1], HIGH[:1], np.zeros((1, 2))), np.array([[-1.0], [1.0]])
    for number in range(6):
        belief = belief.after(Choice(0, shown, np.eye(2)[number % 2]))
    assert np.isfinite(belief.best(np.zeros(2))).all()
    assert np.isfinite(belief.options(0, 3, np.random.default_rng(0))).all()
