"""`rlenhance enhance` and a training make no connection and look up no name, as an audit hook sees."""

import subprocess
import sys
from pathlib import Path

from rlenhance.io import write
from tests.support.data import make_pairs

ROOT = Path(__file__).parents[2]
CODE = """
import socket, sys
def seen(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
                 "socket.sendto", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect"):
        address = arguments[1] if event == "socket.connect" else None
        if not isinstance(address, (str, bytes)):  # a socket of this machine's file system
            print("CONNECTION", event, arguments, file=sys.stderr, flush=True)
sys.addaudithook(seen)
place = sys.argv[1]
from rlenhance.cli.main import main
status = main(["enhance", place + "/photo.png", "-o", place + "/out.png", "--denoise", "0.5"])
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
words = ["--data", place + "/pairs", "--out", place, "--name", "run", "--updates", "2", "--batch-size", "2", "--crop",
         "16", "--state-size", "16", "--horizon", "2", "--device", "cpu", "--no-progress"]
again = ["--resume", place + "/run", "--updates", "3"]
status = status or train_command(LOWLIGHT, words) or train_command(LOWLIGHT, again)
sys.exit(status)
"""


def test_enhance_and_train_make_no_connection(tmp_path):
    pairs = make_pairs(tmp_path / "pairs")
    from rlenhance.io import read

    write(read(next((pairs / "low").iterdir())), tmp_path / "photo.png")
    result = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 0, result.stderr
    assert "CONNECTION" not in result.stderr and (tmp_path / "out.png").is_file() and (tmp_path / "run/best").is_dir()
