"""Folders become splits that never overlap, and the same seed draws the same pictures."""


from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.io.samples import sample_path
from rlenhance.learning.data import (
    Example,
    ImageCache,
    Splits,
    check_disjoint,
    open_dataset,
    sample_photographs,
    split_by_scene,
    validate_splits,
    without_near_duplicates,
)
from rlenhance.learning.data.datasets import SAMPLE_SETS
from rlenhance.learning.data.near_duplicates import NEAR, perceptual_hash, similar_pairs
from tests.support.data import make_pairs, noise_picture


def _pairs(folder, names, low="low", high="high", seed=0):
    for number, name in enumerate(names):
        bright = noise_picture(seed * 1000 + number)
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
        write(noise_picture(number), root / "high" / f"normal{number:05d}.png")
        write(noise_picture(number) // 4, root / "low" / f"low{number:05d}.png")


def _bare(root):
    for number in range(5):
        write(noise_picture(number), root / f"IMG {number}.JPG")


def _low_alone(root):
    for number in range(5):
        write(noise_picture(number), root / "low" / f"{number}.png")


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
    write(noise_picture(77), tmp_path / "IMG 0.png")
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
    write(noise_picture(5), pairs / "high" / "s002_0000.png")
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


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Large random shapes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def coded(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1))


@pytest.mark.parametrize("change", [
    coded, lambda p: cv2.resize(p, (90, 70), interpolation=cv2.INTER_AREA), lambda p: p // 2 + 40,
    lambda p: p[:, ::-1], lambda p: p[1:, 2:],
    lambda p: cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)])
def test_a_copy_has_nearly_the_same_hash(change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Coding, another size, less contrast, mirroring, a narrow crop and grey make near-duplicates; others are none."""
    hashes = np.stack([perceptual_hash(np.ascontiguousarray(p)) for p in
                       (picture(0), picture(1), change(picture(0)), picture(2))])
    assert similar_pairs(hashes) == [(0, 2)]


def test_a_flat_picture_resembles_none() -> None:
    flat = np.full((50, 40, 3), 90, np.uint8)
    assert not perceptual_hash(flat).any()
    assert similar_pairs(np.stack([perceptual_hash(flat)] * 3)) == []


def test_the_pairs_are_those_of_the_definition() -> None:
    """Blocks of comparisons miss none: against all correlations at once."""
    hashes = np.stack([perceptual_hash(picture(seed % 700, 40, 40)) for seed in range(1500)])
    straight, mirrored = hashes.reshape(1500, -1), hashes[:, :, ::-1].reshape(1500, -1)
    first, second = np.nonzero(np.triu(np.maximum(straight @ straight.T, straight @ mirrored.T) >= NEAR, 1))
    assert set(similar_pairs(hashes)) == set(zip(first.tolist(), second.tolist(), strict=True))


def test_a_copy_of_a_test_picture_is_not_trained_on(tmp_path) -> None:
    """The held-out one stays; pairs of one scene stay together; a name that two folders share is no scene."""
    def example(name: str, seed: int, folder: str = "a", scene: str = "", mirrored: bool = False) -> Example:
        path = tmp_path / folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        write(picture(seed)[:, ::-1] if mirrored else picture(seed), path)
        return Example(name, scene or name, tmp_path / "dark.png" if scene else path, path)

    splits = Splits(
        [example("one", 1, mirrored=True), example("same", 0, "b"), example("new", 3), example("s1_a", 4, scene="s1"),
         example("s1_b", 4, scene="s1"), example("new-copy", 3)],
        [example("val", 2), example("val-copy", 2)], [example("same", 0), example("other", 1)], "made")
    fewer, line = without_near_duplicates(splits, ImageCache())
    assert [e.name for e in fewer.train] == ["new", "s1_a", "s1_b"]
    assert [e.name for e in fewer.val] == ["val"] and len(fewer.test) == 2
    assert "4 of 10 pictures left out" in line
    with pytest.raises(UsageError, match="look like others"):
        without_near_duplicates(Splits(splits.train[:1], splits.val, splits.test), ImageCache())


def test_a_hash_is_made_once(tmp_path) -> None:
    write(picture(0), tmp_path / "a.png")
    cache, calls = ImageCache(budget=0), []
    for _ in range(3):
        cache.remember("size", tmp_path / "a.png", lambda pixels: calls.append(1) or np.array(pixels.shape))
    assert calls == [1]
