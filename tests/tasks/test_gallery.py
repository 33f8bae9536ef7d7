"""The gallery: every sheet is written, whatever knobs the model takes, and a network without steps is refused."""

import pytest

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.scripts import gallery
from rlenhance.experiments.tasks.lowlight_policy import CONTROLS
from rlenhance.io import read
from rlenhance.learning.hub.checkpoint import save_checkpoint
from tests.support.networks import make_model, make_policy, make_tone, stir


@pytest.fixture
def quick(monkeypatch):
    """Two photographs on their way to the smallest sheets."""
    monkeypatch.setattr(gallery, "SAMPLE_ROLES", {"astronaut": "train", "coffee": "train"})


def test_every_sheet_is_written(quick, tmp_path, capsys):
    """Before and after, the steps and a sheet per knob lie in the folder, and their places are printed."""
    save_checkpoint(tmp_path / "run/best", stir(make_tone(horizon=4)))
    places = gallery.main(str(tmp_path / "run"), tmp_path / "out", side=12)
    names = ["before_after", "overview", "steps", *(f"knob_{name}" for name in CONTROLS), "denoise"]
    assert places == [tmp_path / "out" / f"{name}.jpg" for name in names]
    assert sorted(places) == sorted((tmp_path / "out").iterdir())
    assert capsys.readouterr().out.split() == [str(place) for place in places]
    widths = {place.stem: read(place).pixels.shape[1] for place in places}
    across = {"before_after": 8, "overview": 4, "steps": 9, "denoise": 4} | {f"knob_{name}": 6 for name in CONTROLS}
    # parts of 12 pixels (24 in the overview), 12 between and around
    assert widths == {name: 24 * parts + 12 for name, parts in across.items()} | {"overview": 4 * 36 + 12}


def test_scenes_are_the_same_at_every_call(quick):
    """Two exposures, an uneven light and the photograph itself, of each; no dice."""
    first, again = gallery.scenes(), gallery.scenes()
    assert list(first) == list(again) and len(first) == 8
    assert all(first[label].equal(again[label]) for label in first)
    means = {label: picture.mean() for label, picture in first.items()}
    assert means["coffee 1/16"] < means["coffee 1/4"] < means["coffee as it is"]


def test_a_policy_without_knobs_has_no_sweeps(quick, tmp_path):
    """Only what the model takes is swept."""
    save_checkpoint(tmp_path / "run/best", stir(make_policy(horizon=2)))
    places = gallery.main(str(tmp_path / "run"), tmp_path / "out", side=12)
    assert [place.stem for place in places] == ["before_after", "overview", "steps", "denoise"]


def test_a_network_that_acts_in_one_pass_is_refused(tmp_path, capsys):
    """It has no steps to show; nothing is written."""
    save_checkpoint(tmp_path / "run/best", make_model("restorer"))
    assert run_cli(gallery.main, words=[str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 2
    assert "acts in one pass and has no steps to show" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
