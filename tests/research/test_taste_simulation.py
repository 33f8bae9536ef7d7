"""Simulated people who choose among versions: what is attainable is the most, and shares are what they are called."""

import json

import numpy as np
import pytest

from research.taste_simulation import AFTER, KnobPerson, ask, main
from rlenhance.core.errors import UsageError
from rlenhance.looks.taste import CONTEXT, knob_space
from rlenhance.pipelines.enhance import Enhancer


@pytest.fixture(scope="module")
def enhancer():
    """The shipped policy."""
    return Enhancer()


@pytest.mark.parametrize("hard", [False, True])
def test_nothing_is_better_than_the_attainable(enhancer, hard):
    """No version of two thousand has a higher utility, and some come near."""
    space, rng = knob_space(enhancer), np.random.default_rng(0)
    person = KnobPerson(space, rng.standard_normal((2, len(CONTEXT))), rng, hard)
    values = space.low + rng.uniform(0, 1, (2000, len(space.names))) * (space.high - space.low)
    found, default = person.utility(values, 1), person.utility(space.default[None], 1)[0]
    assert found.max() <= person.attainable(1) + 1e-9
    assert found.max() - default > 0.3 * (person.attainable(1) - default)


@pytest.mark.parametrize("strategy", ["questions", "coordinate search"])
def test_clear_choices_gain(enhancer, strategy):
    """Someone who is sure gets more than the default has."""
    space, rng = knob_space(enhancer, ["exposure_shift", "contrast"]), np.random.default_rng(3)
    person = KnobPerson(space, rng.standard_normal((3, len(CONTEXT))) * 0.1, rng)
    found = ask(person, space, strategy, 4, 2, 1e-4, rng)
    assert list(found) == list(AFTER) and found[8]["shown"] > 0.5


def test_the_table_is_printed_and_stored(tmp_path, capsys):
    """A row for each temperature, and all shares in the file; pictures need a folder."""
    main(count=3, strategies=("random, winner kept",), out=tmp_path / "shares.json")
    assert capsys.readouterr().out.count("| random, winner kept |") == 4
    assert len(json.loads((tmp_path / "shares.json").read_text())["random, winner kept"]["sure"]["8"]["shown"]) == 1
    with pytest.raises(UsageError, match="--data"):
        main(users="pictures")
