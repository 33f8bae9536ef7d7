"""Many photographs at once: the same results as one by one, in order, bounded, and stopped cleanly."""

import io
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rlenhance.core.errors import UsageError
from rlenhance.io import STDIO, BatchPlan, Job, Photo, files, make_plan, read, run_batch, write
from rlenhance.io import batch as batch_room


def brighter(photo):
    """A process: one level brighter, and it tells which pixel it saw."""
    return photo.with_pixels(photo.pixels + 1), {"first": int(photo.pixels[0, 0, 0])}


@pytest.fixture
def album(tmp_path):
    """photos/00.png to 09.png, each with its own level and size."""
    for level in range(10):
        write(np.full((8 + level, 12, 3), level, np.uint8), tmp_path / f"photos/{level:02}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("max_in_flight", [1, 2, 7, None])
def test_many_equal_one_by_one_and_in_order(album, tmp_path, max_in_flight, at_once):
    """Whatever runs beside it, each result is that of a single run, byte for byte, told in the plan's order."""
    plan = make_plan([album], tmp_path / "out")
    outcomes = list(run_batch(plan, brighter, max_in_flight=max_in_flight, at_once=at_once))
    assert [outcome.source for outcome in outcomes] == [job.source for job in plan.jobs]
    for level, outcome in enumerate(outcomes):
        (alone,) = run_batch(make_plan([outcome.source], f"{tmp_path}/alone/"), brighter)
        assert outcome.written.read_bytes() == alone.written.read_bytes()
        assert outcome.decision == {"first": level}
        assert outcome.size == (12, 8 + level) and outcome.megapixels == pytest.approx(12 * (8 + level) / 1e6)
        assert outcome.seconds > 0 and outcome.error is None


def test_reading_and_writing_overlap_within_bounds(album, tmp_path):
    """Files are read ahead and written behind while others are changed; no more are held than was allowed."""
    held, most, overlapped, lock = set(), [0], [], threading.Lock()
    changing = threading.Event()

    def slow_read(path):
        with lock:
            held.add(path.name)
            most[0] = max(most[0], len(held))
        overlapped.append(changing.is_set())
        return read(path)

    def change(photo):
        changing.set()
        time.sleep(0.01)
        changing.clear()
        return brighter(photo)

    def slow_encode(photo, kind):
        overlapped.append(changing.is_set())
        time.sleep(0.005)
        return batch_room.encode(photo, kind)

    for outcome in run_batch(make_plan([album], tmp_path / "out"), change, max_in_flight=3, read=slow_read,
                             encode=slow_encode):
        held.remove(outcome.source.name)
    assert most[0] == 3 and any(overlapped)


@pytest.mark.parametrize(("large", "most"), [(10_000, 2), (1, 1)])
def test_small_photographs_are_processed_together_and_large_ones_alone(album, tmp_path, monkeypatch, large, most):
    """No more than was allowed, and large ones one after the other, whatever threads there are."""
    monkeypatch.setattr(batch_room, "_LARGE", large)
    lock, inside, seen = threading.Lock(), [0], [0]

    def change(photo):
        with lock:
            inside[0] += 1
            seen[0] = max(seen[0], inside[0])
        time.sleep(0.01)
        with lock:
            inside[0] -= 1
        return brighter(photo)

    assert not any(outcome.error for outcome in run_batch(make_plan([album], tmp_path / "out"), change,
                                                          max_in_flight=5, at_once=2))
    assert seen[0] <= most and (most == 2 or seen[0] == 1)


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_bad_file_stops_nothing(album, tmp_path, at_once):
    """What cannot be read, changed or written is told in its place, and the rest is done."""
    (album / "03.png").write_bytes(b"no picture")

    def picky(photo):
        if photo.pixels[0, 0, 0] == 5:
            raise UsageError("not this one")
        if photo.pixels[0, 0, 0] == 6:
            raise MemoryError
        return brighter(photo)

    (tmp_path / "out").mkdir()
    plan = make_plan([album], tmp_path / "out")
    (tmp_path / "out/08.png").mkdir()
    outcomes = {outcome.source.name: outcome for outcome in run_batch(plan, picky, max_in_flight=4, at_once=at_once)}
    assert list(outcomes) == sorted(outcomes)
    failed = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    assert list(failed) == ["03.png", "05.png", "06.png", "08.png"]
    assert "not a picture" in failed["03.png"] and "06.png: not enough memory" in failed["06.png"]
    assert all(outcomes[name].written is None for name in failed)
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_file()]) == 6


