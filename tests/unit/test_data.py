"""Folders become splits that never overlap, and the same seed draws the same pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlenhance.core.color import linear_from_srgb, srgb_from_linear
from rlenhance.core.errors import UsageError
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, with_more_light
from rlenhance.io import write
from rlenhance.io.samples import sample_path
from rlenhance.learning.data import (
    RELIGHT_KINDS,
    Batch,
    Darken,
    Example,
    ImageCache,
    Relight,
    Sampler,
    ShardedSampler,
    Splits,
    check_disjoint,
    load_example,
    open_dataset,
    sample_photographs,
    split_by_scene,
    validate_splits,
)
from rlenhance.learning.data.datasets import SAMPLE_SETS
from tests.support.data import make_pairs


def _picture(seed, size=(20, 24)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def _pairs(folder, names, low="low", high="high", seed=0):
    for number, name in enumerate(names):
        bright = _picture(seed * 1000 + number)
        write(bright, folder / high / f"{name}.png")
        write(bright // 4, folder / low / f"{name}.png")
    return folder


def _numbered(count):
    return [f"{number:04d}" for number in range(count)]


def _lol(root):
    _pairs(root / "our485", _numbered(12), seed=1)
    _pairs(root / "eval15", _numbered(3), seed=2)


def _scenes(root):
    make_pairs(root, scenes=12)


def _input_gt(root):
    _pairs(root, _numbered(5), "input", "gt")


def _ready(root):
    for seed, name in enumerate(("train", "val", "test")):
        _pairs(root / name, _numbered(3), name, "gt", seed)


def _ready_without_val(root):
    for seed, name in enumerate(("train", "test")):
        _pairs(root / name, _numbered(4), "low", "high", seed)


def _roles(root):
    for number in range(4):
        write(_picture(number), root / "high" / f"normal{number:05d}.png")
        write(_picture(number) // 4, root / "low" / f"low{number:05d}.png")


def _bare(root):
    for number in range(5):
        write(_picture(number), root / f"IMG {number}.JPG")


def _low_alone(root):
    for number in range(5):
        write(_picture(number), root / "low" / f"{number}.png")


# layout -> (its maker, pictures in all, in the test split or None where it is dealt, with references)
_LAYOUTS = {
    "LOL": (_lol, 15, 3, True),
    "low and high with scenes": (_scenes, 24, None, True),
    "input and gt": (_input_gt, 5, 0, True),
    "train, val, test": (_ready, 9, 3, True),
    "train, test": (_ready_without_val, 8, 4, True),
    "low00001 and normal00001": (_roles, 4, 0, True),
    "pictures alone": (_bare, 5, 0, False),
    "low alone": (_low_alone, 5, 0, False),
}


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_documented_layouts_are_recognised(tmp_path, layout):
    """Every picture of every documented layout is in one split; none is empty but the test, and scenes stay whole."""
    make, count, tested, references = _LAYOUTS[layout]
    make(tmp_path)
    splits = open_dataset(tmp_path)
    assert sum(len(part) for part in splits.parts.values()) == count
    assert splits.train and splits.val
    assert tested is None or len(splits.test) == tested
    assert splits.has_references == references
    assert not splits.unmatched
    files = [path for part in splits.parts.values() for example in part for path in example.paths]
    assert len(files) == len(set(files)) == count * (1 + references)
    check_disjoint(splits, ImageCache())
    assert all(name in splits.describe() for name, part in splits.parts.items() if part)


@pytest.mark.parametrize("layout", ["low and high with scenes", "input and gt", "pictures alone"])
def test_no_scene_stands_in_two_splits(tmp_path, layout):
    """Pictures of one scene are learned from or judged on, never both."""
    _LAYOUTS[layout][0](tmp_path)
    for seed in range(5):
        scenes = [{example.scene for example in part} for part in open_dataset(tmp_path, seed).parts.values()]
        assert sum(len(part) for part in scenes) == len(set().union(*scenes))


def test_folds_test_every_scene_once(tmp_path):
    """The folds of a folder hold out different scenes, none twice; one too many is refused."""
    _scenes(tmp_path)
    tests = [{example.scene for example in open_dataset(tmp_path, fold=fold).test} for fold in range(5)]
    everything = {example.scene for part in open_dataset(tmp_path).parts.values() for example in part}
    assert sum(map(len, tests)) == len(set().union(*tests))
    assert len(set().union(*tests)) == 5 * len(tests[0])
    for fold, held_out in enumerate(tests):
        splits = open_dataset(tmp_path, fold=fold)
        assert not held_out & {example.scene for part in (splits.train, splits.val) for example in part}
    with pytest.raises(UsageError, match="fold"):
        open_dataset(tmp_path, fold=len(everything))


def test_pairs_are_partners(tmp_path):
    """The picture and the reference of an example come from the two folders and bear one name."""
    _scenes(tmp_path)
    for part in open_dataset(tmp_path).parts.values():
        for example in part:
            assert (example.image.parent.name, example.target.parent.name) == ("low", "high")
            assert example.image.name == example.target.name


def test_lol_validation_is_carved_from_training(tmp_path):
    """The test split of LOL is eval15, whole; validation is taken from our485 and never from there."""
    _lol(tmp_path)
    splits = open_dataset(tmp_path)
    assert {example.image.parent.parent.name for example in (*splits.train, *splits.val)} == {"our485"}
    assert {example.image.parent.parent.name for example in splits.test} == {"eval15"}


def test_ready_splits_are_kept(tmp_path):
    """Ready-made splits are taken as they are."""
    _ready(tmp_path)
    for name, part in open_dataset(tmp_path).parts.items():
        assert {example.image.parent.parent.name for example in part} == {name}


def test_no_picture_is_passed_over(tmp_path):
    """Two files that differ only in their ending are two pictures; none disappears without a word."""
    _bare(tmp_path)
    write(_picture(77), tmp_path / "IMG 0.png")
    splits = open_dataset(tmp_path)
    named = " ".join(map(str, splits.unmatched))
    for path in tmp_path.iterdir():
        assert any(path in example.paths for part in splits.parts.values() for example in part) or path.name in named


def test_folders_without_a_layout_are_refused(tmp_path):
    """No folder, no picture, too few pictures: the text says which layouts are known, or what is missing."""
    with pytest.raises(UsageError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="known layouts"):
        open_dataset(tmp_path)
    _pairs(tmp_path, _numbered(2))
    with pytest.raises(UsageError, match="at least three"):
        open_dataset(tmp_path)


_EXAMPLES = [Example(f"s{scene:03d}_{frame}", f"s{scene:03d}", None) for scene in range(9) for frame in range(3)]


@settings(deadline=None, max_examples=30)
@given(st.permutations(_EXAMPLES), st.integers(0, 3))
def test_split_does_not_depend_on_the_order_of_files(examples, seed):
    """However the files are listed, a scene's place is the same."""
    fractions = {"val": 0.2, "test": 0.3}
    one, other = (split_by_scene(part, fractions, seed) for part in (_EXAMPLES, examples))
    assert {name: set(part) for name, part in one.items()} == {name: set(part) for name, part in other.items()}


