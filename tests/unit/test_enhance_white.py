"""`--white auto|keep|K`: what it does to results, clips, recipes and tables of colours."""

import json

import cv2
import numpy as np
import pytest

from rlenhance import Enhancer
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import Photo, read, write
from rlenhance.learning.ops.image import to_tensor
from rlenhance.ops.white_balance import apply_gains, auto_gains, light_of_kelvin
from rlenhance.pipelines.looks import load_look
from rlenhance.pipelines.lut import make_cube
from rlenhance.pipelines.options import EnhanceSettings, format_flags, from_json, to_json
from rlenhance.pipelines.temporal_smoothing import TemporalSmoother
from tests.support.clips import make_clip
from tests.support.recipes import recipe_0_2
from tests.unit.test_white_balance import GREEN, _photograph, _room

KEEP = EnhanceSettings(denoise=0.0, white="keep")
AUTO = EnhanceSettings(denoise=0.0)


def _green(dtype=np.uint8, side=160):
    return _photograph(_room(side, level=0.08) * GREEN, dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_cast_is_taken_out_of_the_result_and_said(dtype):
    """The gains of the dark picture act on the brightened one."""
    dark = _green(dtype)
    kept, result = Enhancer(settings=KEEP)(dark), Enhancer(settings=AUTO)(dark)
    np.testing.assert_allclose(result.astype(float), apply_gains(kept, auto_gains(dark)).astype(float),
                               rtol=1e-5 if dtype == np.float32 else 0)
    if dtype != np.float32:
        assert Enhancer(settings=AUTO).process(Photo(dark)).decision["white"].startswith(
            "a green cast was taken out: magenta +")


def test_without_a_cast_auto_is_keep():
    """Bit by bit, and nothing is said."""
    dark = _photograph(_room(level=0.08))
    result, decision = Enhancer(settings=AUTO).process(Photo(dark))
    np.testing.assert_array_equal(result.pixels, Enhancer(settings=KEEP)(dark))
    assert "white" not in decision


@pytest.mark.parametrize("white", ["auto", 3000])
def test_grey_pictures_stay_grey(white):
    dark = _photograph(_room(level=0.08).mean(axis=2, keepdims=True).repeat(3, axis=2))
    np.testing.assert_array_equal(Enhancer(denoise=0.0, white=white)(dark), Enhancer(settings=KEEP)(dark))


def test_a_temperature_makes_its_light_daylight():
    """The result is that of the room in daylight, but for rounding of what is dark; the warm one is far from it."""
    wanted = Enhancer(settings=KEEP)(_photograph(_room(level=0.2))).astype(int)
    lamp = _photograph(_room(level=0.2) * light_of_kelvin(4000))
    result, kept = Enhancer(denoise=0.0, white=4000)(lamp), Enhancer(settings=KEEP)(lamp)
    assert np.abs(result - wanted).mean() < 3
    assert np.abs(kept - wanted).mean() > 12


def test_small_gains_of_dark_values_are_not_lost():
    """A gain of 4 % of values up to 10 of 255, which 8 bits cannot hold before the brightening."""
    dark = np.random.default_rng(0).integers(0, 10, (64, 64, 3), dtype=np.uint8)
    kept, result = Enhancer(settings=KEEP)(dark), Enhancer(denoise=0.0, white=6000)(dark)
    assert 0.5 < result[..., 2].mean() - kept[..., 2].mean() < 20


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_strength_counts_for_the_white_too(dtype):
    """image + strength (result - image)."""
    dark, top = _green(dtype), 1 if dtype == np.float32 else np.iinfo(dtype).max
    whole, half = (Enhancer(settings=AUTO, strength=share)(dark).astype(float) for share in (1.0, 0.5))
    np.testing.assert_allclose(half, (dark + whole) / 2, atol=1.01 if top > 1 else 1e-6)
    np.testing.assert_array_equal(Enhancer(settings=AUTO, strength=0.0)(dark), dark)


def test_outside_a_region_no_pixel_changes():
    dark, mask = _green(), np.zeros((160, 160), bool)
    mask[40:80, 20:60] = True
    result = Enhancer(white=3000)(dark, mask=mask)
    np.testing.assert_array_equal(result[~mask], dark[~mask])
    assert (result[mask] != dark[mask]).any()


def test_a_network_in_one_pass_and_a_table_of_colours_hold_it(tmp_path):
    dark = _green()
    kept = Enhancer("supervised", KEEP)(dark)
    np.testing.assert_allclose(Enhancer("supervised", AUTO)(dark).astype(int), apply_gains(kept, auto_gains(dark)),
                               atol=1)
    enhancer = Enhancer("natural", AUTO)
    decision = enhancer.decide(dark)
    cube = make_cube(enhancer.network, decision, points=5)
    np.testing.assert_allclose(cube[0, 4, 0], [0, 1, 0], atol=1e-6)  # clipped light stays
    grey = enhancer.with_decision(decision)(np.full((8, 8, 3), 0.5, np.float32) + np.array([0, 0, 1e-6], np.float32))
    np.testing.assert_allclose(cube[2, 2, 2], grey[4, 4], atol=0.02)  # but for local agents


def test_one_decision_has_one_white():
    """A burst: the gains of the picture that was decided on, but none for a grey picture."""
    shared = Enhancer(settings=AUTO).with_decision(Enhancer(settings=AUTO).decide(_green()))
    plain = _photograph(_room(level=0.08, seed=1))
    kept = shared.with_decision(Enhancer(settings=KEEP).decide(_green()))(plain)
    np.testing.assert_array_equal(shared(plain), apply_gains(kept, auto_gains(_green())))


def test_clips_keep_one_white(tmp_path):
    """Noise does not make it flicker: 30 noisy frames of a cast that is barely one."""
    rng = np.random.default_rng(0)
    scene = _photograph(_room(64, level=0.1) * (0.95, 1.1, 0.95)).astype(float)
    frames = [np.clip(np.rint(scene + rng.normal(0, 4, scene.shape)), 0, 255).astype(np.uint8) for _ in range(30)]
    enhancer = Enhancer(settings=AUTO)
    steady = TemporalSmoother(lambda frame: (frame[0] / 30, cv2.resize(frame[1].mean(axis=2) / 255, (16, 16))),
                              lambda frame: enhancer.decide(frame[1]))
    gains = np.array([decision.white.gains for _, decision in steady(enumerate(frames))])
    assert 0.9 < gains[:, 1].min() < 0.999
    assert np.abs(np.diff(gains, axis=0)).max() < 0.004
    pytest.importorskip("av")
    from rlenhance.pipelines.video import enhance_clip

    clip = make_clip(tmp_path / "green.mp4", times=range(2), scene=_green())
    for name, settings in (("auto", AUTO), ("keep", KEEP)):
        enhance_clip(Enhancer(settings=settings), clip, tmp_path / f"{name}.mp4")
    assert (tmp_path / "auto.mp4").read_bytes() != (tmp_path / "keep.mp4").read_bytes()


def test_a_recipe_without_the_setting_keeps_the_white(tmp_path, capsys):
    """Those of versions without it; those of today have its word."""
    dark = write(_green(), tmp_path / "dark.png")
    assert main(["enhance", str(dark), "-o", str(tmp_path / "now.png"), "--denoise", "0", "--save-recipe",
                 str(tmp_path / "now.json")]) == 0
    assert "a green cast was taken out: magenta +" in capsys.readouterr().err
    found = recipe_0_2(tmp_path / "now.json")
    assert found.pop("white") == "auto"
    (tmp_path / "then.json").write_text(json.dumps(found))
    assert load_look(tmp_path / "then.json", "recipe").settings == KEEP
    assert main(["enhance", str(dark), "-o", str(tmp_path / "then.png"), "--recipe", str(tmp_path / "then.json")]) == 0
    np.testing.assert_array_equal(read(tmp_path / "then.png").pixels, Enhancer(settings=KEEP)(_green()))
    np.testing.assert_array_equal(read(tmp_path / "now.png").pixels, Enhancer(settings=AUTO)(_green()))


@pytest.mark.parametrize(("given", "field", "word", "flags"), [
    ("auto", None, "auto", []), (None, None, "auto", []), ("keep", 0, "keep", ["--white", "keep"]),
    (0, 0, "keep", ["--white", "keep"]), (4000, 4000, 4000, ["--white", "4000"])])
def test_words_and_numbers(given, field, word, flags):
    settings = EnhanceSettings(white=given)
    assert settings.white == field and to_json(settings)["white"] == word and format_flags(settings) == flags
    assert from_json(EnhanceSettings, to_json(settings)) == settings


@pytest.mark.parametrize(("bad", "told"), [
    (100, "white must lie between 2500 and 12000 (kelvin), or be keep; got 100"), (-1, "white must lie between"),
    ("warm", 'white must be a number or "auto" or "keep"; got "warm"'), (False, "white must be a number"),
    (float("nan"), "white must lie between")])
def test_what_is_no_temperature_is_refused(bad, told, capsys):
    with pytest.raises(UsageError) as error:
        EnhanceSettings(white=bad)
    assert told in str(error.value)
    with pytest.raises(SystemExit):
        main(["enhance", "night.jpg", "--white", "warm"])
    assert "a number, as in 5000, or auto, or keep; got 'warm'" in capsys.readouterr().err


def test_small_pictures_and_floats_are_decided_on():
    """Of any size and shape."""
    for shape in ((1, 1, 3), (3, 200, 3), (130, 7, 3)):
        picture = np.random.default_rng(0).random(shape).astype(np.float32)
        assert Enhancer(settings=AUTO)(picture).shape == shape
    assert Enhancer(settings=AUTO)(to_tensor(_green())).shape == (1, 3, 160, 160)
