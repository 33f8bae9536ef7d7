"""Presets: the shipped ones work, a user's own are checked to the last key, and options win over them."""

import json
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.presets import INTENTS, MEANINGS, MEASURES, Arguments, Bound, Measured, intents_table, looks_of, main
from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.experiments.tasks.lowlight_policy import CONTROLS
from rlenhance.hub import shipped as weights
from rlenhance.io import read, write
from rlenhance.io.samples import sample_path
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.ops.color_difference import DISTINGUISHED, thumbnail_difference
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.looks import load_preset, shipped_presets
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
    assert {"soft", "bright", "night-mood", "documentary"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_works(night, name):
    """Each has its line, lies in the range that policies are trained for, and changes the picture as it says; one
    that names no strength makes all of the change."""
    preset = load_preset(name)
    assert preset.use and "\n" not in preset.use
    for knob, value in preset.settings.preference.items():
        assert value is None or CONTROLS[knob][0] <= value <= CONTROLS[knob][2]
    wanted = Enhancer("runs/lol/first", preset.settings)(read(night).pixels)
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


def _look(**entries):
    return json.dumps({"kind": "rlenhance look", "version": 1, "settings": {"strength": 0.5}, **entries})


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
    (_look(settings={"denoise": 1}), "settings: unknown key 'denoise'"), (_look(settings={}), "asks for nothing"),
    (_look(functions={"contrast": {"bias": 0}}), "a preset has no functions"), (_look(version=2), "version 2 of looks"),
    (_look(model="balanced", sha256="0" * 64), "is a look, not a preset"), (_look(model="balanced"), "lacks sha256"),
], ids=lambda value: value[:40])
def test_what_is_wrong_in_a_preset_is_named(night, tmp_path, capsys, text, told):
    """File, key, value and the way out stand in one line, and nothing is written."""
    (tmp_path / "mine.json").write_bytes(text.encode("latin-1"))
    assert cli.main(["enhance", "night.png", "--preset", "mine.json"]) == 2
    error = capsys.readouterr().err
    assert "mine.json" in error and told in error and error.count("\n") == 1
    assert not (tmp_path / "night_enhanced.png").exists()


