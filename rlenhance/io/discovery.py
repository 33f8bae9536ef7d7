"""Find photographs: files, folders, glob patterns, standard input."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError, refuse_os_errors
from rlenhance.io.containers import EXTENSIONS, endings_in_words

#: Standard input as a source, standard output as a target; a file named "-" is written ./-.
STDIO = Path("-")
#: Ending of lists of files.
LIST = ".txt"
#: Most frames of a bracket.
MOST_FRAMES = 20


@dataclass(frozen=True)
class FoundPhoto:
    """A photograph that was found.

    Attributes:
        path: the file, or `STDIO`.
        relative_dir: its folder relative to the one that was given; "." for files, and without recursion.
        explicit: the file itself was given, not its folder.
    """

    path: Path
    relative_dir: Path = Path()
    explicit: bool = False

    @property
    def key(self) -> str:
        """What a shard is chosen by: the path below the folder that was given; of a file, the path as it was given."""
        return self.path.as_posix() if self.explicit else (self.relative_dir / self.path.name).as_posix()


def is_photo(path: Path, extensions: Collection[str] = EXTENSIONS) -> bool:
    """Whether a path is a visible file with one of `extensions`; it is not opened."""
    return path.suffix.lower() in extensions and not path.name.startswith(".") and os.path.isfile(path)


def list_photos(folder: Path, *, recursive: bool = False, exclude: Path | None = None,
                extensions: Collection[str] = EXTENSIONS) -> list[Path]:
    """The image files of a folder by their extensions, sorted by name, without hidden ones.

    Args:
        folder: the folder.
        recursive: include its folders, after its own files; links to folders are not followed.
        exclude: a folder that is left out, with all below it.
        extensions: of the files.

    Raises:
        UsageError: not a folder, one that cannot be listed, or no image in it.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"{folder}: no such folder")
    photos = list(iter_photos(folder, recursive, exclude, extensions))
    if not photos:
        deeper = "; its folders are searched too where asked (recursive)"
        deeper = "" if recursive or not any(map(os.path.isdir, folder.iterdir())) else deeper
        raise UsageError(f"{folder}: holds no picture; {endings_in_words(extensions)}{deeper}")
    return photos


def iter_photos(folder: Path, recursive: bool, exclude: Path | None,
                extensions: Collection[str] = EXTENSIONS) -> Iterable[Path]:
    """The same as an iterator, which may be empty; it raises UsageError for a folder that cannot be listed."""
    return (path for path in iter_files(folder, recursive, exclude) if is_photo(path, extensions))


def iter_files(folder: Path, recursive: bool, exclude: Path | None) -> Iterable[Path]:
    """The visible files of a folder, of any kind, sorted by name; see `list_photos`.

    Raises:
        UsageError: a folder that cannot be listed.
    """
    try:
        paths = sorted(folder.iterdir())
        os.stat(folder / ".")  # its names may be read without the right to look at its files
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror}); leave it out, or change its "
                         f"permissions") from error
    yield from (path for path in paths if os.path.isfile(path) and not path.name.startswith("."))
    left_out = exclude and os.path.realpath(exclude)
    for path in paths if recursive else ():
        if os.path.isdir(path) and not path.is_symlink() and not path.name.startswith(".") and (
                os.path.realpath(path) != left_out):
            yield from iter_files(path, recursive, exclude)


@refuse_os_errors()
def find_photos(words: Iterable[Path | str], *, recursive: bool = False, exclude: Path | None = None,
                extensions: Collection[str] = EXTENSIONS) -> list[FoundPhoto]:
    """The photographs of a command line, each once, in the order given.

    Args:
        words: files; folders; patterns with * ? [ ] or ** (a file of exactly that name has precedence); lists of files
            (.txt, see `read_list`); `STDIO`.
        recursive: include the folders below; results of a list mirror its paths as they are written.
        exclude: a folder that is left out: the one of the results.
        extensions: of the files in folders and patterns.

    Raises:
        UsageError: a word that matches nothing, or a folder without an image.
    """
    found: dict[Path, FoundPhoto] = {}
    for word in map(Path, words):
        if word.suffix.lower() == LIST and os.path.isfile(word):
            for path in map(Path, read_list(word)):
                folder = path.parent.relative_to(path.anchor) if recursive else Path()
                if ".." in folder.parts:
                    raise UsageError(f"{word}: {path}: leads out of the folder of results (recursive); write paths "
                                     f"without ..")
                found.setdefault(path, FoundPhoto(path, folder, explicit=True))
        elif word == STDIO or os.path.isfile(word):
            found[word] = FoundPhoto(word, explicit=True)
        elif os.path.isdir(word):
            for path in list_photos(word, recursive=recursive, exclude=exclude, extensions=extensions):
                found.setdefault(path, FoundPhoto(path, path.parent.relative_to(word) if recursive else Path()))
        elif os.path.exists(word):
            raise UsageError(f"{word}: a device or a pipe, neither a file nor a folder; copy it into a file first")
        elif glob.has_magic(str(word)):
            for path in _matches(word, extensions):
                found.setdefault(path, FoundPhoto(path, path.parent.relative_to(_root(word)) if recursive else Path()))
        else:
            raise UsageError(f"{word}: {_why_not(word)}")
    if not found:
        raise UsageError("no photograph is named")
    return list(found.values())


