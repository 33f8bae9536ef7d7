"""Any exception, raised at any call while one photograph is worked on: the others are done."""

import inspect
import io
import re
import struct
import sys
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch

import rlenhance.pipelines.complete
import rlenhance.pipelines.denoise
import rlenhance.pipelines.enhance
import rlenhance.pipelines.upscale  # noqa: F401
from rlenhance.cli import main as cli
from tests.stress._places import tree
from tests.stress.registry import Broken, Case, Property

_COMMANDS = (["enhance", "-m", "natural"], ["enhance", "-m", "natural", "--shared-decision"],
             ["denoise", "-m", "denoiser"], ["upscale"], ["complete", "--mask", "mask.png", "-m", "laplace"],
             ["watch", "-m", "natural", "--once", "--stable-for", "0"], ["score"], ["score", "--reference", "in"],
             ["compare", "-o", "sheet.png"])
#: Functions that one photograph is worked on in; a fault is raised at a call below them.
_WITHIN = {"_Stages.read", "_Stages.change", "_Stages.write", "_scores", "_cell", "make_plan"}
_TELLING = {"_stage", "describe_failure", "outcome", "_describe"}


class _Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("its text fails")


_FAULTS = {fault.__name__: fault for fault in (
    KeyError, IndexError, ValueError, TypeError, AttributeError, AssertionError, RuntimeError, RecursionError,
    MemoryError, OSError, PermissionError, StopIteration, ZeroDivisionError, NotImplementedError, OverflowError,
    struct.error, zlib.error, cv2.error, torch.cuda.OutOfMemoryError, SyntaxError, UnicodeError, EOFError,
    _Unspeakable)}


def cases(rng):
    """A command, a fault, and the number of the call at which it is raised."""
    while True:
        yield Case("in", options={"command": rng.randrange(len(_COMMANDS)), "fault": rng.choice(sorted(_FAULTS)),
                                  "text": rng.choice(["", "two\nlines\x1b[2J", "夜"]),
                                  "call": int(10 ** rng.uniform(0, 3.2))})


class _Fault:
    """A profile function that raises once, at a call of ours while a photograph is worked on."""

    def __init__(self, kind, text, call, plans_all):
        self._plans_all = plans_all  # one plan is made of all photographs; `watch` makes one for each
        self._kind, self._text, self._left, self.raised = kind, text, call, ""
        self._lock = threading.Lock()

    def __call__(self, frame, event, _):
        if event != "call" or self.raised or "/rlenhance/" not in frame.f_code.co_filename:
            return
        if frame.f_code.co_flags & inspect.CO_GENERATOR:  # its end is a call too, whose exceptions Python ignores
            return
        names, back = [frame.f_code.co_qualname], frame.f_back
        while back is not None:
            names.append(back.f_code.co_qualname)
            back = back.f_back
        if not _WITHIN.intersection(names[1:]) or _TELLING.intersection(names):
            return
        if self._plans_all and "make_plan" in names:  # nothing was begun
            return
        with self._lock:
            self._left -= 1
            if self._left or self.raised:
                return
            self.raised = " < ".join(names[:4])
        raise self._kind(self._text)


def _run(words, fault=None):
    out, err = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = out, err
    threading.setprofile(fault)
    sys.setprofile(fault)
    try:
        return cli.main(words), out.getvalue(), err.getvalue()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def check(case, folder):
    """A run without a fault, and the same with it."""
    asked, rng = case.options, np.random.default_rng(0)
    Path("in").mkdir()
    for number in range(4):
        pixels = rng.integers(1, 60, (16, 24, 3), dtype=np.uint8)
        pixels[4:9, 6:12] = 0
        cv2.imwrite(f"in/{number}{('.png', '.jpg', '.tiff', '.webp')[number]}", pixels)
    cv2.imwrite("mask.png", cv2.inRange(pixels, (0, 0, 0), (0, 0, 0)))
    command, *more = _COMMANDS[asked["command"]]
    places = [] if command in ("score", "compare") else ["-o", "out"]
    words = [command, "in", *more, *places]
    status, printed, told = _run(words)
    if status:
        raise Broken(f"{words}: {told}")
    expected = tree(folder)
    for path in (*Path("out").glob("*"), *Path().glob("sheet.png")):
        path.unlink()
    kind = _FAULTS[asked["fault"]]
    fault = _Fault(kind, asked["text"], asked["call"], command != "watch")
    status, again, told = _run(words, fault)
    about = f"{words}, {asked['fault']} at {fault.raised or 'no call'}: status {status}: {told[-800:]}"
    after = tree(folder)
    lacking = [name for name in expected if name.startswith("out/") and name not in after]
    failed = re.findall(r"^failed: (.*)$", told, re.MULTILINE)
    if "Traceback" in told or status != (2 if failed else 0) or len(failed) > 1 or len(lacking) > len(failed):
        raise Broken(about)
    if any(not re.search(r"\b\d\.(png|jpg|tiff|webp)", line) for line in failed):
        raise Broken(f"not named: {about}")
    if places and any(after[name] != expected[name] for name in after if name in expected):
        raise Broken(f"another result: {about}")
    if set(after) - set(expected):
        raise Broken(f"left over: {sorted(set(after) - set(expected))}: {about}")
    if command == "score" and again.count("\n") < printed.count("\n") - 1:
        raise Broken(f"others were not scored: {about}")
    return {"refused" if failed else "whole": 1}


PROPERTY = Property(
    "injected_faults", "Any exception, at any call while one photograph is worked on, fails that photograph alone: it "
    "is named in one line, the status is 2, the results of the others are the same.", cases, check, share=1, seconds=30,
    mib=1000, block=1, short=5, names=False)
