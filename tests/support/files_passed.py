"""How many files of `rlenhance` a command passes: those of which a function runs, in the whole command and while the
photograph is read, processed and written, and those that are imported.

    python -m tests.support.files_passed                       # a photograph, a noisy one, and a hole
    python -m tests.support.files_passed enhance photo.jpg     # any command; the files by name
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2] / "rlenhance"
_FUNCTION = 0x1  # CO_OPTIMIZED: not a module, not a class
_PLAIN = (("a photograph", ("enhance", "photo.jpg")), ("a noisy one", ("enhance", "noisy.jpg")),
          ("a hole", ("complete", "photo.png", "--mask", "mask.png")))


class _Passed(threading.local):
    """How many modules are being imported in this thread."""

    importing = 0


def files_passed(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Run a command of `rlenhance` in this process.

    Args:
        words: of its command line.

    Returns:
        The files with a function that runs, but for what runs while a module is imported; those of them from the first
        call of `run_batch` on; and those imported.
    """
    run: set[str] = set()
    processing: set[str] = set()
    begun = False
    here = _Passed()

    def notice(frame: FrameType, event: str, _: Any) -> None:
        nonlocal begun
        if event not in ("call", "return"):
            return
        code = frame.f_code
        if code.co_name == "<module>":
            here.importing += 1 if event == "call" else -1
        elif event == "call" and not here.importing and code.co_flags & _FUNCTION:
            begun = begun or code.co_name == "run_batch"
            (processing if begun else run).add(code.co_filename)

    threading.setprofile(notice)
    sys.setprofile(notice)
    try:
        from rlenhance.cli.main import main

        with contextlib.redirect_stdout(io.StringIO()):
            status = main(list(words))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    if status:
        raise SystemExit(f"rlenhance {' '.join(words)}: status {status}")
    imported = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    return _own(run | processing), _own(processing), _own(imported)


def _own(files: Any) -> list[str]:
    return sorted(str(Path(file).relative_to(ROOT)) for file in files if Path(file).is_relative_to(ROOT))


def lay_out(folder: Path) -> None:
    """The pictures of the plain commands."""
    import cv2

    rows, columns = np.mgrid[:160, :200]
    pixels = np.stack([110 + 40 * np.sin(rows / (20 + 5 * k)) * np.cos(columns / 30) for k in range(3)], axis=2)
    noisy = pixels + np.random.default_rng(3).normal(0, 8, pixels.shape)
    mask = np.zeros((160, 200), np.uint8)
    mask[40:70, 60:90] = 255
    for name, picture in (("photo.jpg", pixels), ("noisy.jpg", noisy), ("photo.png", pixels), ("mask.png", mask)):
        cv2.imwrite(str(folder / name), np.rint(picture.clip(0, 255)).astype(np.uint8))


def main(words: Sequence[str]) -> int:
    """Print the files of one command, or the counts of the plain ones."""
    import os
    import subprocess

    if words:
        run, processing, imported = files_passed(words)
        print(*(f"{'processes' if name in processing else 'runs     ' if name in run else 'imported '} {name}"
                for name in imported), sep="\n")
        print(f"{len(run)} run, {len(processing)} of them while the photograph is processed; {len(imported)} are "
              f"imported")
        return 0
    with tempfile.TemporaryDirectory() as place:
        lay_out(Path(place))
        for name, plain in _PLAIN:
            done = subprocess.run([sys.executable, "-m", "tests.support.files_passed", *plain], cwd=place, text=True,
                                  capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT.parent)})
            print(f"{name}: {done.stdout.splitlines()[-1]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
