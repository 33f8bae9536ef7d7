"""The part that the commands over photographs share: their flags, the places of results, and the run.

    def add(commands):
        add_photo_command(commands, "upscale", UpscaleSettings, summary=..., description=..., models=...)

    def run(arguments):
        settings, plan = read_settings(arguments, UpscaleSettings), plan_photos(arguments, UpscaleSettings.suffix)
        if arguments.dry_run:
            return print_plan(plan, arguments)
        return run_plan(plan, Upscaler(arguments.model, settings).process, arguments).status
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rlenhance.cli.parser import CommandParser, add_written_file, refuse_written
from rlenhance.cli.reports import Reporter, Summary, as_json
from rlenhance.core.errors import UsageError, printable
from rlenhance.pipelines.options import PREFERENCES, ImageSettings, S, Setting, flags_of, from_json, parse_value

if TYPE_CHECKING:
    from rlenhance.core import Purpose
    from rlenhance.io import BatchPlan, OutputNaming, Photo
    from rlenhance.io.batch import ClipProcess, Process

#: Options of every command over photographs that its `--help` explains.
EVERYDAY = ("--output", "--recursive", "--overwrite", "--format", "--model")
_KINDS = 5  # kinds of files that are passed over and named


def add_photo_command(commands: Any, name: str, settings: type[ImageSettings], *, summary: str, description: str,
                      models: str, verb: str = "",
                      everyday: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A command over photographs: their files, the model, the device, and a flag for each setting.

    Args:
        models: what --model takes, for the help.
        verb: what the command does to photographs, for the help; "": its name.
        everyday: options that its `--help` explains, beside its settings and `EVERYDAY`.
    """
    parser: CommandParser = commands.add_parser(
        name, help=summary, description=f"{description} night.jpg becomes night{settings.suffix}.jpg beside it; a "
        "source is never overwritten. Exit status: 0, or 2 where something was refused or a photograph failed.")
    add_photos(parser, verb or name)
    add_model(parser, models)
    add_settings(parser, settings)
    parser.everyday = (*EVERYDAY, *(about.flag for about in flags_of(settings)), *everyday)
    return parser


def add_region(parser: argparse.ArgumentParser) -> None:
    """Where pictures may change."""
    parser.add_argument("--region", type=Path, metavar="MASK.png",
                        help="change the picture only where this one, of the same size, is white; greys are partial; "
                             "outside every pixel stays as it is")


def pipeline_options(arguments: argparse.Namespace, purpose: Purpose) -> dict[str, Any]:
    """Device and region for a pipeline, once its model is known to be for the purpose."""
    from rlenhance.core.machine import check_device
    from rlenhance.hub.shipped import find_model

    if arguments.model is not None:
        find_model(arguments.model, purpose)
    from rlenhance.io.files import read_region  # torch, which what is refused above need not wait for

    return {"device": check_device(arguments.device),
            "region": arguments.region and read_region(arguments.region, reader_of(arguments))}


def add_model(parser: argparse.ArgumentParser, models: str) -> None:
    """Which model, and where it computes."""
    parser.add_argument("-m", "--model", metavar="NAME|RUN/best", help=models)
    parser.add_argument("--device", default="cpu",
                        help="cpu, cuda, mps, or auto: the best that is there (default: cpu)")


def add_settings(parser: argparse._ActionsContainer, settings: type[ImageSettings],
                 without: Sequence[str] = ()) -> None:
    """A flag for each setting of a pipeline but those `without`; each is None where it is not given."""
    for about in flags_of(settings):
        if about.name in without:
            continue
        parser.add_argument(about.flag, *about.aliases, dest=about.name, type=flag_reader(about),
                            metavar=about.metavar, help=about.help)


def flag_reader(about: Setting) -> Callable[[str], float | str]:
    """The argparse type of a setting."""
    def read(word: str) -> float | str:
        try:
            return parse_value(about, word)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def read_settings(arguments: argparse.Namespace, settings: type[S]) -> S:
    """The settings of the flags of `add_settings`."""
    return from_json(settings, given_settings(arguments, settings))


def given_settings(arguments: argparse.Namespace, settings: type[ImageSettings]) -> dict[str, Any]:
    """The settings whose flags were given, as JSON holds them."""
    given: dict[str, Any] = {}
    for about in flags_of(settings):
        value = getattr(arguments, about.name)
        if value is not None:
            (given.setdefault("preference", {}) if about.name in PREFERENCES else given)[about.name] = value
    return given


