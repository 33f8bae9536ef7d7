"""The estimate of a cast is careful, and gains in linear light neither clip nor move black and white."""

import numpy as np
import pytest

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.ops.white_balance import (
    COOLEST_LIGHT,
    HOTTEST_LIGHT,
    NEUTRAL,
    apply_gains,
    auto_gains,
    describe_gains,
    gains_against,
    kelvin_gains,
    light_of_kelvin,
    warmth_and_tint,
    white_curve,
)

GREEN, MAGENTA, BLUE = (0.85, 1.15, 0.85), (1.15, 0.85, 1.15), (0.75, 1.0, 1.4)


def _room(side=160, level=0.5, seed=0):
    """(H, W, 3) linear light: grey surfaces with texture and shade, some of them coloured."""
    rng = np.random.default_rng(seed)
    tiles = rng.uniform(0.1, 1, (8, 8)).repeat(side // 8, 0).repeat(side // 8, 1)
    grey = tiles * np.linspace(0.6, 1, side) * rng.uniform(0.9, 1.1, (side, side))
    colors = np.ones((8, 8, 3))
    colors[::3, ::3] = rng.uniform(0.3, 1, (3, 3, 3))
    return level * grey[..., None] * colors.repeat(side // 8, 0).repeat(side // 8, 1)


def _photograph(light, dtype=np.uint8):
    encoded = srgb_from_linear(np.clip(light, 0, 1)).clip(0, 1)
    return encoded if dtype == np.float32 else np.rint(np.iinfo(dtype).max * encoded).astype(dtype)


def _angle(light):
    """Degrees between a light (3,) and grey."""
    return np.degrees(np.arccos(min(1.0, np.sum(light) / np.linalg.norm(light) / 3**0.5)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("level", [0.02, 0.2, 0.9])
def test_a_picture_without_a_cast_stays(dtype, level):
    """Exactly: no threshold is passed."""
    np.testing.assert_array_equal(auto_gains(_photograph(_room(level=level), dtype)), NEUTRAL)


@pytest.mark.parametrize("picture", [
    np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8), np.ones((1, 1, 3), np.uint8),
    np.random.default_rng(0).integers(0, 2, (64, 64, 3), dtype=np.uint8),
    np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8).repeat(3, axis=2),
], ids=["black", "white", "pixel", "noise at black", "grey"])
def test_where_nothing_is_known_nothing_is_done(picture):
    np.testing.assert_array_equal(auto_gains(picture), NEUTRAL)


def test_a_plain_coloured_wall_is_no_cast():
    """One colour without edges and texture: the estimates that see nothing in it object."""
    wall = np.full((100, 100, 3), (180, 140, 90), np.uint8)
    np.testing.assert_array_equal(auto_gains(wall), NEUTRAL)


@pytest.mark.parametrize(("cast", "left"), [(GREEN, 0.5), (MAGENTA, 0.5), (BLUE, 0.85)])
@pytest.mark.parametrize("level", [0.05, 0.5])
def test_a_known_cast_shrinks_and_never_turns(cast, left, level):
    """Tint by half and more, blue by a sixth and more; never beyond neutral."""
    gains = auto_gains(_photograph(_room(level=level) * cast))
    after = np.array(cast) * gains
    assert _angle(after) < left * _angle(cast)
    before, now = (warmth_and_tint(np.log(light[::2] / light[1])) for light in (np.array(cast), after))
    assert (now * before >= -1e-3).all()
    assert abs(now).max() <= abs(before).max()


def test_a_stronger_cast_is_corrected_more():
    """Monotonic, up to the bound."""
    greens = [auto_gains(_photograph(_room() * (1, 1 + cast, 1)))[1] for cast in (0, 0.1, 0.2, 0.3, 0.4, 0.8)]
    assert greens == sorted(greens, reverse=True)
    assert greens[0] == 1 and greens[-1] > 0.8


@pytest.mark.parametrize("kelvin", [2500, 3200, 5000])
def test_the_warmth_of_lamps_stays(kelvin):
    """All of it."""
    lamp = light_of_kelvin(kelvin)
    warmth, left = (np.log(light[0] / light[2])
                    for light in (lamp, lamp * auto_gains(_photograph(_room(level=0.3) * lamp))))
    assert left == pytest.approx(warmth, rel=0.02)


@pytest.mark.parametrize("kelvin", [2500, 3200, 4000, 5000, 8000, 12000])
def test_the_gains_of_a_temperature_undo_its_light(kelvin):
    """Light times gains is grey, of the same luminance; lower temperatures are redder, throughout."""
    grey = light_of_kelvin(kelvin) * kelvin_gains(kelvin)
    np.testing.assert_allclose(grey, grey[0])
    np.testing.assert_allclose(grey @ [0.2126, 0.7152, 0.0722], 1)
    ratio = [light[0] / light[2] for light in map(light_of_kelvin, (kelvin, kelvin - 1 if kelvin > 2500 else 2501))]
    assert (ratio[1] > ratio[0]) == (kelvin > 2500)


def test_daylight_is_neutral():
    np.testing.assert_allclose(kelvin_gains(6504), 1, atol=1e-12)
    assert describe_gains(kelvin_gains(6504)) == ""


@pytest.mark.parametrize("kelvin", [COOLEST_LIGHT - 1, HOTTEST_LIGHT + 1, float("nan"), -5])
def test_temperatures_have_a_range(kelvin):
    with pytest.raises(UsageError, match="kelvin must lie between 2500 and 12000"):
        light_of_kelvin(kelvin)


@pytest.mark.parametrize("gain", [0.3, 0.9, 1.0, 1.2, 7.0])
def test_the_curve_keeps_black_and_white_and_rises(gain):
    """Its slope at 0 is the gain; that of 1/gain undoes it."""
    values = np.linspace(0, 1, 1001)
    curve = white_curve(values, gain)
    assert curve[0] == 0 and curve[-1] == pytest.approx(1)
    assert (np.diff(curve) > 0).all()
    assert curve[1] / values[1] == pytest.approx(gain, rel=1e-3)
    np.testing.assert_allclose(white_curve(curve, 1 / gain), values, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_gains_at_every_depth(dtype):
    """The tables are the formula, rounded; nothing clips newly, and the inverse gains give the picture back."""
    picture, gains = _photograph(_room(), dtype), np.array([0.8, 1.05, 1.3])
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    result = apply_gains(picture, gains)
    assert result.dtype == dtype and result.shape == picture.shape
    light = linear_from_srgb(picture / top)
    wanted = np.stack([srgb_from_linear(white_curve(light[..., i], gain)) for i, gain in enumerate(gains)], axis=2)
    np.testing.assert_allclose(result / top, wanted, atol=1e-5 if top == 1 else 0.51 / top)
    assert ((result == top) <= (picture == top)).all()
    back = apply_gains(result, 1 / gains)
    np.testing.assert_allclose(back / top, picture / top, atol=1.5 / top if top == 255 else 1e-4)


def test_white_lamps_stay_white():
    lamp = np.full((4, 4, 3), 255, np.uint8)
    np.testing.assert_array_equal(apply_gains(lamp, kelvin_gains(3200)), lamp)


def test_the_words_name_the_cast_and_the_way():
    assert describe_gains(gains_against(np.array([1.0, 1.1, 1.0]))) == "a green cast was taken out: magenta +10 %"
    assert describe_gains(gains_against(np.array([1.1, 1.0, 1.1]))) == "a magenta cast was taken out: green +10 %"
    assert "a blue cast was made weaker: yellow +" in describe_gains(gains_against(light_of_kelvin(8000)))
    assert "a yellow cast was made weaker: blue +" in describe_gains(gains_against(light_of_kelvin(5000)))
    assert describe_gains(np.array([1, 1.005, 1])) == ""
