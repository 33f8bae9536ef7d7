"""Calls whose results and written files are pointed at what is read, at each other, or at somebody's files."""

import contextlib
import io
import itertools
import os

import cv2
import fsspec
import numpy as np

import rlenhance.pipelines.denoise
import rlenhance.pipelines.enhance  # noqa: F401
from rlenhance.cli import main as cli
from rlenhance.cli.parser import written_options
from tests.stress._places import tree
from tests.stress.paths import commands
from tests.stress.registry import Broken, Case, Property

_PICTURE = cv2.imencode(".png", np.random.default_rng(0).integers(0, 60, (8, 12, 3), dtype=np.uint8))[1].tobytes()
#: What may be named: files that are read, files of somebody, a free place, and a result.
_FILES = ("p/0.png", "p/1.png", "p/letter.txt", "p/12:30.png", "free.png", "out/0.png")
#: Ways to write a place; {0} is its name, {1} the folder of the case.
_SPELLINGS = ("{0}", "./{0}", "{1}/{0}", "p/../{0}", "file://{1}/{0}", "local://{1}/{0}", "link/{0}", "hard:{0}",
              "soft:{0}", "local://{1}/link/{0}")
_OPTIONS = tuple((name, action.option_strings[0]) for name, parser in commands().items()
                 for action, _ in written_options(parser) if name in ("enhance", "denoise", "restore", "upscale"))


def _spelled(rng, name):
    return rng.choice(_SPELLINGS), name


def cases(rng):
    """Photographs, an output, and up to two written files, each spelled in any way."""
    while True:
        command = rng.choice(("enhance", "enhance", "denoise"))
        options = [option for name, option in _OPTIONS if name == command]
        yield Case(command, options={
            "photos": [_spelled(rng, rng.choice(("p/0.png", "p/1.png", "p/12:30.png", "p")))
                       for _ in range(rng.randint(1, 2))],
            "store": rng.random() < 0.3, "output": rng.choice((None, _spelled(rng, rng.choice((*_FILES, "p", "out"))))),
            "written": [(option, _spelled(rng, rng.choice(_FILES)))
                        for option in rng.sample(options, rng.randint(0, 2))],
            "overwrite": rng.random() < 0.8, "name": rng.choice((None, None, "{{stem}}_{{number}}{{ext}}"))})


def _word(spelling, folder, count):
    """The word of a spelling; links are made for it."""
    pattern, name = spelling
    if pattern.startswith(("hard:", "soft:")):
        place = folder / f"named{next(count)}{'' if '.' not in name else '.' + name.rpartition('.')[2]}"
        if pattern.startswith("soft:") or not (folder / name).is_file():
            place.symlink_to(folder / name)
        else:
            place.hardlink_to(folder / name)
        return str(place)
    return pattern.format(name, folder)


def _replaceable(target, photos, folder):
    """The name that -o with --overwrite may replace: a file that none of the photographs is, by whatever name."""
    if target is None or target.endswith("/"):
        return ""
    place = os.path.normpath(target.partition("://")[2] if "://" in target else os.path.join(folder, target))
    read = [path for photo in photos for path in [photo.partition("://")[2] if "://" in photo else photo]]
    read = [os.path.join(path, name) for path in read if os.path.isdir(path) for name in os.listdir(path)] + read
    if any(os.path.exists(path) and os.path.exists(place) and os.path.samefile(path, place) for path in read):
        return ""
    real = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
    return os.path.relpath(real, os.path.realpath(folder))


def check(case, folder):
    """No byte of a file that is read or not ours changes; a refusal is one line and comes before any work."""
    for name in ("p/0.png", "p/1.png", "p/12:30.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(_PICTURE)
    (folder / "p/letter.txt").write_text("dear")
    (folder / "link").symlink_to(folder)
    count, asked = itertools.count(), case.options
    photos = [_word(each, folder, count) for each in asked["photos"]]
    words, target = [case.name, *photos], None
    if asked["store"]:
        fsspec.filesystem("memory").pipe_file("/shelf/x.png", _PICTURE)
        words.insert(1, "memory://shelf/x.png")
    if asked["output"]:
        target = _word(asked["output"], folder, count) + "/" * (asked["output"][1] in ("p", "out"))
        words += ["-o", target]
    for option, place in asked["written"]:
        words += [option, _word(place, folder, count)]
    words += ["--overwrite"] * asked["overwrite"] + (["--name", asked["name"].format()] if asked["name"] else [])
    before, err = tree(folder), io.StringIO()
    replaceable = _replaceable(target, photos, folder) if asked["overwrite"] else ""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            status = cli.main([*words, "--strength", "0", *["--denoise=0"] * (case.name == "enhance")])
        except SystemExit as stop:
            status = stop.code
    after, told = tree(folder), err.getvalue()
    for place, content in before.items():
        if after.get(place) != content and place != replaceable:
            raise Broken(f"{words}: {place} was changed ({told[-300:]})")
    if status not in (0, 2) or "Traceback" in told or "fault of the program" in told:
        raise Broken(f"{words}: status {status}: {told[-500:]}")
    if status == 2 and not any(line.startswith(("error: ", "failed: ", "rlenhance ")) for line in told.splitlines()):
        raise Broken(f"{words}: refused without a line: {told[-500:]}")
    return {"refused" if status else "whole": 1}


PROPERTY = Property("written_places", "Whatever the results and the written files of a call are pointed at, under any "
                    "spelling and beside addresses: no file that is read or not ours changes.", cases, check, share=0.5,
                    seconds=20, mib=900, block=25, short=8, names=False)
