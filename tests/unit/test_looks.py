"""Looks: a picture is measured in the units of the knobs, and asks a model for what it can give."""

import json

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.hub import shipped as weights
from rlenhance.io import Photo, read, write
from rlenhance.io.own_files import is_own
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.ops.style import MEASURES, clamp_to_ranges, measure
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.look_functions import KNOBS, STATISTICS, LinearFunction, statistics
from rlenhance.pipelines.looks import Look, load_look, save_look
from rlenhance.pipelines.options import PREFERENCE_FLAGS, EnhanceSettings
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


SUM = Enhancer().sha256


def _look(**functions):
    return Look("balanced", SUM, EnhanceSettings(preference={"color": 0.4}, denoise=0, white=0), functions,
                {"made by": "a test"})


def _picture(level, side=48):
    noise = np.random.default_rng(0).normal(0, 10, (side, side + 8, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


RISING = _look(contrast=LinearFunction(0.1, {"level": 0.3}), exposure_shift=LinearFunction(0.02),
               strength=LinearFunction(0.8, {"dark": 0.1}))


def test_a_look_is_read_as_it_was_written(tmp_path):
    assert load_look(save_look(RISING, tmp_path / "my.json")) == RISING


def test_the_settings_follow_the_picture_within_the_ranges():
    """A function raises its knob with its statistic, never beyond the range, and keeps what it does not name."""
    dark, light = (RISING.settings_for(_picture(level)) for level in (20, 120))
    assert dark.preference["contrast"] < light.preference["contrast"] and dark.strength > light.strength
    assert dark.preference["color"] == light.preference["color"] == 0.4 and dark.exposure_shift == 0.02
    wild = _look(**{name: LinearFunction(0, {"level": 1e6}) for name in KNOBS
                    if name not in ("smoothness", "table_gain")})
    for level in (0, 255):
        chosen = wild.settings_for(np.full((9, 9, 3), level, np.uint8))
        assert chosen.white in (2500.1, 11941.2) or 2500 <= chosen.white <= 12000
        Enhancer(settings=chosen)  # the model takes it


@pytest.mark.parametrize("picture", [np.zeros((1, 1, 3), np.uint8), np.full((5, 3, 3), 65535, np.uint16),
                                     np.full((2, 900, 3), 0.5, np.float32)], ids=["black", "white", "grey"])
def test_every_picture_has_finite_statistics(picture):
    found = statistics(picture)
    assert found.keys() == STATISTICS.keys() and all(np.isfinite(value) for value in found.values())


def test_statistics_do_not_depend_on_the_resolution():
    """A preview gets the settings of the whole photograph."""
    small = _picture(60, 128)[:, :128]
    assert statistics(small) == pytest.approx(statistics(small.repeat(4, 0).repeat(4, 1)), abs=1e-5)


def test_a_pipeline_with_a_look_does_what_its_settings_do():
    for level in (25, 70):
        pixels = _picture(level)
        wanted = Enhancer(settings=RISING.settings_for(pixels))
        made = Enhancer(look=RISING)
        assert (made(pixels) == wanted(pixels)).all()
        assert (made.process(Photo(pixels)).photo.pixels == wanted(pixels)).all()
        assert (made.with_decision(made.decide(pixels)).settings == made.settings)


def test_what_is_named_has_precedence():
    made = Enhancer(look=RISING, preference={"contrast": -0.5}, strength=1.0)
    chosen = made.for_picture(_picture(30)).settings
    assert chosen.preference == {"color": 0.4, "contrast": -0.5}
    assert chosen.strength == 1 and chosen.exposure_shift == 0.02
    level = made.with_settings(preference={"exposure_level": 0.4}).for_picture(_picture(30)).settings
    assert level.exposure_shift == 0 and level.preference["exposure_level"] == 0.4
    assert made.with_settings(EnhanceSettings()).look is None
    with pytest.raises(UsageError, match="leave out settings and reward"):
        Enhancer(look=RISING, reward={"color": 1})


def test_other_weights_are_told_and_missing_knobs_refused():
    with pytest.warns(UserWarning, match="made with balanced, whose weights had the SHA-256 000000000000"):
        Enhancer(look=Look("balanced", "0" * 64))
    with pytest.raises(UsageError, match="this model takes no contrast; it takes no preferences"):
        Enhancer("supervised", look=Look("balanced", SUM, functions={"contrast": LinearFunction(0.5)}))


@pytest.fixture
def stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_look(RISING, tmp_path / "my-look.json")
    (tmp_path / "in").mkdir()
    for level in (25, 70):
        write(_picture(level), tmp_path / f"in/{level}.png")
    return tmp_path


def test_the_command_chooses_for_each_photograph(stands, capsys):
    assert cli.main(["enhance", "in", "-o", "out", "--look", "my-look.json"]) == 0
    assert cli.main(["watch", "in", "-o", "seen", "--look", "my-look.json", "--once", "--stable-for", "0"]) == 0
    for level in (25, 70):
        wanted = Enhancer(settings=RISING.settings_for(_picture(level)))(_picture(level))
        assert (read(stands / f"out/{level}.png").pixels == wanted).all()
        assert (read(stands / f"seen/{level}.png").pixels == wanted).all()


def test_a_recipe_and_a_table_hold_what_the_look_became(stands, capsys):
    """Of one photograph: the recipe repeats it, and the table is that of its settings; of two there is none."""
    words = ["enhance", "in/25.png", "-o", "a.png", "--look", "my-look.json", "--contrast", "0.2"]
    assert cli.main([*words, "--save-recipe", "done.json", "--cube", "a.cube"]) == 0
    assert json.loads((stands / "done.json").read_text())["settings"]["preference"] == {"color": 0.4, "contrast": 0.2}
    assert cli.main(["enhance", "in/25.png", "-o", "b.png", "--recipe", "done.json"]) == 0
    assert (stands / "a.png").read_bytes() == (stands / "b.png").read_bytes()
    assert (stands / "a.cube").stat().st_size > 1000
    assert [[is_own(stands / name, kind) for kind in ("recipe", "look")] for name in ("done.json", "my-look.json")] == [
        [True, False], [False, True]]  # neither is replaced by the other
    assert cli.main(["enhance", "in", "-o", "out", "--look", "my-look.json", "--save-recipe", "more.json"]) == 2
    assert "a recipe holds those of one; got 2" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--recipe", "x.json"], ["--preset", "soft"], ["--match-style", "in/25.png"],
                                   ["--reward", "color=1"]], ids=" ".join)
