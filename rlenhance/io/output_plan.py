"""Which photograph's result goes where: whatever can be refused is refused before the first one is read."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import EXTENSIONS, check_kind, result_extension
from rlenhance.io.discovery import STDIO, FoundPhoto, find_photos, ignores_case, walk
from rlenhance.io.video_formats import ENDINGS, WRITTEN, container_of, is_clip

#: What a template of names may hold.
FIELDS = {"stem": "the photograph's name without its ending", "ext": "the ending of the result, with its dot",
          "kind": "the photograph's own ending, without the dot", "number": "1, 2, ... in the order of the run",
          "preset": "the name of the preset"}
#: What the commands put behind the names of their results.
SUFFIXES = ("_enhanced", "_variants", "_denoised", "_completed", "_upscaled")
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Job:
    """One photograph and the place of its result; either may be `STDIO`."""

    source: Path
    target: Path


@dataclass(frozen=True)
class BatchPlan:
    """What is to be done.

    Attributes:
        jobs: in the order in which they are done and told.
        skipped: those whose results exist and shall stay.
        passed_over: files of a folder that are results of an earlier run.
        clips: those of a folder, where the command takes photographs alone.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[Job, ...] = ()
    previous_results: tuple[Path, ...] = ()
    clips: tuple[Path, ...] = ()


