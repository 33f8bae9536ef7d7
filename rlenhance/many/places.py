"""Places of files: paths, and addresses such as s3://bucket/photos, which fsspec reads and writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.installation import install_line
from rlenhance.io.containers import EXTENSIONS
from rlenhance.io.files import read_bounded
from rlenhance.io.limits import MEGAPIXELS

_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]+)://")
_LOCAL: Final = ("file", "local")
_ALIASES: Final = {"s3a:": "s3:", "gcs:": "gs:", "abfs:": "az:", "abfss:": "az:", "adl:": "az:"}
_STAMPS: Final = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created")


class RemotePath(PurePosixPath):
    """An address with the parts of a path.

    Example:
        >>> photo = RemotePath("s3://photos/2024/night.jpg")
        >>> str(photo), str(photo.with_name("day.jpg")), photo.stem
        ('s3://photos/2024/night.jpg', 's3://photos/2024/day.jpg', 'night')
    """

    def __str__(self) -> str:
        scheme, *rest = self.parts
        return f"{scheme}//{'/' if scheme == 'local:' else ''}{'/'.join(rest)}"


def is_remote(place: object) -> bool:
    """Whether a place is an address, and no path; file:// and local:// are paths."""
    match = _ADDRESS.match(str(place))
    return isinstance(place, RemotePath) or (match is not None and match[1] not in _LOCAL)


def as_place(word: str | PurePath) -> Path:
    """The path, or the address as a `RemotePath` (which has a path's parts, and no file).

    Raises:
        UsageError: an address without a name, or with empty parts, which no folder can mirror.
    """
    text = str(word)
    if not is_remote(text):
        return Path(local_name(text))
    scheme, rest = text.split("://", 1)
    if not rest.strip("/") or {"", ".", ".."} & set(rest.rstrip("/").split("/")) - ({""} if rest[0] == "/" else set()):
        raise UsageError(f"{text}: an address has a scheme and names, as in s3://bucket/photos")
    return RemotePath(f"{scheme}:", *rest.strip("/").split("/"))  # type: ignore[return-value]


def local_name(word: str) -> str:
    """The path of a local place, as it was typed: file:///a/b and local:///a/b are /a/b.

    Raises:
        UsageError: a local address whose path does not begin at the root: it would be another machine's name.

    Example:
        >>> local_name("local:///photos/a.jpg"), local_name("photos/")
        ('/photos/a.jpg', 'photos/')
    """
    scheme, sign, rest = word.partition("://")
    if not sign or scheme not in _LOCAL:
        return word
    if not rest.startswith("/"):
        raise UsageError(f"{word}: a local address has the whole path, as in {scheme}:///photos; or name the path")
    return rest


def same_object(place: PurePath) -> str:
    """The address of an object, whatever alias of its scheme was typed, to compare with others."""
    scheme, *rest = place.parts
    return "/".join((_ALIASES.get(scheme, scheme), *rest))


def store_of(place: PurePath) -> tuple[Any, str]:
    """The file system of fsspec behind an address, and its own name of the file.

    Raises:
        UsageError: fsspec, or its part for this scheme, is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(f"{place}: needs fsspec; install it with {install_line('cluster')}") from error
    try:
        store, name = url_to_fs(str(place))
    except (ImportError, ValueError) as error:
        raise UsageError(f"{place}: {one_line(error)}") from error
    return store, name


def list_remote(folder: Path, recursive: bool) -> list[tuple[Path, Path]]:
    """The photographs at an address: each with its folder below the address.

    Raises:
        UsageError: there are none, or the store refuses.
    """
    with refuse_store_errors(folder):
        store, name = store_of(folder)
        if store.isfile(name):
            return [(folder, Path())]
        found = store.find(name, maxdepth=None if recursive else 1)
    photos = []
    for each in sorted(found):
        below = PurePosixPath(each).relative_to(name)
        if below.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in below.parts):
            photos.append((folder / below, Path(below.parent)))
    if not photos:
        raise UsageError(f"{folder}: holds no picture{'' if recursive else '; deeper ones count with (recursive)'}")
    return photos


def stamp_of(place: PurePath) -> str:
    """Size and time of a file, or the store's hash: another stamp means another content; "" where there is no file."""
    if not is_remote(place):
        try:
            about = os.stat(place)
        except OSError:
            return ""
        return f"{about.st_size}-{about.st_mtime_ns}"
    with refuse_store_errors(place):
        store, name = store_of(place)
        store.invalidate_cache()
        if not store.exists(name):
            return ""
        info = store.info(name)
    known = next((str(info[key]).strip('"') for key in _STAMPS if info.get(key)), "")
    return f"{info.get('size')}-{known}"


def fetch(place: PurePath, into: Path, megapixels: float = MEGAPIXELS) -> None:
    """Copy a picture of a store to a local path; no more is taken than such a picture can hold.

    Args:
        place: the address.
        into: the local file.
        megapixels: that the picture may have.

    Raises:
        UsageError: there is none, it is larger, or the store refuses.
    """
    with refuse_store_errors(place):
        store, name = store_of(place)
        with store.open(name, "rb") as source:
            into.write_bytes(read_bounded(source, str(place), megapixels))


def put(file: Path, place: PurePath) -> None:
    """Copy a local file into a store, whole or not at all: under another name first where a store has folders.

    Raises:
        UsageError: the store refuses.
    """
    with refuse_store_errors(place):
        store, name = store_of(place)
        if place.parts[0] in ("s3:", "s3a:", "gs:", "gcs:", "az:", "abfs:", "memory:"):  # an object appears when whole
            store.put_file(str(file), name)
            return
        partial = store_of(place.with_name(f".rlenhance-{os.urandom(8).hex()}.part"))[1]
        store.makedirs(partial.rsplit("/", 1)[0], exist_ok=True)
        try:
            store.put_file(str(file), partial)
            store.mv(partial, name)
        finally:
            if store.exists(partial):
                store.rm_file(partial)


@contextmanager
def refuse_store_errors(place: PurePath) -> Iterator[None]:
    """Turn what a store says of a file into a UsageError that names it; stores raise errors of every kind."""
    try:
        yield
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"{place}: no such file") from error
    except Exception as error:
        raise UsageError(f"{place}: the store refuses ({type(error).__name__}: {one_line(error)})") from error

