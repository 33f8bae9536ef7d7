"""`rlenhance enhance` on many photographs: what is told, where results go, how it ends."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rlenhance.cli import main as cli
from rlenhance.io import files as files_room
from rlenhance.io import read, write


@pytest.fixture
def album(night, tmp_path):
    """photos/ with two pictures, a letter, and a folder with two more, one of them damaged."""
    pixels = read(night).pixels
    for name in ("photos/a.png", "photos/夜 景 🌙.png", "photos/deep/-c.png"):
        write(pixels // 2 + len(name) % 9, tmp_path / name)
    (tmp_path / "photos/deep/bad.jpg").write_bytes(b"no picture")
    (tmp_path / "photos/notes.txt").write_text("a letter")
    return tmp_path / "photos"


def run(*words):
    return cli.main(["enhance", *map(str, words)])


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_tree_comes_out_mirrored(album, tmp_path, capsys):
    """-r mirrors the folders; the damaged file is named with its reason at the end, and the status is 2."""
    assert run("photos", "-r", "-o", "out") == 2
    assert tree(tmp_path / "out") == ["a.png", "deep/-c.png", "夜 景 🌙.png"]
    printed = capsys.readouterr()
    assert "photos/a.png -> out/a.png: brightness 0." in printed.out and "3 written, 1 failed in " in printed.out
    end = printed.err.split("1 of 4 photographs failed; the others are written:\n")[1]
    assert end.startswith("  photos/deep/bad.jpg: not a picture")
    assert run("photos", "-o", "flat") == 0
    assert tree(tmp_path / "flat") == ["a.png", "夜 景 🌙.png"]


def test_many_equal_single_runs(album, tmp_path):
    """Each result of a folder is that of a run of its own, byte for byte."""
    assert run("photos", "-r", "-o", "out", "--workers", "3") == 2
    for name in tree(tmp_path / "out"):
        assert run("-o", "alone.png", "--overwrite", "--", f"photos/{name}") == 0
        assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_an_interrupted_run_goes_on(album, tmp_path, capsys):
    """--skip-existing leaves results as they are and does the rest; a first run is refused where they exist."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("mine")
    assert run("photos", "-o", "out") == 2
    assert "--skip-existing" in capsys.readouterr().err
    assert run("photos", "-o", "out", "--skip-existing") == 0
    assert "photos/a.png: skipped, out/a.png exists" in capsys.readouterr().out
    assert (tmp_path / "out/a.png").read_text() == "mine" and len(tree(tmp_path / "out")) == 2
    assert run("photos", "-o", "out", "--skip-existing") == 0
    assert "2 skipped" in capsys.readouterr().out


def test_a_dry_run_writes_nothing_and_loads_no_model(album, tmp_path, capsys, monkeypatch):
    """The plan is told, in words or JSON; folders are not made."""
    monkeypatch.setattr("rlenhance.pipelines.enhance.Enhancer", lambda *_: pytest.fail("a model was loaded"))
    before = tree(tmp_path)
    assert run("photos", "-r", "-o", "out", "--dry-run", "--name", "{number}_{stem}{ext}") == 0
    assert "photos/deep/-c.png -> out/deep/3_-c.png" in capsys.readouterr().out
    assert run("photos", "--dry-run", "--json") == 0
    first, second, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["source"], first["target"], first["status"]) == ("photos/a.png", "photos/a_enhanced.png", "planned")
    assert second["source"].endswith("夜 景 🌙.png") and last["summary"]["planned"] == 2
    assert tree(tmp_path) == before


def test_every_photograph_as_an_object(album, capsys):
    """--json tells what was done, in which time, of what size, and what was decided; a summary ends it."""
    assert run("photos", "-r", "-o", "out", "--json") == 2
    *photographs, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [photo["status"] for photo in photographs] == ["written", "written", "written", "failed"]
    first = photographs[0]
    assert first["size"] == [28, 20] and first["megapixels"] == 28 * 20 / 1e6 and first["seconds"] > 0
    before, after = (read(first[part]).pixels.mean() / 255 for part in ("source", "target"))
    assert first["decision"] == {"words": f"brightness {before:.2f} -> {after:.2f}", "denoise": 0.0,
                                 "exposure_before": round(before, 4), "exposure": round(after, 4)}
    assert "bad.jpg" in photographs[3]["error"] and photographs[3]["target"] is None
    assert {key: last["summary"][key] for key in ("written", "skipped", "failed", "interrupted")} == {
        "written": 3, "skipped": 0, "failed": 1, "interrupted": False}


