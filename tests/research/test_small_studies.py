"""Studies that need one or two folders alone: each runs, with the least of everything, and writes its numbers."""

import json

import pytest

from research import auto_mask, learn_look_compare, white_casts
from rlenhance.core.errors import UsageError
from tests.support.bedrooms import make_bedrooms
from tests.support.data import make_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Eight scenes of two frames."""
    return make_pairs(tmp_path_factory.mktemp("pairs"), 8, (64, 80))


def test_known_casts_are_measured(pairs, tmp_path, capsys):
    """On dark frames and references; a split without pairs is refused."""
    tables = white_casts.main(pairs, limit=1, out=tmp_path / "casts.json")
    assert set(tables["references with casts"]) == set(white_casts.CASTS)
    assert set(tables["dark frames as they are"]["auto"]) >= {"degrees", "largest"}
    assert json.loads((tmp_path / "casts.json").read_text())["split"] == "val" and "lamp" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no pairs in the split 'tset'"):
        white_casts.main(pairs, split="tset")


def test_looks_are_learned_from_a_simulated_editor(pairs, tmp_path):
    """One editor, two edits, one scene."""
    rows = learn_look_compare.main(learn_look_compare.Arguments(
        pairs, edits=2, seeds=(0,), editors=("gamma",), limit=1, out=tmp_path / "rows.json"))
    assert rows["gamma"]["look"] > rows["gamma"]["default"]
    table, = json.loads((tmp_path / "rows.json").read_text())["tables"]
    assert table["rows"][0][0] == "gamma" and table["seed"] == [0]


def test_holes_are_counted_and_dark_photographs_have_none(pairs, tmp_path, capsys):
    """Every painted pair of boxes is found, and nothing in dark frames or in the originals; no folder is refused."""
    found = auto_mask.main(auto_mask.Arguments((next(pairs.rglob("low")),), make_bedrooms(tmp_path) / "train"))
    assert list(found.values()) == [16, 0, 0, 8, 8, 0] and "8 true holes" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--dark and --holes"):
        auto_mask.main(auto_mask.Arguments())
