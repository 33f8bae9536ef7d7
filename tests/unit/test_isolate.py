"""A function in a child process: its result, its limits, and no process that stays."""

import copy
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import decode, encode, write
from rlenhance.io.containers import sniff
from rlenhance.io.isolate import run_isolated
from tests.support import corpus

_run = partial(run_isolated, name="night.jpg", seconds=5, memory=500)
_PARENT = """
import threading, time, os
from rlenhance.io.isolate import run_isolated
run = lambda *call: run_isolated(*call, name="x", seconds=50, memory=100)
threading.Thread(target=run, args=({busy}), daemon=True).start()
time.sleep(0.5)
print(os.getpid(), flush=True)
time.sleep(50)
"""


def _alive(session):
    """Processes whose parent was `session`, by a variable of their environment."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/environ", "rb") as file:
                found += [int(number)] * (f"RLENHANCE_TEST={session}\0".encode() in file.read())
        except OSError:
            continue
    return found


def test_a_photograph_is_the_same_and_its_warnings_arrive():
    """Pixels, metadata, encoding and profile."""
    case = next(case for case in corpus.cases() if case.metadata and case.mode == "RGBA" and case.depth == 16)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        there = _run(decode, case.data, "night.jpg")
        expected = str(heard[0].message)
        here = decode(case.data, "night.jpg")
    assert expected == str(heard[-1].message)
    assert np.array_equal(here.pixels, there.pixels) and np.array_equal(here.alpha, there.alpha)
    assert here.pixels.flags.writeable and there.pixels.flags.writeable
    assert (here.metadata, here.encoding, here.name) == (there.metadata, there.encoding, there.name)


def test_a_wide_gamut_comes_back():
    """The colours that sRGB lacks are written again."""
    data = corpus.png16(corpus.noise((9, 13, 3), np.uint16), icc=corpus.profile("p3"))
    there, here = _run(decode, data, "night.png"), decode(data, "night.png")
    assert encode(there, ".png") == encode(here, ".png") and there.wide_gamut is not None


def flat_png(width, height):
    """Black, 1 bit per pixel: a kilobyte per 8 megapixels."""
    rows = zlib.compress(bytes((width // 8 + 1) * height))
    parts = (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)


def test_a_folder_goes_on_after_a_file_that_takes_too_long(tmp_path, capsys):
    """It is named with the flag that allows it more."""
    (tmp_path / "a.png").write_bytes(flat_png(16_000, 15_000))
    case = next(case for case in corpus.cases() if case.container == "JPEG")
    (tmp_path / "b.jpg").write_bytes(case.data)
    assert main(["denoise", str(tmp_path), "-o", str(tmp_path / "out"), "--decode-timeout", "0.1"]) == 2
    assert "a.png: takes more than 0.1 seconds to read; raise the limit (--decode-timeout)" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.jpg"]
    assert main(["denoise", str(tmp_path), "--decode-timeout", "86401"]) == 2


def test_the_child_imports_no_torch():
    """It starts in a fraction of a second."""
    assert not {"torch", "scipy"} & set(_run(eval, "list(__import__('sys').modules)"))


def test_a_relative_name_means_the_folder_of_the_call(tmp_path, monkeypatch):
    """Also in a child that began in another one, or where the folder is gone."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.txt").write_text(name)
        monkeypatch.chdir(tmp_path / name)
        assert run_isolated(os.stat, "own.txt", name="own.txt", seconds=5, memory=100)[6] == len(name)
    (tmp_path / "second/own.txt").unlink()
    (tmp_path / "second").rmdir()
    assert run_isolated(divmod, 7, 2, name="7", seconds=5, memory=100) == (3, 1)


def test_errors_of_the_function_are_raised():
    """A UsageError with its text, and any other error as itself."""
    with pytest.raises(UsageError, match="empty"):
        _run(sniff, b"", "night.jpg")
    with pytest.raises(ZeroDivisionError):
        _run(divmod, 1, 0)
    with pytest.raises(RuntimeError, match="PackageNotFoundError"):
        _run(metadata.version, "night")
    with pytest.raises(TypeError, match="cannot be sent"):
        _run(eval, "{1, 2}")


@pytest.mark.parametrize("value", [
    None, True, 3, -0.5, "é\ud800", b"\0\xff", [1, [2]], (1, (2, [b"3"])), {1: [2], "a": {"array": 0}}, Path("a/b"),
    np.float32(0.1), np.arange(6, dtype=">u2").reshape(2, 3)[:, ::-1], np.zeros((0, 3)), np.array([1j])], ids=repr)
