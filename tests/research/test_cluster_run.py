"""The run over two nodes: its photographs, its reading of a ledger that grows, its rates."""

import json

import pytest

from research.cluster_run import Arguments, main, make_photographs, of_linear, read_ledger, steady_rate
from rlenhance.io import read


def test_photographs_are_the_same_for_a_seed(tmp_path):
    """Each has its own content, and is not made twice."""
    make_photographs(tmp_path / "a", 3, (16, 12), seed=1)
    make_photographs(tmp_path / "b", 3, (16, 12), seed=1)
    first, second = (sorted((tmp_path / name).rglob("*.jpg")) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len({path.read_bytes() for path in first}) == 3 and read(first[0]).pixels.shape == (12, 16, 3)
    times = [path.stat().st_mtime_ns for path in first]
    make_photographs(tmp_path / "a", 3, (16, 12), seed=1)
    assert [path.stat().st_mtime_ns for path in first] == times


def test_a_ledger_that_grows_is_read_up_to_its_last_whole_line(tmp_path):
    """Its head is no photograph."""
    assert read_ledger(tmp_path) == []
    (tmp_path / "rlenhance-ledger.jsonl").write_text('{"kind": "x"}\n{"target": "a"}\n{"targ')
    assert read_ledger(tmp_path) == [{"target": "a"}]


def test_rates_leave_the_start_out_and_two_processes_are_held_against_twice_one():
    """A start of any length does not count."""
    assert steady_rate([0.0, *range(1000, 1100)]) == pytest.approx(1)
    runs = [{"processes": 1, "rate": 10.0}, {"processes": 2, "rate": 19.0}]
    assert of_linear(runs * 2) == pytest.approx(0.95)


def test_the_cost_of_large_photographs_is_that_of_the_ledger(tmp_path, monkeypatch):
    """Per megapixel, in a report of its own."""
    monkeypatch.setattr("research.cluster_run._LARGE", (64, 48))
    report = main(Arguments(photos=0, scaling=0, cost=1, out=tmp_path))
    assert report["cost"]["CPU seconds per megapixel"] > 0
    assert json.loads((tmp_path / "report.json").read_text())["cost"] == report["cost"]