def add_photos(parser: argparse.ArgumentParser, verb: str, nargs: str = "+") -> None:
    """The photographs, and every option on their files; `verb` is for the help ("brighten")."""
    parser.add_argument("photos", nargs=nargs, type=photo_path, metavar="PHOTO|DIR|-",
                        help=f"photographs to {verb}, folders of them, patterns ('2024-*/*.jpg'), lists of files "
                             f"(list.txt), addresses (s3://bucket/photos), or - for standard input")
    places = add_places(parser, "write there: a file, a folder (which keeps the names), or - for standard output")
    existing = places.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist; a source never")
    existing.add_argument("--skip-existing", action="store_true",
                          help="leave out what has a result already: an interrupted run goes on")
    places.add_argument("--dry-run", action="store_true", help="print what would be written where, and stop")
    add_running(parser)
    add_follow_options(parser)


def add_places(parser: argparse.ArgumentParser, place: str) -> argparse._ArgumentGroup:
    """Where results go and how they are named; `place` is the help of -o."""
    places = parser.add_argument_group("files")
    places.add_argument("-o", "--output", metavar="FILE|DIR|-" if "-" in place else "DIR", help=place)
    places.add_argument("-r", "--recursive", action="store_true",
                        help="folders with all folders below them; the results mirror them")
    places.add_argument("--name", metavar="TEMPLATE",
                        help="how results are called, as in '{stem}_{preset}{ext}'; also {kind} (the source's ending) "
                             "and {number}")
    places.add_argument("--format", metavar="EXT", help="kind of file to write: jpg, png, webp, tiff, bmp, avif, "
                                                        "heic (default: the source's; of a camera RAW, tiff)")
    places.add_argument("--quality", type=int, metavar="N",
                        help="of JPEG, WebP, AVIF and HEIC, 1 to 100 (default: as the source, at least 92 for JPEG)")
    places.add_argument("--strip", action="store_true",
                        help="leave out all metadata (camera, date, place, profile); the colours become sRGB")
    add_limits(places)
    return places


def add_no_mark(parser: argparse.ArgumentParser) -> None:
    """The option of commands whose results say what made them, see `rlenhance.io.xmp`."""
    parser.add_argument("--no-mark", dest="mark", action="store_false", help="leave out the note in the XMP of results "
                        "that a model made pixels (IPTC's Digital Source Type)")


def add_limits(parser: argparse._ActionsContainer) -> None:
    """Add the options that limit the size of a photograph and the time to read it."""
    parser.add_argument("--max-megapixels", type=float, metavar="N",
                        help="refuse larger photographs by their header (default: 250; of the frames of clips 36)")
    parser.add_argument("--decode-timeout", type=float, metavar="SECONDS",
                        help="for untrusted files: decode each photograph in a child process, which may take this "
                             "long and memory by --max-megapixels; a clip, for each second that it plays (default: no "
                             "child and no limit)")


def add_running(parser: argparse.ArgumentParser) -> None:
    """The number of photographs at a time, and the output."""
    running = parser.add_argument_group("running")
    running.add_argument("--workers", type=int, metavar="N",
                         help="photographs in memory at a time (default: by the cores, 8 at most)")
    running.add_argument("--json", action="store_true", help="a JSON object per photograph, and one of the whole run")
    running.add_argument("-q", "--quiet", action="store_true", help="print failures only")


def add_follow_options(parser: argparse.ArgumentParser) -> None:
    """Options of runs that are followed photograph by photograph, see `rlenhance.cli.follow_options`."""
    many = parser.add_argument_group("very many photographs")
    many.add_argument("--shard", metavar="I/N", help="of N runs of this command, the one numbered I, from 0: it takes "
                      "the photographs whose hashed paths fall to it (job arrays, several machines)")
    add_written_file(many, "--ledger", kind="ledger", metavar="FILE.jsonl",
                      help="write a line for each photograph that is done, with hashes; the same command goes on where "
                           "it stopped, and does again what changed")
    many.add_argument("--max-failure-rate", type=float, metavar="SHARE",
                      help="stop when more than this share fails, from the 100th photograph on; below it the exit "
                           "status is 0 (default: go on, and exit with 2 where one failed)")
    add_written_file(many, "--failures", kind="table of failures", metavar="FILE.parquet",
                      help="write the failures as a table (extra cluster; default with --on ray: beside the ledger)")
    many.add_argument("--on", choices=("ray",), help="work in the processes of a Ray cluster, or of this machine; "
                                                     "--workers is their number (extra cluster)")
    many.add_argument("--address", metavar="HOST:PORT|auto", help="of the Ray cluster (default: RAY_ADDRESS, or "
                                                                  "processes of this machine)")


