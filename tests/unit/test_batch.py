"""Many photographs at once: the same results as one by one, in order, bounded, and stopped cleanly."""

import io
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
from rlenhance.io import STDIO, BatchPlan, Job, Photo, make_plan, read, run_batch, write
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


@pytest.mark.parametrize("max_in_flight", [1, 2, 7, None])
def test_many_equal_one_by_one_and_in_order(album, tmp_path, max_in_flight):
    """Whatever runs beside it, each result is that of a single run, byte for byte, told in the plan's order."""
    plan = make_plan([album], tmp_path / "out")
    outcomes = list(run_batch(plan, brighter, max_in_flight=max_in_flight))
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


def test_a_bad_file_stops_nothing(album, tmp_path):
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
    outcomes = {outcome.source.name: outcome for outcome in run_batch(plan, picky, max_in_flight=4)}
    assert list(outcomes) == sorted(outcomes)
    failed = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    assert list(failed) == ["03.png", "05.png", "06.png", "08.png"]
    assert "not a picture" in failed["03.png"] and "06.png: not enough memory" in failed["06.png"]
    assert all(outcomes[name].written is None for name in failed)
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_file()]) == 6


@pytest.mark.parametrize("where", ["process", "caller"])
def test_ctrl_c_leaves_whole_files(album, tmp_path, where):
    """Interrupted anywhere, the run ends at once; every file that is there is whole, and nothing lies beside it."""
    def change(photo):
        if where == "process" and photo.pixels[0, 0, 0] == 4:
            raise KeyboardInterrupt
        return brighter(photo)

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        outcomes = run_batch(make_plan([album], tmp_path / "out"), change, max_in_flight=2)
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


def test_warnings_go_with_their_photograph(album, tmp_path):
    """A warning is told with the photograph on which it fell, each time; the program's own filters come back."""
    def odd(path):
        if path.name in ("02.png", "07.png"):
            warnings.warn("its date is lost", stacklevel=1)
        return read(path)

    before = warnings.filters[:]
    outcomes = list(run_batch(make_plan([album], tmp_path / "out"), brighter, read=odd))
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


def test_a_fault_of_the_program_is_not_hidden(album, tmp_path):
    """What is neither bad input nor lack of memory ends the run with its traceback."""
    def broken(photo):
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        list(run_batch(make_plan([album], tmp_path / "out"), broken))
    assert isinstance(read(album / "01.png"), Photo)
