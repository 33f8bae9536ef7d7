"""The session of choices: it asks, takes back, goes on where it was left, and ends in a look."""

import io
import json

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.looks.taste import TasteSession, resume
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.look_functions import KNOBS
from rlenhance.pipelines.looks import load_look, save_look


def _photos(count=2, size=(24, 36)):
    return {f"night{i}.jpg": np.random.default_rng(i).integers(0, 40 + 60 * i, (*size, 3), dtype=np.uint8)
            for i in range(count)}


@pytest.fixture(scope="module")
def enhancer():
    """The shipped policy."""
    return Enhancer()


def _answered(enhancer, answers, **options):
    session = TasteSession(enhancer, _photos(), **options)
    for answer in answers:
        session.answer(answer)
    return session


def test_a_question_stays_until_it_is_answered(enhancer):
    """Its versions are pictures of the photograph, and differ."""
    session = TasteSession(enhancer, _photos())
    question = session.question()
    assert session.question() is question and len(question.options) == 4
    shown = session.previews(24)
    assert all(picture.shape == (16, 24, 3) and picture.dtype == np.uint8 for picture in shown)
    assert len({picture.tobytes() for picture in shown}) == 4
    session.answer(1)
    assert session.question().number == 2 and session.question().photo == "night1.jpg"
    assert all(KNOBS["contrast"][0] <= option.preference["contrast"] <= KNOBS["contrast"][2]
               for option in session.question().options)


def test_undo_asks_the_same_again(enhancer):
    """What was taken back leaves no trace."""
    session = _answered(enhancer, [2, "neither"])
    before, state = session.question(), session.to_json()
    session.answer(0)
    assert session.undo()
    assert session.question() == before and session.to_json() == state
    assert session.undo() and session.undo() and not session.undo()


def test_a_session_goes_on_where_it_was_left(enhancer):
    """The state holds all: the next question and the look are the same ones."""
    session = _answered(enhancer, [2, "neither", "skip", "alike", 1], options=3, seed=5)
    again = resume(session.to_json(), "state.json", enhancer, _photos())
    assert again.to_json() == session.to_json()
    assert again.question() == session.question() and again.look() == session.look()
    assert again.undo() and again.answered == 3


@pytest.mark.parametrize(("change", "said"), [
    ({"kind": "rlenhance recipe"}, "no state"), ({"version": 2}, "version 2"), ({"sha256": "0"}, "another model"),
    ({"photos": []}, "other photographs"), ({"picks": [{"photo": 0}]}, "damaged"), ({"options": "4"}, "damaged"),
    ({"picks": [{"photo": 0, "options": [[0.0]], "answer": 0}]}, "damaged"), ({"knobs": ["colour"]}, "no knob")])
def test_another_state_is_refused(enhancer, change, said):
    """A state of another session, or a damaged one, is refused by name."""
    state = json.loads(_answered(enhancer, [0]).to_json()) | change
    with pytest.raises(UsageError, match=rf"(?s)(state\.json: .*)?{said}"):
        resume(json.dumps(state), "state.json", enhancer, _photos())


def test_wrong_answers_are_refused(enhancer):
    """The number of an option, or a word."""
    session = TasteSession(enhancer, _photos(1), options=2)
    for answer in (2, -1, True, "a", None, 0.0):
        with pytest.raises(UsageError, match="0 to 1"):
            session.answer(answer)
    assert not session.picks


def test_skipped_questions_teach_nothing(enhancer):
    """They move on to another question, and the look stays."""
    fresh, skipped = TasteSession(enhancer, _photos()), _answered(enhancer, ["skip", "skip"])
    assert skipped.answered == 0 and skipped.question() != fresh.question()
    assert skipped.look().settings == fresh.look().settings
    assert not skipped.enough and skipped.certainty().share == 0


def test_someone_who_likes_bright_gets_bright(enhancer, tmp_path):
    """Six picks of the brightest of four: the look is brighter, says so in its file, and loads back."""
    session = TasteSession(enhancer, _photos())
    for _ in range(6):
        shifts = [option.exposure_shift for option in session.question().options]
        session.answer(int(np.argmax(shifts)))
    look = session.look()
    assert all(look.settings_for(pixels).exposure_shift > 0.05 for pixels in _photos().values())
    assert look.about["picks"] == 6 and 0 < look.about["share"] <= 1
    assert load_look(save_look(look, tmp_path / "mine.json")) == look
    assert session.best("night1.jpg").exposure_shift == pytest.approx(
        look.settings_for(_photos()["night1.jpg"]).exposure_shift, abs=0.03)


def test_neither_turns_away_from_what_was_shown(enhancer):
    """Its options lose against what would have been recommended."""
    session = TasteSession(enhancer, _photos(1), options=2)
    session.answer("neither")
    pick, space = session.picks[0], session.model.space
    points = space.to_points(np.vstack([pick.instead, pick.options]))
    liked = session.model.belief.utilities(points, np.zeros(3)).mean(axis=0)
    assert liked[0] > liked[1:].max()


@pytest.mark.parametrize(("place", "value"), [
    (("seed",), -1), (("seed",), "x"), (("seed",), 2**40), (("seed",), 1.5), (("seed",), True), (("options",), 4.0),
    (("picks", 0, "options", 0, 0), 1e308), (("picks", 0, "options", 0, 0), -1e308), (("picks", 0, "options", 0), []),
    (("picks", 0, "options", 0, 0), "x"), (("picks", 0, "photo"), 0.5), (("picks", 0, "photo"), -1),
    (("picks",), [{}] * 1200), (("picks",), "many"), (("picks", 0), None), (("photos",), 3)])
def test_a_state_that_no_dialogue_has_written_is_refused(enhancer, place, value):
    """Its seed, its picks and their knobs are checked by type, number and range, and the file is named."""
    state = found = json.loads(_answered(enhancer, [0]).to_json())
    for key in place[:-1]:
        found = found[key]
    found[place[-1]] = value
    with pytest.raises(UsageError, match=r"^state\.json: "):
        resume(json.dumps(state), "state.json", enhancer, _photos())


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
