"""Plan of photographs of which some, or the results, are at addresses of stores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.io import EXTENSIONS, STDIO, BatchPlan, Job, OutputNaming
from rlenhance.io.discovery import FoundPhoto, find_photos
from rlenhance.io.output_plan import check_targets
from rlenhance.io.shard import Shard
from rlenhance.many.places import as_place, is_remote, list_remote, refuse_store_errors, same_object, store_of


def plan_places(words: Iterable[Path | str], out: str | None, *, naming: OutputNaming, recursive: bool = False,
                overwrite: bool = False, skip_existing: bool = False, inputs: Iterable[Path] = (),
                shard: Shard | None = None) -> BatchPlan:
    """Plan results as `rlenhance.io.make_plan` does, where a source or `out` is an address.

    Args:
        words: addresses of photographs and folders, and what `find_photos` takes.
        out: a folder or its address; with one photograph, also its file; None: beside each source.
        naming, recursive, overwrite, skip_existing, inputs, shard: see `make_plan`.

    Raises:
        UsageError: a source that does not exist; results that exist, share a name, or would replace a source; a store
            that refuses.
    """
    place = None if out is None else as_place(out)
    found: list[FoundPhoto] = []
    for word in map(as_place, words):
        if is_remote(word):
            found += [FoundPhoto(path, folder if recursive else Path(), explicit=path == word)
                      for path, folder in list_remote(word, recursive)]
        else:
            found += find_photos([word], recursive=recursive)
    if place == STDIO or any(photo.path == STDIO for photo in found):
        raise UsageError("-: standard input and output do not go with addresses; name files")
    made = naming.results([photo.path for photo in found if not photo.explicit], place is None)
    photos = list({photo.path: photo for photo in found if photo.path not in made}.values())
    single = place is not None and len(photos) == 1 and photos[0].explicit and place.suffix.lower() in EXTENSIONS
    digits = len(str(len(photos)))
    jobs = []
    for number, photo in enumerate(photos, start=1):
        name = naming.name(photo.path, f"{number:0{digits}}", beside=place is None)
        target = photo.path.with_name(name) if place is None else place if single else (
            place / photo.relative_dir / name)
        jobs.append(Job(photo.path, target))
    own = jobs if shard is None else [job for job, photo in zip(jobs, photos, strict=True) if shard.holds(photo.key)]
    _check_apart(jobs)
    local = [job for job in jobs if not is_remote(job.target)]
    read_here = [*inputs, *(job.source for job in jobs if not is_remote(job.source))]
    kept_here = check_targets(local, [job for job in own if not is_remote(job.target)], overwrite or skip_existing,
                              read_here)
    there = {job.target for job in kept_here} | _existing([job.target for job in own if is_remote(job.target)])
    taken = next((job for job in own if job.target in there), None)
    if taken is not None and not (overwrite or skip_existing):
        raise UsageError(f"{taken.target}: exists; replace it (overwrite), keep it (skip_existing), or name another "
                         f"folder (out)")
    kept = there if skip_existing else set()
    return BatchPlan(tuple(job for job in own if job.target not in kept),
                     tuple(job for job in own if job.target in kept), tuple(sorted(made)), (), overwrite, skip_existing,
                     other_shards=len(jobs) - len(own))


def _check_apart(jobs: list[Job]) -> None:
    """Refuse two results at one address, and a result in the place of a source."""
    sources, taken = {same_object(job.source) for job in jobs if is_remote(job.source)}, dict[str, Path]()
    for job in jobs:
        if not is_remote(job.target):
            continue
        other = taken.setdefault(same_object(job.target), job.source)
        if other != job.source:
            raise UsageError(f"{other} and {job.source} would both be written to {job.target}; process them "
                             f"separately, or use the name (template) '{{stem}}_{{kind}}{{ext}}'")
        if same_object(job.target) in sources:
            raise UsageError(f"{job.target}: the result of {job.source} would replace a photograph; name another "
                             f"folder (out)")


def _existing(targets: list[Path]) -> set[Path]:
    """The addresses at which something is; each folder of a store is listed once."""
    there, folders = set[Path](), dict[Path, list[Path]]()
    for target in targets:
        folders.setdefault(target.parent, []).append(target)
    for folder, files in folders.items():
        with refuse_store_errors(folder):
            store, name = store_of(folder)
            store.invalidate_cache()
            names = {each.rsplit("/", 1)[-1] for each in store.ls(name, detail=False)} if store.exists(name) else set()
        there |= {target for target in files if target.name in names}
    return there
