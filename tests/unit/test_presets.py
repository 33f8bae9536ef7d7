"""Presets: the shipped ones work, a user's own are checked to the last key, and options win over them."""

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.experiments.tasks.lowlight_policy import CONTROLS
from rlenhance.hub import shipped as weights
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.presets import load_preset, shipped_presets
from tests.support.networks import CHOICE, make_model, make_policy, make_tone, stir

SHIPPED = [preset.name for preset in shipped_presets()]


@pytest.fixture
def night(tmp_path, monkeypatch):
    """The folder one stands in: a dark photograph, a policy with every knob in runs/lol, a one-pass model in plain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_tone()))
    save_checkpoint(tmp_path / "plain/best", stir(make_model("restorer")))
    return write(np.random.default_rng(0).integers(0, 60, (20, 28, 3), dtype=np.uint8), tmp_path / "night.png")


def _made(*words):
    """The pixels that the command writes."""
    assert cli.main(["enhance", "night.png", "-o", "out.png", "--overwrite", *words]) == 0
    return read("out.png").pixels


def test_the_promised_presets_are_shipped():
    """The four looks that the pages promise are there."""
    assert {"natural", "bright", "night-mood", "documentary"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_works(night, name):
    """Each has its line, lies in the range that policies are trained for, and changes the picture as it says; one
    that names no strength makes all of the change."""
    preset = load_preset(name)
    assert preset.about and "\n" not in preset.about
    for knob, value in preset.preference.items():
        assert value is None or CONTROLS[knob][0] <= value <= CONTROLS[knob][2]
    wanted = Enhancer("runs/lol/first", preference=preset.preference, exposure_shift=preset.exposure_shift,
                      strength=1 if preset.strength is None else preset.strength)(read(night).pixels)
    assert np.array_equal(_made("--preset", name), wanted)


def test_presets_differ(night):
    """No two shipped presets give the same picture."""
    assert len({_made("--preset", name).tobytes() for name in SHIPPED}) == len(SHIPPED)


def test_a_preset_of_ones_own(night, tmp_path):
    """A file works like a name, with any of its keys left out."""
    (tmp_path / "mine.json").write_text('{"preference": {"exposure_level": 0.7}}')
    assert np.array_equal(_made("--preset", "mine.json"), _made("--exposure", "0.7"))
    (tmp_path / "mine.json").write_text('{"strength": 0.25, "about": "夜"}')
    assert np.array_equal(_made("--preset", "mine.json"), _made("--strength", "0.25"))


def test_a_preset_moves_the_exposure_that_the_model_chooses(night, tmp_path):
    """Its shift is the option's; whoever names an exposure, a shift or the weight of exposure gets that alone."""
    (tmp_path / "mine.json").write_text('{"exposure_shift": 0.1}')
    assert np.array_equal(_made("--preset", "mine.json"), _made("--exposure-shift", "0.1"))
    for words in (["--exposure", "0.3"], ["--exposure-shift", "-0.1"], ["--reward", "exposure=0.8"]):
        assert np.array_equal(_made("--preset", "mine.json", *words), _made(*words))


def test_options_win_over_the_preset(night, tmp_path):
    """What stands on the command line counts, the rest comes from the preset, also where its own value would fail."""
    (tmp_path / "mine.json").write_text('{"preference": {"exposure_level": 0.7}, "strength": 0.5}')
    assert np.array_equal(_made("--preset", "mine.json", "--strength", "1"), _made("--exposure", "0.7"))
    assert np.array_equal(_made("--preset", "mine.json", "--exposure", "0.3"),
                          _made("--exposure", "0.3", "--strength", "0.5"))
    (tmp_path / "wild.json").write_text('{"preference": {"exposure_level": 7}, "strength": 0.5}')
    assert np.array_equal(_made("--preset", "wild.json", "--exposure", "0.3", "--strength", "1"),
                          _made("--exposure", "0.3"))


