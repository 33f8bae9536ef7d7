"""What a wheel must do where it was just installed: the compiled kernel is there, and a photograph is enhanced.

Run by `cibuildwheel` (pyproject.toml) in the environment of each wheel, which holds no training library.
"""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rlenhance.engine.render import NATIVE
from rlenhance.io import read, write

if __name__ == "__main__":
    assert NATIVE is not None, "the compiled kernel is missing"
    assert find_spec("torch") is None, "a training library is installed"
    with tempfile.TemporaryDirectory() as folder:
        night = Path(folder, "night.jpg")
        write(np.random.default_rng(0).integers(0, 50, (120, 160, 3), dtype=np.uint8), night)
        subprocess.run([sys.executable, "-m", "rlenhance.cli.main", str(night)], check=True)
        assert read(night.with_name("night_enhanced.jpg")).pixels.mean() > 1.2 * read(night).pixels.mean()
    print("the wheel works")
