"""Which photographs a folder holds, and where their results go."""

from __future__ import annotations

from pathlib import Path

from rlenhance.errors import UsageError
from rlenhance.photo.files import EXTENSIONS


def list_photos(folder: Path) -> list[Path]:
    """The picture files of a folder by their endings, in the order of their names; hidden files are passed over.

    Raises:
        UsageError: not a folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    photos = sorted(
        path for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
    )
    if not photos:
        raise UsageError(f"{folder}: holds no picture; known endings: {' '.join(EXTENSIONS)}")
    return photos


def output_path(source: Path, out: Path | None, *, suffix: str, extension: str | None, folder: bool) -> Path:
    """Where the result of `source` goes: beside it with `suffix`, into a folder under its own name, or to a file.

    Args:
        source: the photograph.
        out: a file, a folder, or None.
        suffix: put behind the name when the result stands beside its source ("_enhanced").
        extension: another kind of file (".png"), or None for the source's own.
        folder: `out` is a folder (several sources, or it exists as one).

    Raises:
        UsageError: the result would take the place of its source.
    """
    extension = extension or source.suffix
    if out is None:
        target = source.with_name(f"{source.stem}{suffix}{extension}")
    elif folder:
        target = out / f"{source.stem}{extension}"
    else:
        target = out
        if extension.lower() != out.suffix.lower() and extension != source.suffix:
            raise UsageError(f"{out} and --format {extension.lstrip('.')} name two kinds of file; leave one out")
    if target.resolve() == source.resolve():
        raise UsageError(f"{target}: the result would take the place of the photograph; name another file or folder")
    return target
