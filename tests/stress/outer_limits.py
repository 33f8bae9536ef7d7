"""Photographs under limits from outside, as `ulimit` sets them: whole, or one line for each; nothing is left."""

import os
import resource
import subprocess
import sys

import cv2
import numpy as np

from tests.stress.registry import Broken, Case, Property

_PICTURE = cv2.imencode(".png", np.random.default_rng(0).integers(0, 60, (60, 90, 3), dtype=np.uint8))[1].tobytes()
#: Limit -> numbers from useless to generous; the last one must be enough.
_LIMITS = {"RLIMIT_AS": (50 << 20, 300 << 20, 700 << 20, 1500 << 20, 16 << 30), "RLIMIT_CPU": (1, 600),
           "RLIMIT_NOFILE": (5, 12, 30, 256), "RLIMIT_FSIZE": (100, 3000, 1 << 30), "RLIMIT_NPROC": (1, 4096),
           "RLIMIT_STACK": (64 << 10, 8 << 20), "RLIMIT_DATA": (100 << 20, 16 << 30)}
_CODE = "import resource, sys; resource.setrlimit(resource.{}, ({}, {})); " \
        "from rlenhance.cli.main import main; sys.exit(main(sys.argv[1:]))"


def cases(rng):
    """One limit, hard or soft, with a child for the decoding or without."""
    while True:
        kind = rng.choice(list(_LIMITS))
        yield Case("in", options={"kind": kind, "most": rng.choice(_LIMITS[kind]), "hard": rng.random() < 0.7,
                                  "child": rng.random() < 0.6})


def check(case, folder):
    """Two photographs; with a generous limit both are written."""
    asked = case.options
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(_PICTURE)
    hard = asked["most"] if asked["hard"] else resource.getrlimit(getattr(resource, asked["kind"]))[1]
    words = ["denoise", "a.png", "b.png", "-o", "out/", *["--decode-timeout", "20"] * asked["child"]]
    done = subprocess.run([sys.executable, "-c", _CODE.format(asked["kind"], asked["most"], hard), *words], cwd=folder,
                          capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    left = sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".png")
    enough = asked["most"] == _LIMITS[asked["kind"]][-1]
    about = f"{asked}: status {done.returncode}: {done.stderr[-600:]}"
    if enough and (done.returncode or len(list((folder / "out").glob("*.png"))) != 2):
        raise Broken(f"refused where there is enough: {about}")
    started = done.returncode in (0, 2) or ("rlenhance" in done.stderr and "Traceback" not in done.stderr)
    if started and done.returncode == 2 and "Traceback" in done.stderr:
        raise Broken(f"a traceback: {about}")
    if left and done.returncode in (0, 2):
        raise Broken(f"left behind {left}: {about}")
    for path in (folder / "out").glob("*.png"):
        if cv2.imread(str(path)) is None:
            raise Broken(f"{path.name} is not whole: {about}")
    return {"refused" if done.returncode else "whole": 1}


PROPERTY = Property("outer_limits", "Under limits of memory, time, files and processes from outside, photographs are "
                    "whole or refused in a line each; with enough all are whole.", cases, check, share=0.4, seconds=40,
                    mib=17_000, block=1, short=3, names=False)
