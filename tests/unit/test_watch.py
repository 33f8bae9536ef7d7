"""`rlenhance watch`: what arrives is enhanced once it is whole, and nothing stops it but Ctrl-C."""

import json
import os
import threading
import time

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.io.watcher import FolderWatcher
from rlenhance.learning.hub.checkpoint import save_checkpoint
from tests.support.networks import make_planner


@pytest.fixture
def clock():
    """A clock that goes when it is told to."""
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


def test_a_file_is_given_once_it_is_whole(tmp_path, clock):
    """While it grows it is not given; after `settle` seconds without a change it is, once; changed, again."""
    arrivals = FolderWatcher(tmp_path, settle=2, clock=clock)
    path = tmp_path / "a.jpg"
    for length in (0, 10, 20):
        path.write_bytes(b"x" * length)
        clock.now += 1.9
        assert arrivals.poll() == []
    assert arrivals.pending == 1
    clock.now += 2
    assert arrivals.poll() == [path]
    clock.now += 10
    assert arrivals.poll() == [] and arrivals.pending == 0
    path.write_bytes(b"y" * 20)
    os.utime(path, ns=(1, 1))
    assert arrivals.poll() == []
    clock.now += 2
    assert arrivals.poll() == [path]


def test_an_empty_file_waits_longer(tmp_path, clock):
    """Who makes the file first and fills it later has ten times as long."""
    arrivals = FolderWatcher(tmp_path, settle=2, clock=clock)
    (tmp_path / "a.jpg").touch()
    assert arrivals.poll() == []
    clock.now = 19
    assert arrivals.poll() == []
    clock.now = 20
    assert arrivals.poll() == [tmp_path / "a.jpg"]


def test_only_pictures_arrive(tmp_path, clock):
    """Other files, hidden ones, what goes away, and the folder of results are passed over."""
    arrivals = FolderWatcher(tmp_path, recursive=True, exclude=tmp_path / "out", settle=0, clock=clock)
    for name in ("a.jpg", "a.jpg.part", ".b.jpg", "deep/c.png", "out/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert arrivals.poll() == [tmp_path / "a.jpg", tmp_path / "deep/c.png"]
    (tmp_path / "a.jpg").unlink()
    assert arrivals.poll() == [] and arrivals.all == [tmp_path / "deep/c.png"]
    with pytest.raises(UsageError, match="no such folder"):
        FolderWatcher(tmp_path / "gone").poll()


@pytest.fixture
def inbox(night, tmp_path):
    """in/ with a photograph, a damaged one, and a folder with another."""
    write(read(night), tmp_path / "in/a.png")
    write(read(night), tmp_path / "in/deep/b.png")
    (tmp_path / "in/bad.jpg").write_bytes(b"half a picture")
    return tmp_path / "in"


def once(*words):
    return cli.main(["watch", "in", "--once", "--stable-for", "0", "--interval", "0.01", *words])


def test_once_does_what_is_there(inbox, tmp_path, capsys):
    """--once: the results of `enhance`, byte for byte; the damaged one is named, the status is 2; again: nothing."""
    assert once("-o", "out", "-r") == 2
    assert "bad.jpg: not a picture" in capsys.readouterr().err
    assert cli.main(["enhance", "in", "-o", "other", "-r"]) == 2
    for name in ("a.png", "deep/b.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    (inbox / "bad.jpg").unlink()
    capsys.readouterr()
    assert once("-o", "out", "-r") == 0
    assert capsys.readouterr().out == ""


def test_what_arrives_is_repaired(inbox, tmp_path):
    """--repair: the results of `restore`, byte for byte, with its settings."""
    planner = make_planner((2.0, 1.0, 0.0), tools=("unsharp", "median", "brighten-gamma"))
    words = ["--model", str(save_checkpoint(tmp_path / "planner/best", planner)), "--budget", "fast"]
    assert once("--repair", *words, "-o", "out") == 2
    assert cli.main(["restore", "in", *words, "-o", "other"]) == 2
    assert (tmp_path / "out/a.png").read_bytes() == (tmp_path / "other/a.png").read_bytes()
    (inbox / "bad.jpg").unlink()
    assert once("--repair", *words) == 0 and (inbox / "a_restored.png").is_file()


def test_results_beside_their_sources_are_no_arrivals(inbox, capsys):
    """Without -o a result is not taken for a photograph, the first time and later."""
    (inbox / "bad.jpg").unlink()
    assert [once(), once()] == [0, 0]
    assert sorted(path.name for path in inbox.iterdir()) == ["a.png", "a_enhanced.png", "deep"]


def test_a_changed_photograph_is_done_again_when_asked(inbox, tmp_path):
    """A result stays; with --overwrite it is replaced where its photograph is newer."""
    (inbox / "bad.jpg").unlink()
    assert once("-o", "out") == 0
    first = (tmp_path / "out/a.png").read_bytes()
    write(255 - read(inbox / "a.png").pixels, inbox / "a.png")
    os.utime(inbox / "a.png", (4e9, 4e9))
    assert once("-o", "out") == 0
    assert (tmp_path / "out/a.png").read_bytes() == first
    assert once("-o", "out", "--overwrite") == 0
    assert (tmp_path / "out/a.png").read_bytes() != first


def test_what_arrives_later_is_done_until_ctrl_c(inbox, tmp_path, capsys, monkeypatch):
    """A photograph that is written slowly, one that was damaged and is sent anew, a folder that goes and comes."""
    data = (inbox / "a.png").read_bytes()
    looks = []

    def happen(seconds):
        looks.append(seconds)
        number = len(looks)
        if number == 2:
            (inbox / "late.png").write_bytes(data[:100])
        elif number == 3:
            (inbox / "late.png").write_bytes(data)
            (inbox / "bad.jpg").write_bytes(data)
        elif number == 6:
            os.rename(inbox, tmp_path / "away")
        elif number == 8:
            os.rename(tmp_path / "away", inbox)
        elif number == 10:
            raise KeyboardInterrupt
        plain(0.02)

    plain = time.sleep
    monkeypatch.setattr("rlenhance.cli.watch.time.sleep", happen)
    assert cli.main(["watch", "in", "-o", "out", "--stable-for", "0.03", "--format", "png"]) == 130
    printed = capsys.readouterr()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "bad.png", "late.png"]
    assert np.array_equal(read(tmp_path / "out/late.png").pixels, read(tmp_path / "out/a.png").pixels)
    assert printed.err.count("failed: in/bad.jpg: not a picture") == 1
    assert printed.err.count("waiting: in: no such folder") == 1 and "stopped: 3 written, 1 failed" in printed.err
    assert printed.out.startswith("watching in; Ctrl-C stops\nin/a.png -> out/a.png: brightness ")


def test_each_arrival_as_an_object(inbox, capsys):
    """--json as for enhance."""
    assert once("-o", "out", "--json") == 2
    *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["status"] for line in lines] == ["written", "failed"] and last["summary"]["written"] == 1


