"""Bursts and time-lapses: one decision for all, so that nothing flickers."""

import json

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.hub import shipped as weights
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.enhance import Enhancer
from tests.support.networks import CHOICE, make_model, make_policy, stir

PICTURE_LEVEL = {"agent_stride": 0}  # one curve for the whole picture
PATCH = np.s_[4:12, 4:16]


@pytest.fixture
def burst(tmp_path, monkeypatch):
    """The folder one stands in: five frames of one scene in burst/, each brighter and noisy, with an equal patch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_policy(preferences=CHOICE)))
    save_checkpoint(tmp_path / "curve/best", stir(make_policy(PICTURE_LEVEL, preferences=CHOICE), 0.3))
    scene = np.random.default_rng(0).integers(0, 60, (24, 32, 3))
    for number, gain in enumerate((1.0, 2.2, 1.6, 0.4, 1.2)):
        write(_frame(scene, gain, number), tmp_path / f"burst/{number}.png")
    return tmp_path / "burst"


def _frame(scene, gain, seed):
    noisy = scene * gain + np.random.default_rng(seed).normal(0, 4, scene.shape)
    frame = np.clip(noisy, 0, 255).astype(np.uint8)
    frame[PATCH] = scene[PATCH]
    return frame


def _enhanced(out, *words, source="burst"):
    assert cli.main(["enhance", source, "-o", str(out), *words]) == 0
    return {path.name: read(path).pixels for path in sorted(out.iterdir())}


@pytest.mark.parametrize("model", ["runs/lol/first", "curve"])
def test_equal_content_stays_equal(burst, tmp_path, model):
    """What is the same in all frames is the same in all results; decided frame by frame it flickers."""
    together = _enhanced(tmp_path / "together", "--shared-decision", "-m", model)
    alone = _enhanced(tmp_path / "alone", "-m", model)
    assert len(together) == len(alone) == 5
    assert len({pixels[PATCH].tobytes() for pixels in together.values()}) == 1
    assert len({pixels[PATCH].tobytes() for pixels in alone.values()}) > 1


def test_all_frames_get_one_curve(burst, tmp_path):
    """Where the policy has one agent per picture, a value becomes the same value in every frame."""
    becomes = {}
    for name, result in _enhanced(tmp_path / "out", "--shared-decision", "-m", "curve").items():
        for value, new in zip(read(burst / name).pixels.ravel(), result.ravel(), strict=True):
            assert becomes.setdefault(value, new) == new


def test_the_frame_of_median_exposure_decides(burst, tmp_path, capsys):
    """It gets what it gets alone, it is named, and neither order nor outliers change the decision."""
    together = _enhanced(tmp_path / "together", "--shared-decision")
    assert "decided on burst/4.png" in capsys.readouterr().out
    assert np.array_equal(together["4.png"], _enhanced(tmp_path / "alone")["4.png"])
    enhancer = Enhancer("runs/lol/first")
    frames = sorted(burst.iterdir())
    assert enhancer.decide_for_group(reversed(frames))[0].name == "4.png"
    write(np.full((24, 32, 3), 255, np.uint8), burst / "1.png")  # a flash
    assert enhancer.decide_for_group(sorted(burst.iterdir()))[0].name == "4.png"
    assert enhancer.decide_for_group(frames[:2])[0].name == "0.png"  # of two the darker one


def test_other_frames_count_only_through_the_decision(burst, tmp_path):
    """Where the same frame decides, a frame gets the same result whatever stands beside it, of any size."""
    first = _enhanced(tmp_path / "first", "--shared-decision")
    write(np.full((9, 50, 3), 200, np.uint8), burst / "1.png")
    write(np.zeros((30, 7, 3), np.uint8), burst / "3.png")
    second = _enhanced(tmp_path / "second", "--shared-decision")
    for name in ("0.png", "2.png", "4.png"):
        assert np.array_equal(first[name], second[name])
    assert second["1.png"].shape == (9, 50, 3)


def test_settings_count_together_as_well(burst, tmp_path):
    """Strength and knobs act as on a single photograph."""
    plain = _enhanced(tmp_path / "a", "--shared-decision")
    dim = _enhanced(tmp_path / "b", "--shared-decision", "--exposure", "0.3")
    none = _enhanced(tmp_path / "c", "--shared-decision", "--strength", "0")
    for name, pixels in none.items():
        assert np.array_equal(pixels, read(burst / name).pixels)
        assert not np.array_equal(plain[name], dim[name])


def test_bad_frames_are_named_and_do_not_decide(burst, tmp_path, capsys):
    """A frame that cannot be read is told, the others share their decision; where none can be read nothing is done."""
    (burst / "5.png").write_text("no picture")
    assert cli.main(["enhance", "burst", "-o", "out", "--shared-decision"]) == 2
    assert "5.png" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert cli.main(["enhance", "burst/5.png", "--shared-decision"]) == 2
    assert "no photograph to decide on: burst/5.png" in capsys.readouterr().err


def test_a_recipe_replays_a_burst(burst, tmp_path):
    """With the same frames the recipe makes the same files."""
    first = _enhanced(tmp_path / "first", "--shared-decision", "--save-recipe", "done.json")
    assert json.loads((tmp_path / "done.json").read_text())["together"] is True
    again = _enhanced(tmp_path / "again", "--recipe", "done.json")
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("kind, told", [
    ("restorer", "one pass"), ("zero_dce", "one pass"), ("rellie", "pixel by pixel"), ("pixels", "pixel by pixel"),
])
def test_models_without_a_shared_decision_are_refused(burst, tmp_path, capsys, kind, told):
    """One-pass networks and pixel-wise policies are told apart before any work."""
    network = make_policy(decision_size=None) if kind == "pixels" else make_model(kind)
    save_checkpoint(tmp_path / "other/best", stir(network))
    assert cli.main(["enhance", "burst", "-o", "out", "--shared-decision", "-m", "other"]) == 2
    error = capsys.readouterr().err
    assert told in error and "--shared-decision" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    for refused in (lambda e: e.decide(np.zeros((8, 8, 3))), lambda e: e.with_decision([])):
        with pytest.raises(UsageError, match=told):
            refused(Enhancer("other"))
