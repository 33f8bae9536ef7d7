"""Commands as tools: run without a shell, within limits, and nothing of them is left; their output is not trusted."""

import glob
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.tools import Command, tool_of
from rlenhance.tools.named import trial_picture

PICTURE = trial_picture(24)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Temporary folders of commands lie in a folder of the test, which is empty at its end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def run(tmp_path):
    """Run Python code as a command on a small picture; `sys.argv[1]` and `[2]` are the two paths."""

    def call(code, words="", **limits):
        script = tmp_path / "script.py"
        script.write_text(f"import os, shutil, sys, time\n{code}\n")
        program = shlex.join([sys.executable, str(script)])
        return Command(f"{program} {{in}} {{out}} {words}", **limits)(PICTURE)

    return call


def test_a_copy_is_the_picture():
    """The picture arrives in 8 bits, and the result comes back as it was written."""
    assert np.array_equal(Command("cp {in} {out}")(PICTURE), PICTURE)
    assert np.array_equal(Command("cp {in.tif} {out.tif}")(PICTURE), PICTURE)


def test_no_shell_sees_the_words(run, tmp_path):
    """Signs of a shell are characters of the words, and the paths stay one word each."""
    marks = tmp_path / "mark"
    run("assert sys.argv[3:] == ['$(touch', 'mark)', '`x`', ';', '|', '*', '$HOME', '~', '&&', 'a b'], sys.argv\n"
        "shutil.copy(*sys.argv[1:3])", words="'$(touch' 'mark)' '`x`' ';' '|' '*' '$HOME' '~' '&&' 'a b'")
    assert not marks.exists()


@pytest.mark.parametrize("text, told", [
    ("{in} {out}", "names a program"), ("cp {in}", "names a program"), ("cp {out} x", "names a program"),
    ("cp '{in} {out}", "close the quotes"), ("no-such-program-here {in} {out}", "no program"),
    ("cp {in.gif} {out}", "formats are"), ("cp {in} {out.exe}", "formats are"), ("cp {in} {out}\nrm x", "one line"),
    ("cp {in} {out.png} {out.jpg}", "several formats"), ("cp\0 {in} {out}", "one line"),
    ("cp {in} {out}" + "x" * 5000, "one line"),
])
def test_other_texts_are_refused(text, told):
    """What is no command is refused before anything runs, with the way out."""
    with pytest.raises(UsageError, match=told):
        Command(text)


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("nan")}, {"memory": -1}, {"memory": 1e300}])
def test_other_limits_are_refused(limits):
    """Limits are positive, and finite."""
    with pytest.raises(UsageError, match=r"seconds|memory"):
        Command("cp {in} {out}", **limits)


@pytest.mark.parametrize("code, told", [
    ("sys.stderr.write('no \\x1b[31mlicence'); sys.exit(3)", r"exit 3.*: no \[31mlicence"),
    ("pass", "wrote no result"),
    ("os.mkfifo(sys.argv[2])", "a device, a folder"),
    ("os.mkdir(sys.argv[2])", "a device, a folder"),
    ("os.symlink('/etc/passwd', sys.argv[2])", "wrote no result"),
    ("os.symlink('/dev/zero', sys.argv[2])", "wrote no result"),
    ("open(sys.argv[2], 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(999))", "damaged"),
    ("open(sys.argv[2], 'w').write('text')", "wrote no picture of 24x24 pixels"),
    ("from PIL import Image; Image.new('RGB', (24, 12)).save(sys.argv[2])", "keeps the size"),
    ("from PIL import Image; Image.new('RGB', (48, 48)).save(sys.argv[2])", "of 48x48 pixels out of 24x24"),
    ("from PIL import Image; Image.new('L', (9000, 9000)).save(sys.argv[2])", "megapixels"),
    ("os.truncate(os.open(sys.argv[2], os.O_CREAT | os.O_RDWR), 1 << 33)", "File too large"),
    ("x = bytearray(3 << 30)", "MemoryError"),
    ("os.kill(os.getpid(), 11)", "signal 11"),
    ("os.kill(os.getppid(), 9)", "stopped or killed the process that watches it"),
])
def test_what_fails_is_told_in_one_line(run, code, told):
    """A failure, and output that is no picture of this size, are refused; nothing outside the folder is read."""
    with pytest.raises(UsageError, match=told) as error:
        run(code, memory=2048)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize("code", ["time.sleep(60)", "os.kill(os.getpid(), 19)",
                                  "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)"])
