"""Ledgers: what is done is not done again, what is cut or changed is, and nothing of another run counts."""

import errno
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import make_plan, run_batch, write
from rlenhance.io.discovery import read_list
from rlenhance.many import ledger as ledger_room
from rlenhance.many.follow import check_failures, follow, tasks_left
from rlenhance.many.ledger import Ledger
from rlenhance.many.work import Task, Work
from rlenhance.pipelines.enhance import Enhancer

MADE_BY = {"command": "brighter", "--strength": "1"}
NAMES = ["a.png", "b, c.png", "line\nbreak.png", b"\xff.png".decode(errors="surrogateescape"), "sub/a.png"]


def brighter(photo):
    """A process that can be pickled."""
    return photo.with_pixels(photo.pixels + 1), {"first": int(photo.pixels[0, 0, 0])}


@pytest.fixture
def album(tmp_path):
    """Five photographs whose names and folders are awkward."""
    for level, name in enumerate(NAMES):
        write(np.full((8, 12, 3), level, np.uint8), tmp_path / "photos" / name)
    return tmp_path / "photos"


def run(album, made_by=MADE_BY, *, process=brighter, out="out", anew=False, skip_existing=False, stop_after=None):
    """One run as the command makes it: (tasks that were left, outcomes)."""
    place = album.parent / out / "ledger.jsonl"
    failures = []
    with Ledger(place, made_by, anew=anew) as ledger:
        plan = make_plan([album], album.parent / out, recursive=True, overwrite=anew, skip_existing=True)
        tasks = tasks_left(plan, ledger.finished, skip_existing=skip_existing)
        outcomes = []
        for outcome in follow(tasks, Work(process).carry_out, ledger, failures.append):
            outcomes.append(outcome)
            if len(outcomes) == stop_after:
                break
    return tasks, outcomes


def lines(album, out="out"):
    return [json.loads(line) for line in (album.parent / out / "ledger.jsonl").read_bytes().splitlines()]


def test_results_are_those_of_a_batch_and_each_has_one_line(album):
    """Byte for byte, whatever the names; the second run has nothing to do."""
    _, outcomes = run(album)
    assert [outcome.error for outcome in outcomes] == [None] * 5
    for outcome in run_batch(make_plan([album], album.parent / "plain", recursive=True), brighter):
        followed = album.parent / "out" / outcome.written.relative_to(album.parent / "plain")
        assert followed.read_bytes() == outcome.written.read_bytes()
    head, *entries = lines(album)
    assert head["made_by"] == MADE_BY and len(entries) == len({entry["target"] for entry in entries}) == 5
    assert {entry["source"] for entry in entries} == {str(album / name) for name in NAMES}
    assert run(album) == ([], [])


def test_an_interrupted_run_goes_on(album):
    """What was told is done; what had been written and not told is found to be the same and told."""
    run(album, stop_after=2)
    tasks, outcomes = run(album)
    assert len(tasks) == 3 and not any(outcome.error for outcome in outcomes)
    assert len(lines(album)) == 6


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_that_a_kill_has_cut_is_cut_off_and_done_again(album, cut):
    """The last line ends in the middle: its photograph is done again, and the ledger is whole afterwards."""
    run(album)
    place = album.parent / "out/ledger.jsonl"
    place.write_bytes(place.read_bytes()[:-cut])
    tasks, outcomes = run(album)
    assert len(tasks) == len(outcomes) == 1 and outcomes[0].error is None
    assert len(lines(album)) == 6 and run(album) == ([], [])


def test_a_cut_first_line_and_zeros_of_a_power_cut_are_mended(album):
    """Also where nothing but half of the head is there, or the middle is lost."""
    place = album.parent / "out/ledger.jsonl"
    place.parent.mkdir()
    place.write_bytes(b'{"kind":"rlenh')
    assert len(run(album)[1]) == 5
    data = place.read_bytes().splitlines(keepends=True)
    place.write_bytes(b"".join([*data[:3], b"\0" * 40 + b"\n", *data[4:]]))
    assert len(run(album)[0]) == 1 and run(album) == ([], [])


def test_lines_of_any_bytes_are_damaged_lines(album):
    """Lists within lists without end, numbers without end, no Unicode; an object of other kinds is passed over."""
    run(album)
    with (album.parent / "out/ledger.jsonl").open("ab") as file:
        file.write(b"[" * 100_000 + b"\n" + b"9" * 5000 + b"\n" + b'{"status":[],"target":1e999}\n' + b"\xff\n")
    with Ledger(album.parent / "out/ledger.jsonl", MADE_BY) as ledger:
        assert ledger.damaged == 3 and len(ledger.finished) == 5
    head = album.parent / "head"
    head.write_bytes(b'{"kind":"rlenhance ledger","made_by":' + b"[" * 100_000 + b"\n")
    with pytest.raises(UsageError, match="is the ledger of other results"):
        Ledger(head, MADE_BY)


