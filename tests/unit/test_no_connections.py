"""No command opens a connection or looks up a name: the kernel ends a process that makes a socket of the internet."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rlenhance.io import read, write
from tests.support.clips import make_clip
from tests.support.data import make_pairs
from tests.support.no_sockets import AVAILABLE

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="a filter of system calls needs Linux")
FIRST = "import sys\nfrom tests.support.no_sockets import forbid_sockets\nplace = sys.argv[1]\n"
PHOTOGRAPHS = FIRST + """
forbid_sockets()
from rlenhance.cli.main import main
status = 0
for words in (["enhance", place + "/photo.png", "-o", place + "/out.png", "--decode-timeout", "20"],
              ["restore", place + "/photo.png", "-o", place + "/restored.png"], ["enhance", "-r", place + "/clips",
              "-o", place + "/clips-out", "--denoise", "0"], ["score", place + "/out.png"], ["models"], ["doctor"]):
    status = status or main(words)
sys.exit(status)
"""
TRAINING = FIRST + """
import torch
torch.set_num_threads(1)
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
forbid_sockets()
words = ["--data", place + "/pairs", "--out", place, "--name", "run", "--updates", "2", "--batch-size", "2", "--crop",
         "16", "--state-size", "16", "--horizon", "2", "--device", "cpu", "--no-progress"]
sys.exit(train_command(LOWLIGHT, words) or train_command(LOWLIGHT, ["--resume", place + "/run", "--updates", "3"]))
"""


def _run(code, place):
    return subprocess.run([sys.executable, "-c", code, str(place)], cwd=ROOT, capture_output=True, text=True,
                          timeout=120)


@pytest.mark.parametrize("made", ["import socket; socket.socket()",
                                  "import ctypes; ctypes.CDLL(None).socket(10, 1, 0)"])
def test_the_filter_sees_python_and_c(made, tmp_path):
    """Otherwise the tests below could not fail."""
    assert _run(f"{FIRST}forbid_sockets()\n{made}", tmp_path).returncode == -signal.SIGSYS


def test_photographs_clips_and_models_make_no_connection(tmp_path):
    """Clips too, whatever the names of their folders look like."""
    pairs = make_pairs(tmp_path / "pairs")
    write(read(next((pairs / "low").iterdir())), tmp_path / "photo.png")
    for name in ("http:/127.0.0.1:9/a.mp4", "12:30.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(tmp_path / "a.mp4", times=range(3)).rename(tmp_path / "clips" / name)
    done = _run(PHOTOGRAPHS, tmp_path)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert (tmp_path / "out.png").is_file() and len(list((tmp_path / "clips-out").rglob("*.mp4"))) == 2


def test_training_makes_no_connection(tmp_path):
    """Nor does going on with it."""
    make_pairs(tmp_path / "pairs")
    done = _run(TRAINING, tmp_path)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert (tmp_path / "run/best").is_dir()
