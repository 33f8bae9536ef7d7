"""What the eye objects to, as numbers; and the command that puts photographs side by side."""

import json
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.failures import FAILURES
from benchmarks.failures import Arguments as FailureArguments
from benchmarks.failures import main as failures
from benchmarks.looks import Arguments, busiest, main
from benchmarks.visible_faults import banding, block_energy, color_mottle, visible_noise
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.learning.models import MODELS
from rlenhance.pipelines.decision import newly_burnt


def test_only_what_was_whole_is_newly_burnt():
    """A white window is not the fault of the curve, a wall that becomes one is."""
    before = np.full((10, 10, 3), 100, np.uint8)
    before[:2] = 255
    after = before.copy()
    after[2:5, :, 1] = 251
    assert newly_burnt(after, before) == pytest.approx(0.3)
    assert newly_burnt(before, before) == 0


def test_blocks_and_blotches_count_in_dark_parts_alone():
    """Blocks of 8x8 have an energy, shifted ones and a ramp have none; grey has no mottle, colours have."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 60, (9, 12, 1), dtype=np.uint8).repeat(3, axis=2)
    blocks = grey.repeat(8, axis=0).repeat(8, axis=1)
    dark, light = np.zeros_like(blocks), np.full_like(blocks, 99)
    assert block_energy(blocks, dark) > 10 and block_energy(blocks, light) == 0
    assert block_energy(np.roll(blocks, (4, 4), (0, 1)), dark) == 0
    assert color_mottle(blocks, dark) < 0.01
    colors = rng.integers(0, 60, (5, 6, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    assert color_mottle(colors, np.zeros_like(colors)) > 2 and color_mottle(colors, np.full_like(colors, 99)) == 0


def test_flat_runs_that_meet_in_a_step_are_banding():
    """Posterised shadows have it; a ramp, noise and one plain surface have none."""
    ramp = np.arange(64, dtype=np.uint8)[None, :, None].repeat(48, axis=0).repeat(3, axis=2)
    steps = (ramp // 8 * 8).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    assert banding(steps) == pytest.approx(7 / 61 / 2, rel=1e-3)
    assert banding(np.swapaxes(steps, 0, 1)) == pytest.approx(banding(steps))
    assert [banding(ramp), banding(np.full((9, 9, 3), 7, np.uint8)), banding(steps[:2, :2])] == [0, 0, 0]
    assert banding(noise) < 0.001


def test_the_noise_is_told_in_255ths():
    """A surface with noise of five 255ths."""
    noisy = np.clip(np.rint(np.random.default_rng(0).normal(120, 5, (128, 128, 3))), 0, 255).astype(np.uint8)
    assert visible_noise(noisy) == pytest.approx(5, rel=0.05)


def _photograph(seed):
    return np.kron(np.random.default_rng(seed).integers(5, 60, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def test_photographs_stand_side_by_side(tmp_path, capsys):
    """Of a folder without references: a sheet, numbers per way, no scores."""
    for seed in range(3):
        write(_photograph(seed), tmp_path / f"photos/{seed}.png")
    table = main(Arguments(tmp_path / "photos", tmp_path / "out", models=("natural",), crop=16, large=0.01))
    assert [row[0] for row in table.rows] == ["natural", "natural, denoise 0", "stop at mean 0.45",
                                              "fusion of one frame", "CLAHE"]
    assert "PSNR" not in table.columns and "newly burnt, %" in table.columns
    found = json.loads((tmp_path / "out/looks.json").read_text())
    assert found["pictures"] == 3 and set(found["ways"]["CLAHE"]) == {
        "burnt", "noise", "banding", "blocks", "mottle", "mean", "seconds"}
    assert [path.name for path in sorted((tmp_path / "out").glob("*.png"))] == ["looks-1.png"]


def test_pairs_have_scores(tmp_path):
    """To the reference, and to the frames of the scene fused."""
    for scene in range(6):
        for frame, gain in enumerate((1, 2)):
            write((gain * _photograph(scene)).clip(0, 255).astype(np.uint8), tmp_path / f"low/s{scene:03d}_{frame}.png")
            write((4 * _photograph(scene).astype(int)).clip(0, 255).astype(np.uint8),
                  tmp_path / f"high/s{scene:03d}_{frame}.png")
    table = main(Arguments(tmp_path, tmp_path / "out", split="val", limit=2, sheets=0, large=0))
    assert {"PSNR", "SSIM", "GT-mean", "GT-mean to fused"} <= set(table.columns)
    assert not list((tmp_path / "out").glob("*.png"))
    with pytest.raises(UsageError, match="--split is one of"):
        main(Arguments(tmp_path, tmp_path / "out", split="tset"))


def test_weights_stand_beside_each_other(tmp_path, monkeypatch, capsys):
    """Models, their denoising, published weights; differences to the first, and scores of a package where it is."""
    network = MODELS.create("zero_dce")
    torch.save({f"e_conv{index + 1}.{part}": getattr(layer, part) for index, layer in enumerate(network.layers)
                for part in ("weight", "bias")}, tmp_path / "Epoch.pth")
    for seed in range(2):
        write(_photograph(seed), tmp_path / f"photos/{seed}.png")
    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=_metric))
    table = main(Arguments(tmp_path / "photos", tmp_path / "out", models=("natural", "reference"), sheets=0, large=0,
                           denoise=("0", "0.5"), peer=(f"zero_dce={tmp_path / 'Epoch.pth'}",)))
    assert [row[0] for row in table.rows][:5] == ["natural, denoise 0", "natural, denoise 0.5", "reference, denoise 0",
                                                  "reference, denoise 0.5", "zero_dce"]
    assert "NIQE" in table.columns and "BRISQUE" not in table.columns
    found = json.loads((tmp_path / "out/looks.json").read_text())["differences"]
    assert set(found) == {row[0] for row in table.rows} and found["natural, denoise 0"]["burnt"] == [0, 0, 0]
    printed = capsys.readouterr()
    assert "without brisque: brisque: no such host" in printed.err
    assert "Differences to natural, denoise 0" in printed.out
    for peer, said in (("zero=x", "unknown importer 'zero'"), ("zero_dce=x", "x: ")):
        with pytest.raises(UsageError, match=said):
            main(Arguments(tmp_path / "photos", tmp_path / "out", peer=(peer,)))


def _metric(name, device):
    if name == "brisque":
        raise OSError("no such host")
    return lambda image: image.mean()


def test_what_goes_wrong_is_shown_before_and_after(tmp_path):
    """Two photographs of each kind, a sheet for each kind; what is missing is named."""
    assert sorted(Counter(failure.kind for failure in FAILURES).values()) == [2] * 5
    with pytest.raises(UsageError, match=r"has no sice_pairs/low/.*name the folder"):
        failures(FailureArguments(tmp_path, tmp_path / "out"))
    for seed, failure in enumerate(FAILURES):
        picture = np.kron(_photograph(seed), np.ones((11, 8, 1), np.uint8))
        write(picture, tmp_path / failure.file)
        if "low" in failure.file:
            write(picture, tmp_path / failure.file.replace("low", "high"))
    table = failures(FailureArguments(tmp_path, tmp_path / "out", denoise=("0",), crop=20))
    assert [row[2] for row in table.rows] == ["input", "natural, denoise 0"] * 10
    assert len(list((tmp_path / "out").glob("failures-*.png"))) == 5
    sheet = read(tmp_path / "out/failures-lamp.png").pixels
    assert sheet.shape[1] == 3 * (300 + 12) + 12  # input, result, reference


def test_the_crop_is_where_detail_grew():
    """Not where it was strong before."""
    before = np.zeros((60, 80, 3), np.uint8)
    before[:20, :20] = np.random.default_rng(0).integers(0, 255, (20, 20, 3))
    after = before.copy()
    after[40:56, 50:66] = np.random.default_rng(1).integers(0, 255, (16, 16, 3))
    rows, columns = busiest(before, after, 20)
    assert 34 <= rows.start <= 40 and 44 <= columns.start <= 50
