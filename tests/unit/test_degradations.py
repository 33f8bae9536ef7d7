"""Pictures made dark or relit: light in proportion, fields by their kind, and the same for the same stream."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, with_more_light
from rlenhance.io import write
from rlenhance.learning.data import (
    RELIGHT_KINDS,
    Darken,
    Example,
    ImageCache,
    Relight,
    Sampler,
    load_example,
    open_dataset,
)
from tests.support.data import assert_same_batch, make_pairs, noise_picture


def test_srgb_encoding_is_undone():
    """Encoding and linearising cancel out for every 8-bit level."""
    levels = np.arange(256, dtype=np.float32) / 255
    assert np.allclose(srgb_from_linear(linear_from_srgb(levels)), levels, atol=1e-6)


def test_full_exposure_without_noise_changes_nothing():
    """Exposed as long as the good picture and read without noise, the picture is the same."""
    picture = noise_picture(0)
    assert np.array_equal(Darken(1, 1, shot=0, read=0, bits=16)(picture, np.random.default_rng(0)), picture)


def test_darkening_is_a_function_of_its_random_stream():
    """The same stream gives the same dark picture of 8 bits, another gives another."""
    picture, darken = noise_picture(0), Darken()
    one, same, other = (darken(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.dtype == np.uint8 and one.shape == picture.shape
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert one.mean() < picture.mean()


@pytest.mark.parametrize("exposure", [1 / 2, 1 / 4, 1 / 8])
def test_light_is_proportional_to_the_exposure(exposure):
    """In linear light the dark picture has on average the stated share of the good one's light."""
    picture = np.full((64, 64, 3), 200, np.uint8)
    dark = Darken(exposure, exposure)(picture, np.random.default_rng(0))
    light, given_light = (linear_from_srgb(part / np.float32(255)).mean() for part in (dark, picture))
    # 12288 samples; rounding to 8 bits may shift all of them by up to half a step alike
    noise = np.sqrt((2e-4 * exposure + 25e-8) / dark.size)
    assert abs(light - exposure * given_light) < 4 * noise + 0.004 * exposure


@pytest.mark.parametrize("size", [(96, 96), (60, 140), (1, 7)])
@pytest.mark.parametrize("kind", RELIGHT_KINDS)
def test_relit_light_reaches_from_none_lost_to_the_depth(kind, size):
    """The field is 0 at its brightest place and minus the depth at its darkest, and smooth between."""
    for seed in range(5):
        field = Relight(kind, 3, 3).exposure_field(*size, np.random.default_rng(seed))
        assert field.shape == size and field.dtype == np.float32
        assert field.max() == 0 and field.min() == pytest.approx(-3, abs=1e-4)
        if size == (96, 96):
            assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 0.6


@pytest.mark.parametrize("kind", RELIGHT_KINDS)
def test_relit_fields_grow_with_the_picture(kind):
    """A picture of twice the size is lit the same."""
    small, large = (Relight(kind).exposure_field(n, 2 * n, np.random.default_rng(4)) for n in (64, 128))
    halves = large.reshape(64, 2, 128, 2).mean(axis=(1, 3))
    assert np.abs(halves - small).max() < 0.3


def test_relit_pictures_are_dark_where_their_kind_says():
    """Back-lit: the middle is darker than the corners; a lamp: most of the picture is dark; a corner: it has sides."""
    fields = {kind: [Relight(kind).exposure_field(64, 64, np.random.default_rng(seed)) for seed in range(20)]
              for kind in RELIGHT_KINDS}
    for field in fields["backlit"]:
        assert field[40:44, 28:36].mean() < field[:8, ::63].mean() - 1
    assert np.mean([field < field.min() / 2 for field in fields["lamp"]]) > 0.6
    sides = [(field.mean(axis=0), field.mean(axis=1)) for field in fields["corner"]]
    assert all(max(abs(line[0] - line[-1]) for line in pair) > 1 for pair in sides)


def test_relit_light_is_the_picture_times_the_field():
    """Without noise, linear light is the good picture's times 2**field, up to the rounding to 8 bits."""
    picture, relight = np.full((32, 40, 3), 220, np.uint8), Relight("corner", shot=0, read=0, bits=16)
    relit = relight(picture, np.random.default_rng(2))
    gain = np.exp2(relight.exposure_field(32, 40, np.random.default_rng(2)))[:, :, None]
    expected = srgb_from_linear(linear_from_srgb(picture / np.float32(255)) * gain)
    assert np.abs(relit / 255 - expected).max() < 0.5 / 255 + 1e-3


