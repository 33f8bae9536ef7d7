"""What a run has had and what it gained, from its folder."""

from dataclasses import replace

import pytest

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.core.training_report import read_report
from tests.support.networks import make_model


def network():
    """A small one."""
    return make_model("denoiser", channels=1, widths=(8, 8), down=(1, 1), up=(1,))


def make_run(path, scores, monitor="val/psnr", **about):
    """A run of 100 updates to each validation, whose loss is the number of the hundred."""
    run = Run.create(path, {"train": {"batch_size": 4}}, {"data": {}})
    for number, score in enumerate(scores):
        for update in range(1 if number else 0, 100 * bool(number), 33):
            run.log(100 * (number - 1) + update, {"loss": float(number)})
        run.log(100 * number, {monitor: score, "seconds": 60.0 * number, **({"loss": float(number)} if number else {})})
    best = max(range(len(scores)), key=lambda number: scores[number])
    run.save("last", network(), {
        "step": 100 * (len(scores) - 1), "seconds": 60.0 * (len(scores) - 1), "best_step": 100 * best,
        "best": {monitor: scores[best]}, **about})
    return path


def test_the_plateau_is_what_the_last_third_gained(tmp_path):
    """Below 0.02 dB it is reached; what stands before the first update does not count."""
    rising = read_report(make_run(tmp_path / "rising", [31.0, 28.0, 29.0, 29.5, 29.8, 29.7, 29.85]))
    assert rising.last_gain == pytest.approx(0.05) and rising.plateau.startswith("not reached")
    flat = read_report(make_run(tmp_path / "flat", [20.0, 28.0, 29.0, 29.5, 29.8, 29.7, 29.81]))
    assert flat.last_gain == pytest.approx(0.01) and flat.plateau.startswith("reached: less than 0.02 dB")
    fallen = read_report(make_run(tmp_path / "fallen", [20.0, 28.0, 29.0, 28.5]))
    assert fallen.last_gain == 0
    loss = read_report(make_run(tmp_path / "return", [1.0, 2.0, 3.0, 4.0], monitor="val/return"))
    assert loss.last_gain is None and loss.plateau.startswith("unknown")
    assert read_report(make_run(tmp_path / "short", [20.0, 21.0])).last_gain is None
    few = replace(flat, updates=2, validations=[{"step": step, "val/psnr": 20.0} for step in (0, 1, 2)])
    assert few.plateau.startswith("unknown: too few updates")


def test_the_budget_is_told_where_it_was_counted(tmp_path):
    """An older run has its updates times the batch and no CPU time; the table has the mean loss since the last row."""
    old = read_report(make_run(tmp_path / "old", [20.0, 28.0, 29.0, 29.5]))
    assert old.budget == "300 updates, 1,200 pictures or crops drawn, 180 s of training"
    new = read_report(make_run(tmp_path / "new", [20.0, 28.0], cpu_seconds=1234.4, pictures=777, monitor="val/psnr"))
    assert new.budget == "100 updates, 777 pictures or crops drawn, 60 s of training, 1,234 CPU seconds"
    text = "\n".join(old.lines())
    assert "| 300 | 3.0 | 3 | 29.50 |" in text and "| 0 | 0.0 |  | 20.00 |" in text
    assert f"{sum(value.numel() for value in network().state_dict().values()):,} weights" in text
    with pytest.raises(UsageError, match="not a run"):
        read_report(tmp_path)