@pytest.mark.parametrize("words, told", [
    (["nowhere"], "no such folder"), (["in", "-o", "in"], "take the place"), (["in", "-o", "in/a.png"], "is a file"),
    (["in", "--name", "{number}{ext}"], "no {number}"), (["in", "--interval", "0"], "--interval is more than 0"),
    (["in", "--exposure", "7"], "--exposure must lie"), (["in", "--workers", "0"], "--workers"),
    (["in", "--recipe", "nowhere.json"], "nowhere.json"),
    (["in", "--repair", "--steps", "0"], "steps must lie between 1 and 10; got 0"),
    (["in", "--repair", "--contrast", "0", "--preset", "vivid"], "--contrast, --preset: not with --repair"),
    (["in", "--budget", "fast"], "--budget: only with --repair"),
])
def test_bad_words_are_answered_in_a_line(inbox, capsys, words, told):
    """Before it watches: status 2 and one line."""
    assert cli.main(["watch", *words]) == 2
    printed = capsys.readouterr().err
    assert told in printed and printed.count("\n") == 1


def test_it_runs_beside_other_threads(inbox, tmp_path):
    """Started from a thread, where no signal can be heard, it works as well."""
    status = []
    thread = threading.Thread(target=lambda: status.append(once("-o", "out", "-q")))
    thread.start()
    thread.join()
    assert status == [2] and (tmp_path / "out/a.png").is_file()


def test_no_source_is_another_ones_result(inbox, tmp_path, capsys):
    """A photograph in the folder is never replaced by the result of one beside it, with --overwrite either."""
    os.rename(inbox / "bad.jpg", inbox / "a.jpg")
    before = (inbox / "a.jpg").read_bytes()
    os.utime(inbox / "a.jpg", (1, 1))
    words = ["watch", "in", "--once", "--stable-for", "0", "--overwrite", "--name", "{stem}{ext}", "--format", "jpg"]
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert "in/a.jpg: the result of in/a.png would replace another file that is read (in/a.jpg)" in told
    assert (inbox / "a.jpg").read_bytes() == before


def test_leftovers_below_the_folder_are_removed(inbox, tmp_path):
    """A killed run's temporary files go where nothing is left to do, too."""
    left = inbox / "deep/.rlenhance-0123456789abcdef.part"
    left.write_bytes(b"x")
    os.utime(left, (1, 1))
    cli.main(["watch", "in", "-r", "--once", "--stable-for", "0"])
    assert not left.exists()
