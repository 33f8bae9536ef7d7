"""Every option of every `rlenhance` command that takes a path, and its streams, with places of every kind."""

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np

import rlenhance.pipelines.denoise
import rlenhance.pipelines.explain
import rlenhance.pipelines.upscale  # noqa: F401
from rlenhance.cli import main as cli
from rlenhance.hub import shipped
from rlenhance.web import server
from tests.stress._places import CONDITIONS, SPECIAL, little_room, prepare, tree, without_rights
from tests.stress.registry import Broken, Case, Property

_TAKES = re.compile(r"FILE|DIR|PHOTO|RUN|MASK|REFERENCE|MODULE")
#: Options whose file is a result: with --overwrite it may be replaced.
_RESULTS = ("output", "explain", "cube", "save_recipe", "onnx")
_STREAMS = ("stdout full", "stdout closed", "reader gone", "stderr full", "stderr closed", "stdin closed")
_PICTURE = cv2.imencode(".png", np.random.default_rng(0).integers(0, 60, (16, 24, 3), dtype=np.uint8))[1].tobytes()
_GOOD = {".json": b'{"strength": 0.5}', ".py": b"", ".npz": b"", "": Path(shipped.FOLDER / "natural")}
#: Words that keep a command short, and make the options of some commands take effect.
_MORE = {"watch": ["--once", "--stable-for", "0", "--interval", "0.01"], "complete": ["--auto-mask", "-m", "laplace"],
         "variants": ["--presets", "--exposures"], "upscale": ["-m", "upscale"], "demo": ["--port", "0"]}


def commands():
    """The parsers by their commands."""
    (sub,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return sub.choices


def places(parser):
    """The options and arguments that take a path."""
    return [action for action in parser._actions if action.help != argparse.SUPPRESS and (
        action.type is Path or getattr(action.type, "__name__", "") == "photo_path"
        or _TAKES.search(str(action.metavar)))]


def _ending(action):
    found = re.search(r"\.(\w+)", str(action.metavar))
    if found:
        return f".{found[1]}"
    return "" if re.search(r"RUN|^DIR", str(action.metavar)) else ".py" if "MODULE" in action.metavar else ".png"


def _words(name, parser, chosen, word):
    """A command line with `word` for one option, and good words for what else it needs."""
    words, last = [name, *_MORE.get(name, ())], []
    if "-m" in words and chosen is not None and chosen.dest == "model":
        words = words[: words.index("-m")] + words[words.index("-m") + 2 :]
    if chosen is not None and chosen.dest == "mask":
        words.remove("--auto-mask")
    for action in parser._actions:
        mine = action is chosen
        if not mine and not (action.required and places(parser).count(action)):
            continue
        value = word if mine else "in" if _ending(action) == "" else f"good{_ending(action)}"
        value = f"@{value}" if mine and "@FILE" in str(action.metavar) else value
        if action.option_strings:
            words.append(f"{action.option_strings[-1]}={value}")
        else:
            last.append(value)
    return [*words, "--", *last] if last else words


def cases(rng):
    """All of them, in a random order."""
    found = []
    for name, parser in commands().items():
        overwrites = [False, True] if "--overwrite" in parser._option_string_actions else [False]
        found += [{"command": name, "option": action.dest, "condition": condition, "overwrite": overwrite}
                  for action, condition, overwrite in itertools.product(places(parser), CONDITIONS, overwrites)]
        found += [{"command": name, "option": "", "condition": stream, "overwrite": False} for stream in _STREAMS]
    rng.shuffle(found)
    for options in found:
        yield Case(f"{options['command']} {options['option']}: {options['condition']}", options=options)


def _broken_streams(condition):
    """Standard streams as a shell gives them; -> descriptors that were taken aside."""
    name, _, how = condition.partition(" ")
    if condition == "reader gone":
        reading, writing = os.pipe()
        os.close(reading)
        sys.stdout = os.fdopen(writing, "w")
    elif how == "closed":
        setattr(sys, name, None)
    elif how == "full":
        setattr(sys, name, os.fdopen(os.open("/dev/full", os.O_WRONLY), "w"))


def check(case, folder):
    """Run it in this process, which has no rights but its user's own."""
    asked = case.options
    parser, condition = commands()[asked["command"]], asked["condition"]
    server.serve = lambda *_: None
    for name in ("good.png", "in/a.png", "in/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(_PICTURE)
    action = next((action for action in parser._actions if action.dest == asked["option"]), None)
    word = ""
    if action is not None:
        ending = _ending(action)
        word = prepare(condition, ending, _GOOD.get(ending, _PICTURE))
    words = _words(asked["command"], parser, action, word)
    if asked["overwrite"]:
        words.insert(1, "--overwrite")
    kept = {path: path.stat().st_mode for path in folder.glob("closed*")}
    before = tree(folder)
    for path, mode in kept.items():
        path.chmod(mode)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(_PICTURE)), out, err
    if condition in _STREAMS:
        _broken_streams(condition)
    without_rights()
    little_room(condition)
    try:
        status = cli.main(words)
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    told = err.buffer.getvalue().decode(errors="replace")
    _laws(asked, words, status, told, before, tree(folder), word)
    if asked["command"] == "watch" and status == 0 and condition in _STREAMS and not Path("in/a_enhanced.png").exists():
        raise Broken(f"{words}: nothing was written")
    return {"refused" if status else "whole": 1}


def _laws(asked, words, status, told, before, after, word):
    about = json.dumps({"words": words, "status": status, "stderr": told[-1500:]})
    condition = asked["condition"]
    if status not in (0, 2) and not (condition == "reader gone" and status == 141):
        raise Broken(f"another exit status: {about}")
    if "Traceback" in told or "Exception ignored" in told or "fault of the program" in told:
        raise Broken(f"a fault: {about}")
    lines = told.splitlines()
    failures = [line for line in lines if re.match(r"error: |failed: |rlenhance \S+: error: ", line)]
    if status == 2 and not failures and not condition.startswith("stderr"):
        raise Broken(f"a refusal without a line: {about}")
    if status == 2 and not [line for line in failures if "rlenhance" in line] and any(
            not re.match(r"error: |failed: |note: |waiting: |stopped: |failures -> |  \S|\d+ of \d+ photographs failed",
                         line)
            for line in lines):
        raise Broken(f"a refusal of several lines: {about}")
    if any(ord(letter) < 32 for letter in told if letter not in "\n\t"):
        raise Broken(f"a name drives the terminal: {about}")
    if left := [name for name in after if name.endswith(".part")]:
        raise Broken(f"leftovers {left}: {about}")
    replaceable = asked["overwrite"] and asked["option"] in _RESULTS and condition not in SPECIAL
    for name, digest in before.items():
        if after.get(name) != digest and not (replaceable and name == os.path.normpath(word)):
            raise Broken(f"{name!r} was {'changed' if name in after else 'removed'}: {about}")
    with contextlib.suppress(KeyError):
        if status == 0 and asked["option"] in _RESULTS and condition == "odd new" and not after[word]:
            raise Broken(about)


PROPERTY = Property(
    "paths", "Every path option of every command, led to names, links, devices, rights and full disks of every kind: "
    "one line and status 2, or the result; nothing that was there is lost, nothing temporary is left.", cases, check,
    share=1.5, seconds=30, mib=1500, block=1, short=10, names=False)
