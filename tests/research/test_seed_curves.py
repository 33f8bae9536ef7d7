"""Curves of runs that differ in their seed."""

import pytest

from research.seed_curves import largest_fall, main
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.run import Run


def _run(path, returns):
    run = Run.create(path, {}, {"data": {}})
    for step, value in enumerate(returns):
        run.log(step, {"val/return": value, "policy/clip_fraction/local": 1e-7, "loss/policy/local": -2.5e-8})
    run.close()
    return path


@pytest.mark.parametrize(("values", "fall"), [([], 0), ([1, 2, 3], 0), ([1, 3, 2, 2.5], 1), ([3, 1, 4, 3.5], 2)])
def test_the_largest_fall_is_from_the_best_so_far(values, fall):
    assert largest_fall(values) == fall


def test_runs_are_drawn_and_summed_up_without_being_changed(tmp_path):
    path = _run(tmp_path / "a", [0.5, 1.25, 1.0])
    before = (path / "metrics.csv").read_bytes()
    table = main(tmp_path / "chart.png", (f"mine={path},{path}",))
    assert table.count("| mine |") == 2 and "| 1.250 | 1.000 | 0.250 | 1e-07 |" in table
    assert (tmp_path / "chart.png").stat().st_size > 1000 and (path / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("group", ["mine", "=runs", "mine=", "mine=nowhere"])
def test_a_group_that_cannot_be_read_is_named(tmp_path, group):
    with pytest.raises(UsageError, match=group.removeprefix("mine=") or "NAME=RUN"):
        main(tmp_path / "chart.png", (group,))
