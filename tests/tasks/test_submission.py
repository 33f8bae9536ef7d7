"""The competition's table: it round-trips, and what cannot be in it is refused."""

import cv2
import numpy as np
import pytest

from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts import submission
from rlenhance.io import write


def test_the_table_round_trips(tmp_path, capsys):
    """Pictures in natural order, IDs of five digits, every eighth grey value; what is written is read back."""
    rng = np.random.default_rng(0)
    pictures = {number: rng.integers(0, 256, (12, 20, 3), np.uint8) for number in (2, 10, 1)}
    for number, picture in pictures.items():
        write(picture, tmp_path / "restored" / f"test_{number}_upscaled.png")
    write(pictures[1], tmp_path / "restored" / "test_1.png")
    out = submission.main(tmp_path / "restored", tmp_path / "sub" / "s.csv", suffix="_upscaled")
    lines = out.read_text().splitlines()
    assert lines[0].startswith("ID,pixel_0,pixel_1,") and lines[0].endswith(",pixel_29")
    assert [line.split(",")[0] for line in lines[1:]] == ["gt_00001", "gt_00002", "gt_00010"]
    table = submission.read_table(out)
    grey = cv2.cvtColor(pictures[10], cv2.COLOR_RGB2GRAY).ravel()
    assert np.array_equal(table["gt_00010"], grey[::8])
    submission.write_table(tmp_path / "again.csv", table)
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()


def test_the_table_refuses_in_words(tmp_path):
    """Numbers that stand for two pictures, sizes that differ, and foreign files are named."""
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "a" / "x_1.png")
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "a" / "y_01.png")
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "b" / "x_1.png")
    write(np.zeros((9, 8, 3), np.uint8), tmp_path / "b" / "x_2.png")
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "c" / "x.png")
    for folder, said in (("a", "already"), ("b", "one size"), ("c", "no number"), ("d", "no such folder")):
        with pytest.raises(UsageError, match=said):
            submission.main(tmp_path / folder, tmp_path / "s.csv")
    for text in ("a,b\n1,2\n", "ID,pixel_0\ngt_00001,256\n", "ID,pixel_0\n1,2\n", "ID,pixel_0\ngt_00001,1,2\n"):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(UsageError, match=r"t\.csv"):
            submission.read_table(tmp_path / "t.csv")
