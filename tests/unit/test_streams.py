"""Standard streams that are full, closed, or away: the work is done, one line tells it, and the status says so."""

import os
import subprocess
import sys

import pytest

from rlenhance.cli import main as cli
from rlenhance.io import read

_MAIN = "import sys; from rlenhance.cli.main import main; sys.exit(main(sys.argv[1:]))"
FULL = "error: standard output: cannot be written (No space left on device); its lines are lost\n"


def shell(place, redirection, *words):
    """The command with its streams as the shell's words make them."""
    line = " ".join([sys.executable, "-c", f"'{_MAIN}'", *words, redirection])
    return subprocess.run(["bash", "-c", line], cwd=place, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("redirection, words, told", [
    (">/dev/full", ["presets"], FULL), (">/dev/full", ["--help"], FULL), ("2>/dev/full", ["presets", "--no"], ""),
    (">&-", ["presets"], FULL.replace("No space left on device", "Bad file descriptor")),
    (">&- 2>&- <&-", ["presets"], ""),
])
def test_a_stream_that_takes_nothing(tmp_path, redirection, words, told):
    """Full or closed: no traceback, one line, status 2."""
    done = shell(tmp_path, redirection, *words)
    assert done.returncode == 2
    assert done.stderr == told or (redirection.startswith("2") and not told)


class _Full:
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    flush = isatty = lambda self: False


def test_a_full_log_stops_no_folder(night, tmp_path, monkeypatch, capsys):
    """Every photograph is written though no line about it can be; the status says that the lines are lost."""
    for name in ("in/a.png", "in/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.link(night, tmp_path / name)
    monkeypatch.setattr(sys, "stdout", _Full())
    assert cli.main(["enhance", "in", "-o", "out"]) == 2
    assert capsys.readouterr().err == FULL
    assert len([read(path) for path in (tmp_path / "out").iterdir()]) == 2


def test_a_closed_standard_input_is_empty(night, monkeypatch, capsys):
    """A photograph from nowhere is named as one."""
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["enhance", "-", "-o", "x.png"]) == 2
    assert capsys.readouterr().err == "failed: standard input: the file is empty (0 bytes)\n" and sys.stdin is None


def test_nul_is_in_no_name(night, capsys):
    """A NUL byte anywhere on the command line is refused with the word that holds it."""
    assert cli.main(["enhance", "night.png", "--region", "a\0b"]) == 2
    assert capsys.readouterr().err == "error: 'a\\x00b': no name and no value holds a NUL byte; leave it out\n"
