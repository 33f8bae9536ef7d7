"""Looks: settings that are chosen for each photograph, in a file that is checked word for word."""

import json

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.io import Photo, read, write
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.looks import KNOBS, STATISTICS, LinearFunction, Look, load_look, save_look, statistics
from rlenhance.pipelines.options import EnhanceSettings

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
    assert json.loads((stands / "done.json").read_text())["preference"] == {"color": 0.4, "contrast": 0.2}
    assert cli.main(["enhance", "in/25.png", "-o", "b.png", "--recipe", "done.json"]) == 0
    assert (stands / "a.png").read_bytes() == (stands / "b.png").read_bytes()
    assert (stands / "a.cube").stat().st_size > 1000
    assert cli.main(["enhance", "in", "-o", "out", "--look", "my-look.json", "--save-recipe", "more.json"]) == 2
    assert "a recipe holds those of one; got 2" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--recipe", "x.json"], ["--preset", "natural"], ["--match-style", "in/25.png"],
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
                        ({"look": RISING.to_json(), "preset": "natural"}, "leave one out")):
        with pytest.raises(UsageError, match=told):
            api.parse_enhance(words)
