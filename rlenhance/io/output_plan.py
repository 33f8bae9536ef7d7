"""Plan of a batch: the file of each result, with every conflict refused before the first photograph is read."""

from __future__ import annotations

import errno
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rlenhance.core.errors import UsageError, refuse_os_errors
from rlenhance.io.containers import (
    CLIP_EXTENSIONS,
    EXTENSIONS,
    check_kind,
    clip_container,
    is_clip,
    result_extension,
)
from rlenhance.io.discovery import (
    STDIO,
    FoundPhoto,
    find_photos,
    is_case_insensitive,
    is_photo,
    iter_files,
    iter_photos,
)

if TYPE_CHECKING:
    from rlenhance.io.shard import Shard

#: Fields of a name template.
FIELDS = {"stem": "the photograph's name without its ending", "ext": "the ending of the result, with its dot",
          "kind": "the photograph's own ending, without the dot", "number": "1, 2, ... in the order of the run",
          "preset": "the name of the preset"}
#: Suffixes of the commands' results.
SUFFIXES = ("_enhanced", "_variants", "_denoised", "_completed", "_upscaled", "_restored", "_fused")
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Job:
    """One photograph and the file of its result; either may be `STDIO`."""

    source: Path
    target: Path


@dataclass(frozen=True)
class BatchPlan:
    """The jobs of a batch.

    Attributes:
        jobs: the jobs in their order.
        skipped: jobs whose results exist and are kept.
        previous_results: files of a folder that are results of an earlier run.
        clips: clips of a folder, where the command takes photographs alone.
        other_kinds: files of a folder that are neither photographs nor clips: extension -> their number.
        overwrite: a result that appears while the plan is carried out is replaced.
        skip_existing: else: it is skipped, and no failure.
        other_shards: number of photographs that are those of other shards.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[Job, ...] = ()
    previous_results: tuple[Path, ...] = ()
    clips: tuple[Path, ...] = ()
    overwrite: bool = True
    skip_existing: bool = False
    other_kinds: Mapping[str, int] = field(default_factory=dict)
    other_shards: int = 0


@dataclass(frozen=True)
class OutputNaming:
    """Names of results.

    Attributes:
        suffix: appended to the name where the result is next to its source.
        template: a name such as "{stem}_{preset}{ext}" (`FIELDS`); None: the source's name, or that with `suffix`.
        extension: of the results (".png"); None: the source's. One for photographs leaves clips as they are, and one
            for clips photographs.
        preset: value of the field of that name; None: there is none.
        presets: all known presets, to recognise results of earlier runs.
    """

    suffix: str = SUFFIXES[0]
    template: str | None = None
    extension: str | None = None
    preset: str | None = None
    presets: Collection[str] = field(default=())

    def __post_init__(self) -> None:
        if self.template is None:
            return
        fields = _FIELD.findall(self.template)
        unknown = [name for name in fields if name not in FIELDS]
        name = f"name (template) {self.template!r}"
        if unknown or set(_FIELD.sub("", self.template)) & set("{}/\\\0"):
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"{name}: it has the fields {known} and no folder, as in '{{stem}}_bright{{ext}}'")
        if not {"stem", "number"} & set(fields):
            raise UsageError(f"{name}: gives all photographs one name; add {{stem}} or {{number}}")
        if "preset" in fields and self.preset is None:
            raise UsageError(f"{name}: there is no preset to name; choose a preset, or leave it out")

    def name(self, source: Path, number: str, beside: bool) -> str:
        """The name of a result.

        Args:
            source: the photograph.
            number: its number in the batch.
            beside: the result is next to its source.

        Example:
            >>> naming = OutputNaming(template="{number}-{stem}{ext}", extension=".png")
            >>> naming.name(Path("a/night.jpg"), "07", beside=False)
            '07-night.png'
        """
        template = self.template or (f"{{stem}}{self.suffix}{{ext}}" if beside else "{stem}{ext}")
        values = {"stem": source.stem, "ext": self.ending(source), "kind": source.suffix[1:],
                  "number": number, "preset": self.preset or ""}
        return _FIELD.sub(lambda match: values[match[1]], template)

    def ending(self, source: Path) -> str:
        """The extension of a result: `extension`, or the source's; Matroska's for clips that cannot be written."""
        if self.extension is not None and is_clip(Path(f"x{self.extension}")) == is_clip(source):
            return self.extension
        return result_extension(source.suffix)

    def results(self, photos: Collection[Path], beside: bool) -> set[Path]:
        """The photographs of a folder that look like results of an earlier run.

        Their name is that of another one with the suffix of any command, or with the template applied; next to their
        sources the command's own suffix is enough.
        """
        forms = [re.escape("{stem}" + suffix) for suffix in {self.suffix: None, **dict.fromkeys(SUFFIXES)}]
        if self.template:
            forms.append(re.escape(self.template.removesuffix("{ext}")))
        several = {"preset": "|".join(map(re.escape, self.presets)) or "$^", "number": r"\d+", "kind": r"\w+",
                   "stem": "(?P<stem>.+)", "ext": r"\.\w+"}
        patterns = [re.compile(re.sub(r"\\\{(\w+)\\\}", lambda match: f"(?:{several[match[1]]})", form))
                    for form in forms if form.count("stem") == 1]
        stems = {(path.parent, path.stem) for path in photos}
        made = set()
        for path in photos:
            matches = [match for match in (pattern.fullmatch(path.stem) for pattern in patterns) if match]
            if any((path.parent, match["stem"]) in stems and match["stem"] != path.stem for match in matches) or (
                    beside and self.template is None and path.stem.endswith(self.suffix)):
                made.add(path)
        return made


@refuse_os_errors()
def make_plan(words: Iterable[Path | str], out: Path | str | None = None, *, naming: OutputNaming | None = None,
              recursive: bool = False, overwrite: bool = False, skip_existing: bool = False,
              clips: bool = False, inputs: Iterable[Path] = (), shard: Shard | None = None) -> BatchPlan:
    """Plan the results of photographs.

    Args:
        words: see `find_photos`.
        out: a file for one photograph, a folder (one that exists, a name with a final slash, or any for several
            photographs or a folder), or `STDIO`; None: next to each source.
        naming: see `OutputNaming`.
        recursive: include the folders below, whose structure the results mirror.
        overwrite: replace results that exist, but never a source.
        skip_existing: skip photographs whose results exist.
        clips: include clips of folders and patterns.
        inputs: other files that are read, and that no result may replace either.
        shard: plan its photographs alone, with the names that they have in the whole; there may be none.

    Raises:
        UsageError: a source that does not exist; results that exist, that share a name, or that would replace a
            source or another input, under whatever name; a folder of results that cannot be written to.
    """
    naming, named = naming or OutputNaming(), [Path(word) for word in words]
    place = None if out is None else Path(out)
    folder = place is not None and place != STDIO and (
        os.path.isdir(place) or str(out).endswith(("/", os.sep)) or recursive or any(map(os.path.isdir, named)))
    endings = (*EXTENSIONS, *CLIP_EXTENSIONS) if clips else EXTENSIONS
    found = find_photos(named, recursive=recursive, exclude=place, extensions=endings)
    photos, made = _without_results(found, naming, beside=out is None)
    if not photos:
        raise UsageError(f"{named[0]}: holds nothing but results (*{naming.suffix}.*); name one to enhance it again")
    folder = folder or (place is not None and place != STDIO and len(photos) > 1)
    if shard is not None and any(photo.path == STDIO for photo in photos):
        raise UsageError("-: a photograph from standard input is in no shard (shard); leave one out")
    _check_place(place, naming, photos, folder)
    jobs = [Job(photo.path, _target(photo, place, naming, f"{number:0{len(str(len(photos)))}}", folder))
            for number, photo in enumerate(photos, start=1)]
    if clips:
        _check_clips(jobs)
    own = jobs if shard is None else [job for job, photo in zip(jobs, photos, strict=True) if shard.holds(photo.key)]
    there = check_targets(jobs, own, overwrite or skip_existing, inputs)
    if overwrite and there and recursive and place is not None:
        _check_nested(place, named, jobs, there, endings)
    kept = there if skip_existing else set()
    others = [path for word in named if word != STDIO and os.path.isdir(word)
              for path in iter_files(word, recursive, place) if not is_photo(path, endings)]
    films = tuple(path for path in others if is_clip(path))
    kinds = Counter(path.suffix.lower() or path.name for path in others if not is_clip(path))
    left, skipped = tuple(job for job in own if job not in kept), tuple(job for job in own if job in kept)
    return BatchPlan(left, skipped, made, films, overwrite, skip_existing, dict(kinds.most_common()),
                     len(jobs) - len(own))


def _check_clips(jobs: list[Job]) -> None:
    """Refuse targets that do not fit clips or photographs."""
    for job in jobs:
        if is_clip(job.source) and job.target == STDIO:
            raise UsageError(f"{job.source}: a clip is written to a file; name one (out)")
        if is_clip(job.source):
            clip_container(job.target)
        elif is_clip(job.target):
            raise UsageError(f"{job.target}: a photograph does not become a clip; name a picture file")


def _without_results(found: list[FoundPhoto], naming: OutputNaming,
                     beside: bool) -> tuple[list[FoundPhoto], tuple[Path, ...]]:
    listed = [photo.path for photo in found if not photo.explicit]
    made = naming.results(listed, beside) if listed else set[Path]()
    return [photo for photo in found if photo.path not in made], tuple(sorted(made))


def _check_place(place: Path | None, naming: OutputNaming, photos: list[FoundPhoto], folder: bool) -> None:
    """Refuse an `out` that contradicts the rest."""
    standard = any(photo.path == STDIO for photo in photos)
    if place == STDIO and len(photos) > 1:
        raise UsageError(f"-: standard output takes one photograph, and {len(photos)} are given; name a folder")
    if standard and (folder or naming.template):
        raise UsageError("-: a photograph from standard input has no name; name a file (out), or - for standard output")
    if place not in (None, STDIO):
        if folder and os.path.isfile(place):
            raise UsageError(f"{place}: several photographs need a folder, and this is a file")
        check_name(place)
        check_writable(place if folder else place.parent, place)
    if place is None or folder:
        return
    if naming.template:
        raise UsageError(f"{place} (out) and a name (template) both name the result; leave one out, or name a folder")
    kind, own = naming.extension, photos[0].path.suffix
    if place != STDIO and not is_clip(photos[0].path) and place.suffix.lower() != own.lower():
        check_kind(place)
    if place != STDIO and kind is not None and kind.lower() not in (place.suffix.lower(), own.lower()):
        raise UsageError(f"{place} and the format (extension) {kind.lstrip('.')} are two kinds of file; leave one out")


def _target(photo: FoundPhoto, place: Path | None, naming: OutputNaming, number: str, folder: bool) -> Path:
    if place is None:
        if photo.path == STDIO:
            return STDIO
        return photo.path.with_name(naming.name(photo.path, number, beside=True))
    return place / photo.relative_dir / naming.name(photo.path, number, beside=False) if folder else place


def check_targets(jobs: list[Job], own: list[Job], may_exist: bool, inputs: Iterable[Path]) -> set[Job]:
    """Refuse conflicts among all jobs whose results are local; returns those of `own` whose results exist.

    Sources are compared by device and inode, so that links and names in another case are recognised.
    """
    sources = _by_identity([*inputs, *(job.source for job in jobs)])
    taken: dict[str, Path] = {}
    cases: dict[Path, bool] = {}
    there, wanted = set[Job](), set(own)
    for source, target in ((job.source, job.target) for job in jobs if job.target != STDIO):
        if target.parent not in cases:
            cases[target.parent] = is_case_insensitive(target.parent)
        name = os.path.realpath(target)
        name = unicodedata.normalize("NFC", name).casefold() if cases[target.parent] else name
        other = taken.setdefault(name, source)
        if other != source:
            raise UsageError(f"{other} and {source} would both be written to {target}; process them separately, or "
                             f"use the name (template) '{{stem}}_{{kind}}{{ext}}'")
        if (job := Job(source, target)) in wanted and _exists(target, source, sources, may_exist):
            there.add(job)
    return there


def _check_nested(place: Path, named: list[Path], jobs: list[Job], there: set[Job], endings: Collection[str]) -> None:
    """Refuse to replace anything in a folder that lies among the sources and holds photographs of its own.

    It is left out as the folder of results, which it may not be.
    """
    if not any(os.path.isdir(word) and _inside(place, word) for word in named):
        return
    results = {(job.target.parent, job.target.stem) for job in jobs}
    for path in iter_photos(place, True, None, endings):
        stems = {path.stem, *(path.stem.removesuffix(suffix) for suffix in SUFFIXES)}
        if not any((path.parent, stem) in results for stem in stems):
            job = next(iter(there))
            raise UsageError(f"{job.target}: the result of {job.source} would replace it, and it may be a photograph: "
                             f"{path} is no result and lies there too; name another folder (out)")


def _inside(place: Path, folder: Path) -> bool:
    real, outer = os.path.realpath(place), os.path.realpath(folder)
    return real != outer and os.path.commonpath([real, outer]) == outer


@refuse_os_errors()
def check_output(target: Path, sources: Iterable[Path], overwrite: bool) -> None:
    """Refuse a file for one result, before any work.

    Args:
        target: the file.
        sources: what it is made of.
        overwrite: it may exist.

    Raises:
        UsageError: it is one of them, a folder, device or pipe, exists and must not be replaced, has a name that is
            too long, or lies in a folder that cannot be written to.
    """
    sources = list(sources)
    try:
        check_name(target)
        check_writable(target.parent, target)
        _exists(target, sources[0] if sources else None, _by_identity(sources), overwrite)
    except UsageError as error:  # those are options of a batch
        raise UsageError(str(error).replace(", keep it (skip_existing)", "").replace(" (out)", "")) from error


def _exists(target: Path, source: Path | None, sources: Mapping[tuple[int, int], Path], may_exist: bool) -> bool:
    """Whether a target exists; refuses a folder, a source, and a file that must not be replaced."""
    if os.path.isdir(target):
        named = "the result" if source is None else f"the result of {source}"
        raise UsageError(f"{target}: is a folder, and {named} would have its name; name another one (out)")
    if not os.path.exists(target):
        if os.path.islink(target) and not may_exist:
            raise UsageError(f"{target}: is a link that leads nowhere; replace it (overwrite), or name another file "
                             f"(out)")
        return False
    if not os.path.isfile(target):
        raise UsageError(f"{target}: is a device or a pipe, which no result replaces; name another file (out)")
    hit = sources.get(_identity(target))
    if hit is not None and hit == source:
        raise UsageError(f"{target}: the result would replace the photograph {hit}; name another file or folder")
    if hit is not None:
        raise UsageError(f"{target}: the result of {source} would replace another file that is read ({hit})")
    if not may_exist:
        raise UsageError(f"{target}: exists; replace it (overwrite), keep it (skip_existing), or name another file "
                         f"(out)")
    return True


def check_name(path: Path) -> None:
    """Refuse a name that its file system has no room for."""
    try:
        path.lstat()
    except ValueError as error:
        raise UsageError(f"{path}: a name holds no NUL byte") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            longest = max(len(os.fsencode(part)) for part in path.parts)
            raise UsageError(f"{path}: has a name of {longest} bytes, more than there is room for; choose a shorter "
                             f"one (template), or write to a folder, where names stay (out)") from error


def check_writable(folder: Path, target: Path | None = None) -> None:
    """Refuse a folder of results that cannot be made or written to; `target` is the result, for the message."""
    target = target or folder
    ground = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not os.path.isdir(ground):
        raise UsageError(f"{target}: cannot be written, {ground} is a file or a link that leads nowhere; name another "
                         f"place (out)")
    if not os.access(ground, os.W_OK | os.X_OK):
        raise UsageError(f"{target}: cannot be written (no right to write into {ground}); name another place (out), "
                         f"or change its permissions")


def _by_identity(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    return {_identity(path): path for path in paths
            if path != STDIO and isinstance(path, Path) and os.path.exists(path)}  # an address is no Path


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def check_streams(plan: BatchPlan, streams: Mapping[str, bool] | None = None) -> None:
    """Refuse an image from or to a terminal.

    Args:
        plan: see `make_plan`.
        streams: "stdin" and "stdout": whether each is a terminal (default: tested).

    Raises:
        UsageError: one is, and the plan uses it.
    """
    streams = streams or {"stdin": sys.stdin.isatty(), "stdout": sys.stdout.isatty()}
    if streams["stdin"] and any(job.source == STDIO for job in plan.jobs):
        raise UsageError("-: standard input is the terminal; pipe a photograph in, as in ... < night.jpg")
    if streams["stdout"] and any(job.target == STDIO for job in plan.jobs):
        raise UsageError("-: the picture would go to the terminal; name a file (out), or redirect it (> x.jpg)")
