"""Commands as tools: whatever a program does, its picture is taken or refused in one line; nothing of it is left."""

import contextlib
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.tools import Command
from tests.stress.registry import Broken, Case, Property

_PICTURE = np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype(np.float32) / 255
_SECONDS, _PATIENCE = 1.5, 30.0  # limit of a command; how long the machine may take to end it
#: What a program does before it writes; `given`, `out` are its paths, `folder` that of both.
_DEEDS = {
    "nothing": "pass",
    "talks": "sys.stderr.write('\\x1b[2J\\x07é\\u202e\\n' * 200_000)",
    "prints": "sys.stdout.write('x' * 3_000_000)",
    "fails": "sys.exit(3)",
    "crashes": "os.abort()",
    "stops": "os.kill(os.getpid(), signal.SIGSTOP)",
    "hangs": "time.sleep(60)",
    "computes": "while True: pass",
    "deaf": "[signal.signal(each, signal.SIG_IGN) for each in (1, 2, 3, 13, 15)]",
    "child": "os.fork() or time.sleep(60)",
    "daemon": "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(60))",
    "deaf daemon": "os.fork() or (signal.signal(15, signal.SIG_IGN), os.setsid(), time.sleep(60))",
    "bomb": "[os.fork() for _ in range(8)]; time.sleep(60)",
    "renamed": "os.rename(given, given + ' moved')",
    "many files": "[open(f'{folder}/-rf {n}\\n', 'w').close() for n in range(300)]",
    "closed folder": "os.mkdir(folder + '/x'); open(folder + '/x/y', 'w').close(); os.chmod(folder + '/x', 0)",
    "link to root": "os.symlink('/', folder + '/root')",
    "linked folder": "os.mkdir(folder + '/d'); os.symlink('../d', folder + '/d/loop')",
    "takes memory": "x = bytearray(3 << 30)",
    "closes": "os.closerange(0, 64)",
    "working place": "os.mkdir(folder + '/w'); os.chdir(folder + '/w'); os.rmdir(folder + '/w')",
    "no rights": "os.chmod(folder, 0o500)",
    "stops its supervisor": "os.kill(os.getppid(), 19); time.sleep(60)",
    "kills its supervisor": "os.kill(os.getppid(), 9); time.sleep(60)",
    "kills it behind a daemon": "p = os.getppid(); os.fork() or (os.setsid(), os.kill(p, 9), time.sleep(60))",
    "kills all that watches": "p = os.getppid(); q = int(open(f'/proc/{p}/stat').read().rpartition(')')[2].split()[1])"
                              "; [os.kill(each, 9) for each in (p, q)]; time.sleep(60)",
    "nests": "os.chdir(folder); [(os.mkdir('d'), os.chdir('d')) for _ in range(1500)]; os.chdir('/')",
    "moves its folder": "os.rename(folder, folder + '-moved'); os.symlink('/proc', folder)",
}
#: What it leaves as its result.
_RESULTS = {
    "copy": "shutil.copy(given, out)",
    "nothing": "pass",
    "text": "open(out, 'w').write('GIF89a, or not')",
    "empty": "open(out, 'w').close()",
    "cut": "open(out, 'wb').write(open(given, 'rb').read()[:-30])",
    "bomb": "data = open(given, 'rb').read(); open(out, 'wb').write(data[:16] + b'\\0\\1\\0\\0' * 2 + data[24:])",
    "sparse": "os.truncate(os.open(out, os.O_CREAT | os.O_RDWR), 1 << 40)",
    "large": "open(out, 'wb').write(bytes(80 << 20))",
    "folder": "os.mkdir(out)",
    "pipe": "os.mkfifo(out)",
    "link": "os.symlink('/etc/passwd', out)",
    "zeros": "os.symlink('/dev/zero', out)",
    "own link": "os.symlink(given, out)",
    "to itself": "os.symlink(out, out)",
    "hard link": "os.link(given, out)",
}
_PLACES = ("plain", "a b", "-rf", "'", '"', "new\nline", "$(touch mark)", "{out}", "%s", "夜", "x" * 200, "*")
_WORDS = ("$(touch mark)", "`touch mark`", "; touch mark", "| tee mark", "> mark", "&& touch mark", "-o", "--", "é", "",
          "*", "~", "{", "a  b", "\\", "\\n", "%d", "$PATH")


def cases(rng):
    """Some deeds, a result, words that a shell would take for its own, and a place for temporary folders."""
    while True:
        deeds = [rng.choice(sorted(_DEEDS)) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))]
        yield Case(".", options={
            "deeds": deeds, "result": "copy" if rng.random() < 0.4 else rng.choice(sorted(_RESULTS)),
            "words": [rng.choice(_WORDS) for _ in range(rng.randrange(4))], "place": rng.choice(_PLACES)})


def running(script):
    """Numbers of the processes of a script."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if script in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(int(number))
    return found


def check(case, folder):
    """Run the program as a command and look at what is there afterwards."""
    asked = case.options
    place = folder / asked["place"]
    place.mkdir()
    script = folder / "program.py"
    script.write_text("\n".join([
        "import os, shutil, signal, sys, time", "given, out = sys.argv[1:3]", "folder = os.path.dirname(given)",
        f"assert sys.argv[3:] == {asked['words']!r}, sys.argv", *(_DEEDS[name] for name in asked["deeds"]),
        _RESULTS[asked["result"]]]))
    tempfile.tempdir, before, given = str(place), set(os.listdir(folder)), _PICTURE.copy()
    begun, refusal = time.monotonic(), None
    try:
        command = Command(shlex.join([sys.executable, "-I", "-S", str(script)]) + " {in} {out} " +
                          shlex.join(asked["words"]), _SECONDS, 1024)
        result = command(given)
        if result.shape != given.shape or result.dtype != np.float32 or not (0 <= result.min() <= result.max() <= 1):
            raise Broken(f"{result.shape} {result.dtype}")
        if not np.array_equal(result, given):
            raise Broken("another picture than the program has written")
    except UsageError as error:
        refusal = error
        if not str(error).isprintable() or len(str(error)) > 1000:
            raise Broken(f"no single line: {str(error)!r}") from error
    finally:
        tempfile.tempdir = None
    taken = time.monotonic() - begun
    if left := running(bytes(script)):
        raise Broken(f"processes {left} are left")
    if list(place.iterdir()) or set(os.listdir(folder)) != before:
        raise Broken(f"files are left: {[*map(str, place.rglob('*'))]} {set(os.listdir(folder)) - before}")
    if taken > _SECONDS + _PATIENCE:
        raise Broken(f"it took {taken:.1f} seconds")
    if not np.array_equal(given, _PICTURE):
        raise Broken("the picture that was given has changed")
    if refusal:
        raise refusal


PROPERTY = Property(
    "commands", "Whatever a program does that is a tool: the picture that it wrote, of the size that it was given, or "
    "one line; no shell sees its words; soon after its time all that it started has ended, and its files are gone.",
    cases, check, share=0.5, seconds=20, wall=120, mib=3000, block=1, short=4, names=False)