def test_time_is_limited(run, code):
    """A command that hangs, stops itself or ignores signals ends soon after its time."""
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"more than 0\.5 seconds"):
        run(code, seconds=0.5)
    assert time.monotonic() - begun < 20


def _alive(process):
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as stat:  # of those who ask on Linux
            return stat.read().rpartition(")")[2].split()[0] != "Z"  # ended, and not yet waited for
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a daemon escapes")
def test_what_it_has_started_ends_with_it(run, tmp_path):
    """A daemon in a session of its own does not outlive the command that has started it."""
    place = tmp_path / "daemon"
    run(f"if not os.fork():\n os.setsid()\n if not os.fork():\n  open({str(place)!r}, 'w').write(str(os.getpid()))\n"
        f"  time.sleep(20)\n os._exit(0)\nwhile not (os.path.exists({str(place)!r}) and open({str(place)!r}).read()):\n"
        f" time.sleep(0.01)\nshutil.copy(*sys.argv[1:3])")
    assert not _alive(int(place.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not counted")
def test_processes_are_limited(run, tmp_path, monkeypatch):
    """Too many processes at a time end the command; none of them stays."""
    monkeypatch.setattr("rlenhance.tools.command._PROCESSES", 6)
    with pytest.raises(UsageError, match="more than 6 processes"):
        run("for _ in range(16):\n if not os.fork():\n  time.sleep(5); os._exit(0)\ntime.sleep(5)")
    script = str(tmp_path / "script.py").encode()
    assert not [path for path in glob.glob("/proc/[0-9]*/cmdline") if script in _bytes(path)]


def _bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is looked at")
def test_a_command_ends_with_who_asked_for_it(tmp_path):
    """Where this process is killed, the command ends too."""
    place = tmp_path / "number"
    script = tmp_path / "script.py"
    script.write_text(f"import os, time; open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(30)")
    code = (f"from rlenhance.tools.command import Command; import numpy as np; import tempfile; "
            f"tempfile.tempdir = {str(tmp_path)!r}; Command({f'{sys.executable} {script} {{in}} {{out}}'!r})"
            f"(np.zeros((9, 9, 3), np.float32))")
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 60
        while not (place.exists() and place.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    while _alive(int(place.read_text())) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _alive(int(place.read_text()))


def test_a_command_as_a_tool():
    """Its cost is measured, and a command that gives another result each time is not deterministic."""
    tool = tool_of("cp {in} {out}")
    assert tool.cost > 0 and tool.deterministic and tool.label == "cp applied" and tool.radius is None and tool.version
    random = f"{sys.executable} -c 'import sys, numpy, cv2; a = cv2.imread(sys.argv[1]); " \
             "cv2.imwrite(sys.argv[2], numpy.random.randint(0, 255, a.shape))' {in} {out}"
    assert not tool_of(random).deterministic


def test_files_that_cannot_be_opened_again_are_removed(run):
    """Folders without rights inside the temporary one do not keep it."""
    run("place = os.path.join(os.path.dirname(sys.argv[1]), 'x'); os.mkdir(place); open(place + '/y', 'w').close(); "
        "os.chmod(place, 0); shutil.copy(*sys.argv[1:3])")


def test_it_gets_nothing_to_read_and_no_open_file(run, temporary):
    """Standard input is empty, and of this process's files it has none."""
    with open(temporary / "kept", "w") as file:
        os.set_inheritable(file.fileno(), True)
        run("assert sys.stdin.read() == ''\n"
            "paths = ['/proc/self/fd/' + number for number in os.listdir('/proc/self/fd')]\n"
            "assert not [path for path in paths if os.path.realpath(path).endswith('kept')]\n"
            "shutil.copy(*sys.argv[1:3])")
    os.unlink(temporary / "kept")


PIECES = ["cp", "{in}", "{out}", "{in.tif}", "{out.jpg}", "{in.", "'", '"', "\\", " ", "$(x)", "{", "\n", "\x1b", "é",
          "-o", "/", "~", ";"]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=40))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_command_or_refused(text):
    """Without running it: words whose first is the path of a program, or one line that says what a command is."""
    try:
        words = Command(text).words()
    except UsageError as error:
        assert "\n" not in str(error) and "\x1b" not in str(error)
    else:
        assert os.path.isabs(words[0]) and os.access(words[0], os.X_OK) and "{in" in text and "{out" in text


#: Commands that attack who watches them. `watch` writes the number of a child that would live on.
ATTACKS = {
    "stops its supervisor": "os.kill(os.getppid(), 19); time.sleep(60)",
    "kills its supervisor": "watch(); os.kill(os.getppid(), 9); time.sleep(60)",
    "kills it behind a daemon": "watch(); os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); "
                                "[os.kill(p, 9) for p in parents[:1]]; time.sleep(60)",
    "kills all that watches": "watch(); [os.kill(p, 9) for p in parents[:2]]; time.sleep(60)",
    "stops all that watches and goes": "watch(); [os.kill(p, 19) for p in parents[:2]]",
}


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="who descends from whom is told by /proc")
@pytest.mark.parametrize("attack", ATTACKS)
def test_who_attacks_its_supervisor_is_ended(run, tmp_path, monkeypatch, attack):
    """Soon, in one line; nothing lives on and its files are gone."""
    monkeypatch.setattr("rlenhance.tools.command._GRACE", 1.5)
    kept = tmp_path / "kept"
    code = ("import subprocess\n"
            "def parent(p): return int(open(f'/proc/{p}/stat').read().rpartition(')')[2].split()[1])\n"
            "parents = [os.getppid()]\nparents.append(parent(parents[0]))\n"
            f"def watch(): open({str(kept)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid))\n"
            + ATTACKS[attack])
    began = time.monotonic()
    with pytest.raises(UsageError) as refused:
        run(code, seconds=1)
    assert time.monotonic() - began < 30 and "\n" not in str(refused.value)
    while kept.exists() and _alive(int(kept.read_text())):  # it was killed, and init removes it
        assert time.monotonic() - began < 30
        time.sleep(0.01)


