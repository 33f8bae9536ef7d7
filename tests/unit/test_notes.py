"""What a user is told before a model runs, and what is not written where a photograph fails."""

import pytest

from rlenhance.cli import main as cli
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from tests.support.networks import stir


@pytest.fixture
def place(tmp_path, dark, monkeypatch):
    """A folder with a photograph, from where commands run."""
    monkeypatch.chdir(tmp_path)
    write(dark, "night.png")
    return tmp_path


@pytest.mark.parametrize("words", [["enhance", "night.png", "-o", "x.gif"], ["denoise", "night.png", "-o", "x.gif"],
                                   ["enhance", "night.png", "-o", "x.dng", "--overwrite"]])
def test_what_cannot_be_written_is_refused_before_a_model_is_loaded(place, words, capsys):
    """By the name of the result, with the endings that can; no model is looked for."""
    assert cli.main([*words, "--model", "there is no such model"]) == 2
    told = capsys.readouterr().err
    assert f"{words[3]}: such a picture cannot be written; use one of .jpg" in told and "model" not in told
    assert cli.main(["denoise", "night.png", "-o", "out"]) == 2
    assert "out: its ending says what kind" in capsys.readouterr().err


def test_clips_are_named_when_they_are_passed_over(place, tone_run, capsys):
    """`denoise FOLDER` and `watch` take photographs alone, and say so of each clip once; -q is silent."""
    for name in ("in/night.png", "in/deep/b.png"):
        write(read("night.png"), place / name)
    for name in ("in/a.mp4", "in/deep/b.MOV"):
        (place / name).write_bytes(b"x")
    assert cli.main(["denoise", "in", "-o", "out", "--strength", "0"]) == 0
    assert capsys.readouterr().err.count("a.mp4 is passed over: a clip") == 1
    assert cli.main(["denoise", "in", "-o", "out2", "-r", "--dry-run", "-q"]) == 0
    assert capsys.readouterr().err == ""
    words = ["watch", "in", "--once", "--stable-for", "0", "--interval", "0.01", "-r", "--model", str(tone_run)]
    assert cli.main(words) == 0
    told = capsys.readouterr().err
    assert told.count("a.mp4 is passed over: a clip") == told.count("b.MOV is passed over: a clip") == 1
    assert cli.main(["denoise", "in/a.mp4"]) == 2
    assert "rlenhance enhance takes clips" in capsys.readouterr().err


def test_nothing_is_explained_of_a_photograph_that_fails(place, tone_run, capsys):
    """Neither sheet nor table nor map stands there, where the result could not be written."""
    save_checkpoint(place / "filters", stir(MODELS.create("filter_policy", backbone={"name": "fcn", "width": 4},
                                                          horizon=2)))
    bad = ["-o", "night.png/x.png"]  # no folder
    explained = ["--explain", "e.png", "--cube", "c.cube"]
    assert cli.main(["enhance", "night.png", *bad, "--model", str(tone_run), *explained]) == 2
    assert cli.main(["denoise", "night.png", *bad, "--model", "filters", "--explain", "e.png"]) == 2
    assert not list(place.glob("e.png")) and not list(place.glob("c.cube"))
    assert cli.main(["denoise", "night.png", "--model", "filters", "--explain", "e.png"]) == 0
    assert (place / "e.png").exists() and "which filter won where -> e.png" in capsys.readouterr().out


def test_a_table_of_colours_says_what_it_leaves_out(place, tone_run, capsys):
    """--denoise and --region have no room in it."""
    write(read("night.png"), "mask.png")
    words = ["enhance", "night.png", "--model", str(tone_run), "--overwrite", "--cube", "look.cube"]
    for more, told in (([], ""), (["--region", "mask.png"], "is without --region:"),
                       (["--denoise", "0.5", "--region", "mask.png"], "is without --denoise and --region:")):
        assert cli.main([*words, *more]) == 0
        out = capsys.readouterr().out
        assert told in out and ("note:" in out) == bool(told)
