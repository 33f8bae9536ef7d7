"""Learning a look: pairs by name, crops, knobs of an edit, and what depends on the picture."""

import json

import cv2
import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.io import write
from rlenhance.looks.edit_pairs import find_edits
from rlenhance.looks.learn_look import FittedPair, KnobSearch, decibels, leave_one_out, named_knobs, regress
from rlenhance.ops.registration import FOUND, find_place
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.look_functions import STATISTICS, with_knobs
from rlenhance.pipelines.looks import load_look
from rlenhance.pipelines.options import EnhanceSettings


def _scene(seed, side=96):
    """A dark picture with structure: blurred noise and rectangles of light."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(0, 1, (side, side + 24, 3)), (0, 0), 2.0)
    picture = 0.12 + 0.25 * field
    for _ in range(6):
        top, left = rng.integers(0, side - 20, 2)
        picture[top : top + rng.integers(5, 20), left : left + rng.integers(5, 30)] += rng.uniform(0.0, 0.4, 3)
    return np.clip(255 * picture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("before", "after", "pairs", "alone"), [
    (["night.png"], ["night.jpg"], {"night.png": "night.jpg"}, 0),
    (["night.png", "Day.jpg"], ["night_edited.jpg", "day (2).png"],
     {"night.png": "night_edited.jpg", "Day.jpg": "day (2).png"}, 0),
    (["a.jpg", "a_1.jpg"], ["a_1_edit.jpg", "a-edit.jpg"], {"a.jpg": "a-edit.jpg", "a_1.jpg": "a_1_edit.jpg"}, 0),
    (["a.jpg", "b.jpg"], ["a.jpg", "ab.jpg"], {"a.jpg": "a.jpg"}, 2),
    (["a.dng"], ["a.jpg"], {"a.dng": "a.jpg"}, 0),
])
def test_pairs_go_by_name(tmp_path, before, after, pairs, alone):
    for folder, names in (("before", before), ("after", after)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    found, lines = find_edits(tmp_path / "before", tmp_path / "after")
    assert {photo.name: edit.name for photo, edit in found} == pairs and len(lines) == alone


def test_pairs_may_lie_in_one_folder(tmp_path):
    for name in ("a.dng", "a.jpg", "b.jpg", "b_edited.jpg", "c.jpg"):
        (tmp_path / name).touch()
    found, lines = find_edits(tmp_path, tmp_path)
    assert {photo.name: edit.name for photo, edit in found} == {"a.dng": "a.jpg", "b.jpg": "b_edited.jpg"}
    assert len(lines) == 1 and "c.jpg" in lines[0]


def test_a_crop_is_found_whatever_was_done_to_its_tones():
    """Within two per cent of the sides, at another size; another picture, or a mirrored one, is none."""
    scene = _scene(0, 200)
    part = scene[20:150, 40:190]
    edit = np.rint(255 * (cv2.resize(part, (90, 78), interpolation=cv2.INTER_AREA) / 255.0) ** 0.5).astype(np.uint8)
    place = find_place(scene, edit)
    assert place.score > FOUND and place[:4] == pytest.approx((40 / 224, 0.1, 190 / 224, 0.75), abs=0.02)
    assert find_place(scene, np.rint(255 * (scene / 255.0) ** 0.5).astype(np.uint8)).whole
    assert find_place(scene, scene[:, ::-1]).score < FOUND and find_place(scene, _scene(1, 200)).score < FOUND


def test_the_knobs_of_an_edit_are_found():
    """The result with the found knobs resembles the edit, and is nearer than the default by far."""
    scene, model = _scene(2), Enhancer()
    wanted = {"exposure_shift": -0.06, "contrast": 0.4, "warmth": -25.0, "strength": 0.9}
    edit = model.with_settings(with_knobs(EnhanceSettings(denoise=0, white=0), wanted))(scene)
    search = KnobSearch(model, scene, edit, "scene")
    found = search.run()
    assert decibels(found.error) > 30 and decibels(found.error) > decibels(found.default_error) + 8
    values = named_knobs(search.names, found.values)
    assert values["warmth"] == pytest.approx(-25, abs=8) and values["exposure_shift"] < -0.02
    assert decibels(search.error_of(found.values)) > 30


def _pairs(count, slope, seed=0):
    """Pairs of an editor who sets two knobs, the first by the level of the picture."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        found = {name: about.mean + about.deviation * rng.normal() for name, about in STATISTICS.items()}
        place = (found["level"] - STATISTICS["level"].mean) / STATISTICS["level"].deviation
        values = np.array([0.5 + slope * np.clip(place, -2.5, 2.5), -0.3]) + 0.02 * rng.normal(size=2)
        made.append(FittedPair(str(number), values, 0.002 * np.eye(2), 5e-4, 0.02, found))
    return made


def test_a_knob_is_a_function_only_where_the_others_predict_it():
    constant, best = regress(_pairs(12, 1.0))
    assert best.active == (0,) and best.score > constant.score + 1
    assert np.argmax(np.abs(best.weights[0])) == list(STATISTICS).index("level")
    assert regress(_pairs(12, 0.0))[1].active == ()
    assert np.mean([abs(values[0] - pair.values[0]) for values, pair in
                    zip(leave_one_out(_pairs(12, 1.0), best), _pairs(12, 1.0), strict=True)]) < 0.5


def test_one_pair_gives_constants():
    (pair,) = _pairs(1, 1.0)
    constant, best = regress([pair])
    assert best is constant and best.values(pair) == pytest.approx(pair.values, abs=0.2)


def test_the_command_learns_and_tells(tmp_path, monkeypatch, capsys):
    """From one pair; what has no partner, or shows something else, is named; the look is used at once."""
    monkeypatch.chdir(tmp_path)
    scene = _scene(3)
    for name, pixels in (("before/a.png", scene), ("before/b.png", _scene(4)), ("before/c.png", scene),
                         ("after/a_edited.png", Enhancer(exposure_shift=-0.08, denoise=0, white=0)(scene)),
                         ("after/b.png", _scene(5))):
        write(pixels, tmp_path / name)
    assert cli.main(["learn", "before", "after", "-o", "my-look.json"]) == 0
    heard = capsys.readouterr()
    assert "before/c.png: no picture of that name in after" in heard.err
    assert "after/b.png: shows no part of b.png" in heard.err
    assert "this edit: " in heard.out and "dB nearer than the default" in heard.out
    look = load_look(tmp_path / "my-look.json")
    assert look.settings.exposure_shift < -0.03 and look.about["pairs"] == ["a.png"]
    assert cli.main(["enhance", "before/a.png", "-o", "out.png", "--look", "my-look.json"]) == 0
    assert cli.main(["learn", "before", "after", "-o", "my-look.json"]) == 2
    assert "exists" in capsys.readouterr().err
    assert cli.main(["learn", "before", "before", "-o", "other.json"]) == 2
    assert "no edit has the name of a photograph" in capsys.readouterr().err
    json.loads((tmp_path / "my-look.json").read_text())
