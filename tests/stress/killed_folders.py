"""Runs over a folder that are killed: the next one with --skip-existing finishes them, byte for byte."""

import io
import os
import shutil
import signal
import sys
import time

import cv2
import numpy as np

import rlenhance.pipelines.denoise
import rlenhance.pipelines.enhance
import rlenhance.pipelines.video  # noqa: F401
from rlenhance.cli import main as cli
from rlenhance.io.files import LEFTOVER_AGE
from tests.stress._places import tree
from tests.stress.registry import Broken, Case, Property
from tests.support.clips import make_clip

_COMMANDS = (["enhance", "-m", "natural"], ["denoise", "-m", "denoiser"], ["watch", "-m", "natural", "--once",
             "--stable-for", "0", "--interval", "0.01"])
_ENDINGS = (".png", ".jpg", ".tiff", ".webp", ".bmp")


def cases(rng):
    """A command, where its results go, how many photographs, and the moments (shares of a whole run) of its deaths."""
    while True:
        command = rng.randrange(len(_COMMANDS))
        yield Case("folder", options={
            "command": command, "beside": rng.random() < 0.3, "photographs": rng.randrange(3, 15),
            "clip": command == 0 and rng.random() < 0.2, "workers": rng.randrange(1, 5), "seed": rng.randrange(1 << 30),
            "deaths": [rng.random() for _ in range(rng.randrange(1, 4))], "at once": rng.random() < 0.3})


def _start(place, words):
    """Run a command in a folder, in a process of its own; -> its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.chdir(place)
        sys.stdout = io.StringIO()
        status = cli.main(words)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _end(child, words):
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise Broken(f"{words}: status {status}")


def _kill(child):
    """Whether it was still running."""
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _results(place, sources):
    return {name: digest for name, digest in tree(place).items() if name not in sources and not name.endswith(".part")}


def check(case, folder):
    """An uninterrupted run; one that is killed several times and taken up again; and what is left an hour later."""
    asked, rng = case.options, np.random.default_rng(case.options["seed"])
    whole, killed = folder / "whole", folder / "killed"
    for number in range(asked["photographs"]):
        name = whole / "in" / f"deep{number % 2}" / f"{number}{_ENDINGS[number % len(_ENDINGS)]}"
        name.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(name), rng.integers(0, 60, (*rng.integers(16, 200, 2), 3), dtype=np.uint8))
    if asked["clip"]:
        make_clip(whole / "in/clip.mp4")
    shutil.copytree(whole, killed)
    sources = tree(whole)
    command, *more = _COMMANDS[asked["command"]]
    words = [command, "in", "-r", *more, "--workers", str(asked["workers"])]
    words += [] if asked["beside"] else ["-o", "out"]
    start = time.monotonic()
    _end(_start(whole, words), words)
    took = time.monotonic() - start
    expected = _results(whole, sources)
    if sum("." in name for name in expected) != asked["photographs"] + asked["clip"]:
        raise Broken(f"{words}: {sorted(expected)}")
    words += [] if command == "watch" else ["--skip-existing"]
    kills = 0
    for share in asked["deaths"]:
        child, *others = [_start(killed, words) for _ in range(1 + asked["at once"])]
        time.sleep(share * took)
        kills += _kill(child)
        for other in others:
            _end(other, words)
        if _results(killed, sources).items() - expected.items():
            raise Broken(f"{words}: a file is not whole after {share * took:.3f} s")
    _end(_start(killed, words), words)
    if _results(killed, sources) != expected:
        raise Broken(f"{words}: the next run did not finish it")
    left = list(killed.rglob(".*.part"))
    if len(left) > kills * asked["workers"]:
        raise Broken(f"{words}: {left} after {kills} deaths")
    for path in left:
        os.utime(path, (time.time() - LEFTOVER_AGE - 60,) * 2)
    _end(_start(killed, words), words)
    if tree(killed) != {**sources, **expected}:
        raise Broken(f"{words}: an hour later there is {sorted(set(tree(killed)) - {*sources, *expected})}")
    return {"whole": kills} if kills else None


PROPERTY = Property(
    "killed_folders", "A run over a folder that is killed at any moment, several times and beside another run, is "
    "finished by the next one with --skip-existing: every file is whole and that of an uninterrupted run, byte for "
    "byte; nothing is left after an hour.", cases, check, share=2, seconds=60, wall=180, mib=2000, block=1, short=1,
    names=False)