def test_quiet_tells_failures_alone(album, capsys):
    """With -q nothing but what went wrong is told."""
    assert run("photos/a.png", "-q", "--save-recipe", "done.json") == 0
    assert capsys.readouterr() == ("", "")
    assert run("photos", "-r", "-o", "out", "-q") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "bad.jpg" in printed.err


def test_a_terminal_gets_one_bar(album, capsys, monkeypatch):
    """Several photographs on a terminal: one bar with photographs per second and the time left, and no lines."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run("photos", "-r", "-o", "out") == 2
    printed = capsys.readouterr()
    assert "4/4" in printed.err and " photographs/s" in printed.err and "<00:00" in printed.err
    assert " -> " not in printed.out and "3 written" in printed.out
    assert run("photos/a.png") == 0  # a single one needs none
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out.startswith("photos/a.png -> photos/a_enhanced.png: ")


@pytest.mark.parametrize("words, kind", [([], "PNG"), (["-o", "-"], "PNG"), (["-o", "-", "--format", "bmp"], "BMP")])
def test_through_a_pipe(night, monkeypatch, capsysbinary, words, kind):
    """- reads a picture and gives one of the same kind, the very bytes of a run on files, with nothing between."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(night.read_bytes()), isatty=lambda: False))
    assert run("-", *words) == 0
    data = capsysbinary.readouterr().out
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == kind
    assert run("night.png", "-o", f"file.{kind.lower()}") == 0
    assert (night.parent / f"file.{kind.lower()}").read_bytes() == data


def test_remarks_stay_out_of_the_picture(night, capsysbinary):
    """What is told beside a picture on standard output goes to standard error."""
    assert run("night.png", "-o", "-", "--shared-decision", "--match-style", "night.png") == 0
    printed = capsysbinary.readouterr()
    assert printed.out.startswith(b"\x89PNG") and b"decided on night.png" in printed.err


def test_names_of_ones_own(album, tmp_path):
    """--name is heard, beside the sources and in a folder; its preset has the name that was given."""
    (tmp_path / "mine.json").write_text('{"strength": 0.5}')
    assert run("photos/a.png", "--name", "{stem}_{preset}{ext}", "--preset", "mine.json") == 0
    assert run("photos", "-o", "out", "--name", "{kind}-{number}{ext}", "--format", "bmp") == 0
    assert (album / "a_mine.png").is_file() and tree(tmp_path / "out")[0] == "png-1.bmp"


@pytest.mark.parametrize("words, told", [
    (["photos", "--workers", "0"], "--workers must be at least 1"),
    (["photos", "--name", "{color}{stem}"], "{stem}, {ext}, {kind}, {number}, {preset}"),
    (["photos", "--name", "{stem}_{preset}{ext}"], "no preset to name"),
    (["photos/*.gif"], "no picture matches"),
    (["photos/a.png", "night.png", "-o", "-"], "standard output takes one"),
])
def test_bad_words_are_answered_in_a_line(album, capsys, words, told):
    """Status 2, one line, nothing written."""
    before = tree(album.parent)
    assert run(*words) == 2
    printed = capsys.readouterr().err
    assert told in printed and printed.count("\n") == 1
    assert tree(album.parent) == before