@pytest.mark.parametrize(("where", "at_once"), [("process", 1), ("caller", 1), ("caller", 2)])
def test_ctrl_c_leaves_whole_files(album, tmp_path, where, at_once):
    """Interrupted anywhere, the run ends at once; every file that is there is whole, and nothing lies beside it."""
    def change(photo):
        if where == "process" and photo.pixels[0, 0, 0] == 4:
            raise KeyboardInterrupt
        return brighter(photo)

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        outcomes = run_batch(make_plan([album], tmp_path / "out"), change, max_in_flight=2, at_once=at_once)
        for outcome in outcomes:
            if where == "caller" and outcome.source.name == "04.png":
                outcomes.close()
                raise KeyboardInterrupt
    assert threading.active_count() == threads
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert 2 <= len(there) < 9 and all(name.endswith(".png") for name in there)
    for name in there:
        assert np.array_equal(read(tmp_path / "out" / name).pixels, read(album / name).pixels + 1)


def test_skipped_ones_are_told_and_left(album, tmp_path):
    """Those with a result are told as skipped, untouched; the others are done."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/02.png").write_text("mine")
    outcomes = list(run_batch(make_plan([album], tmp_path / "out", skip_existing=True), brighter))
    assert [outcome.source.name for outcome in outcomes if outcome.skipped] == ["02.png"]
    assert (tmp_path / "out/02.png").read_text() == "mine" and len(outcomes) == 10


@pytest.mark.parametrize("at_once", [1, 3])
def test_warnings_go_with_their_photograph(album, tmp_path, at_once):
    """A warning is told with the photograph on which it fell, each time; the program's own filters come back."""
    def odd(path):
        if path.name in ("02.png", "07.png"):
            warnings.warn("its date is lost", stacklevel=1)
        return read(path)

    before = warnings.filters[:]
    outcomes = list(run_batch(make_plan([album], tmp_path / "out"), brighter, read=odd, at_once=at_once))
    assert [o.source.name for o in outcomes if o.warnings == ("its date is lost",)] == ["02.png", "07.png"]
    assert sum(len(outcome.warnings) for outcome in outcomes) == 2
    assert warnings.filters == before


def test_what_stays_is_copied(album, tmp_path):
    """Where nothing changes and the kind stays, the file is copied byte by byte; else it is encoded."""
    source = album / "05.png"
    source.write_bytes(source.read_bytes() + b"trailing bytes that no encoder would keep")
    for name, copied in (("same.png", True), ("other.bmp", False)):
        (outcome,) = run_batch(make_plan([source], tmp_path / name), lambda photo: (photo, {}), copy=True)
        assert (outcome.written.read_bytes() == source.read_bytes()) == copied
        assert np.array_equal(read(outcome.written).pixels, read(source).pixels)
    (outcome,) = run_batch(make_plan([source], tmp_path / "new.png"), lambda photo: (photo, {}))
    assert outcome.written.read_bytes() != source.read_bytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_standard_input_and_output(monkeypatch, kind):
    """A picture that comes without a name goes out as the same kind of file."""
    data, out = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.full((8, 9, 3), 100, np.uint8)).save(data, kind)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data.getvalue())))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    (outcome,) = run_batch(BatchPlan((Job(STDIO, STDIO),)), brighter)
    monkeypatch.undo()
    assert outcome.error is None
    with Image.open(io.BytesIO(out.getvalue())) as image:
        assert image.format == kind and np.abs(np.asarray(image).astype(int) - 101).max() <= 1


