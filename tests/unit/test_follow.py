"""The command with a ledger: options, failures as a table, and what is refused before a model is loaded."""

import json

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.io import write
from rlenhance.pipelines.enhance import Enhancer


@pytest.fixture
def album(night):
    """Three photographs and a damaged one."""
    for level in range(3):
        write(np.full((8, 10, 3), 20 * level, np.uint8), night.parent / f"photos/{level}.png")
    (night.parent / "photos/bad.png").write_bytes(b"no picture")
    return night.parent


def test_failures_become_a_table(album, capsys):
    """With the reason; the next run has those of its own alone."""
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["enhance", "photos", "-o", "out", "--ledger", "led.jsonl", "--failures", "failed.parquet"]
    assert main(words) == 2
    rows = parquet.read_table("failed.parquet").to_pylist()
    assert [row["source"] for row in rows] == [str(album / "photos/bad.png")] and "not a picture" in rows[0]["error"]
    (album / "photos/bad.png").unlink()
    assert main(words) == 0
    assert parquet.read_table("failed.parquet").num_rows == 0 and "3 photographs are done" in capsys.readouterr().err


def test_a_share_of_failures_may_be_tolerated(album, capsys):
    """Below it the status is 0; above it the run says so."""
    assert main(["enhance", "photos", "-o", "out", "--ledger", "a.jsonl", "--max-failure-rate", "0.25"]) == 0
    assert main(["enhance", "photos", "-o", "out", "--ledger", "a.jsonl", "--max-failure-rate", "0.25"]) == 2
    assert "1 of 1 photographs failed, more than the share of 0.25" in capsys.readouterr().err


def test_another_model_or_setting_is_refused_by_name(album, capsys):
    """The file of an option counts by its contents; what changes no result may change."""
    words = ["enhance", "photos/0.png", "photos/1.png", "-o", "out", "--ledger", "led.jsonl"]
    write(np.full((8, 10, 3), 255, np.uint8), album / "mask.png")
    assert main([*words, "--region", "mask.png"]) == 0
    assert main([*words, "--region", "mask.png", "--workers", "1", "-q"]) == 0
    for more, said in ((["--region", "mask.png", "--strength", "0.5"], "--strength: none then, 0.5 now"),
                       ([], "--region")):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    write(np.full((8, 10, 3), 128, np.uint8), album / "mask.png")
    assert main([*words, "--region", "mask.png"]) == 2
    assert main([*words, "--region", "mask.png", "--overwrite"]) == 0
    assert json.loads((album / "led.jsonl").read_text().splitlines()[-1])["status"] == "written"


@pytest.mark.parametrize("words, said", [
    (["--address", "here:1"], "--on ray"), (["--max-failure-rate", "2"], "0 to 1"),
    (["--ledger", "a.jsonl", "--shared-decision"], "--shared-decision"),
    (["--ledger", "a.jsonl", "--match-series"], "--match-series"),
    (["--ledger", "a.jsonl", "--cube", "a.cube"], "--cube"),
    (["--ledger", "a.jsonl", "-o", "-"], "standard"), (["--on", "ray"], "-o"),
    (["--on", "ray", "-o", "s3://bucket/out"], "--ledger"), (["--on", "spark"], "--on")])
def test_what_does_not_go_together_is_refused(album, words, said, capsys, monkeypatch):
    """Before a model is loaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    try:
        assert main(["enhance", "photos", *words]) == 2
    except SystemExit as stop:
        assert stop.code == 2
    assert said in capsys.readouterr().err


def test_a_missing_extra_is_named_with_its_line(album, capsys, monkeypatch):
    """Before any work."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["enhance", "photos", "-o", "out", "--on", "ray"]) == 2
    told = capsys.readouterr().err
    assert "needs ray" in told and "pip install" in told and "[cluster]" in told


def test_an_interrupted_command_goes_on(album, monkeypatch, capsys):
    """Ctrl-C ends it with 130 and a whole ledger; the same command does the rest."""
    words = ["enhance", "photos", "-o", "out", "--ledger", "led.jsonl", "--workers", "1"]
    process, seen = Enhancer.process, []

    def process_two(self, photo):
        seen.append(photo)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return process(self, photo)

    monkeypatch.setattr(Enhancer, "process", process_two)
    assert main(words) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert main(words) == 2  # bad.png
    assert "are done already" in capsys.readouterr().err
    done = [json.loads(line) for line in (album / "led.jsonl").read_text().splitlines()[1:]]
    written = [entry["target"] for entry in done if entry["status"] == "written"]
    assert len(written) == len(set(written)) == len(list((album / "out").iterdir())) == 3
