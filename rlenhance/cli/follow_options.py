"""`--ledger`, `--on ray`, and addresses of stores: runs that are followed photograph by photograph."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.parser import refuse_stranger
from rlenhance.cli.reports import Reporter, Summary
from rlenhance.core.errors import UsageError, printable
from rlenhance.core.installation import install_line

if TYPE_CHECKING:
    from rlenhance.io import BatchPlan
    from rlenhance.many.ledger import Ledger
    from rlenhance.many.work import Work

#: Options that change no result: where it goes, and how the run goes on.
_NO_RESULT = {"photos", "output", "recursive", "name", "overwrite", "skip_existing", "dry_run", "workers", "json",
              "quiet", "shard", "on", "address", "ledger", "failures", "max_failure_rate", "parser", "max_megapixels",
              "decode_timeout", "save_recipe", "explain", "cube", "sidecar", "edit", "no_backup"}
#: Options that look at photographs themselves, or at all of them, in this process.
_HERE = {"--match-series": "match_series", "--shared-decision": "shared_decision", "--explain": "explain",
         "--cube": "cube", "--sidecar": "sidecar", "--save-recipe": "save_recipe"}


def check_followed(arguments: argparse.Namespace) -> bool:
    """Check the options of a run that is followed; whether it is, and no tolerance alone was given."""
    from rlenhance.many.places import is_remote, local_name

    if arguments.output is not None:
        arguments.output = local_name(arguments.output)
    rate = arguments.max_failure_rate
    if rate is not None and not 0 <= rate <= 1:
        raise UsageError(f"--max-failure-rate is a share from 0 to 1, as in 0.01; got {rate:g}")
    if arguments.address is not None and arguments.on is None:
        raise UsageError("--address is that of a Ray cluster; add --on ray")
    remote = any(map(is_remote, (*arguments.photos, arguments.output or "")))
    asked = {"--on": arguments.on, "--ledger": arguments.ledger, "--failures": arguments.failures}
    given = [flag for flag, value in asked.items() if value is not None] + ["an address"] * remote
    if not given:
        return False
    for flag, name in _HERE.items():
        if getattr(arguments, name, None) not in (None, False):
            raise UsageError(f"{given[0]} and {flag}: photographs are worked on one by one, elsewhere or later, and "
                             f"{flag} looks at them here and now; leave one out")
    if "-" in (str(arguments.output), *map(str, arguments.photos)):
        raise UsageError(f"{given[0]}: standard input and output have no place that is found again; name files")
    for module, flag in (("ray", "--on ray"), ("pyarrow", "--failures")):
        wanted = arguments.on if module == "ray" else _failures(arguments)
        if wanted and importlib.util.find_spec(module) is None:
            raise UsageError(f"{flag} needs {module}; install it with {install_line('cluster')}")
    ledger_place(arguments)
    return True


def ledger_place(arguments: argparse.Namespace) -> Path | None:
    """The file of the ledger; with --on ray there is one in any case."""
    from rlenhance.many.places import is_remote

    if arguments.ledger is not None or arguments.on is None:
        place: Path | None = arguments.ledger
        return place
    if arguments.output is None or is_remote(arguments.output):
        raise UsageError("--on ray keeps a ledger of what is done in the folder of results; name one (-o), or a local "
                         "file (--ledger)")
    shard = "" if arguments.shard is None else f"-{arguments.shard.replace('/', '-of-')}"
    return Path(arguments.output) / f"rlenhance-ledger{shard}.jsonl"


def plan_followed(arguments: argparse.Namespace, options: dict[str, Any]) -> BatchPlan:
    """The plan of a run that is followed; `options` are those of `make_plan`."""
    from rlenhance.io import make_plan
    from rlenhance.many.places import is_remote
    from rlenhance.many.plan import plan_places

    ledger = ledger_place(arguments)
    if ledger is not None and ledger.exists():
        options["skip_existing"] = True
    remote = any(map(is_remote, (*arguments.photos, arguments.output or "")))
    return (plan_places if remote else make_plan)(arguments.photos, arguments.output, **options)


def _failures(arguments: argparse.Namespace) -> Path | None:
    """The file of the failures."""
    if arguments.failures is not None or arguments.on is None:
        place: Path | None = arguments.failures
        return place
    ledger = ledger_place(arguments)
    return ledger and ledger.with_name(f"{ledger.stem.replace('ledger', 'failures')}.parquet" if (
        "ledger" in ledger.stem) else f"{ledger.stem}-failures.parquet")


class Tolerated(Summary):
    """The numbers of a run in which no more failed than may."""

    @property
    def status(self) -> int:
        """The exit status."""
        return 0


def run_followed(plan: BatchPlan, work: Work, arguments: argparse.Namespace) -> Summary:
    """Carry a plan out with a ledger, in this process or on Ray, and report it."""
    from rlenhance.many.follow import check_failures, follow, tasks_left, write_failures
    from rlenhance.many.ledger import Ledger

    failed: list[Mapping[str, Any]] = []
    place, report = ledger_place(arguments), _failures(arguments)
    if report is not None and arguments.failures is None:  # beside the ledger; what is named was checked before
        refuse_stranger(report, "table of failures", "--failures", may_replace=True)
    with nullcontext() if place is None else Ledger(
            place, made_by(arguments, work.process), anew=arguments.overwrite) as ledger:
        tasks = tasks_left(plan, {} if ledger is None else ledger.finished, skip_existing=arguments.skip_existing)
        kept = len(plan.jobs) + len(plan.skipped) - len(tasks)
        _note_ledger(ledger, kept, arguments)
        with Reporter(len(tasks), sys.stdout, arguments.json, arguments.quiet,
                      goes_on="" if ledger is not None else "with --skip-existing ") as reporter:
            reporter.summary.skipped = kept
            try:
                with closing(follow(tasks, _executor(work, arguments), ledger, failed.append)) as outcomes:
                    for outcome in outcomes if tasks else ():
                        reporter.report(outcome)
                        check_failures(len(failed), reporter.summary.written + len(failed), arguments.max_failure_rate)
            finally:
                if report is not None:
                    write_failures(report, failed)
        check_failures(len(failed), len(tasks), arguments.max_failure_rate, ended=True)
    if failed and report is not None and not arguments.quiet:
        print(f"failures -> {printable(report)}", file=sys.stderr)
    return reporter.summary if arguments.max_failure_rate is None else Tolerated(**asdict(reporter.summary))


def _note_ledger(ledger: Ledger | None, kept: int, arguments: argparse.Namespace) -> None:
    if ledger is None or arguments.quiet:
        return
    if ledger.damaged:
        print(f"note: {printable(ledger.path)}: {ledger.damaged} lines were cut or damaged, as by a kill; their "
              f"photographs are done again", file=sys.stderr)
    if kept:
        print(f"note: {kept} photographs are done already ({printable(ledger.path)})", file=sys.stderr)


def _executor(work: Work, arguments: argparse.Namespace) -> Callable[[Sequence[Any]], Iterator[Mapping[str, Any]]]:
    if arguments.on is None:
        return work.carry_out
    from rlenhance.many.on_ray import RayPool

    gpus = 1.0 if str(arguments.device).startswith("cuda") else 0.0
    return RayPool(replace(work, in_flight=2), arguments.address, arguments.workers, gpus, arguments.plugin)


def made_by(arguments: argparse.Namespace, process: Any) -> dict[str, str]:
    """What makes the results: the command, its options with the contents of their files, the version, the weights."""
    from rlenhance.hub import shipped
    from rlenhance.hub.info import find_checkpoint
    from rlenhance.many.ledger import installation

    found = {"command": arguments.command, **installation(),
             "weights": getattr(getattr(process, "__self__", None), "sha256", "")}
    for name, value in sorted(vars(arguments).items()):
        if name in _NO_RESULT or name in found or value in (None, False, []):
            continue
        text = _content(value)
        if name in ("model", "denoiser"):
            with suppress(UsageError, OSError):  # what it is instead is refused, or read, by the pipeline
                text += f" sha256 {shipped.weights_digest(find_checkpoint(shipped.locate(value)))}"
        found[f"--{name.replace('_', '-')}"] = text
    return found


def _content(value: Any) -> str:
    """An option's value; of files the contents."""
    from rlenhance.hub.shipped import sha256
    from rlenhance.many.places import stamp_of

    if isinstance(value, list | tuple):
        return " ".join(map(_content, value))
    path = Path(str(value))
    if os.path.isfile(path):  # of any text, however long
        return f"{value} sha256 {sha256(path)}"
    if isinstance(value, Path) and path.is_dir():
        return f"{value} " + " ".join(f"{each.name} {stamp_of(each)}" for each in sorted(path.iterdir()))
    return str(value)