def test_more_frames_of_a_scene_move_nothing():
    """The deal is among scenes: a scene may grow without moving any of them."""
    more = [*_EXAMPLES, *(Example(f"s004_{frame}", "s004", None) for frame in range(10, 60))]
    one, other = (split_by_scene(part, {"val": 0.2, "test": 0.3}) for part in (_EXAMPLES, more))
    assert all({e.scene for e in one[name]} == {e.scene for e in other[name]} for name in one)


def test_another_seed_deals_anew():
    """The seed is what decides; over a few of them the validation scenes change."""
    dealt = {frozenset(e.scene for e in split_by_scene(_EXAMPLES, {"val": 0.3}, seed)["val"]) for seed in range(5)}
    assert len(dealt) > 1


@pytest.mark.parametrize("fractions", [{"val": 0.15}, {"val": 0.15, "test": 0.2}, {"val": 0.3, "test": 0.3}])
def test_every_split_gets_a_scene(fractions):
    """From three scenes on no split is empty, and every scene is dealt."""
    for scenes in range(3, 41):
        parts = split_by_scene([Example(str(n), str(n), None) for n in range(scenes)], fractions)
        assert all(parts.values())
        assert sum(map(len, parts.values())) == scenes


def _spoiled(pairs):
    """Three bad files, and how each must be told: unreadable, without a partner, of another size."""
    (pairs / "low" / "s000_0000.png").write_text("not a picture")
    (pairs / "high" / "s001_0000.png").unlink()
    write(_picture(5), pairs / "high" / "s002_0000.png")
    return ["s000_0000", "s001_0000", "s002_0000"]


