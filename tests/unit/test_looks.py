"""Looks: a picture is measured in the units of the knobs, and asks a model for what it can give."""

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.hub import shipped as weights
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.ops.style import MEASURES, clamp_to_ranges, measure
from rlenhance.pipelines.options import PREFERENCE_FLAGS
from tests.support.networks import make_model, make_policy, make_tone, stir


@pytest.fixture
def night(tmp_path, monkeypatch):
    """The folder one stands in: a dark photograph, a policy in runs/lol, and a picture of mean 0.6, liked.png."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_tone()))
    write(np.full((10, 12, 3), 153, np.uint8), tmp_path / "liked.png")
    return write(np.random.default_rng(0).integers(0, 60, (20, 28, 3), dtype=np.uint8), tmp_path / "night.png")


def _made(*words):
    assert cli.main(["enhance", "night.png", "-o", "out.png", "--overwrite", *words]) == 0
    return read("out.png").pixels


def test_every_measure_answers_a_knob():
    """What is measured can be asked for, and is a finite number in any picture."""
    assert set(MEASURES) <= set(PREFERENCE_FLAGS)
    for picture in (np.zeros((4, 5, 3)), np.ones((1, 1, 3)), np.random.default_rng(0).random((9, 7, 3))):
        assert all(np.isfinite(value) for value in measure(picture).values())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_exposure_level_is_the_mean(dtype):
    """It is the mean of the 8-bit values, whatever the depth of the file."""
    pixels = np.random.default_rng(3).integers(0, 256, (17, 23, 3))
    scale = np.iinfo(dtype).max // 255
    measured = measure((pixels * scale).astype(dtype))
    assert measured["exposure_level"] == pytest.approx(pixels.mean() / 255, abs=1e-12)


def test_only_a_picture_is_measured():
    """What is no picture is refused."""
    with pytest.raises(UsageError):
        measure(np.full((4, 4, 3), 2.0))


def test_values_are_moved_into_the_range():
    """A value outside the range goes to its end and is told; one that the model does not take is left out."""
    ranges = {"exposure_level": (0.3, 0.5, 0.65)}
    assert clamp_to_ranges({"exposure_level": 0.4, "contrast": 3.0}, ranges) == ({"exposure_level": 0.4}, [])
    for value, end in ((0.1, 0.3), (0.9, 0.65)):
        values, (sentence,) = clamp_to_ranges({"exposure_level": value}, ranges)
        assert values == {"exposure_level": end}
        assert f"exposure_level {value}" in sentence and "0.3 to 0.65" in sentence


def test_a_reference_asks_for_its_level(night, capsys):
    """--match-style is the same as asking for the level that the reference has; it is printed."""
    assert np.array_equal(_made("--match-style", "liked.png"), _made("--exposure", "0.6"))
    assert "liked.png: --exposure 0.6\n" in capsys.readouterr().out


def test_a_reference_out_of_range_is_moved(night, tmp_path, capsys):
    """A reference brighter than the model was trained for asks for its brightest, with a note."""
    write(np.full((4, 4, 3), 250, np.uint8), tmp_path / "liked.png")
    assert np.array_equal(_made("--match-style", "liked.png"), _made("--exposure", "0.7"))
    assert "note: liked.png: exposure_level 0.98" in capsys.readouterr().err


def test_knobs_win_over_the_reference_and_it_over_the_preset(night):
    """The nearer to the user's own word, the stronger."""
    assert np.array_equal(_made("--match-style", "liked.png", "--exposure", "0.3"), _made("--exposure", "0.3"))
    assert np.array_equal(_made("--match-style", "liked.png", "--preset", "night-mood"),
                          _made("--exposure", "0.6", "--preset", "night-mood"))


@pytest.mark.parametrize("words, told", [
    (["--match-style", "nowhere.png"], "nowhere.png"), (["--match-style", "runs"], "runs"),
    (["--match-style", "liked.png", "--model", "mute"], "liked.png: --exposure is measured in a reference"),
    (["--match-style", "liked.png", "--model", "plain"], "this model takes no preferences"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_cannot_be_matched_is_told(night, tmp_path, capsys, words, told):
    """A reference that cannot be read, and a model without its knobs, are refused before any work."""
    save_checkpoint(tmp_path / "mute/best", stir(make_policy()))
    save_checkpoint(tmp_path / "plain/best", stir(make_model("restorer")))
    assert cli.main(["enhance", "night.png", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "night_enhanced.png").exists()