def photo_path(word: str) -> Path:
    """A path or an address from a command line; "./-" stays apart from "-"."""
    if "://" in word:
        from rlenhance.many.places import as_place

        try:
            return as_place(word)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    path = Path(word)
    return path.absolute() if str(path) == "-" != word else path


def extension_of(arguments: argparse.Namespace, clips: bool = False) -> str | None:
    """The extension of --format, with its dot, or None; `clips` allows those of clips."""
    from rlenhance.io.containers import WRITABLE, WRITABLE_CLIPS

    extension = f".{arguments.format.lower().lstrip('.')}" if arguments.format else None
    known = (*WRITABLE, *(WRITABLE_CLIPS if clips else ()))
    if extension is not None and extension not in known:
        raise UsageError(f"--format is one of {' '.join(e.lstrip('.') for e in known)}; got {arguments.format!r}")
    return extension


def limit_of(arguments: argparse.Namespace) -> float:
    """How many megapixels a photograph may have."""
    from rlenhance.io.limits import MEGAPIXELS

    limit = arguments.max_megapixels
    if limit is not None and not limit > 0:
        raise UsageError(f"--max-megapixels must be above 0; got {limit:g}")
    return MEGAPIXELS if limit is None else limit


def decode_seconds_of(arguments: argparse.Namespace) -> float | None:
    """How long decoding of a photograph may take; None: without a limit."""
    from rlenhance.io.limits import MOST_SECONDS

    seconds: float | None = arguments.decode_timeout
    if seconds is not None and not 0 < seconds <= MOST_SECONDS:
        raise UsageError(f"--decode-timeout must be above 0 and at most {MOST_SECONDS:g} seconds; got {seconds:g}")
    return seconds


def reader_of(arguments: argparse.Namespace) -> Callable[[Path], Photo]:
    """How a call reads photographs and what it reads beside them: with its limits of size, time and memory."""
    from rlenhance.io.files import read

    return partial(read, megapixels=limit_of(arguments), seconds=decode_seconds_of(arguments))


def encoder_of(arguments: argparse.Namespace) -> Callable[[Photo, str], bytes] | None:
    """The encoder of --quality and --strip; None without them, so that unchanged files may be copied."""
    from rlenhance.io.limits import check_quality

    if check_quality(arguments.quality) is None and not arguments.strip:
        return None
    from rlenhance.io.files import encode

    return partial(encode, quality=arguments.quality, strip=arguments.strip)


def naming_of(arguments: argparse.Namespace, suffix: str, preset: str | None,
              clips: bool = False) -> OutputNaming:
    """How results are called."""
    from rlenhance.io.output_plan import OutputNaming

    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers must be at least 1; got {arguments.workers}")
    preset = Path(preset).stem if preset is not None else None
    presets = set[str]()
    if arguments.name:  # names of earlier results are recognised by it
        from rlenhance.pipelines.options import PRESETS

        presets = {path.stem for path in PRESETS.glob("*.json")} | ({preset} if preset else set())
    return OutputNaming(suffix, arguments.name, extension_of(arguments, clips), preset, presets)


def plan_photos(arguments: argparse.Namespace, suffix: str, preset: str | None = None,
                clips: bool = False) -> BatchPlan:
    """The plan of a command with the flags of `add_photos`, see `make_plan`; no model is loaded for it.

    Args:
        suffix: of the name of a result beside its source ("_enhanced").
        preset: for names that contain one.
        clips: the command takes clips too.
    """
    from rlenhance.io.output_plan import check_streams, make_plan

    encoder_of(arguments), limit_of(arguments), decode_seconds_of(arguments)  # refused before any file is read
    followed = is_followed(arguments)
    options: dict[str, Any] = {
        "naming": naming_of(arguments, suffix, preset, clips), "recursive": arguments.recursive,
        "overwrite": arguments.overwrite, "skip_existing": arguments.skip_existing, "inputs": inputs_of(arguments)}
    if arguments.shard is not None:
        from rlenhance.io.shard import Shard

        options["shard"] = Shard.parse(arguments.shard)
    if followed:
        from rlenhance.cli.follow_options import plan_followed

        plan = plan_followed(arguments, options)
    else:
        plan = make_plan(arguments.photos, arguments.output, clips=clips, **options)
    refuse_written((place for job in (*plan.jobs, *plan.skipped) for place in (job.source, job.target)), arguments)
    if not arguments.dry_run:
        check_streams(plan)
    return plan


