"""The work on photographs that a ledger follows, in this process or in a process of a cluster."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from rlenhance.core.errors import UsageError, describe_failure
from rlenhance.hub.shipped import sha256
from rlenhance.io import BatchPlan, Job, Outcome, Photo, encode, run_batch
from rlenhance.io.batch import Process
from rlenhance.io.files import read as read_file
from rlenhance.io.files import write_bytes
from rlenhance.io.limits import MEGAPIXELS
from rlenhance.many.places import as_place, fetch, is_remote, put, stamp_of


class Task(NamedTuple):
    """A photograph and the place of its result.

    Attributes:
        source, target: absolute paths or addresses.
        replace: a file in the result's place is replaced; else it is kept, and taken for the result where it has the
            same bytes.
    """

    source: str
    target: str
    replace: bool = False


@dataclass(frozen=True)
class Work:
    """What is done with photographs; it can be pickled where `process` can.

    Attributes:
        process: see `rlenhance.io.run_batch`.
        encoder: see there; None: the default, and files that do not change are copied.
        megapixels, decode_seconds, in_flight: see there.
    """

    process: Process
    encoder: Callable[[Photo, str], bytes] | None = None
    megapixels: float = MEGAPIXELS
    decode_seconds: float | None = None
    in_flight: int | None = None

    def carry_out(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Process photographs; one that fails is reported and the rest goes on.

        Yields:
            For each a line of the ledger, with `decision` and `warnings` beside, in any order: `source`, `target`,
            `status` (written or failed), `error`; of one that is written the fields of
            `rlenhance.many.ledger.Finished`; and when it ended (seconds since 1970), seconds, CPU seconds, size,
            and the process that did it (machine:number).
        """
        direct = [task for task in tasks if not is_remote(task.target)
                  and (task.replace or not os.path.lexists(task.target))]
        aside = [task for task in tasks if task not in set(direct)]
        used = time.process_time()

        def entry(task: Task, outcome: Outcome, facts: Mapping[str, str]) -> dict[str, Any]:
            nonlocal used
            before, used = used, time.process_time()
            return _entry(task, outcome, facts, used - before)

        with tempfile.TemporaryDirectory(prefix="rlenhance-") as room:
            for overwrite in (False, True):
                for task, outcome, source in self._run([task for task in direct if task.replace == overwrite],
                                                       Path(room) / str(overwrite), overwrite=overwrite):
                    if outcome.skipped:  # another process wrote it meanwhile
                        aside.append(task)
                    else:
                        yield entry(task, outcome, source | _facts(outcome, task))
            for task, outcome, source in self._run(aside, Path(room) / "aside", staged=True):
                facts = _facts(outcome, task)
                outcome = _settled(task, outcome)
                yield entry(task, outcome, source | facts | {"result_stamp": stamp_of(as_place(task.target))})

    def _run(self, tasks: Sequence[Task], room: Path, *, overwrite: bool = False,
             staged: bool = False) -> Iterator[tuple[Task, Outcome, dict[str, str]]]:
        """Each task, its outcome, and stamp and hash of its source; `staged` writes the results into `room`."""
        jobs: dict[Job, Task] = {}
        for number, task in enumerate(tasks):
            source, target = as_place(task.source), as_place(task.target)
            jobs[Job(room / f"{number}/in/{source.name}" if is_remote(source) else source,
                     room / f"{number}/out/{target.name}" if staged else target)] = task
        places = {job.source: as_place(task.source) for job, task in jobs.items()}
        seen: dict[Path, dict[str, str]] = {}

        def read(path: Path) -> Photo:
            place = places[path]
            stamp = stamp_of(place)
            if is_remote(place):
                path.parent.mkdir(parents=True, exist_ok=True)
                fetch(place, path, self.megapixels)
            photo = read_file(path, megapixels=self.megapixels, seconds=self.decode_seconds)
            seen[path] = {"stamp": stamp, "sha256": sha256(path)}
            if stamp_of(place) != stamp:
                raise UsageError(f"{place}: was changed while it was read; the same command takes it again")
            return photo

        plan = BatchPlan(tuple(jobs), overwrite=overwrite, skip_existing=True)
        with closing(run_batch(plan, self.process, max_in_flight=self.in_flight, read=read,  # type: ignore[type-var]
                               encode=self.encoder or encode, copy=self.encoder is None)) as outcomes:
            for number, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True)):
                yield jobs[job], _renamed(outcome, job, jobs[job]), seen.pop(job.source, {})
                shutil.rmtree(room / str(number), ignore_errors=True)


def _renamed(outcome: Outcome, job: Job, task: Task) -> Outcome:
    """An outcome whose messages name the photograph and its result, and not their copies."""
    def named(text: str) -> str:
        return text.replace(str(job.source), task.source).replace(str(job.target), task.target)

    return replace(outcome, error=outcome.error and named(outcome.error),
                   warnings=tuple(map(named, outcome.warnings)))


def _facts(outcome: Outcome, task: Task) -> dict[str, str]:
    """Stamp and hash of a result."""
    if outcome.written is None:
        return {}
    return {"result_stamp": stamp_of(outcome.written), "result_sha256": sha256(outcome.written)}


def _settled(task: Task, outcome: Outcome) -> Outcome:
    """Bring a result that was written aside to its place, or find that it is there already."""
    if outcome.written is None:
        return outcome
    target, made = as_place(task.target), outcome.written
    try:
        if task.replace or not stamp_of(target):
            if is_remote(target):
                put(made, target)
            else:
                write_bytes(made.read_bytes(), target, replace=task.replace)
            return outcome
        there = made.with_name(f"there{made.suffix}")
        if is_remote(target):
            fetch(target, there)
        same = sha256(there if is_remote(target) else target) == sha256(made)
    except (UsageError, OSError) as error:
        return replace(outcome, error=describe_failure(error, task.source, task.target), written=None)
    if same:
        return outcome
    return replace(outcome, written=None, error=f"{task.target}: exists with other contents; replace it (overwrite), "
                                                f"keep it (skip_existing), or remove it")


def _entry(task: Task, outcome: Outcome, facts: Mapping[str, str], cpu_seconds: float) -> dict[str, Any]:
    """The line of the ledger."""
    entry: dict[str, Any] = {"status": "failed", "source": task.source, "target": task.target, "error": outcome.error}
    if not outcome.error:
        entry = {"status": "written", "source": task.source, "target": task.target, **facts}
    return entry | {"ended": round(time.time(), 3), "seconds": round(outcome.seconds, 4),
                    "cpu_seconds": round(cpu_seconds, 4), "size": outcome.size,
                    "process": f"{socket.gethostname()}:{os.getpid()}", "warnings": outcome.warnings,
                    "decision": dict(outcome.decision)}