@pytest.mark.parametrize("text, told", [
    ("", "not a JSON file"), ("{", "not a JSON file"), ("[" * 100_000, "not a JSON file"), ("\xff", "not a JSON file"),
    ("[]", "must hold an object"), ("{}", "asks for nothing"), ('{"about": "x"}', "asks for nothing"),
    ('{"strenght": 1}', "unknown key 'strenght': did you mean strength"),
    ('{"strength": 1, "strength": 0.5}', "'strength' is given twice"),
    ('{"strength": 1.5}', "strength must lie between 0 and 1; got 1.5"),
    ('{"strength": "1"}', 'strength must be a number; got "1"'),
    ('{"strength": true}', "got true"), ('{"strength": null}', "got null"), ('{"strength": NaN}', "got nan"),
    ('{"strength": 1, "about": 3}', "about must be a text in quotes; got 3"),
    ('{"exposure_shift": 2}', "exposure_shift must lie between -1 and 1"),
    ('{"exposure_shift": 0.1, "preference": {"exposure_level": 0.5}}', "exposure_shift is added to the exposure"),
    ('{"exposure_shift": 0.1, "reward": {"exposure": 1.1}}', "exposure_shift is added to the exposure"),
    ('{"preference": 0.5}', "preference must be an object"),
    ('{"preference": {"exposure_level": "high"}}', 'exposure_level must be a number or "auto"; got "high"'),
    ('{"preference": {"exposure_level": 1' + "0" * 400 + "}}", "exposure_level must be a number"),
    ('{"preference": {"exposure_level": 0.9}}', "--exposure must lie between 0.2 and 0.7"),
    ('{"preference": {"contrast": "auto"}}', "--contrast auto: this model does not choose it"),
    ('{"preference": {"contrast": "Auto"}}', 'preference contrast must be a number or "auto"; got "Auto"'),
    ('{"preference": {"exposure_levl": 0.5}}', "did you mean exposure_level"),
], ids=lambda value: value[:40])
def test_what_is_wrong_in_a_preset_is_named(night, tmp_path, capsys, text, told):
    """File, key, value and the way out stand in one line, and nothing is written."""
    (tmp_path / "mine.json").write_bytes(text.encode("latin-1"))
    assert cli.main(["enhance", "night.png", "--preset", "mine.json"]) == 2
    error = capsys.readouterr().err
    assert "mine.json" in error and told in error and error.count("\n") == 1
    assert not (tmp_path / "night_enhanced.png").exists()


@pytest.mark.parametrize("name, told", [
    ("natral", "did you mean natural"), ("nowhere.json", "nowhere.json: cannot be read"), ("night", "mine.json"),
])
def test_unknown_presets_are_answered(night, capsys, name, told):
    """A name that is not shipped gets the nearest ones, a file that is not there its name."""
    assert cli.main(["enhance", "night.png", "--preset", name]) == 2
    assert told in capsys.readouterr().err


def test_a_knob_that_the_model_lacks_is_named(night, tmp_path, capsys):
    """A preset that a model cannot obey is refused, with what the model takes and the options for the rest."""
    save_checkpoint(tmp_path / "mute/best", stir(make_policy()))
    save_checkpoint(tmp_path / "one/best", stir(make_policy(preferences=CHOICE)))
    for model, named, rest in (("plain", "one pass takes no preferences; got --exposure", ""),
                               ("mute", "takes no --exposure", ""),
                               ("one", "takes no --contrast", "; what it does take of it: --exposure-shift -0.22")):
        assert cli.main(["enhance", "night.png", "--preset", "night-mood", "--model", model]) == 2
        error = capsys.readouterr().err
        assert "preset night-mood" in error and named in error
        assert error.endswith(f"{rest}\n")
    assert not (tmp_path / "night_enhanced.png").exists()
    _made("--preset", "subtle", "--model", "plain")
    (tmp_path / "mine.json").write_text('{"exposure_shift": 0.1}')
    assert np.array_equal(_made("--preset", "mine.json", "--model", "one"),
                          _made("--exposure-shift", "0.1", "--model", "one"))


def test_auto_is_not_offered_to_a_model_without_it(night, tmp_path, capsys):
    """Where a model takes the knob but cannot choose by itself, the preset is refused and auto is not called usable."""
    save_checkpoint(tmp_path / "one/best", stir(make_policy(preferences=CHOICE)))
    (tmp_path / "mine.json").write_text('{"preference": {"exposure_level": "auto"}}')
    assert cli.main(["enhance", "night.png", "--preset", "mine.json", "--model", "one"]) == 2
    error = capsys.readouterr().err
    assert "preset mine.json: --exposure auto: this model does not choose it" in error
    assert "what it does take" not in error


def test_presets_are_listed(capsys):
    """`rlenhance presets` prints each with its options and its line."""
    assert cli.main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(SHIPPED)
    assert "natural: --contrast -0.65 --highlights 1" in lines
    assert "night-mood: --exposure-shift -0.22 --contrast 1 --highlights 0.3" in lines
    assert "subtle: --strength 0.5" in lines
    assert all(f"    {preset.about}" in lines for preset in shipped_presets())