@pytest.mark.parametrize("name, told", [
    ("vivd", "did you mean vivid"), ("nowhere.json", "nowhere.json: cannot be read"), ("night", "mine.json"),
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
    assert "soft: --contrast -0.62 --highlights 1" in lines
    assert "night-mood: --exposure-shift -0.22 --contrast 1 --highlights 0.3" in lines
    assert "subtle: --strength 0.5" in lines
    assert all(f"    {preset.use}" in lines for preset in shipped_presets())


def test_the_former_name_of_a_preset_still_works_and_says_the_new_one():
    """`natural` is the name of a model; the preset is `soft`."""
    with pytest.warns(UserWarning, match="the preset natural is called soft now"):
        former = load_preset("natural")
    assert former == load_preset("soft")


def test_the_command_says_it_in_one_line_without_a_place_in_the_code(night, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # as without a test runner, which makes errors of them
        assert cli.main(["enhance", "night.png", "--preset", "natural", "--model", "runs/lol/first"]) == 0
    assert capsys.readouterr().err == "note: the preset natural is called soft now, as a model has its former name\n"


DOCS = Path(__file__).parents[2] / "docs"


def _dark(picture, light=0.12):
    """A photograph as a short exposure has it: less light, in 8 bits."""
    small = cv2.resize(picture, (96, 96 * picture.shape[0] // picture.shape[1]), interpolation=cv2.INTER_AREA)
    return np.rint(255 * ((small / 255.0) ** 2.2 * light) ** (1 / 2.2)).astype(np.uint8)


@pytest.fixture(scope="module")
def dark():
    """Photographs with little light."""
    return {name: _dark(read(sample_path(name)).pixels) for name in ("astronaut", "coffee", "chelsea", "flower")}


def test_every_preset_has_an_intent_that_is_measured():
    """And no other has; what is bounded is measured and explained."""
    assert set(INTENTS) == {preset.name for preset in shipped_presets()}
    assert {bound.measure for bounds in INTENTS.values() for bound in bounds} <= set(MEASURES) == set(MEANINGS)


def test_the_page_has_the_intents():
    """docs/howto/enhance.md has the table as the code makes it, and every measure of it in words."""
    text = (DOCS / "howto/enhance.md").read_text()
    assert intents_table() in text
    assert all(f"*{name}*: {meaning}" in text.replace("\n", " ") for name, meaning in MEANINGS.items()
               if any(bound.measure == name for bounds in INTENTS.values() for bound in bounds))


@pytest.fixture(scope="module")
def measured(dark):
    """The shipped presets of the shipped default on those photographs."""
    found, looks = Measured(), looks_of(None)
    for name, initial in dark.items():
        found.add(name, initial, {look: enhancer(initial) for look, enhancer in looks.items()})
    return found


@pytest.mark.parametrize("name", INTENTS)
def test_presets_hold_their_intents(measured, name):
    """On photographs that no bound was chosen on."""
    for bound in INTENTS[name]:
        value = bound.value(measured.mean(name, bound.measure), measured.mean("default", bound.measure))
        assert bound.holds(value), (bound.words(), value)


def test_presets_are_told_apart(measured):
    """Every two, and each from the default, as thumbnails."""
    assert {pair: np.mean(values) for pair, values in measured.distances.items()
            if np.mean(values) < DISTINGUISHED} == {}


def test_bounds_are_ratios_or_differences():
    """Of the preset to the default; nothing to nothing is the same."""
    assert Bound("mean", 0.9, 1.1).holds(Bound("mean").value(0.42, 0.4))
    assert Bound("newly burnt", high=0.5).holds(Bound("newly burnt").value(0, 0))
    assert not Bound("newly burnt", high=0.5).holds(Bound("newly burnt").value(0.1, 0))
    assert Bound("newly burnt", high=0.02, points=True).value(0.03, 0.01) == pytest.approx(0.02)
    assert [Bound("mean", 0.9, 1.1).words(), Bound("noise", low=2).words(), Bound("noise", high=2).words(),
            Bound("newly burnt", high=0.02, points=True).words()] == [
        "mean 0.9 to 1.1 ×", "noise at least 2 ×", "noise at most 2 ×", "newly burnt at most +2 %"]


def test_the_command_measures_a_folder(tmp_path, capsys, dark):
    """Tables, a sheet, what falls short by name; grey photographs are not asked for colours."""
    grey = dark["coffee"].mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8)
    write(grey, tmp_path / "photos/grey.png")
    tables = main(Arguments(tmp_path / "photos", tmp_path / "out", sheets=1))
    assert json.loads((tmp_path / "out/presets.json").read_text()).keys() == {*tables, "tables"}
    assert (tmp_path / "out/presets-1.png").is_file()
    saturation = [row for row in tables["intents"].rows if row[1].startswith("saturation")]
    assert len(saturation) == 2 and all(row[2:] == (None, None) for row in saturation)
    out = capsys.readouterr().out
    assert "1 of them grey" in out and "falls short: " in out


def test_the_difference_is_that_of_thumbnails():
    """Nothing for the same picture and for noise that a thumbnail does not show; 100 from black to white."""
    black, white = (np.full((128, 192, 3), level, np.uint8) for level in (0, 255))
    assert thumbnail_difference(black, white) == pytest.approx(100, abs=0.1)
    noisy = np.random.default_rng(0).normal(120, 8, (256, 256, 3)).round().clip(0, 255).astype(np.uint8)
    assert thumbnail_difference(noisy, np.full((256, 256, 3), 120, np.uint8)) < DISTINGUISHED
    with pytest.raises(UsageError, match="one size"):
        thumbnail_difference(black, white[1:])


def test_variants_that_look_alike_are_left_out(tmp_path, monkeypatch, capsys, dark):
    """What looks like another on the sheet is left out with a note; what was named is shown all the same."""
    monkeypatch.chdir(tmp_path)
    write(dark["astronaut"], "dark.png")
    assert cli.main(["variants", "dark.png", "-m", "natural"]) == 0
    printed = capsys.readouterr()
    count, left_out = int(printed.out.split()[0]), printed.err.count("it cannot be distinguished from")
    assert count + left_out == 2 + len(shipped_presets()) + 5 and left_out >= 1
    write(np.zeros((40, 40, 3), np.uint8), "black.png")
    assert cli.main(["variants", "black.png", "-m", "natural"]) == 0
    assert "2 pictures" in capsys.readouterr().out  # as it is, and the default
    assert cli.main(["variants", "black.png", "-m", "natural", "--presets", "vivid", "--exposures", "0.5",
                     "--overwrite"]) == 0
    assert "4 pictures" in capsys.readouterr().out