def test_scan_names_every_bad_file_and_stops(pairs):
    """All bad files are named at once, before the first step."""
    bad = _spoiled(pairs)
    with pytest.raises(UsageError, match="3 bad files") as caught:
        validate_splits(open_dataset(pairs), ImageCache())
    assert all(name in str(caught.value) for name in bad)
    assert "on_bad_image skip" in str(caught.value)


def test_scan_skips_bad_files_and_says_so(pairs):
    """On skip exactly the bad ones are left out, with a line for each."""
    bad = _spoiled(pairs)
    splits, faults = validate_splits(open_dataset(pairs), ImageCache(), "skip")
    names = {example.name for part in splits.parts.values() for example in part}
    assert len(names) == 12 - len(bad) and not names & set(bad)
    assert len(faults) == len(bad) and all(any(name in fault for fault in faults) for name in bad)
    assert not splits.unmatched


def test_scan_changes_nothing_where_all_is_well(pairs):
    """Without a bad file the splits come back as they were."""
    before = open_dataset(pairs)
    after, faults = validate_splits(before, ImageCache())
    assert faults == []
    assert {name: list(part) for name, part in after.parts.items()} == \
           {name: list(part) for name, part in before.parts.items()}


def test_scan_refuses_an_empty_split(pairs):
    """When skipping leaves nothing to validate on, that is said and nothing is trained."""
    splits = open_dataset(pairs)
    for example in splits.val:
        example.image.write_bytes(b"")
    with pytest.raises(UsageError, match="left in the val split"):
        validate_splits(splits, ImageCache(), "skip")
    with pytest.raises(UsageError, match="stop or skip"):
        validate_splits(splits, ImageCache(), "sometimes")


@pytest.mark.parametrize("role", ["image", "target"])
@pytest.mark.parametrize("ending", [".bmp", ".png", ".tif"])
def test_overlap_is_refused_by_content(tmp_path, ending, role):
    """A training picture in the test split is found under another name and kind of file, as a reference too."""
    _ready(tmp_path)
    splits = open_dataset(tmp_path)
    cache = ImageCache()
    stolen = write(cache.load(getattr(splits.train[0], role)), tmp_path / f"new{ending}")
    lone = Example("new", "new", stolen)
    with pytest.raises(UsageError, match="two splits") as caught:
        check_disjoint(Splits(splits.train, splits.val, [lone]), cache)
    assert str(stolen) in str(caught.value) and str(getattr(splits.train[0], role)) in str(caught.value)
    check_disjoint(Splits([*splits.train, lone], splits.val, splits.test), cache)


@pytest.mark.parametrize("names", SAMPLE_SETS)
def test_sample_photographs_do_not_overlap(names):
    """What is validated on is never trained on, in the bundled photographs too: whole photographs are held out."""
    splits = sample_photographs(names=names)
    check_disjoint(splits, ImageCache(max_side=64))
    scenes = [{example.scene for example in part} for part in (splits.train, splits.val)]
    assert not scenes[0] & scenes[1] and scenes[0] | scenes[1] == set(SAMPLE_SETS[names])
    assert len(splits.val) == 8 * len(scenes[1]) == (8 if names == "four" else 16)


