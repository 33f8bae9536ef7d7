"""Recipes: what was done is written down, and done again to the last byte, with the same weights or not at all."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rlenhance import __version__
from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts import package_model as ship
from rlenhance.hub import shipped as weights
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.looks import load_look, save_look
from rlenhance.pipelines.recipes import make_recipe, replay_recipe
from tests.support.networks import CHOICE, make_model, make_policy, make_tone, stir
from tests.support.recipes import recipe_0_2


@pytest.fixture
def night(tmp_path, monkeypatch):
    """The folder one stands in: a dark photograph of 16 bits, a policy with every knob in runs/lol, a one-pass model
    in plain/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_tone()))
    save_checkpoint(tmp_path / "plain/best", stir(make_model("restorer")))
    dark = np.random.default_rng(0).integers(0, 16000, (20, 28, 3), dtype=np.uint16)
    return write(dark, tmp_path / "night.png")


def _run(*words):
    return cli.main(["enhance", "night.png", *words])


@pytest.mark.parametrize("words", [
    [], ["--exposure", "0.61"], ["--exposure", "auto", "--color", "-0.25"], ["--strength", "0.3333333333333333"],
    ["--steps", "2"], ["--preset", "night-mood"], ["--preset", "mine.json", "--strength", "0.7"], ["--model", "plain"],
    ["--strength", "0"], ["--match-style", "liked.png", "--preset", "soft"],
], ids=lambda words: " ".join(words))
def test_a_recipe_makes_the_same_bytes_again(night, tmp_path, capsys, words):
    """Whatever was asked for, the recipe alone makes the same file."""
    (tmp_path / "mine.json").write_text('{"preference": {"exposure_level": 0.7}, "strength": 0.5}')
    write(read(night).pixels * 3, tmp_path / "liked.png")
    assert _run("-o", "first.png", *words, "--save-recipe", "done.json") == 0
    assert "recipe -> done.json" in capsys.readouterr().out
    (tmp_path / "mine.json").unlink()
    (tmp_path / "liked.png").unlink()
    newer = save_checkpoint(tmp_path / "runs/lol/second/best", stir(make_policy(preferences=CHOICE), 0.3))
    assert _run("-o", "again.png", "--recipe", "done.json") == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "first.png").read_bytes()
    assert all("asked for an exposure" in line for line in capsys.readouterr().err.splitlines())
    shutil.rmtree(newer)


def test_a_recipe_tells_what_was_done(night, tmp_path):
    """Model, checksum, every setting wherever it came from, and the version stand in it."""
    assert _run("--preset", "night-mood", "--strength", "0.6", "--steps", "3", "--save-recipe", "sub/done.json") == 0
    found = json.loads((tmp_path / "sub/done.json").read_text())
    assert found.pop("made_with").keys() == {"rlenhance", "numpy", "device"}
    best = tmp_path / "runs/lol/first/best"
    assert found == {
        "kind": "rlenhance look", "version": 1, "decision": "own", "model": "runs/lol/first/best",
        "sha256": hashlib.sha256((best / "model.safetensors").read_bytes()).hexdigest(),
        "settings": {"preference": {"contrast": 1, "highlights": 0.3}, "exposure_shift": -0.22, "strength": 0.6,
                     "steps": 3, "denoise": "auto", "white": "auto"},
    }
    assert _run("-o", "b.png", "--preset", "soft", "--save-recipe", "auto.json") == 0
    found = json.loads((tmp_path / "auto.json").read_text())["settings"]
    assert found["preference"] == {"contrast": -0.62, "highlights": 1} and found["strength"] == 1


def test_other_weights_are_refused(night, tmp_path, capsys):
    """Where the weights have changed, both checksums are told; the right ones may lie elsewhere."""
    assert _run("-o", "first.png", "--save-recipe", "done.json") == 0
    shutil.copytree(tmp_path / "runs/lol/first", tmp_path / "kept")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_policy(preferences=CHOICE), 0.3))
    assert _run("-o", "again.png", "--recipe", "done.json") == 2
    error = capsys.readouterr().err
    for place in ("kept/best", "runs/lol/first/best"):
        assert hashlib.sha256((tmp_path / place / "model.safetensors").read_bytes()).hexdigest() in error
    assert not (tmp_path / "again.png").exists()
    assert _run("-o", "again.png", "--recipe", "done.json", "--model", "kept") == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "first.png").read_bytes()
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert _run("--recipe", "done.json") == 2
    error = capsys.readouterr().err
    assert "done.json: runs/lol/first/best" in error and "another place of the same weights" in error