def test_two_ways_to_choose_are_refused(stands, capsys, words):
    assert cli.main(["enhance", "in/25.png", "--look", "my-look.json", *words]) == 2
    assert "--look" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "value", "told"), [
    ("kind", "rlenhance recipe", "not a look (kind is 'rlenhance recipe'"),
    ("version", 2, "version 2 of looks is not known"), ("version", True, "version True"),
    ("model", 3, "model must be a text"), ("sha256", "../..", "sha256 must be 64"), ("more", 1, "unknown key 'more'"),
    ("settings", {"contrast": 1}, "unknown setting 'contrast'"),
    ("settings", {"strength": 1e308}, "strength must lie between 0 and 1; got 1e+308"),
    ("settings", {"preference": {"color": 9}}, "--color must lie between -1 and 1"),
    ("functions", [], "functions must be an object"),
    ("functions", {"exposure": {"bias": 0}}, "unknown key 'exposure'"),
    ("functions", {"contrast": 0.3}, "functions contrast must be an object"),
    ("functions", {"contrast": {"weights": {}}}, "functions contrast bias must be a number"),
    ("functions", {"contrast": {"bias": True}}, "got True"),
    ("functions", {"contrast": {"bias": 1e300}}, "1e+06 at most"),
    ("functions", {"contrast": {"bias": float("nan")}}, "bias must be finite"),
    ("functions", {"contrast": {"bias": 10**400}}, "64 bits at most"),
    ("functions", {"contrast": {"bias": 0, "weights": {"mood": 1}}}, "unknown key 'mood'"),
    ("functions", {"contrast": {"bias": 0, "weights": {"level": "1"}}}, "weights level must be a number"),
    ("about", "nice", "about must be an object"),
])
def test_what_is_wrong_in_a_look_is_named(stands, capsys, key, value, told):
    found = json.loads((stands / "my-look.json").read_text())
    (stands / "bad.json").write_text(json.dumps({**found, key: value}))
    assert cli.main(["enhance", "in/25.png", "--look", "bad.json"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: bad.json: ") and told in error and error.count("\n") == 1


def test_deep_and_cut_files_are_refused(stands, capsys):
    whole = (stands / "my-look.json").read_text()
    for text, told in (("[" * 5000, "not a JSON file"), (whole[:90], "not a JSON file")):
        (stands / "bad.json").write_text(text)
        assert cli.main(["enhance", "in/25.png", "--look", "bad.json"]) == 2
        assert told in capsys.readouterr().err


def test_the_api_takes_a_look(tmp_path):
    """Its text is a field; other fields have precedence; a model that the page does not offer is refused."""
    from rlenhance.web.api import Api
    from rlenhance.web.file_store import FileStore
    from rlenhance.web.job_queue import JobQueue
    from rlenhance.web.service import EnhanceService

    service = EnhanceService(FileStore(tmp_path))
    api = Api(service, JobQueue(), {})
    wanted = api.parse_enhance({"look": RISING.to_json(), "strength": "0.5"})
    chosen = service.enhancer(wanted).for_picture(_picture(30)).settings
    assert chosen.strength == 0.5 and chosen.preference["contrast"] != 0 and "--look" in wanted.command("a.jpg")
    foreign = RISING.to_json().replace('"balanced"', '"/etc/passwd"')
    for words, told in (({"look": "{"}, "look: the text: not a JSON file"), ({"look": foreign}, "model of the look"),
                        ({"look": RISING.to_json(), "preset": "soft"}, "leave one out")):
        with pytest.raises(UsageError, match=told):
            api.parse_enhance(words)
