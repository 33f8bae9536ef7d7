"""A competition's folder: train/train and train/gt, val/val and val/gt, and a test/ without references."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rlenhance.cli.main import main as rlenhance
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.scripts import submission
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, load_pictures
from rlenhance.experiments.tasks.restore import RESTORE
from rlenhance.io import write
from rlenhance.io.pairs import pair_files
from rlenhance.learning.data import ImageCache, open_clean, open_dataset, open_super_resolution, validate_splits


def picture(number, scale=1):
    """A picture of coloured squares."""
    squares = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
    return np.kron(squares, np.ones((4 * scale, 4 * scale, 1), np.uint8))


def make_competition(root, scale=1, nested=True, counts=(6, 3, 4)):
    """The folder as it lies on a disk: names as in train_00001.png and gt_00001.png, numbers that go on."""
    number = 0
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        for _ in range(count):
            number += 1
            inside = root / part / part if nested or part != "test" else root / part
            write(picture(number) // 4, inside / f"{part}_{number:05d}.png")
            if part != "test":
                write(picture(number, scale), root / part / "gt" / f"gt_{number:05d}.png")
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_the_competitions_folder_is_read(tmp_path, nested):
    """train and val pair, and the test is for inference: nothing is scored on it."""
    splits = open_dataset(make_competition(tmp_path, nested=nested))
    assert [len(part) for part in splits.parts.values()] == [6, 3, 0] and len(splits.inference) == 4
    assert splits.has_references and not splits.unmatched
    for example in (*splits.train, *splits.val):
        assert example.target.name == f"gt_{example.image.stem[-5:]}.png"
    assert "4 more without references, for inference" in splits.describe()
    found, skipped = validate_splits(splits, ImageCache())
    assert len(found.inference) == 4 and not skipped
    assert [len(part) for part in open_clean(tmp_path).parts.values()] == [6, 3, 0]
    assert open_super_resolution(tmp_path).train[0].image != open_super_resolution(tmp_path).train[0].target
    assert load_pictures(LowLightDataConfig(data=tmp_path), 0).splits.has_references


def test_a_test_with_references_is_a_test(tmp_path):
    """test/test beside test/gt is scored; of a test in part without partners, the files are named."""
    make_competition(tmp_path)
    for path in (tmp_path / "test" / "test").iterdir():
        (tmp_path / "test" / "gt").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "test" / "gt" / path.name.replace("test", "gt"))
    assert len(open_dataset(tmp_path).test) == 4
    (tmp_path / "test" / "gt" / "gt_00010.png").unlink()
    splits = open_dataset(tmp_path)
    assert len(splits.test) == 3 and len(splits.unmatched) == 1 and "test_00010.png: no picture" in splits.unmatched[0]


def test_val_without_references_is_carved(tmp_path):
    """Without val/gt validation comes from train/, and the pictures of val/ are for inference."""
    shutil.rmtree(make_competition(tmp_path) / "val" / "gt")
    splits = open_dataset(tmp_path)
    assert len(splits.val) == 1 and len(splits.train) == 5 and len(splits.inference) == 7
    assert {example.image.parent.name for example in splits.val} == {"train"}


def test_pictures_around_their_references_pair(tmp_path):
    """train/*.png with train/gt/*.png: the references are not passed over."""
    for number in range(4):
        write(picture(number), tmp_path / "train" / f"train_{number}.png")
        write(picture(number), tmp_path / "train" / "gt" / f"gt_{number}.png")
    splits = open_dataset(tmp_path)
    assert len(splits.train) + len(splits.val) == 4 and splits.has_references


@pytest.mark.parametrize("inputs, targets, expected, told", [
    ("train_00001.png train_00002.jpg", "gt_00001.png gt_00002.tif",
     {"train_00001.png": "gt_00001.png", "train_00002.jpg": "gt_00002.tif"}, []),
    ("train_1.png train_10.png", "gt_00001.png gt_00010.png",
     {"train_1.png": "gt_00001.png", "train_10.png": "gt_00010.png"}, []),
    ("001.png 1.png", "001.png 1.png", {"001.png": "001.png", "1.png": "1.png"}, []),
    ("TRAIN_2.PNG train-1.png", "GT_2.png gt1.png", {"TRAIN_2.PNG": "GT_2.png", "train-1.png": "gt1.png"}, []),
    ("train_1.jpg train_1.png", "gt_1.png", {"train_1.jpg": "gt_1.png"}, ["train_1.png: pairs by the same name as"]),
    ("train_01.png train_1.png", "gt_1.png", {"train_1.png": "gt_1.png"}, ["train_01.png: pairs by the same name as"]),
    ("train_1.png", "gt_1.png gt_2.png", {"train_1.png": "gt_1.png"}, ["gt_2.png: no picture of that name in a"]),
    ("s001_0001.png s001_0002.png", "s001_0002.png", {"s001_0002.png": "s001_0002.png"},
     ["s001_0001.png: no picture of that name in b"]),
    ("scene1_1.png", "scene2_1.png", {}, ["a/scene1_1.png: no picture", "b/scene2_1.png: no picture"]),
])
def test_files_pair_by_what_their_names_share(inputs, targets, expected, told):
    """Roles, separators, endings and leading zeros do not count; what is left is named."""
    pairs, lines = pair_files(*([Path(folder, name) for name in names.split()]
                                for folder, names in (("a", inputs), ("b", targets))))
    assert {image.name: target.name for image, target in pairs} == expected
    assert len(lines) == len(told) and all(text in line for text, line in zip(told, lines, strict=True))


def test_what_does_not_pair_is_named(tmp_path):
    """The first files and their number, where nothing pairs and where something is left over."""
    for number in range(9):
        write(picture(number), tmp_path / "train" / "train" / f"dark{number}x.png")
        write(picture(number), tmp_path / "train" / "gt" / f"light{number}x.png")
    with pytest.raises(UsageError) as caught:
        open_dataset(tmp_path)
    assert "18 files have no partner" in str(caught.value) and "and 13 more" in str(caught.value)
    assert "dark0x.png: no picture of that name in" in str(caught.value)
    assert "light0x.png: no picture" in str(caught.value)


def test_bad_files_of_a_competition_are_named(tmp_path, capsys):
    """An unreadable file and one of another size end the training by name; those of the test do not concern it."""
    make_competition(tmp_path / "data")
    (tmp_path / "data" / "test" / "test" / "test_00010.png").write_bytes(b"no picture")
    (tmp_path / "data" / "train" / "train" / "train_00002.png").write_bytes(b"no picture")
    write(picture(3, 2), tmp_path / "data" / "train" / "gt" / "gt_00003.png")
    assert train_command(RESTORE, ["combined", "--data", str(tmp_path / "data"), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "2 bad files" in told and "train_00002.png" in told and "gt_00003.png is 64x48" in told
    assert "test_00010" not in told
    assert train_command(RESTORE, [
        "combined", "--data", str(tmp_path / "data"), "--out", str(tmp_path), "--on-bad-image", "skip", "--size", "8",
        "--widths", "4", "--blocks", "1", "--updates", "1", "--name", "run", "--no-progress"]) == 0
    assert "4 train" in capsys.readouterr().out
    assert "train_00002.png" in (tmp_path / "run" / "config.json").read_text()


@pytest.mark.parametrize("scale", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_from_the_folder_to_the_table(tmp_path, scale, capsys):
    """Train in the published form, restore test/, write the CSV: a row for each test picture, IDs as in the task."""
    make_competition(tmp_path / "data", scale)
    assert train_command(RESTORE, [
        "combined", "--paper-config", "--data", str(tmp_path / "data"), "--scale", str(scale), "--size", "8",
        "--widths", "4", "--blocks", "1", "--batch-size", "2", "--updates", "2", "--out", str(tmp_path),
        "--name", "run", "--no-progress", "--device", "cpu"]) == 0
    told, command = capsys.readouterr().out, "upscale" if scale > 1 else "enhance"
    assert "4 more without references" in told and f"{command} " in told.partition("use it:")[2]
    assert rlenhance([command, str(tmp_path / "data" / "test" / "test"), "-o",
                      str(tmp_path / "restored"), "--model", str(tmp_path / "run")]) == 0
    table = submission.main(tmp_path / "restored", tmp_path / "submission.csv")
    rows = submission.read_table(table)
    assert list(rows) == [f"gt_{number:05d}" for number in range(10, 14)]
    assert all(len(row) == 32 * 24 * scale**2 // 8 for row in rows.values())
