"""Every option of `python -m experiments.*` that takes a path, with places of every kind."""

import io
import itertools
import json
import os
import pkgutil
import re
import runpy
import signal
import sys
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from rlenhance import experiments
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core import train
from rlenhance.hub import shipped
from tests.stress._places import CONDITIONS, SPECIAL, little_room, prepare, tree, without_rights
from tests.stress.registry import Broken, Case, Property

_BASE = {"evaluate": ["{}"], "import_weights": ["rellie", "{}", "--out", "new"], "check_plugin": ["{}"],
         "rse_train": ["celeba"], "network_train": ["prior"], "restore_train": ["prior"]}
_PATH = re.compile(r"(--[\w.-]+) (?:\[?\{None\}\|)?\[?PATH|"
                   r"(--(?:plugin|models?|denoiser|reward-term)) \[?(?:\{None\}\|)?\[?STR")
_SECONDS = 2.0  # of CPU, after which a command that works is interrupted
_PICTURE = cv2.imencode(".png", np.random.default_rng(0).integers(0, 60, (16, 24, 3), dtype=np.uint8))[1].tobytes()
_GOOD = {".py": b"", ".npz": b"", "": Path(shipped.FOLDER / "natural")}


def modules():
    """The commands."""
    return [module.name for module in pkgutil.iter_modules(experiments.__path__) if not module.ispkg]


@cache
def places(module):
    """The options that take a path, from the command's own help; "" is a path without an option."""
    told = io.StringIO()
    sys.argv = [module, "--help-all"]
    with redirect_stdout(told), suppress(SystemExit):
        runpy.run_module(f"rlenhance.experiments.{module}", run_name="__main__")
    found = [first or second for first, second in _PATH.findall(told.getvalue())]
    return sorted({*found, *([""] if "{}" in _BASE.get(module, ()) else [])})


def cases(rng):
    """All of them, in a random order."""
    found = [{"module": module, "option": option, "condition": condition}
             for module in modules() for option, condition in itertools.product(places(module), CONDITIONS)]
    rng.shuffle(found)
    for options in found:
        yield Case(f"{options['module']} {options['option']}: {options['condition']}", options=options)


def _ending(module, option):
    if option in ("--plugin", "--reward-term") or module == "check_plugin":
        return ".py"
    return ".npz" if (module, option) == ("import_weights", "") else ""


def _began(*_):
    raise UsageError("the training begins")


def _interrupt(*_):
    raise KeyboardInterrupt


def check(case, folder):
    """Run it in this process, until a training begins or it has worked for a while."""
    module, option, condition = (case.options[key] for key in ("module", "option", "condition"))
    Path("good.png").write_bytes(_PICTURE)
    ending = _ending(module, option)
    word = prepare(condition, ending, _GOOD[ending])
    words = [word if part == "{}" and not option else "natural" if part == "{}" else part
             for part in _BASE.get(module, [])]
    if "--out" in words and option == "--out":
        words = words[: words.index("--out")]
    words += [option, word] if option and condition != "dash" else [f"{option}={word}"] if option else []
    kept = {path: path.stat().st_mode for path in folder.glob("closed*")}
    before = tree(folder)
    for path, mode in kept.items():
        path.chmod(mode)
    train.Session = _began
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    err.reconfigure(errors="backslashreplace")
    sys.stdin, sys.stdout, sys.stderr, sys.argv = io.StringIO(), out, err, [module, *words]
    without_rights()
    little_room(condition)
    signal.signal(signal.SIGVTALRM, _interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    status = 0
    try:
        runpy.run_module(f"rlenhance.experiments.{module}", run_name="__main__")
    except SystemExit as stop:
        status = stop.code
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    told = err.buffer.getvalue().decode(errors="replace")
    about = json.dumps({"words": [module, *words], "status": status, "stderr": told[-1500:]})
    if status not in (0, 2, 130) and not (module == "check_plugin" and status == 1):
        raise Broken(f"another exit status: {about}")
    if "Traceback" in told or "Exception ignored" in told:
        raise Broken(f"a fault: {about}")
    if status == 2 and not re.search("^(error: |╭─)", told, re.MULTILINE):  # a box of tyro's
        raise Broken(f"a refusal without a line: {about}")
    if any(ord(letter) < 32 for letter in re.sub(r"\x1b\[\d*m", "", told) if letter not in "\n\t\r") or (
            "one\ntwo" in told):
        raise Broken(f"a name drives the terminal: {about}")
    after = tree(folder)
    if left := [name for name in after if name.endswith(".part")]:
        raise Broken(f"leftovers {left}: {about}")
    for name, digest in before.items():
        may = option == "--out" and condition not in SPECIAL and name == os.path.normpath(word)
        if after.get(name) != digest and not may:
            raise Broken(f"{name!r} was {'changed' if name in after else 'removed'}: {about}")
    return {"refused" if status else "whole": 1}


PROPERTY = Property(
    "train_paths", "Every path option of every training, comparison and report, led to names, links, devices, rights "
    "and full disks of every kind: one line and status 2, or the work begins; nothing that was there is lost.", cases,
    check, share=0.7, seconds=30, mib=2500, block=1, short=3, names=False)
