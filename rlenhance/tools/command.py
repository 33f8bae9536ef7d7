"""Any command as a tool: run without a shell, with limits of time and memory, in files that are removed."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError, check_ranges, one_line
from rlenhance.core.pixels import to_pixels, to_planes
from rlenhance.io import Photo, encode
from rlenhance.io.files import decode_within
from rlenhance.io.temporary import temporary_folder

_SUPERVISOR = Path(__file__).with_name("supervise.py")
_PLACE = re.compile(r"\{(in|out)(?:\.([a-z]+))?\}")
_READABLE = ("png", "tif", "tiff", "bmp")  # formats without loss that a command may be given
_WRITTEN = (*_READABLE, "jpg", "jpeg", "webp", "avif")  # formats that it may write
_SMALLEST_FILE = 64 << 20  # bytes that a command may write into a file, whatever the size of the picture
_PIXEL_BYTES = 64  # and so many for each pixel of a larger one
_MOST_TOLD = 200  # characters of its complaints
_PROCESSES = 200  # that a command may have at a time
_GRACE = 40.0  # seconds beyond its time after which a command's supervisors are given up
_LONGEST = 4000  # characters of a command


@dataclass(frozen=True)
class Command:
    """A command that reads one picture and writes another of the same size: `command(picture) -> picture`.

    The text is split into words as a shell does, and no shell sees it: `;`, `|`, `*`, `$` and backquotes are characters
    like others. `{in}` becomes the path of the picture, an 8-bit PNG, and `{out}` that of the result, a PNG;
    `{in.tif}` (png, tif, bmp) and `{out.jpg}` (also webp, avif) ask for other formats. Both lie in a new folder, which
    is removed with all that is in it. The command runs in the current folder with the rights and the environment of
    its user: it is limited, and not locked in.

    Attributes:
        text: the command.
        seconds: on the clock; then it is killed, with all that it has started (it may have 200 processes at a time).
            Processor time is limited to so much for each core.
        memory: MiB of address space of each of its processes; programs that reserve much (Java) need a large number.

    Raises:
        UsageError: the text is no such command, or the program is not found.

    Source of the words' rules: `shlex.split`, POSIX.
    """

    text: str
    seconds: float = 60.0
    memory: float = 8192.0

    def __post_init__(self) -> None:
        check_ranges(self, "(0, 86400]", "seconds")
        check_ranges(self, "(0, inf)", "memory")
        if os.name != "posix":
            raise UsageError("commands as tools need a POSIX system (Linux, macOS); use a Python function here")
        if self.memory > 1 << 40:
            raise UsageError(f"memory must be MiB of address space; got {self.memory:g}")
        self.words()

    def words(self) -> list[str]:
        """The words, the first one as the path of the program.

        Raises:
            UsageError: see `Command`.
        """
        if len(self.text) > _LONGEST or not self.text.isprintable():
            raise UsageError(f"a command is one line of at most {_LONGEST} printable characters; got "
                             f"{len(self.text)}: {one_line(self.text, 80)!r}")
        try:
            words = shlex.split(self.text)
        except ValueError as error:
            raise UsageError(f"{self.text!r:.80} is no command ({error}); close the quotes") from error
        places = [place for word in words[1:] for place in _PLACE.findall(word)]
        if {kind for kind, _ in places} != {"in", "out"} or _PLACE.search(words[0]):
            raise UsageError(f"a command names a program, {{in}} where it reads the picture and {{out}} where it "
                             f"writes the result, as in \"gmic {{in}} -sharpen 50 -o {{out}}\"; got {self.text!r:.80}")
        for kind, ending in places:
            known = _READABLE if kind == "in" else _WRITTEN
            if ending and ending not in known:
                raise UsageError(f"{{{kind}.{ending}}}: the formats are {', '.join(known)}")
        if len({place for place in places if place[0] == "out"}) > 1:
            raise UsageError(f"{self.text!r:.80} writes results of several formats; use one {{out}}")
        program = shutil.which(words[0])
        if program is None:
            raise UsageError(f"no program {words[0]!r:.80} on PATH; install it, or give its path")
        return [os.path.abspath(program), *words[1:]]

    @property
    def version(self) -> str:
        """What distinguishes results of other versions of the program: its path, size and time of change."""
        program = self.words()[0]
        about = os.stat(program)
        return f"{self.text} {program} {about.st_size} {about.st_mtime_ns}"

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The picture after the command: (H, W, 3) float in [0, 1] -> the same, float32.

        Raises:
            UsageError: it fails, takes too long, or writes nothing, or something that is no picture of this size.
        """
        words, endings = self.words(), dict[str, str]()
        pixels = to_pixels(to_planes(picture), np.uint8)
        with temporary_folder("rlenhance-tool-") as folder:

            def path_of(match: re.Match[str]) -> str:
                endings[match[1]] = match[2] or "png"
                path = folder / f"{match[1]}.{match[2] or 'png'}"
                if match[1] == "in" and not path.exists():
                    path.write_bytes(encode(Photo(pixels), path.suffix))
                return str(path)

            filled = [words[0], *(_PLACE.sub(path_of, word) for word in words[1:])]
            self._run(filled, folder, pixels.shape[0] * pixels.shape[1])
            return self._read(folder / f"out.{endings['out']}", pixels)

    def _run(self, words: list[str], folder: Path, count: int) -> None:
        """Run the words on a picture of so many pixels; all that they have started has ended then."""
        cores = os.cpu_count() or 1
        limits = f"{self.seconds}:{self.memory * 2**20}:{_largest_file(count)}:{self.seconds * cores + 1}:" \
                 f"{_PROCESSES}"
        told = folder / "said.txt"
        with told.open("wb") as complaints:
            try:
                with subprocess.Popen([sys.executable, "-I", "-S", str(_SUPERVISOR), limits, *words],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints,
                                      env=os.environ | {"TMPDIR": str(folder)}, start_new_session=True) as process:
                    assert process.stdout is not None and process.stdin is not None
                    ended: list[str] = []
                    try:
                        late = self.seconds + _GRACE
                        ready = select.select([process.stdout], [], [], late)[0]
                        ended = process.stdout.readline(100).decode(errors="replace").split() if ready else ["attacked"]
                    finally:
                        process.stdin.close()  # the supervisor ends all, should it not have done so
                        try:
                            process.wait(_GRACE)
                        except subprocess.TimeoutExpired:
                            process.kill()
                        if ended in ([], ["attacked"]):
                            end_processes_of(folder)
            except OSError as error:
                raise UsageError(f"{self.text!r:.80} cannot be started ({error.strerror})") from error
        if ended == ["exit", "0"]:
            return
        if ended[:1] == ["time"]:
            raise UsageError(f"{self.text!r:.80} took more than {self.seconds:g} seconds; raise the limit "
                             f"(Command.seconds), or reduce the picture")
        if ended[:1] == ["attacked"]:
            raise UsageError(f"{self.text!r:.80} stopped or killed the process that watches it, and was ended; do not "
                             f"use it")
        if ended[:1] == ["processes"]:
            raise UsageError(f"{self.text!r:.80} had more than {_PROCESSES} processes at a time and was ended")
        how = f"ended with {' '.join(ended)}" if ended else "was killed with its supervisor"
        raise UsageError(f"{self.text!r:.80} {how}; its limits are {self.memory:g} MiB (Command.memory) and "
                         f"{_largest_file(count) >> 20} MiB a file{_said(told)}")

    def _read(self, path: Path, pixels: np.ndarray) -> np.ndarray:
        """The result; it was written by an untrusted program, and is decoded in a process of its own."""
        height, width = pixels.shape[:2]
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:  # no link is followed, should the folder be one now
                file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise UsageError(f"{self.text!r:.80} wrote no result ({error.strerror}); does it write to "
                             f"{{out}}?") from error
        try:
            about, most = os.fstat(file), _largest_file(height * width)
            if not stat.S_ISREG(about.st_mode) or about.st_size > most:
                raise UsageError(f"{self.text!r:.80} wrote a device, a folder, or more than {most:,} bytes as its "
                                 f"result")
            with os.fdopen(file, "rb", closefd=False) as opened:
                data = opened.read(most + 1)
        finally:
            os.close(file)
        name = f"the result of {self.text!r:.80}"
        try:
            photo = decode_within(data, name, megapixels=4 * max(height * width, 4) / 1e6, seconds=30)
        except UsageError as error:
            cause = str(error).removeprefix(f"{name}: ").partition(";")[0]
            raise UsageError(f"{self.text!r:.80} wrote no picture of {width}x{height} pixels ({cause}); a tool writes "
                             f"one of the size that it is given, in the format of {{out}}") from error
        if photo.pixels.shape != pixels.shape:
            raise UsageError(f"{self.text!r:.80} made a picture of {photo.pixels.shape[1]}x{photo.pixels.shape[0]} "
                             f"pixels out of {width}x{height}; a tool keeps the size")
        return to_pixels(to_planes(photo.pixels), np.float32)


def end_processes_of(folder: Path) -> None:
    """End what still runs with a folder as its temporary one, where the system lists processes.

    Nothing does, unless a command has killed all that watched it. Killed processes need a moment to be gone, and may
    have started others meanwhile, so the search goes on until it finds none.
    """
    mark, last = b"TMPDIR=" + os.fsencode(folder) + b"\0", time.monotonic() + _GRACE
    found = True
    while found and time.monotonic() < last:
        found = False
        for process in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError, ValueError):
                if mark in process.read_bytes() + b"\0":
                    found = True
                    os.kill(int(process.parent.name), signal.SIGKILL)
        if found:
            time.sleep(0.01)


def _largest_file(count: int) -> int:
    return max(_SMALLEST_FILE, _PIXEL_BYTES * count)


def _said(path: Path) -> str:
    """The last words of a command, as part of a message."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as opened:
            opened.seek(-min(os.fstat(file).st_size, 4 * _MOST_TOLD), os.SEEK_END)
            text = one_line(opened.read(4 * _MOST_TOLD).decode(errors="replace"), 4 * _MOST_TOLD)[-_MOST_TOLD:]
    except OSError:
        return ""
    return f": {text}" if text else ""
