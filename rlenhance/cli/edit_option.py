"""`--edit`: the call of an external editor, in place or from file to file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import refuse_written
from rlenhance.cli.photo_command import plan_photos
from rlenhance.core.errors import UsageError, refuse_os_errors

if TYPE_CHECKING:
    from rlenhance.io import BatchPlan, Photo
    from rlenhance.io.batch import Process

_NOT_BESIDE = {"PHOTO": "photos", "--recursive": "recursive", "--name": "name", "--skip-existing": "skip_existing",
               "--match-series": "match_series", "--shared-decision": "shared_decision",
               "--shard": "shard", "--ledger": "ledger", "--on": "on"}


def plan_edit(arguments: argparse.Namespace, suffix: str) -> BatchPlan:
    """The plan of --edit.

    Raises:
        UsageError: other photographs beside it, options of a batch, a file that does not exist, or one in whose place
            no result can be written.
    """
    others = [flag for flag, name in _NOT_BESIDE.items() if getattr(arguments, name) not in (None, False, [])]
    if others:
        raise UsageError(f"--edit is about one file; leave out {', '.join(others)}")
    if str(arguments.edit) == "-" or arguments.output == "-":
        raise UsageError("--edit takes a file and gives a file; for standard input and output leave out --edit")
    if not os.path.isfile(arguments.edit):
        raise UsageError(f"{arguments.edit}: no such file")
    if not in_place(arguments):
        if arguments.no_backup:
            raise UsageError("--no-backup is about --edit in place; leave out --output, or --no-backup")
        _settle_words(arguments)
        arguments.photos, arguments.overwrite = [arguments.edit], True
        return plan_photos(arguments, suffix, arguments.preset, clips=True)
    return _plan_in_place(arguments)


def _settle_words(arguments: argparse.Namespace) -> None:
    """Drop what programs say with every call: a format that the output has as well, the quality of a lossless one."""
    from rlenhance.io.containers import container_by_extension
    from rlenhance.io.encoder import QUALITY

    kind = container_by_extension(arguments.output)
    if kind is not None and kind == container_by_extension(f"x.{(arguments.format or '').lower().lstrip('.')}"):
        arguments.format = None
    if kind is not None and kind.name not in QUALITY:
        arguments.quality = None


def in_place(arguments: argparse.Namespace) -> bool:
    """Whether the result takes the place of the photograph."""
    return arguments.output is None or (
        os.path.exists(arguments.output) and os.path.samefile(arguments.output, arguments.edit))


@refuse_os_errors()
def _plan_in_place(arguments: argparse.Namespace) -> BatchPlan:
    from rlenhance.io import BatchPlan
    from rlenhance.io.containers import check_kind, is_clip
    from rlenhance.io.output_plan import Job, check_writable

    place = Path(os.path.realpath(arguments.edit))  # the file itself, not a link to it
    if arguments.format:
        raise UsageError(f"{place}: keeps its kind in its place; leave out --format, or name the result with --output")
    if is_clip(place):
        raise UsageError(f"{place}: a clip is not edited in its place; name the result with --output")
    try:
        check_kind(place)
    except UsageError as error:
        raise UsageError(f"{error}; or name the result with --output") from error
    check_writable(place.parent, place)
    if not os.access(place, os.W_OK):
        raise UsageError(f"{place}: is read-only; name the result with --output, or change its permissions")
    refuse_written([place], arguments)
    return BatchPlan((Job(place, place),))


@contextmanager
def kept_original(process: Process, arguments: argparse.Namespace, plan: BatchPlan) -> Iterator[Process]:
    """A process that keeps the file as it was before its result takes its place, and its permissions.

    The copy is made once there is a result. Where nothing changed after all, it goes again.
    """
    import filecmp  # here and below: help must not wait for it

    place = plan.jobs[0].target
    before, kept = place.stat(), list[Path]()

    def keeping(photo: Photo) -> tuple[Photo, Any]:
        result, decision = process(photo)
        if not arguments.no_backup:
            kept.append(_back_up(place))
        return result, decision

    try:
        yield keeping
    finally:
        os.chmod(place, before.st_mode & 0o7777)
        for path in kept:
            if filecmp.cmp(path, place, shallow=False):
                path.unlink()


def _back_up(place: Path) -> Path:
    """A second name of the file, or a copy: NAME~, or NAME.~2~ where there is one already."""
    import shutil

    number = 1
    while True:
        backup = place.with_name(f"{place.name}~" if number == 1 else f"{place.name}.~{number}~")
        number += 1
        if os.path.lexists(backup):
            continue
        try:
            os.link(place, backup)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            try:
                shutil.copy2(place, backup)
            except OSError as error:
                backup.unlink(missing_ok=True)
                raise UsageError(f"{place}: its copy {backup} cannot be written ({error.strerror}); nothing was "
                                 f"changed") from error
        return backup
