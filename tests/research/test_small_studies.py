"""Studies that need a folder of pairs alone: each runs, with the least of everything, and writes its numbers."""

import json

import pytest

from research import learn_look_compare, white_casts
from rlenhance.core.errors import UsageError
from tests.support.data import make_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Eight scenes of two frames."""
    return make_pairs(tmp_path_factory.mktemp("pairs"), 8, (64, 80))


def test_known_casts_are_measured(pairs, tmp_path, capsys):
    """On dark frames and references; a split without pairs is refused."""
    tables = white_casts.main(white_casts.Arguments(pairs, limit=1, out=tmp_path / "casts.json"))
    assert set(tables["references with casts"]) == set(white_casts.CASTS)
    assert set(tables["dark frames as they are"]["auto"]) >= {"degrees", "largest"}
    assert json.loads((tmp_path / "casts.json").read_text())["split"] == "val" and "lamp" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no pairs in the split 'tset'"):
        white_casts.main(white_casts.Arguments(pairs, split="tset"))


def test_looks_are_learned_from_a_simulated_editor(pairs, tmp_path):
    """One editor, two edits, one scene."""
    rows = learn_look_compare.main(learn_look_compare.Arguments(
        pairs, edits=2, seeds=(0,), editors=("gamma",), limit=1, out=tmp_path / "rows.json"))
    assert rows["gamma"]["look"] > rows["gamma"]["default"]
    table, = json.loads((tmp_path / "rows.json").read_text())["tables"]
    assert table["rows"][0][0] == "gamma" and table["seed"] == [0]
