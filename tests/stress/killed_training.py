"""A training that is killed or told to end at any moment goes on to the same weights and numbers."""

import contextlib
import csv
import functools
import io
import os
import signal
import tempfile
import time
from pathlib import Path

import torch

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.run_lock import LOCK
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.toolchain import TOOLCHAIN
from tests.stress.registry import Broken, Case, Property
from tests.support.data import make_pairs

_FILES = ("last/model.safetensors", "last/training.safetensors", "best/model.safetensors", "best/config.json")
_WORDS = ("--updates", "10", "--eval-interval", "2", "--batch-size", "2", "--crop", "16", "--device", "cpu",
          "--no-progress")
_POLICY = ("--state-size", "16", "--horizon", "2", "--actions", "curve")
_CHAIN = ("--tools", "median", "unsharp", "--patches", "6", "--val-patches", "4", "--horizon", "2", "--hidden", "16",
          "--updates", "6", "--eval-interval", "2", "--batch-size", "4", "--device", "cpu", "--no-progress")
#: Learner -> its task and words; every learner that is registered has an entry.
_LEARNERS = {
    "supervised": (LOWLIGHT, ("--learner", "supervised")),
    **{name: (LOWLIGHT, ("--learner", name, *_POLICY)) for name in ("a3c", "sac", "direct")},
    "dqn": (TOOLCHAIN, ("--learner", "dqn", "--dqn.gradient-steps", "2", "--dqn.states", "8")),
    "vine": (TOOLCHAIN, ("--learner", "vine", "--vine.gradient-steps", "2", "--vine.states", "8"))}
_PATIENCE = 120  # seconds that a training may take here


def _words(place, learner):
    task, own = _LEARNERS[learner]
    where = ["--out", str(place), "--name", "run", *own]
    return [*where, *_CHAIN] if task is TOOLCHAIN else ["--data", str(place / "pairs"), *where, *_WORDS]


def _train(task, words):
    """Start a training in a fork; the process."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            torch.set_num_threads(1)
            log = os.open(os.devnull, os.O_WRONLY)
            os.dup2(log, 1)
            with contextlib.redirect_stdout(io.StringIO()):
                status = train_command(task, words)
        finally:
            os._exit(status)
    return child


def _ended(child):
    """Its exit status, or minus the signal."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise Broken(f"a training takes more than {_PATIENCE} seconds")


def _left(run):
    """What a finished run is compared by: files, and metrics.csv without the clock."""
    with (run / "metrics.csv").open() as file:
        rows = [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return {**{name: (run / name).read_bytes() for name in _FILES}, "metrics.csv": rows}


@functools.cache
def _whole(learner):
    """An uninterrupted run, and the seconds it takes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_pairs(place / "pairs")
        begun = time.monotonic()
        status = _ended(_train(_LEARNERS[learner][0], _words(place, learner)))
        if status:
            raise Broken(f"the uninterrupted training ended with {status}")
        return _left(place / "run"), time.monotonic() - begun


def cases(rng):
    """Moments over the whole length of the training, its start and end included."""
    while True:
        learner = rng.choice(list(_LEARNERS))
        moments = [rng.uniform(0, 1.1) for _ in range(rng.choice((1, 2, 3)))]
        yield Case(learner, options={"moments": moments, "signal": rng.choice(("SIGKILL", "SIGKILL", "SIGTERM"))})


def check(case, folder):
    """Interrupt a training at these moments, resume it after each until it has ended, and compare."""
    wanted, seconds = _whole(case.name)
    make_pairs(folder / "pairs")
    run, number = folder / "run", getattr(signal, case.options["signal"])
    killed = 0
    for moment in [*case.options["moments"], None]:
        begun = (run / "config.json").is_file()
        again = ["--resume", str(run), "--no-progress", "--device", "cpu"]
        child = _train(_LEARNERS[case.name][0], again if begun else _words(folder, case.name))
        if moment is not None:
            time.sleep(moment * seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
        status = _ended(child)
        killed += status != 0
        if status not in ((0,) if moment is None else (0, -number, 128 + number)):
            raise Broken(f"a training that {'goes on' if begun else 'begins'} ended with {status}")
    found = _left(run)
    for name, value in wanted.items():
        if found[name] != value:
            raise Broken(f"{name} is not that of an uninterrupted training")
    rest = [path.name for path in folder.rglob("*") if path.suffix in (".part", ".old") or path.name == LOCK]
    if rest:
        raise Broken(f"left behind: {', '.join(rest)}")
    return {"whole": max(1, killed)}


PROPERTY = Property("killed_training", "A training that is killed (-9) or ended (SIGTERM) at any moment goes on to the "
                    "same weights and numbers, and leaves nothing behind.", cases, check, share=2.0, seconds=120,
                    wall=400, mib=1500, block=1, short=0)
