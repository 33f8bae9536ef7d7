"""Sheets: `variants` and `compare` show what they say, labelled, and take no file's place."""

import os

import cv2
import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.io import contact_sheet as sheet
from rlenhance.io import read, write
from rlenhance.io.contact_sheet import Cell, make_sheet, thumbnail
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.enhance import Enhancer
from tests.support.networks import make_model, make_tone, stir


def _flat(level, size=(20, 30), dtype=np.uint8):
    return np.full((*size, 3), level, dtype)


def _shows(page, picture):
    """Where a picture stands on a page, exactly."""
    _, _, (left, top), _ = cv2.minMaxLoc(cv2.matchTemplate(page, picture, cv2.TM_SQDIFF))
    return np.array_equal(page[top : top + picture.shape[0], left : left + picture.shape[1]], picture)


@pytest.mark.parametrize("count, columns", [(1, None), (5, None), (7, 3), (2, 9)])
def test_every_picture_is_on_the_sheet(count, columns):
    """Any number of them, of any size and depth, each shown once as it is and with ink under it."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (12 + i, 20 - i, 3), dtype=np.uint8) for i in range(count)]
    page = make_sheet([Cell(picture, (f"number {i}", "more")) for i, picture in enumerate(pictures)], columns, side=40)
    assert all(_shows(page, picture) for picture in pictures)
    bare = make_sheet([Cell(picture, ("", "")) for picture in pictures], columns, side=40)
    assert page.shape == bare.shape and (page != bare).any()
    assert columns is None or page.shape[1] == min(count, columns) * (40 + 12) + 12


def test_a_sheet_comes_near_to_three_by_two():
    """Where nobody says how many columns."""
    for count in (6, 12, 24, 60):
        height, width = make_sheet([Cell(_flat(9, (30, 40)), ("x",))] * count, side=40).shape[:2]
        assert 0.9 < width / height < 2.4


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3), (700, 500)])
def test_pictures_are_fitted(size):
    """Reduced to the side, never enlarged, never to nothing; 16 bits become 8 of the same level."""
    small = thumbnail(_flat(200 * 257, size, np.uint16), 40)
    assert small.dtype == np.uint8 and (small == 200).all() and max(small.shape[:2]) == min(40, max(size))
    assert np.array_equal(thumbnail(_flat(7, (20, 30))), _flat(7, (20, 30)))


def test_long_and_foreign_labels_stay_in_their_cell():
    """A label that is too long is shortened in its middle; letters that no font has do no harm."""
    page = make_sheet([Cell(_flat(38), ("long " * 40,)), Cell(_flat(38), ("夜景 🌙\udcff",))], 2, side=100)
    between = page[:, 12 + 100 : 24 + 100]
    assert (between == 38).all()
    assert sheet._font_for("plain") is sheet._fonts()[0]


def test_variants_show_what_their_options_make(night, tmp_path, capsys):
    """Each look on the sheet is what `enhance` makes with the options under it (small pictures are not reduced)."""
    save_checkpoint(tmp_path / "knobs/best", stir(make_tone()))
    assert cli.main(["variants", "night.png", "-m", "knobs", "-o", "sheet.png", "--exposures", "0.3", "0.6",
                     "--presets", "subtle", "--strengths", "0.2"]) == 0
    assert capsys.readouterr().out == "6 pictures -> sheet.png\n"
    page, source = read("sheet.png").pixels, read(night).pixels
    assert _shows(page, source)
    for words in ({}, {"strength": 0.5}, {"strength": 0.2}, {"preference": {"exposure_level": 0.3}},
                  {"preference": {"exposure_level": 0.6}}):
        assert _shows(page, Enhancer("knobs", **words)(source))


def test_variants_show_the_automatic_exposure(night, tmp_path, capsys):
    """`auto` stands beside numbers, and is what `--exposure auto` makes; other words are refused."""
    save_checkpoint(tmp_path / "knobs/best", stir(make_tone()))
    words = ["variants", "night.png", "-m", "knobs", "-o", "sheet.png", "--overwrite", "--presets", "--exposures"]
    assert cli.main([*words, "auto", "0.3"]) == 0
    assert "4 pictures" in capsys.readouterr().out
    assert _shows(read("sheet.png").pixels, Enhancer("knobs", preference={"exposure_level": None})(read(night).pixels))
    with pytest.raises(SystemExit):
        cli.main([*words, "bright"])
    assert "a number, as in 0.45, or auto; got 'bright'" in capsys.readouterr().err


def test_variants_of_a_large_photograph_are_decided_on_it(night, tmp_path, monkeypatch):
    """The decision is made on all pixels, and done to the reduced picture."""
    seen = []
    decide = Enhancer.decide
    monkeypatch.setattr(Enhancer, "decide", lambda self, picture: seen.append(picture.shape) or decide(self, picture))
    write(np.tile(read(night).pixels, (4, 4, 1)), "large.png")
    assert cli.main(["variants", "large.png", "--size", "32", "--presets", "--exposures"]) == 0
    assert set(seen) == {(80, 112, 3)} and read("large_variants.jpg").pixels.shape[1] < 200


def test_variants_leave_out_what_a_model_does_not_take(night, tmp_path, capsys):
    """Of the shipped presets those are shown that can be; one that was named is an error."""
    save_checkpoint(tmp_path / "direct/best", stir(make_model("restorer")))
    assert cli.main(["variants", "night.png", "-m", "direct"]) == 0
    printed = capsys.readouterr()
    assert "3 pictures" in printed.out  # as it is, default, and the preset that asks for a strength alone
    assert "--preset bright is left out" in printed.err
    for words in (["--presets", "bright"], ["--exposures", "0.5"], ["--strengths", "2"], ["--presets", "nosuch"]):
        assert cli.main(["variants", "night.png", "-m", "direct", "-o", "x.png", *words]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "x.png").exists()


def test_compare_shows_all_with_their_names(night, tmp_path, capsys):
    """Files and folders, each as it is; names without what all of them share."""
    write(_flat(50), tmp_path / "in/a.png")
    write(_flat(90), tmp_path / "in/b.png")
    assert cli.main(["compare", "night.png", "in", "-o", "sheet.png"]) == 0
    assert capsys.readouterr().out == "3 pictures -> sheet.png\n"
    page = read("sheet.png").pixels
    assert all(_shows(page, read(name).pixels) for name in ("night.png", "in/a.png", "in/b.png"))
    assert cli.main(["compare", "in", "-o", "part.png", "--crop", "5", "6", "10", "7"]) == 0
    assert _shows(read("part.png").pixels, _flat(90, (7, 10)))


def test_compare_goes_past_a_bad_file(night, tmp_path, capsys):
    """It is named, the others are shown, and the status is 2; with none left nothing is written."""
    (tmp_path / "bad.png").write_text("no picture")
    assert cli.main(["compare", "bad.png", "night.png"]) == 2
    printed = capsys.readouterr()
    assert "1 picture -> compare.jpg" in printed.out and "failed: bad.png" in printed.err
    assert cli.main(["compare", "bad.png", "-o", "none.png"]) == 2
    assert cli.main(["compare", "night.png", "-o", "none.png", "--crop", "0", "0", "99", "5"]) == 2
    assert "lies outside its 28 x 20 pixels" in capsys.readouterr().err
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("words, told", [
    (["compare", "night.png", "--columns", "0"], "--columns"),
    (["compare", "night.png", "--size", "5"], "--size"),
    (["compare", "-"], "no name"),
    (["compare", "nowhere.png"], "no such file"),
    (["variants", "."], "one photograph"),
    (["variants", "-"], "one photograph"),
    (["variants", "text.png"], "not a picture"),
])
def test_no_file_is_lost(night, tmp_path, capsys, words, told):
    """Bad words are answered in a line, and every file stays as it was."""
    (tmp_path / "text.png").write_text("no picture")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert cli.main(words) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_any_name_stands_on_a_sheet(night, tmp_path):
    """Line breaks, escape sequences and bytes that are no text are shown as escapes, on one line."""
    for name in ("one\ntwo.png", "\udcff\x1b[2J.png", "\u202e夜.png"):
        os.link(night, tmp_path / name)
        assert cli.main(["compare", name, "night.png", "-o", "sheet.png", "--overwrite"]) == 0
    assert np.array_equal(make_sheet([Cell(_flat(9), ("one\ntwo",))]), make_sheet([Cell(_flat(9), ("one\\ntwo",))]))