def test_values_come_back_as_they_are(value):
    """What is sent and returned: nothing is pickled."""
    result = _run(copy.copy, value)
    assert type(result) is type(value) or isinstance(value, np.generic)
    if isinstance(value, (np.ndarray, np.generic)):
        assert np.array_equal(result, value) and result.dtype == value.dtype
    else:
        assert result == value


@pytest.mark.parametrize("call, limits, words", [
    ((time.sleep, 60), {"seconds": 0.1}, "more than 0.1 seconds"),
    ((pow, 3, 10**9), {"seconds": 0.5, "memory": 5000}, "more than 0.5 seconds"),
    ((bytearray, 1 << 30), {"memory": 100}, "more than 100 MiB"),
    ((os.abort,), {}, "SIGABRT"),
    ((os.kill, 0, int(signal.SIGSEGV)), {}, "SIGSEGV"),
    ((os._exit, 3), {}, "status 3"),
], ids=lambda value: str(value)[:30])
def test_an_overrun_is_told_with_the_name_and_the_way_out(call, limits, words):
    """A crash too; the next call has a child of its own."""
    with pytest.raises(UsageError, match=f"night.jpg: .*{words}.*(raise the limit|save it anew)"):
        _run(*call, **limits)
    assert _run(divmod, 7, 2) == (3, 1)


def test_a_limit_holds_for_one_call():
    """Time and memory of earlier calls do not count, and later ones may have more."""
    for _ in range(3):
        assert len(_run(bytearray, 1 << 27, memory=200)) == 1 << 27
    assert len(_run(bytearray, 1 << 28, memory=400)) == 1 << 28


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"memory": -1}, {"seconds": float("nan")}])
def test_limits_are_above_zero(limits):
    """And finite."""
    with pytest.raises(UsageError, match="above 0"):
        _run(divmod, 7, 2, **limits)


def test_threads_have_children_of_their_own(tmp_path):
    """A call that waits does not delay another thread's."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    waiting = threading.Thread(target=_run, args=(Path.read_bytes, pipe), kwargs={"seconds": 60})
    waiting.start()
    assert _run(divmod, 7, 2) == (3, 1)
    assert waiting.is_alive()
    pipe.write_bytes(b"now")
    waiting.join()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("busy", ["time.sleep, 60", "pow, 3, 10**9"])
def test_no_child_stays_when_the_parent_is_killed(busy):
    """With -9, in the middle of a call."""
    session = os.urandom(8).hex()
    parent = subprocess.Popen([sys.executable, "-c", _PARENT.format(busy=busy)], stdout=subprocess.PIPE,
                              env={**os.environ, "RLENHANCE_TEST": session})
    parent.stdout.readline()
    assert len(_alive(session)) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while _alive(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(session)


def test_without_posix_everything_imports_and_a_limit_is_refused(tmp_path):
    """As on Windows: files are read without limits, and asking for one is told."""
    code = ("import sys; sys.modules['fcntl'] = sys.modules['resource'] = None\n"
            "import numpy as np, rlenhance.web.service, rlenhance.learning.data\n"
            "from rlenhance.io import read, write\n"
            "path = write(np.zeros((4, 4, 3), np.uint8), 'a.png')\n"
            "assert read(path).pixels.shape == (4, 4, 3)\n"
            "try:\n    read(path, seconds=5)\n"
            "except rlenhance.core.errors.UsageError as error:\n    assert 'leave seconds out' in str(error)\n"
            "else:\n    raise SystemExit('no limit, and no word')\n")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("kind, most", [("RLIMIT_AS", 16 << 30), ("RLIMIT_CPU", 600), ("RLIMIT_NOFILE", 256),
                                        ("RLIMIT_FSIZE", 1 << 30), ("RLIMIT_NPROC", 4096)])
def test_limits_from_outside_leave_photographs_alone(kind, most, tmp_path):
    """A hard limit that somebody has set (`ulimit -v`) and that is large enough costs no photograph."""
    write(np.full((40, 60, 3), 30, np.uint8), tmp_path / "night.png")
    code = (f"import resource, sys; resource.setrlimit(resource.{kind}, ({most}, {most})); "
            f"from rlenhance.cli.main import main; sys.exit(main(sys.argv[1:]))")
    done = subprocess.run([sys.executable, "-c", code, "denoise", "night.png", "night.png", "-o", "out/",
                           "--decode-timeout", "20"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "out/night.png").is_file()