@pytest.mark.parametrize("code", [
    "for n in range(1500): os.mkdir('d'); os.chdir('d')",
    "os.mkdir('a'); open('a/x', 'w'); os.chmod('a', 0)",
    "os.symlink('/', 'root'); os.mkfifo('pipe')",
    "here = os.getcwd(); os.rename(here, here + '-moved'); os.symlink(sys.argv[3], here)",
    "here = os.getcwd(); os.mkdir('x'); os.rename(here, here + '-moved'); os.mkdir(here); open(here + '/y', 'w')",
])
def test_a_folder_goes_whatever_was_done_to_it(run, temporary, tmp_path, code):
    """Deep, closed, full of odd files, moved away, replaced by a link: it is removed, and no link is followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(np.zeros((8, 10, 3), np.uint8), elsewhere / "out.png")
    with pytest.raises(UsageError, match="wrote no result"):
        run(f"os.chdir(os.path.dirname(sys.argv[1]))\n{code}", shlex.quote(str(elsewhere)))
    assert [path.name for path in elsewhere.iterdir()] == ["out.png"]
    for left in temporary.iterdir():  # a folder that it has made itself under the old name
        assert left.name.startswith("rlenhance-tool-") and [path.name for path in left.iterdir()] == ["y"]
        (left / "y").unlink()
        left.rmdir()