def test_sample_photographs_are_files_of_installed_packages():
    """Nothing is downloaded; a set or a photograph that is not there is told with a way out."""
    assert SAMPLE_SETS["four"].items() <= SAMPLE_SETS["all"].items()
    assert all(sample_path(name).is_file() for name in SAMPLE_SETS["all"])
    with pytest.raises(UsageError, match="not in this version of skimage"):
        sample_path("motorcycle_middle")
    with pytest.raises(UsageError, match="did you mean four"):
        sample_photographs(names="fuor")


@pytest.mark.parametrize("budget", [0, 2000, 4000, 1 << 20])
def test_cache_keeps_to_its_budget(tmp_path, budget):
    """Whatever is asked for in whatever order, the budget holds and the pixels are those of the file."""
    paths = [write(_picture(n, (20, 10 * (n + 1))), tmp_path / f"{n}.png") for n in range(5)]
    cache, without = ImageCache(budget), ImageCache(0)
    for number in np.random.default_rng(0).integers(0, 5, 40):
        pixels = cache.load(paths[number])
        assert np.array_equal(pixels, without.load(paths[number]))
        assert not pixels.flags.writeable
        assert cache.used == sum(kept.nbytes for kept in cache._images.values()) <= budget
    assert without.used == 0


def test_cache_reduces_and_still_knows_the_file(tmp_path):
    """A limit on the side limits what is kept; size and hash are those of the full picture."""
    path = write(_picture(0, (30, 60)), tmp_path / "a.png")
    small, full = ImageCache(max_side=20), ImageCache()
    assert small.load(path).shape == (10, 20, 3)
    assert small.info(path) == full.info(path)
    assert full.info(path).size == (30, 60)


def test_negative_budget_is_refused():
    """A budget below nothing is refused."""
    with pytest.raises(UsageError, match="budget"):
        ImageCache(-1)


def _sampler(folder, crop="whole", size=16, seed=3):
    splits = open_dataset(folder)
    return Sampler([*splits.train, *splits.val], ImageCache(), size, crop=crop, seed=seed)


def _equal(one, other):
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.target, other.target)


@pytest.mark.parametrize("crop", ["whole", "native"])
def test_same_seed_and_step_draw_the_same_batch(pairs, crop):
    """A batch is a function of seed and step, whatever was drawn before; another seed draws another."""
    one, other = _sampler(pairs, crop), _sampler(pairs, crop)
    other.batch(0, 3)
    _equal(one.batch(5, 4), other.batch(5, 4))
    _equal(one.batch(5, 4), one.with_seed(4).with_seed(3).batch(5, 4))
    assert not torch.equal(one.batch(5, 4).image, one.with_seed(4).batch(5, 4).image)