@dataclass(frozen=True)
class OutputNaming:
    """How a result is called.

    Attributes:
        suffix: put behind the name where the result stands beside its source.
        template: a name of the user's own, as "{stem}_{preset}{ext}" (`FIELDS`); None: the source's, or with `suffix`.
        extension: another kind of file (".png"); None: the source's own. Photographs do not become clips, nor clips
            photographs: those of the other kind keep theirs.
        preset: for the field of that name; None: there is none.
        presets: all that are known, to tell results of earlier runs.
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
        if unknown or set(_FIELD.sub("", self.template)) & set("{}/\\\0"):
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"--name {self.template!r}: a name with the fields {known} and no folder (that is -o); as "
                             f"in '{{stem}}_bright{{ext}}'")
        if not {"stem", "number"} & set(fields):
            raise UsageError(f"--name {self.template!r}: gives all photographs one name; add {{stem}} or {{number}}")
        if "preset" in fields and self.preset is None:
            raise UsageError(f"--name {self.template!r}: there is no preset to name; add --preset, or leave it out")

    def name(self, source: Path, number: str, beside: bool) -> str:
        """The name of a result.

        Args:
            source: the photograph.
            number: where it stands in the run.
            beside: the result stands beside it.

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
        """The ending of a result: what was asked for, or the source's; of clips that are read alone, Matroska's."""
        if self.extension is not None and is_clip(Path(f"x{self.extension}")) == is_clip(source):
            return self.extension
        if is_clip(source):
            return source.suffix if source.suffix.lower() in WRITTEN else ".mkv"
        return result_extension(source.suffix)

    def results(self, photos: Collection[Path], beside: bool) -> set[Path]:
        """Those of a folder's photographs that an earlier run seems to have made.

        Their name is that of another one with a suffix of any command or as the template says; beside their sources
        the command's own suffix alone tells.
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


def make_plan(words: Iterable[Path | str], out: Path | str | None = None, *, naming: OutputNaming | None = None,
              recursive: bool = False, overwrite: bool = False, skip_existing: bool = False,
              clips: bool = False) -> BatchPlan:
    """Which photograph goes where.

    Args:
        words: see `find_photos`.
        out: a file for one photograph, a folder (it exists, ends with a slash, or several photographs or a folder
            are named), or `STDIO`; None: beside each source.
        naming: see there.
        recursive: folders with all below them, which the results mirror.
        overwrite: replace results that exist; a source never.
        skip_existing: leave those photographs out whose results exist.
        clips: folders and patterns mean clips as well.

    Raises:
        UsageError: a source that does not exist; results that exist, would share a name, or would take the place of
            a source, under whatever name.
    """
    naming, named = naming or OutputNaming(), [Path(word) for word in words]
    place = None if out is None else Path(out)
    folder = place is not None and place != STDIO and (
        place.is_dir() or str(out).endswith(("/", os.sep)) or recursive or any(path.is_dir() for path in named))
    found = find_photos(named, recursive=recursive, but=place, endings=(*EXTENSIONS, *ENDINGS) if clips else EXTENSIONS)
    photos, made = _without_results(found, naming, beside=out is None)
    if not photos:
        raise UsageError(f"{named[0]}: holds nothing but results (*{naming.suffix}.*); name one to enhance it again")
    folder = folder or (place is not None and place != STDIO and len(photos) > 1)
    _check_place(place, naming, photos, folder)
    jobs = [Job(photo.path, _target(photo, place, naming, f"{number:0{len(str(len(photos)))}}", folder))
            for number, photo in enumerate(photos, start=1)]
    if clips:
        _check_clips(jobs)
    there = _check_targets(jobs, overwrite or skip_existing)
    skipped = tuple(job for job in jobs if skip_existing and job in there)
    films = () if clips else tuple(
        path for word in named if word != STDIO and word.is_dir()
        for path in walk(word, recursive, place and place.resolve(), ENDINGS))
    return BatchPlan(tuple(job for job in jobs if job not in skipped), skipped, made, films)


def _check_clips(jobs: list[Job]) -> None:
    """Refuse places where a clip cannot stand."""
    for job in jobs:
        if is_clip(job.source) and job.target == STDIO:
            raise UsageError(f"{job.source}: a clip is written to a file; name it with -o")
        if is_clip(job.source):
            container_of(job.target)
        elif is_clip(job.target):
            raise UsageError(f"{job.target}: a photograph does not become a clip; name a picture file with -o")


def _without_results(found: list[FoundPhoto], naming: OutputNaming,
                     beside: bool) -> tuple[list[FoundPhoto], tuple[Path, ...]]:
    made = naming.results([photo.path for photo in found if not photo.explicit], beside)
    return [photo for photo in found if photo.path not in made], tuple(sorted(made))


def _check_place(place: Path | None, naming: OutputNaming, photos: list[FoundPhoto], folder: bool) -> None:
    """Refuse what contradicts itself."""
    standard = any(photo.path == STDIO for photo in photos)
    if place == STDIO and len(photos) > 1:
        raise UsageError(f"-o -: standard output takes one photograph, and {len(photos)} are named; name a folder")
    if standard and (folder or naming.template):
        raise UsageError("-: a photograph from standard input has no name; name its result with -o FILE, or -o -")
    if place is None or folder:
        if folder and place is not None and place.exists() and not place.is_dir():
            raise UsageError(f"{place}: several photographs need a folder, and this is a file")
        return
    if naming.template:
        raise UsageError(f"-o {place} and --name both name the result; leave one out, or name a folder with -o")
    kind, own = naming.extension, photos[0].path.suffix
    if place != STDIO and not is_clip(photos[0].path) and place.suffix.lower() != own.lower():
        check_kind(place)
    if place != STDIO and kind is not None and kind.lower() not in (place.suffix.lower(), own.lower()):
        raise UsageError(f"{place} and --format {kind.lstrip('.')} name two kinds of file; leave one out")


def _target(photo: FoundPhoto, place: Path | None, naming: OutputNaming, number: str, folder: bool) -> Path:
    if place is None:
        if photo.path == STDIO:
            return STDIO
        return photo.path.with_name(naming.name(photo.path, number, beside=True))
    return place / photo.relative_dir / naming.name(photo.path, number, beside=False) if folder else place


def _check_targets(jobs: list[Job], may_exist: bool) -> set[Job]:
    """Refuse clashes; gives the jobs whose results exist.

    A source is known by what lies on the disk, so that links and names in another case do not hide it.
    """
    sources = {_identity(job.source): job.source for job in jobs if job.source != STDIO}
    taken: dict[str, Path] = {}
    cases: dict[Path, bool] = {}
    there: set[Job] = set()
    for source, target in ((job.source, job.target) for job in jobs if job.target != STDIO):
        if target.parent not in cases:
            cases[target.parent] = ignores_case(target.parent)
        name = str(target.resolve())
        name = unicodedata.normalize("NFC", name).casefold() if cases[target.parent] else name
        other = taken.setdefault(name, source)
        if other != source:
            raise UsageError(f"{other} and {source} would both be written to {target}; do them apart, or keep their "
                             f"names apart with --name '{{stem}}_{{kind}}{{ext}}'")
        if _stands(target, source, sources, may_exist):
            there.add(Job(source, target))
    return there


def check_output(target: Path, sources: Iterable[Path], overwrite: bool) -> None:
    """Refuse a place for what is made of several photographs.

    Raises:
        UsageError: it is one of them, a folder, or exists and may not be replaced.
    """
    sources = list(sources)
    _stands(target, sources[0], {_identity(source): source for source in sources if source != STDIO}, overwrite)


def _stands(target: Path, source: Path, sources: Mapping[tuple[int, int], Path], may_exist: bool) -> bool:
    """Whether a result stands at a place already; refuses a folder, a source, and what may not be there."""
    if target.is_dir():
        raise UsageError(f"{target}: is a folder, and the result of {source} would be called so; name another place "
                         f"with -o")
    if not target.exists():
        return False
    hit = sources.get(_identity(target))
    if hit == source:
        raise UsageError(f"{target}: the result would take the place of the photograph; name another file or folder")
    if hit is not None:
        raise UsageError(f"{target}: the result of {source} would take the place of another photograph ({hit})")
    if not may_exist:
        raise UsageError(f"{target}: exists; replace it with --overwrite, leave it with --skip-existing, or name "
                         f"another place with -o")
    return True


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def check_streams(plan: BatchPlan, streams: Mapping[str, bool] | None = None) -> None:
    """Refuse a picture from or to a terminal.

    Args:
        plan: see `make_plan`.
        streams: "stdin" and "stdout": whether each is a terminal (default: as it is).

    Raises:
        UsageError: one is, and the plan uses it.
    """
    streams = streams or {"stdin": sys.stdin.isatty(), "stdout": sys.stdout.isatty()}
    if streams["stdin"] and any(job.source == STDIO for job in plan.jobs):
        raise UsageError("-: standard input is the terminal; pipe a photograph in, as in ... < night.jpg")
    if streams["stdout"] and any(job.target == STDIO for job in plan.jobs):
        raise UsageError("-: the picture would go to the terminal; name a file with -o, or direct it there (> x.jpg)")