def test_overwriting_and_skipping_exclude_each_other(album, capsys):
    """Both at once mean nothing."""
    with pytest.raises(SystemExit) as end:
        run("photos", "--overwrite", "--skip-existing")
    assert end.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_without_any_change_the_file_is_copied(album, tmp_path):
    """With strength 0 the bytes of the file come out, whatever an encoder would have made of them."""
    source = album / "a.png"
    source.write_bytes(source.read_bytes() + b"more than an encoder keeps")
    assert run(source, "-o", "same.png", "--strength", "0") == 0
    assert (tmp_path / "same.png").read_bytes() == source.read_bytes()
    assert run(source, "-o", "other.bmp", "--strength", "0") == 0
    assert np.array_equal(read(tmp_path / "other.bmp").pixels, read(source).pixels)


def test_all_frames_decide_together_when_some_exist(album, tmp_path, capsys):
    """A burst that goes on after an interruption is decided on by all of its frames, those done before too."""
    assert run("photos", "-o", "whole", "--shared-decision", "-q") == 0
    (tmp_path / "out").mkdir()
    write(read(tmp_path / "whole/a.png"), tmp_path / "out/a.png")
    assert run("photos", "-o", "out", "--shared-decision", "--skip-existing") == 0
    name = "夜 景 🌙.png"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_name_that_is_no_text_is_told(night, tmp_path, capsys):
    """Bytes that are no UTF-8 stand in file names; they are taken, and told as well as may be."""
    raw = os.fsencode(tmp_path) + b"/in/nacht\xff.png"
    os.mkdir(tmp_path / "in")
    with open(raw, "wb") as file:
        file.write(night.read_bytes())
    done = subprocess.run([sys.executable, "-m", "rlenhance", "enhance", b"in", b"-o", b"out", b"--dry-run"],
                          cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0 and b"nacht" in done.stdout
    assert run("in", "-o", "out", "--json") == 0
    assert os.listdir(os.fsencode(tmp_path) + b"/out") == [b"nacht\xff.png"]


#: The command with an enhancer that copies, slowly, so that no model is loaded.
_SLOW = """
import signal, sys, time
from types import SimpleNamespace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
def process(photo):
    time.sleep(0.05)
    return photo.with_pixels(photo.pixels), {}
from rlenhance.cli import enhance
from rlenhance.cli.main import main
enhance.make_enhancer = lambda arguments: (SimpleNamespace(process=process, region=None), False)
sys.argv[1:] = ["enhance", "many", "-o", "out"]
sys.exit(main())
"""


@pytest.mark.parametrize("times", [1, 6])
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_soon_and_leaves_whole_files(tmp_path, number, status, times):
    """Ctrl-C in the middle of a folder: its own status, what is there is whole, and how to go on is told.

    Several within 50 ms, as an impatient finger or a supervisor sends them, are one.
    """
    (tmp_path / "many").mkdir()
    for count in range(100):
        Image.new("RGB", (40, 40), (count, 0, 0)).save(tmp_path / f"many/{count:03}.png")
    running = subprocess.Popen([sys.executable, "-c", _SLOW], cwd=tmp_path, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline().startswith("many/000.png")
    for _ in range(times):
        running.send_signal(number)
        time.sleep(0.01)
    _, told = running.communicate(timeout=60)
    assert running.returncode == status and "--skip-existing goes on" in told and "Traceback" not in told
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert 0 < len(there) < 100 and all(name.endswith(".png") for name in there)
    assert all(np.array_equal(read(tmp_path / "out" / name).pixels, read(tmp_path / "many" / name).pixels)
               for name in there)


def test_a_reader_that_goes_away_is_no_fault(album, tmp_path):
    """`... | head -1` ends quietly."""
    command = f"{sys.executable} -m rlenhance enhance photos -r --dry-run | (read line; exec <&-; sleep 0.1)"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_warning_is_a_note(night, monkeypatch, capsys):
    """What was lost on the way is told with its photograph, in words and in JSON."""
    import warnings

    def encode(photo, kind, **settings):
        warnings.warn("night.png: its date could not be kept", stacklevel=1)
        return plain(photo, kind)

    plain = files_room.encode
    monkeypatch.setattr(files_room, "encode", encode)
    assert run("night.png") == 0
    assert "note: night.png: its date" in capsys.readouterr().err
    assert run("night.png", "--json", "--overwrite") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["warnings"] == ["night.png: its date could not be kept"]