def is_followed(arguments: argparse.Namespace) -> bool:
    """Whether a run is followed by a ledger, on Ray, or over addresses; its options are checked first."""
    given = (getattr(arguments, name) is not None for name in ("on", "ledger", "failures", "address",
                                                               "max_failure_rate"))
    if not any(given) and not any("://" in str(place) for place in (*arguments.photos, arguments.output)):
        return False
    from rlenhance.cli.follow_options import check_followed

    return check_followed(arguments)


def inputs_of(arguments: argparse.Namespace) -> list[Path]:
    """The pictures that a command reads beside its photographs."""
    names = "region", "mask", "match_style", "match_series"
    return [path for name in names if (path := getattr(arguments, name, None))]


def note_clips(clips: Sequence[Path], arguments: argparse.Namespace) -> None:
    """Name the clips that a command over photographs leaves out."""
    from rlenhance.io.containers import CLIP

    for clip in () if arguments.quiet else clips:
        print(f"note: {printable(clip)} is passed over: {CLIP}", file=sys.stderr)


def note_left_out(plan: BatchPlan, arguments: argparse.Namespace) -> None:
    """Name the clips of a plan's folders, and count their files of other kinds and those of other shards."""
    note_clips(plan.clips, arguments)
    if arguments.shard is not None and not arguments.quiet:
        own = len(plan.jobs) + len(plan.skipped)
        print(f"note: shard {arguments.shard} has {own} of {own + plan.other_shards} photographs", file=sys.stderr)
    if plan.other_kinds and not arguments.quiet:
        first = [f"{count} {printable(kind)}" for kind, count in list(plan.other_kinds.items())[:_KINDS]]
        more = len(plan.other_kinds) - len(first)
        print(f"note: files of other kinds are passed over: {', '.join(first)}"
              + (f", and {more} more kinds" if more else ""), file=sys.stderr)


def print_plan(plan: BatchPlan, arguments: argparse.Namespace) -> int:
    """Print a plan instead of doing it."""
    note_left_out(plan, arguments)
    for job in plan.jobs:
        print(as_json(source=job.source, target=job.target, status="planned") if arguments.json
              else printable(f"{job.source} -> {job.target}"))
    for job in plan.skipped:
        print(as_json(source=job.source, target=job.target, status="skipped") if arguments.json
              else printable(f"{job.source}: skipped, {job.target} exists"))
    counts = {"planned": len(plan.jobs), "skipped": len(plan.skipped), "passed_over": len(plan.previous_results)}
    if arguments.json:
        print(json.dumps({"summary": counts}))
    elif not arguments.quiet:
        over = f", {counts['passed_over']} results of earlier runs passed over" if plan.previous_results else ""
        print(f"{counts['planned']} to do, {counts['skipped']} skipped{over}; nothing was written")
    return 0


def notes_stream(plan: BatchPlan, arguments: argparse.Namespace) -> TextIO:
    """The stream for notes: never that of a picture or of JSON objects."""
    from rlenhance.io.discovery import STDIO

    if arguments.quiet:
        return io.StringIO()
    return sys.stderr if arguments.json or any(job.target == STDIO for job in plan.jobs) else sys.stdout


def run_plan(plan: BatchPlan, process: Process, arguments: argparse.Namespace, *, copy: bool = True,
             process_clip: ClipProcess | None = None, at_once: int = 1, spare: bool = False) -> Summary:
    """Carry a plan out and report it; `process`, `copy`, `process_clip`, `at_once` and `spare` are those of
    `run_batch`."""
    from rlenhance.io.batch import run_batch
    from rlenhance.io.discovery import STDIO
    from rlenhance.io.files import encode

    note_left_out(plan, arguments)
    encoder = encoder_of(arguments)
    if is_followed(arguments):
        from rlenhance.cli.follow_options import run_followed
        from rlenhance.many.work import Work

        return run_followed(plan, Work(process, encoder, limit_of(arguments), decode_seconds_of(arguments),
                                       arguments.workers), arguments)
    out = sys.stderr if any(job.target == STDIO for job in plan.jobs) else sys.stdout
    with Reporter(len(plan.jobs), out, arguments.json, arguments.quiet) as reporter, closing(
            run_batch(plan, process, max_in_flight=arguments.workers, encode=encoder or encode,
                      extension=extension_of(arguments, bool(process_clip)), copy=copy and encoder is None,
                      megapixels=limit_of(arguments), decode_seconds=decode_seconds_of(arguments),
                      process_clip=process_clip, at_once=at_once, spare=spare)) as outcomes:  # type: ignore[type-var]
        for outcome in outcomes:
            reporter.report(outcome)
    return reporter.summary