def test_standard_input_that_is_no_picture(monkeypatch):
    """It is called by its name."""
    for data, told in ((b"", "empty"), (b"text", "not a picture")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        (outcome,) = run_batch(BatchPlan((Job(STDIO, Path("x.png")),)), brighter)
        assert outcome.error.startswith("standard input: ") and told in outcome.error


def test_at_least_one_at_a_time():
    """None at a time is refused."""
    with pytest.raises(UsageError, match="at least 1"):
        list(run_batch(BatchPlan(()), brighter, max_in_flight=0))


@pytest.mark.parametrize("stage", ["read", "process", "encode", "clip"])
@pytest.mark.parametrize("fault", [KeyError("a mistake\nof ours"), RecursionError(), OSError(28, "No space left"),
                                   AssertionError(), UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")], ids=repr)
def test_no_fault_stops_a_folder(album, tmp_path, capsys, monkeypatch, stage, fault):
    """Whatever is raised at whatever stage: the photograph is named in one line, and the others are done."""
    (album / "05.mp4").write_bytes(b"clip")

    def faulty(own, number, work):
        def stands(*given):
            first = given[0]
            level = int(first.pixels[0, 0, 0]) if isinstance(first, Photo) else int(first.stem)
            if own == stage and level == number:
                raise fault
            return work(*given)
        return stands

    plan = make_plan([album], tmp_path / "out", clips=True)
    monkeypatch.setenv("RLENHANCE_TRACEBACK", "1")
    outcomes = list(run_batch(
        plan, faulty("process", 4, brighter), read=faulty("read", 3, read), max_in_flight=3,
        encode=faulty("encode", 7, batch_room.encode), process_clip=faulty("clip", 5, lambda *_: ((1, 1), {}, ()))))
    (failed,) = [outcome for outcome in outcomes if outcome.error]
    name = {"read": "03.png", "process": "04.png", "encode": "06.png", "clip": "05.mp4"}[stage]
    assert len(outcomes) == 11 and failed.source == album / name and failed.written is None
    assert failed.error.startswith(f"{album / name}: ") and "\n" not in failed.error
    ours = not isinstance(fault, OSError)
    assert ("fault of the program" in failed.error) == (type(fault).__name__ in failed.error) == ours
    assert ("Traceback" in capsys.readouterr().err) == ours
    assert sum((tmp_path / "out" / f"{level:02}.png").is_file() for level in range(10)) == 9 + (stage == "clip")
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("stage", ["read", "process", "encode"])
def test_what_stops_the_program_stops_the_folder(album, tmp_path, stop, stage):
    """Ctrl-C and SystemExit are no failures of a photograph."""
    def stopping(*_):
        raise stop

    stages = {"read": read, "process": brighter, "encode": batch_room.encode} | {stage: stopping}
    with pytest.raises(stop):
        list(run_batch(make_plan([album], tmp_path / "out"), stages.pop("process"), **stages))


def test_two_runs_share_a_folder(album, tmp_path):
    """Without overwrite each result is written once: the second run skips it, or names it as a failure."""
    plans = [make_plan([album], tmp_path / "out", skip_existing=skip) for skip in (True, False)]
    first = run_batch(make_plan([album], tmp_path / "out"), brighter, max_in_flight=1)
    for _ in range(4):
        next(first)
    before = {path: path.stat().st_ino for path in (tmp_path / "out").iterdir()}
    skipping, plain = ([*run_batch(plan, lambda photo: (photo.with_pixels(photo.pixels + 9), {}))] for plan in plans)
    assert sum(outcome.skipped for outcome in skipping) == len(before) and not any(o.error for o in skipping)
    assert all("exists by now" in outcome.error for outcome in plain) and len(plain) == 10
    rest = list(first)  # the slow one wrote none of the others again
    assert all("wrote it meanwhile" in o.error or "exists by now" in o.error or o.written in before for o in rest)
    assert all(path.stat().st_ino == number for path, number in before.items())
    assert read(tmp_path / "out/09.png").pixels[0, 0, 0] == 18


def test_a_result_is_put_where_links_are_unknown(tmp_path, monkeypatch):
    """On a file system without hard links a result that appeared meanwhile stays, too."""
    monkeypatch.setattr(files.os, "link", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    files.write_bytes(b"new", tmp_path / "a.png", replace=False)
    with pytest.raises(files.FileAppeared, match="overwrite"):
        files.write_bytes(b"other", tmp_path / "a.png", replace=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_leftovers_of_killed_runs_are_removed(album, tmp_path):
    """Temporary files by our name, of this version and the former, an hour old; whatever else lies there stays."""
    out = tmp_path / "out"
    out.mkdir()
    ours = [".rlenhance-0123456789abcdef.part", ".0123456789abcdef.part"]
    others = [".notes.part", "0123456789abcdef.part", ".0123456789ABCDEF.part", ".rlenhance-1.part", "a.jpg.part"]
    old, fresh = time.time() - 3700, time.time() - 3000
    for name in (*ours, *others):
        (out / name).write_bytes(b"x")
        os.utime(out / name, (old, old))
    (out / ".rlenhance-ffffffffffffffff.part").write_bytes(b"of a run at work")
    os.utime(out / ".rlenhance-ffffffffffffffff.part", (fresh, fresh))
    (out / ".rlenhance-aaaaaaaaaaaaaaaa.part").symlink_to(album / "00.png")
    (out / ".rlenhance-bbbbbbbbbbbbbbbb.part").mkdir()
    list(run_batch(make_plan([album], out), brighter))
    left = {path.name for path in out.iterdir()} - {f"{level:02}.png" for level in range(10)}
    assert left == {*others, *(f".rlenhance-{digit * 16}.part" for digit in "fab")}


@pytest.mark.parametrize("special", ["pipe", "folder"])
def test_only_files_are_replaced(tmp_path, special):
    """A device or a pipe is read by nobody and replaced by nothing."""
    os.mkfifo(tmp_path / "a.png") if special == "pipe" else (tmp_path / "a.png").mkdir()
    with pytest.raises(UsageError, match=r"a\.png: cannot be written"):
        files.write_bytes(b"x", tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"a\.png"):
        read(tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and not (tmp_path / "a.png").is_file()