def test_a_shipped_model_is_found_by_its_name(night, tmp_path, monkeypatch):
    """A recipe made with a shipped model works from any folder."""
    card = "A model.\n" + "".join(f"## {title}\nSome.\n" for title in weights.HEADINGS)
    (tmp_path / "card.md").write_text(card)
    ship.main(tmp_path / "runs/lol/first", "dusk", tmp_path / "card.md", True, tmp_path / "weights")
    assert _run("-o", "first.png", "--save-recipe", "done.json") == 0
    assert json.loads((tmp_path / "done.json").read_text())["model"] == "dusk"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli.main(["enhance", "../night.png", "-o", "again.png", "--recipe", "../done.json"]) == 0
    assert (tmp_path / "elsewhere/again.png").read_bytes() == (tmp_path / "first.png").read_bytes()


@pytest.mark.parametrize("words", [
    ["--exposure", "0.5"], ["--strength", "1"], ["--preset", "soft"], ["--steps", "2"],
    ["--match-style", "night.png"], ["--color", "0"], ["--shared-decision"], ["--save-recipe", "b.json"],
], ids=lambda words: words[0])
def test_options_beside_a_recipe_are_refused(night, capsys, words):
    """A recipe settles the result: an option that would change it is told to be left out."""
    assert _run("--save-recipe", "done.json") == 0
    assert _run("-o", "again.png", "--recipe", "done.json", *words) == 2
    assert f"leave out {words[0]}" in capsys.readouterr().err


def test_another_version_is_told(night, tmp_path, capsys):
    """A recipe of another version or library is followed, with a note that the result may differ."""
    assert _run("--save-recipe", "done.json") == 0
    found = json.loads((tmp_path / "done.json").read_text())
    found["made_with"] |= {"rlenhance": "0.0.1", "numpy": "1.0"}
    (tmp_path / "done.json").write_text(json.dumps(found))
    assert _run("-o", "again.png", "--recipe", "done.json") == 0
    error = capsys.readouterr().err
    assert "note: done.json: rlenhance 0.0.1 then" in error and "numpy 1.0 then" in error


def _changed(**entries):
    return lambda found: {key: value for key, value in {**found, **entries}.items() if value is not ...}


def _settings(**entries):
    return lambda found: {**found, "settings": {**found["settings"], **entries}}


