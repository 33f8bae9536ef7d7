"""The commands around camera noise: the estimate is fitted from pictures and pairs, and the comparison has its rows."""

import numpy as np

from research import camera_noise_compare
from rlenhance.experiments.scripts import fit_camera_noise
from rlenhance.io import read
from rlenhance.ops.camera_noise import NUM_STATISTICS, perceptron
from tests.support.data import make_pairs


def test_the_estimate_is_fitted_and_goes_on(tmp_path):
    """What a call has collected is read by the next; the weights are those of `perceptron`."""
    pairs = make_pairs(tmp_path / "pairs", scenes=8, size=(160, 192))
    for path in (pairs / "low").glob("*"):  # else too dark to be brightened
        assert read(path).pixels.mean() > 8
    arguments = fit_camera_noise.Arguments(pairs, pairs, tmp_path / "out", examples=2, validation=1, chunk=1, steps=5,
                                           width=4)
    rows = fit_camera_noise.main(arguments)
    assert all(np.isfinite(list(row.values())).all() for row in rows.values())
    stored = sorted(tmp_path.glob("out/*-1.npz"))
    assert len(stored) == 3
    assert fit_camera_noise.main(arguments) == rows
    with np.load(tmp_path / "out/camera_noise.npz", allow_pickle=False) as weights:
        assert perceptron(weights, np.zeros((3, NUM_STATISTICS), np.float32)).shape == (3,)


def test_the_comparison_has_every_kind_of_photograph(tmp_path, capsys):
    pairs = make_pairs(tmp_path / "pairs", scenes=8, size=(96, 128))
    arguments = camera_noise_compare.Arguments(pairs, pairs, limit=1, out=tmp_path / "table.json")
    found = camera_noise_compare.main(arguments)
    assert len(found) == 7
    assert {"input", "rlenhance denoise"} < set(found["dark frames, brightened"])
    assert "rlenhance denoise" in capsys.readouterr().out
    assert read(tmp_path / "table.png").pixels.shape[1] == 4 * 192