def test_another_setting_is_refused_or_begins_anew(album):
    """Both are named; with overwrite everything is done again, and an old line never counts."""
    run(album)
    with pytest.raises(UsageError, match=r"--strength: 1 then, 2 now.*overwrite"):
        run(album, MADE_BY | {"--strength": "2"})
    assert len(run(album, MADE_BY | {"--strength": "2"}, anew=True)[0]) == 5
    with pytest.raises(UsageError, match="--strength: 2 then, 1 now"):
        run(album)


@pytest.mark.parametrize("content", [b"hello\n", b"{}\n", b"\x89PNG", b"[1, 2]\n{}\n"])
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path, content):
    """It is neither cut nor written to."""
    (tmp_path / "notes").write_bytes(content)
    with pytest.raises(UsageError, match="is no ledger"):
        Ledger(tmp_path / "notes", MADE_BY)
    assert (tmp_path / "notes").read_bytes() == content


def test_a_changed_photograph_is_done_again_and_a_touched_one_is_not(album):
    """Its hash decides; its old result is replaced."""
    run(album)
    os.utime(album / "a.png", (1, 1))
    assert run(album) == ([], [])
    write(np.full((8, 12, 3), 90, np.uint8), album / "a.png")
    tasks, outcomes = run(album)
    assert tasks == [Task(str(album / "a.png"), str(album.parent / "out/a.png"), True)] and outcomes[0].error is None
    assert run(album) == ([], [])


def test_results_that_are_gone_are_made_again_and_foreign_ones_stay(album):
    """A result that was edited since is no result of the run, and is not destroyed."""
    run(album)
    (album.parent / "out/a.png").unlink()
    (album.parent / "out/sub/a.png").write_bytes(b"edited")
    tasks, outcomes = run(album)
    assert sorted(bool(outcome.error) for outcome in outcomes) == [False, True] and len(tasks) == 2
    assert "exists with other contents" in next(outcome.error for outcome in outcomes if outcome.error)
    assert (album.parent / "out/sub/a.png").read_bytes() == b"edited"


def test_what_exists_and_is_not_in_the_ledger_is_kept_where_asked(album):
    """As with any run."""
    write(np.zeros((2, 2, 3), np.uint8), album.parent / "out/a.png")
    assert len(run(album, skip_existing=True)[0]) == 4


def test_a_failure_stops_nothing_and_is_tried_again(album):
    """The next run takes what failed, and that alone."""
    (album / "a.png").write_bytes(b"no picture")
    _, outcomes = run(album)
    assert [bool(outcome.error) for outcome in outcomes].count(True) == 1 and len(outcomes) == 5
    write(np.zeros((2, 2, 3), np.uint8), album / "a.png")
    assert [outcome.source.name for outcome in run(album)[1]] == ["a.png"]


def test_one_run_at_a_time(tmp_path):
    """A second one is told so, and does not wait."""
    with Ledger(tmp_path / "ledger", MADE_BY), pytest.raises(UsageError, match="another run"):
        Ledger(tmp_path / "ledger", MADE_BY)
    Ledger(tmp_path / "ledger", MADE_BY).__exit__()