@pytest.mark.parametrize("change, told", [
    (_changed(sha256=...), "lacks sha256"), (_changed(kind="something"), "not a recipe"),
    (_changed(sha256="12"), "64 hexadecimal digits"), (_settings(steps=1.5), "steps must be a whole number"),
    (_settings(steps=99), "steps must lie between"), (_settings(steps=True), "steps must be"),
    (_settings(strength=2), "strength must lie between 0 and 1; got 2"),
    (_changed(decision=1), "decision must be own or shared; got 1"), (_changed(model=""), "lacks model"),
    (_changed(decision=...), "is a look, not a recipe"), (_changed(reward={"color": 1}), "a recipe has no reward"),
    (_changed(functions={"contrast": {"bias": 0}}), "a recipe has no functions"),
    (_changed(exposure=1), "unknown key 'exposure'"), (_changed(made_with=3), "made_with must be"),
    (_settings(preference={"exposure_level": 3}), "exposure_level must lie between"),
    (_settings(preference={"contrast": 3}), "contrast"), (_changed(model=3), "model must be a text"),
    (lambda found: [found], "must hold an object"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_in_a_recipe_is_named(night, change, told):
    """File, key and value are named in one line."""
    recipe = make_recipe(Enhancer("runs/lol/first"), "runs/lol/first/best")
    Path("done.json").write_text(json.dumps(change(json.loads(recipe.to_json()))))
    with pytest.raises(UsageError) as refused:
        replay_recipe(Path("done.json"))
    message = str(refused.value)
    assert message.startswith("done.json: ") and told in message and "\n" not in message


def test_recipes_take_nothings_place(night, tmp_path, capsys):
    """A recipe is never written over a file, but over another recipe when that is asked for."""
    (tmp_path / "mine.json").write_text('{"strength": 0.5}')
    for place, words in (("mine.json", []), ("mine.json", ["--overwrite"]), ("night.png", ["--overwrite"]),
                         ("night_enhanced.png", []), (".", ["--overwrite"]), ("night.png/a.json", [])):
        assert _run("--save-recipe", place, *words) == 2
        assert place in capsys.readouterr().err
        assert not (tmp_path / "night_enhanced.png").exists()
    assert _run("--save-recipe", "done.json") == 0
    before = (tmp_path / "done.json").read_bytes()
    assert _run("-o", "b.png", "--strength", "0.5", "--save-recipe", "done.json") == 2
    assert (tmp_path / "done.json").read_bytes() == before and not (tmp_path / "b.png").exists()
    assert _run("-o", "b.png", "--strength", "0.5", "--save-recipe", "done.json", "--overwrite") == 0
    assert (tmp_path / "done.json").read_bytes() != before


def test_where_nothing_was_made_no_recipe_is_written(night, tmp_path):
    """A recipe stands for a result."""
    night.write_text("no picture")
    assert _run("--save-recipe", "done.json") == 2
    assert not (tmp_path / "done.json").exists()


def test_recipes_serve_other_photographs(night, tmp_path):
    """A folder is enhanced by the recipe of one photograph as by its options."""
    write(read(night).pixels // 2, tmp_path / "in/a.png")
    assert _run("--preset", "bright", "--save-recipe", "done.json") == 0
    assert cli.main(["enhance", "in", "-o", "out", "--recipe", "done.json"]) == 0
    assert cli.main(["enhance", "in", "-o", "wanted", "--preset", "bright"]) == 0
    assert (tmp_path / "out/a.png").read_bytes() == (tmp_path / "wanted/a.png").read_bytes()


def test_a_recipe_of_version_0_1_is_followed(tmp_path, monkeypatch, capsys):
    """Its keys and its checksum are those of then; the shipped weights hold the same numbers, and make the picture that
    its settings ask for."""
    monkeypatch.chdir(tmp_path)
    write(np.random.default_rng(0).integers(0, 60, (20, 28, 3), dtype=np.uint8), "night.png")
    old = Path(__file__).parents[1] / "support" / "recipe_0_1.json"
    assert _run("-o", "old.png", "--recipe", str(old)) == 0
    assert "rlenhance 0.1.0 then" in capsys.readouterr().err or __version__ == "0.1.0"
    found = json.loads(old.read_text())
    assert _run("-o", "new.png", "--model", "natural", "--exposure", str(found["preference"]["exposure_level"]),
                "--contrast", str(found["preference"]["contrast"])) == 0
    assert Path("old.png").read_bytes() == Path("new.png").read_bytes()


@pytest.mark.parametrize("change, told", [
    (_changed(sha256=...), "lacks sha256"), (_changed(together=1), "together must be true or false"),
    (_changed(made_with=3), "made_with must be"), (_changed(version=2), "version must be a text"),
    (_changed(settings={}), "unknown key 'settings'"), (_changed(strength=2), "strength must lie between 0 and 1"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_in_a_recipe_of_version_0_2_is_named(night, change, told):
    """By the keys that it had."""
    save_look(make_recipe(Enhancer("runs/lol/first"), "runs/lol/first/best"), Path("done.json"))
    Path("old.json").write_text(json.dumps(change(recipe_0_2(Path("done.json")))))
    with pytest.raises(UsageError, match=r"^old\.json: ") as refused:
        load_look(Path("old.json"), "recipe")
    assert told in str(refused.value)


def test_a_recipe_of_version_0_2_is_followed(night, tmp_path):
    """It makes the same bytes."""
    assert _run("-o", "first.png", "--strength", "0.4", "--save-recipe", "done.json") == 0
    (tmp_path / "old.json").write_text(json.dumps(recipe_0_2(tmp_path / "done.json")))
    assert _run("-o", "again.png", "--recipe", "old.json") == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "first.png").read_bytes()
