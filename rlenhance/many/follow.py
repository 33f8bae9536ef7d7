"""Runs that a ledger follows: what is left to do, who does it, and when too much has failed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.hub.shipped import sha256
from rlenhance.io import BatchPlan, Outcome, write_bytes
from rlenhance.io.own_files import FAILURES_MARK
from rlenhance.many.ledger import Finished, Ledger
from rlenhance.many.places import as_place, is_remote, stamp_of
from rlenhance.many.work import Task

#: Carries tasks out, in any order: gives a line of the ledger for each, see `rlenhance.many.work.Work.carry_out`.
Executor = Callable[[Sequence[Task]], Iterator[Mapping[str, Any]]]
#: Photographs before which no share of failures stops a run: a few bad ones may come first.
FIRST = 100


def tasks_left(plan: BatchPlan, finished: Mapping[str, Finished], *, skip_existing: bool) -> list[Task]:
    """The photographs of a plan that the ledger does not have, or that have changed since.

    A photograph is done if its result is as the ledger knows it, and its source too: of the same size and time, or else
    of the same hash.

    Args:
        plan: made with `skip_existing`; what exists is in `skipped`.
        finished: see `Ledger`.
        skip_existing: results that the ledger does not know are kept; else their photographs are done, and a result
            of the same bytes counts as theirs.
    """
    left, there = [], set(plan.skipped)
    for job in (*plan.jobs, *plan.skipped):
        source, target = str(_absolute(job.source)), str(_absolute(job.target))
        done = finished.get(target)
        if done is None or done.source != source:
            if not (skip_existing and job in there):
                left.append(Task(source, target, plan.overwrite))
            continue
        own = stamp_of(as_place(target)) == done.result_stamp
        if _is_changed(source, done):
            left.append(Task(source, target, plan.overwrite or own))
        elif not own:
            left.append(Task(source, target, plan.overwrite))
    return left


def _is_changed(source: str, done: Finished) -> bool:
    """Whether a source is another one than the ledger knows; one that is gone or cannot be read is."""
    place = as_place(source)
    if stamp_of(place) == done.stamp:
        return False
    try:
        return is_remote(place) or sha256(place) != done.sha256
    except OSError:
        return True


def _absolute(path: Path) -> Path:
    return path if is_remote(path) else path.absolute()


def follow(tasks: Sequence[Task], execute: Executor, ledger: Ledger | None,
           on_failure: Callable[[Mapping[str, Any]], None]) -> Generator[Outcome, None, None]:
    """Carry tasks out, write the ledger, and report the outcomes as they come.

    Args:
        tasks: each is reported once, even where the executor reports it twice.
        execute: see `Executor`.
        ledger: where lines go; None: nowhere.
        on_failure: called with the line of each that failed.
    """
    waiting = {task.target for task in tasks}
    with closing(execute(tasks)) as entries:  # type: ignore[type-var]
        for entry in entries:
            if entry["target"] not in waiting:
                continue
            waiting.remove(entry["target"])
            told = {"decision", "warnings"}
            if ledger is not None:
                ledger.append({name: value for name, value in entry.items() if name not in told})
            if entry["status"] == "failed":
                on_failure(entry)
            yield outcome_of(entry)


def outcome_of(entry: Mapping[str, Any]) -> Outcome:
    """The outcome that a line describes."""
    size = entry.get("size")
    return Outcome(as_place(entry["source"]), as_place(entry["target"]) if entry["status"] == "written" else None,
                   entry.get("error"), seconds=entry["seconds"], size=size and (size[0], size[1]),
                   decision=entry["decision"], warnings=tuple(entry["warnings"]))


def check_failures(failed: int, done: int, rate: float | None, *, ended: bool = False) -> None:
    """Stop a run in which too many photographs fail.

    Args:
        failed, done: numbers of photographs.
        rate: the largest share that may fail, in [0, 1]; None: any.
        ended: the run is over; else the share counts from `FIRST` photographs on.

    Raises:
        UsageError: a larger share has failed.
    """
    if rate is not None and failed > rate * done and (ended or done >= FIRST):
        raise UsageError(f"{failed} of {done} photographs failed, more than the share of {rate:g} that may "
                         f"(max_failure_rate){'' if ended else '; the run is stopped'}: the failures are listed above, "
                         f"and the same command goes on from here once their cause is mended")


def write_failures(path: Path, entries: Iterable[Mapping[str, Any]]) -> Path:
    """Write the failures of a run as a Parquet file: source, target, error, seconds, process.

    Raises:
        UsageError: pyarrow is not installed, or the file cannot be written.
    """
    import io

    pyarrow, parquet = _arrow()
    rows = list(entries)
    names = {name: pyarrow.string() for name in ("source", "target", "error", "process")}
    columns = {name: [str(row[name]).encode(errors="backslashreplace").decode() for row in rows] for name in names}
    table = pyarrow.table({**columns, "seconds": [float(row["seconds"]) for row in rows]},
                          schema=pyarrow.schema([*names.items(), ("seconds", pyarrow.float64())]))
    data = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({b"made by": FAILURES_MARK}), data)
    return write_bytes(data.getvalue(), path)


def _arrow() -> tuple[Any, Any]:
    from rlenhance.core.installation import install_line

    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"a report of failures (failures) needs pyarrow; install it with "
                         f"{install_line('cluster')}") from error
    return pyarrow, pyarrow.parquet