@dataclass(frozen=True)
class FoundBracket:
    """The frames of one scene.

    Attributes:
        frames: their files.
        source: what a result is named after: the first frame, or the folder with the ending of the first frame.
        relative_dir: folder of `source` relative to the folder that was given.
    """

    frames: tuple[Path, ...]
    source: Path
    relative_dir: Path = Path()

    def check(self) -> None:
        """Refuse more frames than a bracket has: they are held in memory together.

        Raises:
            UsageError: names the first frame, the number and the limit.
        """
        if len(self.frames) > MOST_FRAMES:
            raise UsageError(f"{self.frames[0]}: is one of {len(self.frames)} photographs, and a bracket has at most "
                             f"{MOST_FRAMES}; name its frames, or give each scene a folder of its own (-r)")


def find_brackets(words: Iterable[Path | str], *, recursive: bool = False,
                  exclude: Path | None = None) -> list[FoundBracket]:
    """The brackets of a command line: all files together are one, or each folder is one.

    Args:
        words: files, patterns and lists of files; or folders.
        recursive: the folders below are brackets too.
        exclude: a folder that is left out: the one of the results.

    Raises:
        UsageError: files and folders, a word that matches nothing, or a folder without an image.
    """
    named = [Path(word) for word in words]
    folders = [word for word in named if os.path.isdir(word)]
    if folders and len(folders) < len(named):
        other = next(word for word in named if word not in folders)
        raise UsageError(f"{other} and {folders[0]}: name the frames of one bracket, or folders with a bracket each")
    if not folders:
        paths = [photo.path for photo in find_photos(named, exclude=exclude)]
        if STDIO in paths:
            raise UsageError("-: a bracket is several files; name them")
        return [FoundBracket(tuple(paths), paths[0])]
    groups: dict[Path, tuple[Path, list[Path]]] = {}
    for folder in folders:
        for photo in find_photos([folder], recursive=recursive, exclude=exclude):
            groups.setdefault(photo.path.parent, (folder, []))[1].append(photo.path)
    return [FoundBracket(tuple(paths), Path(os.path.abspath(place)).with_name(_folder_name(place) + paths[0].suffix),
                         (place.relative_to(folder)).parent) for place, (folder, paths) in groups.items()]


def _folder_name(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name


def read_list(path: Path) -> list[str]:
    """The paths in a list: one a line, or each before a NUL byte, as `find -print0` writes them.

    They are not looked at: one that is missing fails when it is reached.

    Raises:
        UsageError: the list is empty.
    """
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    names = [os.fsdecode(line) for line in lines if line]
    if not names:
        raise UsageError(f"{path}: an empty list; it has the path of a photograph on each line")
    return names


def _why_not(path: Path) -> str:
    """Why there is no file of that name."""
    try:
        path.lstat()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "a link that leads nowhere" if os.path.islink(path) else "no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError:
        return "no such file: a name holds no NUL byte"
    return "no such file"


def _matches(pattern: Path, extensions: Collection[str]) -> list[Path]:
    photos = [path for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))) if is_photo(path, extensions)]
    if not photos:
        raise UsageError(f"{pattern}: no picture matches; {endings_in_words(extensions)}")
    return photos


def _root(pattern: Path) -> Path:
    """The folder before the first wildcard of a pattern."""
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def is_case_insensitive(folder: Path) -> bool:
    """Whether names that differ in case alone are one file there, tested on the nearest existing folder."""
    for place in filter(lambda place: place.name, (folder.absolute(), *folder.absolute().parents)):  # not the root
        other = place.with_name(place.name.swapcase())
        if os.path.exists(place) and other.name != place.name:
            return os.path.exists(other) and os.path.samefile(place, other)
    return False