def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(album, monkeypatch):
    """Half of a line fits: the run ends with the reason, and nothing is lost."""
    whole, left = os.write, [900]

    def write_some(file, data):
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = whole(file, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(ledger_room, "os", SimpleNamespace(**vars(os) | {"write": write_some}))
    with pytest.raises(UsageError, match="No space left"):
        run(album)
    left[0] = 10**6
    assert all(outcome.error is None for outcome in run(album)[1]) and run(album) == ([], [])


def test_devices_are_no_ledgers(tmp_path):
    """One without end would be read without end."""
    (tmp_path / "ledger").symlink_to("/dev/zero")
    for place in (tmp_path / "ledger", tmp_path):
        with pytest.raises(UsageError, match="no ledger"):
            Ledger(place, MADE_BY)


def test_a_line_that_is_told_twice_counts_once(album):
    """As where a process was lost after its work."""
    tasks = [Task(str(album / name), str(album.parent / "out" / name)) for name in NAMES]
    entries = list(Work(brighter).carry_out(tasks))
    told = list(follow(tasks, lambda tasks: (entry for entry in entries * 2), None, list().append))
    assert len(told) == 5


def test_too_many_failures_stop_a_run():
    """From the hundredth photograph on, or at the end."""
    check_failures(50, 99, 0.01)
    check_failures(1, 100, 0.01, ended=True)
    check_failures(100, 100, None, ended=True)
    for failed, done, ended in ((2, 100, False), (1, 1, True)):
        with pytest.raises(UsageError, match="max_failure_rate"):
            check_failures(failed, done, 0.01, ended=ended)


def test_lists_hold_any_name(album, tmp_path):
    """One a line, or before NUL bytes; results mirror what is written."""
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfphotos/a.png\r\n\nphotos/sub/a.png\nmissing.png")
    (tmp_path / "zero.txt").write_bytes(b"photos/line\nbreak.png\0photos/\xff.png\0")
    assert read_list(tmp_path / "list.txt") == ["photos/a.png", "photos/sub/a.png", "missing.png"]
    assert [os.fsencode(name) for name in read_list(tmp_path / "zero.txt")] == [b"photos/line\nbreak.png",
                                                                               b"photos/\xff.png"]
    plan = make_plan([tmp_path / "list.txt"], tmp_path / "mirrored", recursive=True)
    assert [str(job.target.relative_to(tmp_path / "mirrored")) for job in plan.jobs] == [
        "photos/a.png", "photos/sub/a.png", "missing.png"]
    (tmp_path / "list.txt").write_text("../a.png\n")
    with pytest.raises(UsageError, match="without"):
        make_plan([tmp_path / "list.txt"], tmp_path / "mirrored", recursive=True)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(UsageError, match="empty list"):
        make_plan([tmp_path / "list.txt"], tmp_path / "mirrored")


@pytest.fixture
def photos(night):
    """Three photographs and a damaged one."""
    for level in range(3):
        write(np.full((8, 10, 3), 20 * level, np.uint8), night.parent / f"photos/{level}.png")
    (night.parent / "photos/bad.png").write_bytes(b"no picture")
    return night.parent


def test_failures_become_a_table(photos, capsys):
    """With the reason; the next run has those of its own alone."""
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["enhance", "photos", "-o", "out", "--ledger", "led.jsonl", "--failures", "failed.parquet"]
    assert main(words) == 2
    rows = parquet.read_table("failed.parquet").to_pylist()
    assert [row["source"] for row in rows] == [str(photos / "photos/bad.png")] and "not a picture" in rows[0]["error"]
    (photos / "photos/bad.png").unlink()
    assert main(words) == 0
    assert parquet.read_table("failed.parquet").num_rows == 0 and "3 photographs are done" in capsys.readouterr().err


def test_a_share_of_failures_may_be_tolerated(photos, capsys):
    """Below it the status is 0; above it the run says so."""
    assert main(["enhance", "photos", "-o", "out", "--ledger", "a.jsonl", "--max-failure-rate", "0.25"]) == 0
    assert main(["enhance", "photos", "-o", "out", "--ledger", "a.jsonl", "--max-failure-rate", "0.25"]) == 2
    assert "1 of 1 photographs failed, more than the share of 0.25" in capsys.readouterr().err


def test_another_model_or_setting_is_refused_by_name(photos, capsys):
    """The file of an option counts by its contents; what changes no result may change."""
    words = ["enhance", "photos/0.png", "photos/1.png", "-o", "out", "--ledger", "led.jsonl"]
    write(np.full((8, 10, 3), 255, np.uint8), photos / "mask.png")
    assert main([*words, "--region", "mask.png"]) == 0
    assert main([*words, "--region", "mask.png", "--workers", "1", "-q"]) == 0
    for more, said in ((["--region", "mask.png", "--strength", "0.5"], "--strength: none then, 0.5 now"),
                       ([], "--region")):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    write(np.full((8, 10, 3), 128, np.uint8), photos / "mask.png")
    assert main([*words, "--region", "mask.png"]) == 2
    assert main([*words, "--region", "mask.png", "--overwrite"]) == 0
    assert json.loads((photos / "led.jsonl").read_text().splitlines()[-1])["status"] == "written"


@pytest.mark.parametrize("words, said", [
    (["--address", "here:1"], "--on ray"), (["--max-failure-rate", "2"], "0 to 1"),
    (["--ledger", "a.jsonl", "--shared-decision"], "--shared-decision"),
    (["--ledger", "a.jsonl", "--match-series"], "--match-series"),
    (["--ledger", "a.jsonl", "--cube", "a.cube"], "--cube"),
    (["--ledger", "a.jsonl", "-o", "-"], "standard"), (["--on", "ray"], "-o"),
    (["--on", "ray", "-o", "s3://bucket/out"], "--ledger"), (["--on", "spark"], "--on")])
def test_what_does_not_go_together_is_refused(photos, words, said, capsys, monkeypatch):
    """Before a model is loaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    try:
        assert main(["enhance", "photos", *words]) == 2
    except SystemExit as stop:
        assert stop.code == 2
    assert said in capsys.readouterr().err


def test_a_missing_extra_is_named_with_its_line(photos, capsys, monkeypatch):
    """Before any work."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["enhance", "photos", "-o", "out", "--on", "ray"]) == 2
    told = capsys.readouterr().err
    assert "needs ray" in told and "pip install" in told and "[cluster]" in told


def test_an_interrupted_command_goes_on(photos, monkeypatch, capsys):
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
    done = [json.loads(line) for line in (photos / "led.jsonl").read_text().splitlines()[1:]]
    written = [entry["target"] for entry in done if entry["status"] == "written"]
    assert len(written) == len(set(written)) == len(list((photos / "out").iterdir())) == 3
