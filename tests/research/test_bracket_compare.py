"""`python -m research.bracket_compare`: rivals of a planner of brackets, on scenes with known answers."""

import json

import cv2
import numpy as np
import pytest

from research import bracket_compare
from research.bracket_compare import LEARNED, Arguments, best_set, compare, main, planners, play, values_of
from rlenhance.agents.fitted_q import FittedQConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.tasks.bracket import Network
from rlenhance.learning.data.brackets import render_bracket
from tests.support.camera import scene

QUICK = Network(width=8, heads=1, learner=FittedQConfig(gradient_steps=2, folds=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four rendered scenes."""
    place = tmp_path_factory.mktemp("brackets")
    for seed in range(4):
        (place / str(seed)).mkdir()
        for number, frame in enumerate(render_bracket(scene(40, 48, seed) / 65535, np.random.default_rng(seed)).frames):
            cv2.imwrite(str(place / str(seed) / f"{number}.png"), frame[..., ::-1])
    return place


def test_rivals_end_where_their_rules_say():
    """The oracle is the best of all; true greed takes each best next one; a price shortens a set."""
    scenes = [render_bracket(scene(32, 40, seed) / 65535, np.random.default_rng(seed)) for seed in (0, 1, 2)]
    values, levels = np.array([values_of(one) for one in scenes]), np.array([one.levels for one in scenes])
    found = planners({}, lambda number, taken: values[number], values, levels, np.array([0, 1]), 0.0)
    ends = {name: [final(2, start) for start in range(7)] for name, final in found.items()}
    assert all((np.array(row) <= np.array(ends["oracle"]) + 1e-9).all() for row in ends.values())
    for name in ("regression of whole sets, one shot", "regression of whole sets, replanned"):
        assert ends[name] == pytest.approx(ends["oracle"])  # it predicts what is true
    nearest = [max(range(7), key=lambda place: -1e9 if place == start else scenes[2].quality(frozenset({start, place})))
               for start in range(7)]
    assert ends["greedy with true gains"][0] >= scenes[2].quality(frozenset({0, nearest[0]})) - 1e-9
    assert len(best_set(values[0], frozenset({3}), 0.0)) == 4 and best_set(values[0], frozenset({3}), 99.0) == {3}
    assert play(lambda *_: 7, values[0], 0, 3, 1.0) == pytest.approx(scenes[0].quality(frozenset({3})))


def test_the_command_compares_and_stores(folder, tmp_path, capsys):
    """A table for each price, with every planner, and the values of each scene by its first place."""
    out = tmp_path / "compared.json"
    main(Arguments(folder, out, seeds=(0,), scene_folds=2, parts=1, network=QUICK))
    stored = json.loads(out.read_text())
    assert [table["columns"][0] for table in stored["tables"]] == ["price 0 dB", "price 1.5 dB"]
    names = [row[0] for row in stored["tables"][0]["rows"]]
    assert len(names) == 10 and {LEARNED, "oracle", *bracket_compare._OTHERS} < set(names)
    assert np.shape(stored["0.0"][LEARNED]) == (4, 7) and "144 scenes" not in capsys.readouterr().out
    oracle = np.array(stored["0.0"]["oracle"])
    assert all((np.array(row) <= oracle + 1e-9).all() for row in stored["0.0"].values())


def test_too_few_scenes_are_refused(folder):
    """With the numbers and the way out."""
    with pytest.raises(UsageError, match="has 4 scenes of 7 frames or more, and 4 folds need 8"):
        compare(Arguments(folder, network=QUICK))
