"""Real noise in SIDD's layout: pairs by scene, blocks out of .mat files, and what is wrong with them is told."""

import os
import shutil
import signal

import numpy as np
import pytest
from scipy.io import savemat

from research import sidd_layout
from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.learning.data import (
    ImageCache,
    check_disjoint,
    load_split,
    open_dataset,
    open_noisy,
    open_sidd,
    validate_splits,
    validation_blocks,
)
from tests.support.data import CLEAN, NOISY, make_blocks, make_sidd


@pytest.mark.parametrize("place", [".", "Data", "SIDD_Small_sRGB_Only/Data", "SIDD_Medium_Srgb/Data"])
@pytest.mark.parametrize("small", [False, True])
def test_pairs_are_split_by_scene(tmp_path, place, small):
    """Wherever the instances lie, every pair is in one split, a scene in one only; no test split without blocks."""
    make_sidd(tmp_path / place, small=small)
    splits = open_dataset(tmp_path)
    assert len(splits.train) + len(splits.val) == 16 and splits.train and splits.val and not splits.test
    assert splits.has_references and not splits.unmatched
    scenes = [{example.scene for example in part} for part in (splits.train, splits.val)]
    assert scenes[0] | scenes[1] == {f"scene {n:03d}" for n in range(1, 5)} and not scenes[0] & scenes[1]
    for example in (*splits.train, *splits.val):
        assert example.image.parent == example.target.parent
        assert example.image.name.replace("NOISY", "GT") == example.target.name
    names = [example.name for part in splits.parts.values() for example in part]
    assert len(set(names)) == len(names)
    check_disjoint(splits, ImageCache())


def test_case_and_loners(tmp_path):
    """Names are read in either case; a picture without its partner is named, not dropped."""
    make_sidd(tmp_path)
    for path in list(tmp_path.rglob("0001_*_010.png")):
        path.rename(path.with_name(path.name.lower().replace(".png", ".PNG")))
    lost = next(tmp_path.rglob("0002_GT_SRGB_010.png"))
    lost.unlink()
    splits = open_dataset(tmp_path)
    assert len(splits.train) + len(splits.val) == 15
    assert len(splits.unmatched) == 1 and "0002_NOISY_SRGB_010.png" in splits.unmatched[0]
    with pytest.raises(UsageError, match="0002_NOISY_SRGB_010"):
        validate_splits(splits, ImageCache())


def test_noisy_and_clean_may_lie_apart(tmp_path):
    """Two folders, as the published command names them; flat files are split by the instance's number."""
    make_sidd(tmp_path / "all")
    for path in list((tmp_path / "all").rglob("*.png")):
        home = tmp_path / ("noise" if "NOISY" in path.name else "truth")
        home.mkdir(exist_ok=True)
        shutil.move(path, home / path.name)
    splits = open_sidd(tmp_path / "noise", tmp_path / "truth")
    assert len(splits.train) + len(splits.val) == 16
    assert {example.scene for example in splits.train}.isdisjoint(example.scene for example in splits.val)
    assert all(e.image.name.replace("NOISY", "GT") == e.target.name for e in splits.train)


@pytest.mark.parametrize("options", [{}, {"do_compression": True}])
def test_blocks_are_the_test_split(tmp_path, options):
    """Each block is a picture of its own with its reference, the same values as in the file."""
    make_sidd(tmp_path / "SIDD_Small_sRGB_Only/Data")
    noisy, clean = make_blocks(tmp_path / "SIDD_Validation_sRGB", **options)
    splits = open_dataset(tmp_path)
    assert [len(part) for part in splits.parts.values()][2] == 6
    validate_splits(splits, ImageCache())
    batches = load_split(splits.test, ImageCache())
    for batch, wanted, given in zip(batches, clean.reshape(-1, 16, 16, 3), noisy.reshape(-1, 16, 16, 3), strict=True):
        assert np.array_equal((batch.target[0] * 255).round().permute(1, 2, 0).numpy(), wanted)
        assert np.array_equal((batch.image[0] * 255).round().permute(1, 2, 0).numpy(), given)
    assert len({example.scene for example in splits.test}) == 3
    assert validation_blocks(tmp_path / "SIDD_Validation_sRGB") == list(splits.test)
    files = [tmp_path / f"SIDD_Validation_sRGB/{name}.mat" for name in (NOISY, CLEAN)]
    assert validation_blocks(*files) == validation_blocks(files[0]) == list(splits.test)


