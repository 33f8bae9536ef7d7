"""Which photographs are meant: files, folders, patterns that the shell left alone, standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.io.files import EXTENSIONS

#: Standard input as a source, standard output as a target; a file of that name is named with its folder.
STDIO = Path("-")


@dataclass(frozen=True)
class FoundPhoto:
    """A photograph that was meant.

    Attributes:
        path: where it lies, or `STDIO`.
        relative_dir: its folder below the one that was named; "." where files are named or folders are not mirrored.
        explicit: it was named itself, not found in a folder.
    """

    path: Path
    relative_dir: Path = Path()
    explicit: bool = False


def is_photo(path: Path, endings: Collection[str] = EXTENSIONS) -> bool:
    """A visible file with the ending of a picture (or another of `endings`); it is not opened."""
    return path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()


def list_photos(folder: Path, *, recursive: bool = False, but: Path | None = None,
                endings: Collection[str] = EXTENSIONS) -> list[Path]:
    """The picture files of a folder by their endings, in the order of their names; hidden ones are passed over.

    Args:
        folder: where to look.
        recursive: in its folders too, after its own files; links to folders are not followed.
        but: a folder that is left out, with all below it.
        endings: of the files that are meant.

    Raises:
        UsageError: not a folder, one that cannot be listed, or no picture in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    photos = list(walk(folder, recursive, but and but.resolve(), endings))
    if not photos:
        deeper = "" if recursive or not any(path.is_dir() for path in folder.iterdir()) else "; -r looks in its folders"
        raise UsageError(f"{folder}: holds no picture; known endings: {' '.join(endings)}{deeper}")
    return photos


def walk(folder: Path, recursive: bool, but: Path | None, endings: Collection[str] = EXTENSIONS) -> Iterable[Path]:
    """The same as they come, and nothing where there is none; `but` is resolved.

    Raises:
        UsageError: a folder that cannot be listed.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror}); leave it out, or mend its rights") from error
    yield from (path for path in paths if is_photo(path, endings))
    for path in paths if recursive else ():
        if path.is_dir() and not path.is_symlink() and not path.name.startswith(".") and path.resolve() != but:
            yield from walk(path, recursive, but, endings)


def find_photos(words: Iterable[Path | str], *, recursive: bool = False, but: Path | None = None,
                endings: Collection[str] = EXTENSIONS) -> list[FoundPhoto]:
    """What the words on a command line mean, each photograph once, in the order in which they were named.

    Args:
        words: files; folders; patterns with * ? [ ] or ** (a file of that very name goes first); `STDIO`.
        recursive: folders with all that is below them.
        but: a folder that is left out of the folders: the one that results go to.
        endings: of the files of folders and patterns that are meant.

    Raises:
        UsageError: a word that means nothing, or a folder without a picture.
    """
    found: dict[Path, FoundPhoto] = {}
    for word in map(Path, words):
        if word == STDIO or word.is_file():
            found[word] = FoundPhoto(word, explicit=True)
        elif word.is_dir():
            for path in list_photos(word, recursive=recursive, but=but, endings=endings):
                found.setdefault(path, FoundPhoto(path, path.parent.relative_to(word) if recursive else Path()))
        elif word.exists():
            raise UsageError(f"{word}: neither a file nor a folder")
        elif glob.has_magic(str(word)):
            for path in _matches(word, endings):
                found.setdefault(path, FoundPhoto(path, path.parent.relative_to(_root(word)) if recursive else Path()))
        else:
            raise UsageError(f"{word}: no such file")
    if not found:
        raise UsageError("no photograph is named")
    return list(found.values())


def _matches(pattern: Path, endings: Collection[str]) -> list[Path]:
    photos = [path for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))) if is_photo(path, endings)]
    if not photos:
        raise UsageError(f"{pattern}: no picture matches; known endings: {' '.join(endings)}")
    return photos


def _root(pattern: Path) -> Path:
    """The folder in front of the first sign of a pattern."""
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def ignores_case(folder: Path) -> bool:
    """Names that differ in case alone are one file there: asked of the nearest folder that exists."""
    for place in (folder.absolute(), *folder.absolute().parents):
        other = place.with_name(place.name.swapcase())
        if place.exists() and other.name != place.name:
            return other.exists() and os.path.samefile(place, other)
    return False
