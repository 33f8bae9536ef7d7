"""`rlenhance taste`: it asks, keeps every answer, goes on, and writes a look that `enhance` takes."""

import io
import json

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.io import write
from rlenhance.pipelines.looks import load_look


@pytest.fixture
def photos(tmp_path):
    """Two small dark photographs."""
    for i in range(2):
        write(np.random.default_rng(i).integers(0, 60, (24, 36, 3), dtype=np.uint8), tmp_path / f"night{i}.png")
    return [str(tmp_path / f"night{i}.png") for i in range(2)]


def _typing(monkeypatch, text):
    typed = io.StringIO(text)
    typed.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", typed)


def test_answers_become_a_look_and_nothing_is_lost(photos, tmp_path, monkeypatch, capsys):
    """Letters, undo and the rest are taken, the sheet is a picture, and --resume goes on; the look enhances."""
    look, sheet = tmp_path / "mine.json", tmp_path / "sheet.png"
    words = ["taste", *photos, "-o", str(look), "--no-open", "--size", "64"]
    _typing(monkeypatch, "a\nx\nu\nb\nn\n=\ns\nq\n")
    assert main([*words, "--sheet", str(sheet)]) == 0
    said = capsys.readouterr().out
    assert "a letter of abcd" in said and "taken back" in said and f"look -> {look}" in said and sheet.exists()
    state = tmp_path / "mine.taste.json"
    assert [pick["answer"] for pick in json.loads(state.read_text())["picks"]] == [1, "neither", "alike", "skip"]
    assert load_look(look).about["picks"] == 3
    assert main(words) == 2 and "--resume goes on" in capsys.readouterr().err
    _typing(monkeypatch, "c\n")
    assert main([*words, "--resume", "--picks", "4"]) == 0
    assert load_look(look).about["picks"] == 4
    assert main(["enhance", photos[0], "--look", str(look), "-o", str(tmp_path / "out.png"), "-q"]) == 0


def test_ctrl_c_keeps_the_answers(photos, tmp_path, monkeypatch, capsys):
    """The state is beside the look, and the message says how to go on."""
    look = tmp_path / "mine.json"
    _typing(monkeypatch, "a\n")
    lines = iter(["a\n"])

    def read():
        try:
            return next(lines)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("sys.stdin.readline", read)
    assert main(["taste", *photos, "-o", str(look), "--no-open", "--size", "64"]) == 130
    assert "1 answers are kept" in capsys.readouterr().err and not look.exists()
    assert len(json.loads((tmp_path / "mine.taste.json").read_text())["picks"]) == 1


def test_a_simulated_person_answers(photos, tmp_path, capsys):
    """Without a terminal too; the same seed gives the same look."""
    for name in ("one", "two"):
        assert main(["taste", *photos, "-o", str(tmp_path / f"{name}.json"), "--simulate", "--picks", "3", "--size",
                     "64"]) == 0
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()
    assert "the hidden ideal" in capsys.readouterr().out


@pytest.mark.parametrize(("more", "said"), [
    ([], "no terminal"), (["--simulate", "--options", "1"], "--options"), (["--simulate", "--picks", "0"], "--picks"),
    (["--simulate", "--resume"], "no state"), (["--simulate", "-o", "look.txt"], r"\.json"),
    (["--simulate", "--size", "9"], "--size"), (["--simulate", "-o", "other.json"], "no look that rlenhance wrote")])
def test_what_cannot_work_is_refused(photos, tmp_path, monkeypatch, capsys, more, said):
    """Before a model is loaded, with the way out."""
    monkeypatch.chdir(tmp_path)
    _ = (tmp_path / "other.json").write_text("{}")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    words = ["taste", *photos, "-o", "mine.json", *more]
    assert main([*words, "--overwrite"] if "other.json" in words else words) == 2
    import re

    assert re.search(said, capsys.readouterr().err)