def test_opening_reads_no_values(tmp_path, monkeypatch):
    """Names and shapes come from the header; values are read once per file, when the first block is asked for."""
    from rlenhance.learning.data import sidd

    make_blocks(tmp_path)
    read = []
    isolated = sidd._isolated
    monkeypatch.setattr(sidd, "_isolated", lambda function, *a: (
        read.append(a) if function is sidd.read_variable else None) or isolated(function, *a))
    sidd._load.cache_clear()
    blocks = validation_blocks(tmp_path)
    assert not read
    for example in blocks:
        example.load(ImageCache(0))
    assert len(read) == 2


def test_bad_blocks_are_told(tmp_path):
    """Another shape, another type, a newer format, no .mat at all, a lone half: each in words, with the file."""
    make_blocks(tmp_path)
    noisy, clean = tmp_path / f"{NOISY}.mat", tmp_path / f"{CLEAN}.mat"
    good = clean.read_bytes()
    for values, words in ((np.zeros((2, 16, 16, 3), np.uint8), r"one variable.*\(2, 16, 16, 3\)"),
                          (np.zeros((3, 2, 16, 16, 3)), "double"),
                          (np.zeros((3, 2, 8, 16, 3), np.uint8), r"\(3, 2, 8, 16, 3\)")):
        savemat(clean, {CLEAN: values})
        with pytest.raises(UsageError, match=words):
            validation_blocks(tmp_path)
    newer = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(64)
    for content, words in ((newer, "7.3"), (b"no such thing" * 40, "readable"), (good[:200], "readable"),
                           (b"", "readable")):
        clean.write_bytes(content)
        with pytest.raises(UsageError, match=words):
            validation_blocks(tmp_path)
    clean.write_bytes(good[:-100])  # the header is whole, the values are not
    with pytest.raises(UsageError, match=CLEAN):
        validation_blocks(tmp_path)[0].load(ImageCache())
    clean.unlink()
    with pytest.raises(UsageError, match=f"{CLEAN}.mat: no such file"):
        validation_blocks(noisy)
    with pytest.raises(UsageError, match="which training needs"):
        open_dataset(tmp_path)
    make_sidd(tmp_path, scenes=2)
    with pytest.raises(UsageError, match="2 scenes are too few"):
        open_dataset(tmp_path)


def test_the_denoising_experiments_take_it(tmp_path):
    """Noise `real` is what these pairs bring; the same folder is also one of good pictures."""
    make_sidd(tmp_path)
    assert open_noisy(tmp_path, "real") == open_dataset(tmp_path)
    made = open_noisy(tmp_path, "25")
    assert all("GT" in example.target.name and example.image is None for example in made.train)


def test_the_layout_can_be_made(tmp_path):
    """From good pictures: pairs by scene, blocks of those that are held out, sensor noise that the light decides."""
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = rng.integers(20, 230, (4, 4, 3), dtype=np.uint8)
        write(np.kron(coarse, np.ones((20, 24, 1), np.uint8)), tmp_path / f"good/p{number}.png")
    made = sidd_layout.main(tmp_path / "good", tmp_path / "sidd", scenes=6, side=80)
    splits = open_dataset(made)
    assert [len(part) for part in splits.parts.values()] == [5, 1, 8] and not splits.unmatched
    validate_splits(splits, ImageCache())
    for batch in load_split([*splits.train, *splits.test], ImageCache()):
        error = (batch.image - batch.target).square().mean().sqrt().item()
        assert 0.01 < error < 0.2
    with pytest.raises(UsageError, match="holds something"):
        sidd_layout.main(tmp_path / "good", tmp_path / "sidd")
    with pytest.raises(UsageError, match="--scenes"):
        sidd_layout.main(tmp_path / "good", tmp_path / "other", scenes=0)


def test_a_mat_file_that_kills_its_reader_is_refused(tmp_path, monkeypatch):
    """SciPy crashes on some damaged files: its child ends, and the caller is told by the file's name."""
    from rlenhance.learning.data import sidd

    monkeypatch.setattr(sidd, "variables_of", _crash)
    file = tmp_path / "ValidationNoisyBlocksSrgb.mat"
    for path in (file, tmp_path / "ValidationGtBlocksSrgb.mat"):
        path.write_bytes(b"x")
    with pytest.raises(UsageError, match=r"ValidationNoisyBlocksSrgb\.mat: damaged \(its reader crashed with SIGSEGV"):
        sidd.validation_blocks(file)


def _crash(path):
    os.kill(os.getpid(), signal.SIGSEGV)
