"""Options that name a file to write: none of them loses a file, whatever it is pointed at."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.cli.main import COMMANDS, parser
from rlenhance.cli.parser import written_options
from rlenhance.io import write
from rlenhance.io.own_files import KINDS, is_own, write_sheet

#: Options that name a file or a folder which is read, or a folder whose files have checks of their own.
READ = {"--mask", "--runs", "--match-style", "--look", "--recipe", "--card", "--region", "--tool-weights",
        "--reference", "--source", "--hub", "--next"}
#: The words that a command needs beside the option; {photo} is a photograph.
WORDS = {"learn": ["before", "after"], "taste": ["{photo}", "--simulate"], "export": ["-m", "natural"]}
REQUIRED = {"learn": ["-o", "look.json"], "taste": ["-o", "look.json"]}


def _commands():
    choices = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)).choices
    return {name: choices[name] for name in COMMANDS}


OPTIONS = [(name, action.option_strings[0], kind) for name, command in _commands().items()
           for action, kind in written_options(command)]
every_option = pytest.mark.parametrize(("command", "option", "kind"), OPTIONS)


def test_every_option_with_a_path_is_read_or_written():
    """An option that takes a path says which: one that writes is added by `add_written_file`."""
    paths = {(name, action.option_strings[0]) for name, command in _commands().items()
             for action in command._actions if action.type is Path and action.option_strings}
    assert {(name, option) for name, option in paths if option not in READ} == {(name, option)
                                                                                for name, option, _ in OPTIONS}
    assert len(OPTIONS) > 15 and {kind for _, _, kind in OPTIONS} <= set(KINDS)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a photograph, a stranger's file and folders of edits."""
    monkeypatch.chdir(tmp_path)
    for name in ("p/0.png", "p/1.png", "before/0.png", "after/0.png"):
        write(np.full((8, 10, 3), 40 + len(name), np.uint8), tmp_path / name)
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "link.png").symlink_to("p/0.png")
    (tmp_path / "hard.png").hardlink_to("p/0.png")
    return tmp_path


def _call(command, option, target, *more):
    words = [word.format(photo="p/0.png") for word in WORDS.get(command, ["{photo}"])]
    others = REQUIRED.get(command, []) if option != "-o" else []
    try:
        return cli.main([command, *words, *others, option, str(target), *more])
    except SystemExit as stop:
        return stop.code


def _bytes(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@every_option
@pytest.mark.parametrize("target", ["p/0.png", "./p/../p/0.png", "link.png", "hard.png", "letter.txt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_that_is_read_or_not_ours_is_replaced(command, option, kind, target, overwrite, place, capsys):
    """A photograph of the call under any name, or somebody's file: refused before any work, with --overwrite too."""
    before = _bytes(place)
    assert _call(command, option, target, *["--overwrite"] * (overwrite and option != "--ledger")) == 2
    assert capsys.readouterr().err.startswith("error: ") and _bytes(place) == before


@pytest.mark.parametrize("words", [
    ["enhance", "p/0.png", "-o", "new.png", "--explain", "new.png"],
    ["enhance", "p/0.png", "--explain", "a.png", "--save-recipe", "./a.png"],
    ["enhance", "p/0.png", "-o", "oo/", "--ledger", "oo/0.png", "--overwrite"],
    ["denoise", "p/0.png", "p/1.png", "-o", "oo/", "--failures", "oo/1.png"]])
def test_no_two_results_share_a_file(words, place, capsys):
    """Of two options, or of an option and a photograph."""
    before = _bytes(place)
    assert cli.main(words) == 2
    assert "name another" in capsys.readouterr().err and _bytes(place) == before


def test_our_own_files_are_replaced_on_request(place, capsys):
    """A sheet that exists stays without --overwrite, and is replaced with it; its mark is found in both formats."""
    for name in ("sheet.png", "sheet.jpg"):
        assert cli.main(["compare", "p", "-o", name]) == 0 and is_own(place / name, "sheet")
        before = (place / name).read_bytes()
        assert cli.main(["compare", "p/0.png", "-o", name]) == 2 and (place / name).read_bytes() == before
        assert cli.main(["compare", "p/0.png", "-o", name, "--overwrite"]) == 0
        assert (place / name).read_bytes() != before
    assert not is_own(place / "p/0.png", "sheet")
    assert is_own(write_sheet(np.zeros((4, 4, 3), np.uint8), place / "12:30 sheet.png"), "sheet")


def test_failures_are_known_again(place):
    """A table of failures of an earlier run is replaced, a table of somebody else is not."""
    pytest.importorskip("pyarrow")
    from rlenhance.many.follow import write_failures

    path = write_failures(place / "failures.parquet", [])
    assert is_own(path, "table of failures")
    assert _call("enhance", "--failures", path, "-o", "oo/", "--denoise", "0") == 2
    assert _call("enhance", "--failures", path, "-o", "oo/", "--denoise", "0", "--overwrite") == 0


def test_a_recipe_never_takes_the_place_of_a_sheet(night, capsys):
    """Two results of one command under one name are refused before anything is written."""
    assert cli.main(["enhance", str(night), "-o", "b.png", "--cube", "x.cube", "--save-recipe", "x.cube"]) == 2
    assert "x.cube" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["enhance", "night.png", "-o", "x.gif"], ["denoise", "night.png", "-o", "x.gif"],
                                   ["enhance", "night.png", "-o", "x.dng", "--overwrite"]])
def test_what_cannot_be_written_is_refused_before_a_model_is_loaded(night, words, capsys):
    """By the name of the result, with the endings that can; no model is looked for."""
    assert cli.main([*words, "--model", "there is no such model"]) == 2
    told = capsys.readouterr().err
    assert f"{words[3]}: such a picture cannot be written; use one of .jpg" in told and "model" not in told
    assert cli.main(["denoise", "night.png", "-o", "out"]) == 2
    assert "out: its ending says what kind" in capsys.readouterr().err
