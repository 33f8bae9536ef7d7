"""Places that a path may lead to: names of every kind, links, devices, folders without rights, full disks."""

import ctypes
import hashlib
import os
import resource
import shutil
import socket
import stat
from pathlib import Path

#: Condition -> what it does in the folder, and the word that leads there; `name` ends as the option's files do.
CONDITIONS = ("plain there", "plain new", "long there", "long new", "odd there", "odd new", "two lines there",
              "two lines new", "too long", "too deep", "nul", "empty", "dash", "loop", "inside a loop", "dangling",
              "pipe", "zero", "full", "socket", "folder", "inside a file", "no rights", "inside no rights",
              "unlisted folder", "new in a read-only folder",
              "new on a full disk", "new with little room", "truncated", "another kind")
#: What no result replaces, whatever is asked for.
SPECIAL = ("pipe", "zero", "full", "socket", "folder")
_DEVICES = {"zero": 5, "full": 7}


def _named(kind: str, ending: str) -> str:
    room = 255 - len(ending)
    stem = {"plain": "file", "long": "夜" * (room // 3) + "x" * (room % 3), "odd": "n\udcff\u202e\x1b[31m 夜",
            "two lines": "one\ntwo"}[kind]
    return stem + ending


def prepare(condition: str, ending: str, good: bytes | Path) -> str:
    """Make a place in the current folder; -> the word that leads there.

    Args:
        condition: one of CONDITIONS.
        ending: of a file's name.
        good: what a file there holds: bytes, or a folder that is copied.
    """
    kind, _, there = condition.rpartition(" ")
    if there in ("there", "new") and kind in ("plain", "long", "odd", "two lines"):
        if there == "there":
            _put(Path(_named(kind, ending)), good)
        return _named(kind, ending)
    name = Path(f"place{ending}")
    if condition in ("too long", "too deep"):
        return "x" * (256 - len(ending)) + ending if condition == "too long" else "x/" * 2100 + f"a{ending}"
    if condition in ("nul", "empty", "dash"):
        return {"nul": f"a\0b{ending}", "empty": "", "dash": f"-rf{ending}"}[condition]
    if condition in ("loop", "dangling"):
        name.symlink_to(name.name if condition == "loop" else "nowhere")
    elif condition == "pipe":
        os.mkfifo(name)
    elif condition in _DEVICES:
        try:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(1, _DEVICES[condition]))
        except OSError:  # not root: a link to the system's own, which a rename does not reach
            name.symlink_to(f"/dev/{condition}")
    elif condition == "socket":
        socket.socket(socket.AF_UNIX).bind(str(name))
    elif condition == "folder":
        name.mkdir()
    elif condition in ("no rights", "truncated", "another kind"):
        whole = good if isinstance(good, bytes) else b"{}"
        _put(name, whole if condition == "no rights" else whole[: len(whole) // 2] if condition == "truncated"
             else b"\0\xff not what it should be")
        name.chmod(0 if condition == "no rights" else 0o644)
    elif condition == "inside a loop":
        Path("ring").symlink_to("ring")
        return f"ring/file{ending}"
    elif condition == "inside a file":
        Path("leaf").write_bytes(b"x")
        return f"leaf/file{ending}"
    elif condition in ("inside no rights", "unlisted folder", "new in a read-only folder"):
        closed = Path("closed" + (ending if condition == "unlisted folder" else ""))
        closed.mkdir()
        if condition != "new in a read-only folder":
            _put(closed / f"file{ending}", good)
        closed.chmod({"inside no rights": 0, "unlisted folder": 0o444}.get(condition, 0o555))
        return str(closed) if condition == "unlisted folder" else f"closed/file{ending}"
    return str(name)


def _put(path: Path, good: bytes | Path) -> None:
    if isinstance(good, bytes):
        path.write_bytes(good)
    else:
        shutil.copytree(good, path)


def without_rights() -> None:
    """Take root's power over rights and files from this process; another user has none."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if libc.capset(head, sets):
            raise OSError(ctypes.get_errno(), "capset")


def little_room(condition: str) -> None:
    """Files of this process may have no byte, or a few."""
    if condition in ("new on a full disk", "new with little room"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if "full" in condition else 100, resource.RLIM_INFINITY))


def tree(folder: Path) -> dict[str, str]:
    """What lies in a folder: name -> a digest, or what it is; closed folders are opened for it."""
    found = {}
    for closed in folder.glob("closed*"):
        closed.chmod(0o755)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and mode & 0o400:
                with open(path, "rb") as file:
                    about = hashlib.sha256(file.read()).hexdigest()
            else:
                about = f"{stat.S_IFMT(mode):o} {os.readlink(path) if stat.S_ISLNK(mode) else ''}"
            found[os.path.relpath(path, folder)] = about
    return found