@pytest.mark.parametrize("crop", ["whole", "native"])
def test_a_sample_does_not_depend_on_the_batch_size(pairs, crop):
    """Sample i of a run is the same however the run is cut into batches."""
    sampler = _sampler(pairs, crop)
    whole = sampler.batch(0, 12)
    for count in (1, 2, 3, 6):
        _equal(Batch.stack([sampler.batch(step, count) for step in range(12 // count)]), whole)


@pytest.mark.parametrize("crop", ["whole", "native"])
@pytest.mark.parametrize("size", [8, 16, 64])
def test_picture_and_reference_get_the_same_crop_and_flip(tmp_path, crop, size):
    """A pair of equal pictures gives equal crops, also where the crop is larger than the picture."""
    for number in range(3):
        for role in ("low", "high"):
            write(_picture(number), tmp_path / role / f"{number}.png")
    batch = _sampler(tmp_path, crop, size).batch(0, 12)
    assert batch.check().image.shape == (12, 3, size, size)
    assert torch.equal(batch.image, batch.target)
    assert batch.image.flatten(1).unique(dim=0).shape[0] > 3


def test_native_crops_are_pixels_of_the_picture(tmp_path):
    """A native crop is a window of the picture, upright or mirrored, not a resampling."""
    picture = _picture(0, (12, 14))
    for number in range(3):
        write(picture, tmp_path / f"{number}.png")
    windows = {picture[y : y + 8, x : x + 8][:, ::step].tobytes()
               for y in range(5) for x in range(7) for step in (1, -1)}
    drawn = (_sampler(tmp_path, "native", 8).batch(0, 20).image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert {crop.tobytes() for crop in drawn} <= windows
    assert len({crop.tobytes() for crop in drawn}) > 5


def test_every_example_is_drawn_once_an_epoch(tmp_path):
    """No example is left out, none comes twice before all came once, and no epoch has the order of the last."""
    for number in range(7):
        write(np.full((10, 10, 3), 30 * number, np.uint8), tmp_path / f"{number}.png")
    sampler = _sampler(tmp_path, size=8)
    epochs = [(sampler.batch(step, 7).image.mean(dim=(1, 2, 3)) * 255).round().int().tolist() for step in range(3)]
    assert all(sorted(epoch) == [30 * number for number in range(7)] for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_pictures_alone_have_no_reference(tmp_path):
    """Dark photographs alone give batches without a target."""
    _bare(tmp_path)
    assert _sampler(tmp_path, size=8).batch(0, 2).check().target is None


@pytest.mark.parametrize("wrong", [{"crop": "centre"}, {"size": 4}, {"examples": []}])
def test_sampler_refuses_what_it_cannot_draw(pairs, wrong):
    """An unknown crop, a tiny size and an empty split are refused."""
    config = {"examples": open_dataset(pairs).train, "cache": ImageCache(), "size": 16, **wrong}
    with pytest.raises(UsageError):
        Sampler(**config)


def test_srgb_encoding_is_undone():
    """Encoding and linearising cancel out for every 8-bit level."""
    levels = np.arange(256, dtype=np.float32) / 255
    assert np.allclose(srgb_from_linear(linear_from_srgb(levels)), levels, atol=1e-6)


def test_full_exposure_without_noise_changes_nothing():
    """Exposed as long as the good picture and read without noise, the picture is the same."""
    picture = _picture(0)
    assert np.array_equal(Darken(1, 1, shot=0, read=0, bits=16)(picture, np.random.default_rng(0)), picture)


def test_darkening_is_a_function_of_its_random_stream():
    """The same stream gives the same dark picture of 8 bits, another gives another."""
    picture, darken = _picture(0), Darken()
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


@pytest.mark.parametrize("wrong", [(0, 0.5), (0.5, 0.25), (0.5, 2), (float("nan"), 0.5)])
def test_impossible_exposures_are_refused(wrong):
    """An exposure of nothing, above one, or a range upside down is refused."""
    with pytest.raises(UsageError, match="min_exposure"):
        Darken(*wrong)


@pytest.mark.parametrize("wrong", [{"shot": -1}, {"read": -1}, {"bits": 0}])
def test_impossible_sensors_are_refused(wrong):
    """Negative noise and a sensor of no bits are refused."""
    with pytest.raises(UsageError):
        Darken(**wrong)


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
    picture, relight = _picture(0), Relight()
    one, same, other = (relight(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.dtype == np.uint8 and one.shape == picture.shape
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    drawn = [relight.exposure_field(8, 8, np.random.default_rng(seed)).tobytes() for seed in range(30)]
    assert len(set(drawn)) == 30


@pytest.mark.parametrize("wrong, told", [
    ({"kind": "sunny"}, "backlit, lamp, corner"), ({"min_depth": 0}, "min_depth"), ({"min_depth": 5}, "min_depth"),
    ({"max_depth": float("nan")}, "min_depth"), ({"shot": -1}, "noise"), ({"bits": 17}, "bits"),
])
def test_impossible_relighting_is_refused(wrong, told):
    """An unknown kind, a depth of nothing, a range upside down and an impossible sensor are refused."""
    with pytest.raises(UsageError, match=told):
        Relight(**wrong)


def test_a_relit_example_is_the_same_at_every_call(tmp_path):
    """Like every degradation, relighting depends on the example's name alone."""
    example = Example("a-lamp", "a", None, write(_picture(0), tmp_path / "a.png"), Relight("lamp"))
    _equal(load_example(example, ImageCache()), load_example(example, ImageCache()))


def test_more_light_leaves_half_to_the_dark_pictures(tmp_path):
    """Each well-lit picture is left alone once and relit once, those of another folder too; the dark pictures stay
    half of what is drawn, and their references count unless only what was relit is judged."""
    make_pairs(tmp_path / "data", scenes=3)
    for number in range(7):
        write(_picture(number), tmp_path / "light" / f"{number}.png")
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
    path = write(_picture(0), tmp_path / "a.png")
    cache = ImageCache()
    one, other = (Example(name, "a", None, path, Darken()) for name in ("a-2", "a-4"))
    _equal(load_example(one, cache), load_example(one, cache))
    assert not torch.equal(load_example(one, cache).image, load_example(other, cache).image)
    assert max(load_example(one, cache, max_side=12).check().image.shape[-2:]) == 12


def test_batch_refuses_what_does_not_fit(image):
    """A target of another size and a mask of another shape are refused."""
    assert Batch(image, image, image[:, :1]).check()
    with pytest.raises(UsageError, match="target"):
        Batch(image, image[..., :8]).check()
    with pytest.raises(UsageError, match="mask"):
        Batch(image, mask=image).check()
    with pytest.raises(UsageError, match="image"):
        Batch(image * 9).check()


def test_repeated_pictures_lie_beside_each_other(image):
    """a b becomes a a b b, target and mask along with it, and a slice takes them apart again."""
    batch = Batch(image, 1 - image, image[:, :1]).repeat(3)
    assert len(batch) == 6
    for index in range(6):
        part = batch[index : index + 1]
        assert torch.equal(part.image[0], image[index // 3])
        assert torch.equal(part.target[0], 1 - image[index // 3])
        assert torch.equal(part.mask[0], image[index // 3, :1])


def test_stacked_batches_lack_what_one_lacks(image):
    """What is known of some pictures only is not known of the batch."""
    assert Batch.stack([Batch(image, image), Batch(image)]).target is None
    assert torch.equal(Batch.stack([Batch(image, image), Batch(image, image)])[2:].target, image)


def test_portions_bound_what_is_in_memory(tmp_path):
    """Every picture gives its crops in an epoch, no more files are open at a time than the portion, and runs resume."""
    for number in range(7):
        write(_picture(number, (12, 12)), tmp_path / f"p{number}.png")
    examples = [Example(p.stem, p.stem, p, p) for p in sorted(tmp_path.iterdir())]
    cache = ImageCache(most=3)
    sampler = ShardedSampler(examples, cache, 8, portion=3, visits=4, seed=1)
    for epoch in range(2):
        places = [sampler._index(epoch * sampler.epoch + number) for number in range(sampler.epoch)]
        assert sorted(places) == sorted(list(range(7)) * 4)
        assert len(set(places[:12])) == len(set(places[12:24])) == 3 and len(set(places[24:])) == 1
    loaded = []
    for step in range(7):
        loaded.append(sampler.batch(step, 4).image)
        assert len(cache._images) <= 3
    again = sampler.with_seed(1)
    assert all(torch.equal(again.batch(step, 4).image, seen) for step, seen in enumerate(loaded))
    assert not torch.equal(sampler.with_seed(2).batch(0, 4).image, loaded[0])
    for wrong in ({"portion": 0, "visits": 1}, {"portion": 1, "visits": 0}):
        with pytest.raises(UsageError, match="portion"):
            ShardedSampler(examples, cache, 8, **wrong)
