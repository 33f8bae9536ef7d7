"""The folders of the two completion projects, as they lie on their users' disks: masks, layouts, tables."""

import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.tasks.completion import CompletionDataConfig
from rlenhance.experiments.tasks.completion_compare import COMPLETION_COMPARISON, CompletionCompareConfig
from rlenhance.io import read
from rlenhance.learning.data import ImageCache, load_completion, open_completion
from tests.support.bedrooms import BOXES, boxes, make_bedrooms, overlap


@pytest.fixture
def published(tmp_path):
    return make_bedrooms(tmp_path)


def test_the_pairs_masks_hold_both_boxes(published):
    """As the projects' folder has them: nothing black is left in the known part of the picture."""
    splits, cache = open_completion(published), ImageCache()
    assert len(splits.train) + len(splits.val) == 8 and len(splits.test) == 2 and not splits.unmatched
    assert splits.describe().endswith("; test without references")
    for example in (*splits.val, *splits.test):
        batch = load_completion(example, cache, 112)
        assert overlap(batch.mask[0, 0].numpy() > 0, boxes(*BOXES)) > 0.85
        assert batch.image[(batch.mask < 1).expand_as(batch.image)].min() > 0.05
    with pytest.raises(UsageError, match=r"occluded_bed_\d+.png: the picture differs from its original nowhere"):
        load_completion(splits.val[0], cache, 112, threshold=2.9)


def test_a_test_folder_without_originals_gives_a_sheet_and_no_score(published, tmp_path):
    """What needs an original is not there, and the table says so; the sheet has the pictures."""
    found = compare(COMPLETION_COMPARISON, CompletionCompareConfig(
        models=("completer",), sizes=(48,), out=tmp_path / "table", baselines=("laplace", "telea"),
        data=CompletionDataConfig(data=published)))
    assert list(found.rows) == ["laplace", "telea", "completer"]
    assert "no originals: there is no PSNR, no SSIM" in found.text and "dB" not in found.text.split("size")[-1]
    assert set(found.rows["completer"].entries["48"][0].scores[0]) == {"seam", "texture", "cpu_s", "megapixels"}
    assert read(tmp_path / "table/sheet.png").pixels.shape[1] > 2 * 48
    compared = compare(COMPLETION_COMPARISON, CompletionCompareConfig(
        sizes=(48,), out=tmp_path / "val", split="val", baselines=("laplace",),
        data=CompletionDataConfig(data=published)))
    assert "psnr" in compared.rows["laplace"].entries["48"][0].scores[0] and (tmp_path / "val/sheet.png").is_file()


def test_holes_are_made_in_the_originals_of_pairs(published, tmp_path):
    """With --drawn holes of a named kind take the place of the pairs' own; the guided fill is a row like the others."""
    found = {drawn: compare(COMPLETION_COMPARISON, CompletionCompareConfig(
        sizes=(48,), out=tmp_path / str(drawn), split="val", baselines=("laplace", "guided"), drawn=drawn,
        data=CompletionDataConfig(data=published, holes="brush"))) for drawn in (False, True)}
    own, made = ([score["psnr"] for score in found[drawn].rows["laplace"].entries["48"][0].scores]
                 for drawn in (False, True))
    assert own != made and "guided" in found[True].rows


def test_the_folder_of_occluded_pictures_is_completed_as_it_is(published, capsys):
    """The black boxes are the holes, all of them, and where they lie is said."""
    assert main(["complete", str(published / "occluded_test"), "-m", "laplace", "--auto-mask"]) == 0
    assert "filled 2 black rectangles of 40x40 pixels at 12, 10; " in capsys.readouterr().out
    done = read(published / "occluded_test/occluded_bed_8_completed.png").pixels
    assert done.max(axis=2).min() > 20


@pytest.mark.parametrize("make, reason", [
    (lambda root: root.parent, "the pairs are in .*dataset: name that folder"),
    (lambda root: root / "nowhere", "no such folder"),
    (lambda root: (root / "train/original_images").rename(root / "gone").parent, "original_images: no such folder"),
    (lambda root: (root.parent / "empty").mkdir() or root.parent / "empty", "no picture to train on"),
])
def test_a_wrong_folder_is_told_the_layouts_of_completion(published, make, reason):
    """Not those of low light."""
    with pytest.raises(UsageError, match=f"{reason}(.|\n)*occluded_images") as error:
        open_completion(make(published))
    assert "our485" not in str(error.value)