def test_relighting_is_a_function_of_its_random_stream():
    """The same stream gives the same picture of 8 bits, another gives another."""
    picture, relight = noise_picture(0), Relight()
    one, same, other = (relight(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.dtype == np.uint8 and one.shape == picture.shape
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    drawn = [relight.exposure_field(8, 8, np.random.default_rng(seed)).tobytes() for seed in range(30)]
    assert len(set(drawn)) == 30


@pytest.mark.parametrize("kind, wrong, told", [
    *((Darken, {"min_exposure": low, "max_exposure": high}, "min_exposure")
      for low, high in ((0, 0.5), (0.5, 0.25), (0.5, 2), (float("nan"), 0.5))),
    (Darken, {"shot": -1}, "noise"), (Darken, {"read": -1}, "noise"), (Darken, {"bits": 0}, "bits"),
    (Relight, {"kind": "sunny"}, "backlit, lamp, corner"), (Relight, {"min_depth": 0}, "min_depth"),
    (Relight, {"min_depth": 5}, "min_depth"), (Relight, {"max_depth": float("nan")}, "min_depth"),
    (Relight, {"shot": -1}, "noise"), (Relight, {"bits": 17}, "bits"),
])
def test_impossible_degradations_are_refused(kind, wrong, told):
    """Nothing left, a range upside down, an unknown kind, negative noise, and a sensor of no bits."""
    with pytest.raises(UsageError, match=told):
        kind(**wrong)


def test_a_relit_example_is_the_same_at_every_call(tmp_path):
    """Like every degradation, relighting depends on the example's name alone."""
    example = Example("a-lamp", "a", None, write(noise_picture(0), tmp_path / "a.png"), Relight("lamp"))
    assert_same_batch(load_example(example, ImageCache()), load_example(example, ImageCache()))


def test_more_light_leaves_half_to_the_dark_pictures(tmp_path):
    """Each well-lit picture is left alone once and relit once, those of another folder too; the dark pictures stay
    half of what is drawn, and their references count unless only what was relit is judged."""
    make_pairs(tmp_path / "data", scenes=3)
    for number in range(7):
        write(noise_picture(number), tmp_path / "light" / f"{number}.png")
    dark = [example for part in open_dataset(tmp_path / "data").parts.values() for example in part]
    goods = len({example.target for example in dark}) + 7
    config = LowLightDataConfig(train_on_references=True, relight=True, extra_references=tmp_path / "light")
    every = with_more_light(dark, config)
    assert sum(example.degradation is not None for example in every) == goods
    assert sum(example.image is not None and example.image == example.target for example in every) == goods
    assert len(every) - 2 * goods > 2 * goods - len(dark) and all(example.target_in_reward for example in every)
    assert with_more_light(dark, replace(LowLightDataConfig(), train_on_references=False)) == dark
    alone = [replace(example, target=None) for example in dark]
    assert with_more_light(alone, LowLightDataConfig()) == alone  # none to leave alone
    hidden = with_more_light(dark, replace(config, reward_relit_only=True))
    assert {example.target_in_reward for example in hidden if example.image in {e.image for e in dark}} == {False}
    batch = Sampler(hidden, ImageCache(), 8, seed=1).batch(0, 32).check()
    assert set(batch.target_weight.flatten().tolist()) == {0.0, 1.0}
    assert Sampler(every, ImageCache(), 8, seed=1).batch(0, 4).target_weight is None
    with pytest.raises(UsageError, match="extra-references"):
        with_more_light([Example("a", "a", tmp_path / "light/0.png")], LowLightDataConfig(relight=True))


def test_darkened_example_is_the_same_at_every_call(tmp_path):
    """What is judged on does not change between looks, and two exposures of one picture differ."""
    path = write(noise_picture(0), tmp_path / "a.png")
    cache = ImageCache()
    one, other = (Example(name, "a", None, path, Darken()) for name in ("a-2", "a-4"))
    assert_same_batch(load_example(one, cache), load_example(one, cache))
    assert not torch.equal(load_example(one, cache).image, load_example(other, cache).image)
    assert max(load_example(one, cache, max_side=12).check().image.shape[-2:]) == 12
