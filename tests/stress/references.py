"""What a call reads beside its photographs: styles, series, regions, masks; of any size, damaged, padded."""

import contextlib
import io
import os
import random

import cv2
import numpy as np

import rlenhance.pipelines.complete
import rlenhance.pipelines.enhance  # noqa: F401
from rlenhance.cli import main as cli
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property

_CALLS = {"style": ["enhance", "a.png", "--match-style"], "series": ["enhance", "a.png", "b.png", "--match-series"],
          "region": ["enhance", "a.png", "--region"], "mask": ["complete", "a.png", "-m", "laplace", "--mask"],
          "reference": ["score", "a.png", "--reference"], "source": ["score", "a.png", "--source"],
          "scored": ["score"], "compared": ["compare", "-o", "sheet.png"]}
_SHARED = ("--match-series",)


def _picture(side, seed):
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 2, (8, 8, 3), dtype=np.uint8), np.full((side // 8, side // 8, 1), 200, np.uint8))


def cases(rng):
    """Whole ones of several sizes, damaged ones, and such with gigabytes of nothing behind them."""
    while True:
        yield Case(f"other.{rng.choice(('png', 'jpg'))}", options={
            "call": rng.choice(list(_CALLS)), "side": rng.choice((64, 64, 400, 3200)), "seed": rng.randrange(99),
            "harm": rng.randrange(2**32) if rng.random() < 0.4 else None, "padding": rng.choice((0, 0, 3 << 30)),
            "limit": rng.choice((None, 0.01, 1.0))})


def check(case, folder):
    """A result or one line; memory stays that of a photograph of this size."""
    asked = case.options
    os.chdir(folder)
    for name in ("a.png", "b.png"):
        cv2.imwrite(name, _picture(64, 1))
    data = cv2.imencode(case.name[-4:], _picture(asked["side"], asked["seed"]))[1].tobytes()
    if asked["harm"] is not None:
        data = damaged(random.Random(asked["harm"]), data)
    with open(case.name, "wb") as file:
        file.write(data)
        file.truncate(len(data) + asked["padding"])
    words = _CALLS[asked["call"]]
    words = [*words[:-1], f"{words[-1]}={case.name}"] if words[-1] in _SHARED else [*words, case.name]
    if asked["limit"] and asked["call"] != "compared":
        words += ["--max-megapixels", str(asked["limit"])]
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        status = cli.main([*words, *["--denoise", "0"] * (words[0] == "enhance")])
    told = err.getvalue()
    if status not in (0, 2) or "Traceback" in told or "fault of the program" in told:
        raise Broken(f"{words}: status {status}: {told[-500:]}")
    if status == 2 and not any(line.startswith(("error: ", "failed: ")) for line in told.splitlines()):
        raise Broken(f"{words}: refused without a line: {told[-500:]}")
    if asked["padding"] and status == 0:
        raise Broken(f"{words}: gigabytes behind a picture were read")
    if asked["limit"] and asked["side"] ** 2 > asked["limit"] * 1e6 and status == 0 and asked["harm"] is None \
            and asked["call"] != "compared":
        raise Broken(f"{words}: larger than allowed")
    return {"refused" if status else "whole": 1}


PROPERTY = Property("references", "What is read beside photographs has their limits of size and bytes; measures of it "
                    "take no more memory than a photograph.", cases, check, share=0.5, seconds=30, mib=1400, block=15,
                    short=6, names=False)
