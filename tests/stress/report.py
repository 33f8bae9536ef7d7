"""The table of a run, and its failures as files that can be run again."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rlenhance.core.errors import one_line
from tests.stress.registry import OUTCOMES

_ALIKE = 3  # files that are kept of failures that end in the same line


@dataclass
class Row:
    """What was seen of one property; `all`: every case that it has was tried."""

    property: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    peak_mib: float = 0.0
    slowest_seconds: float = 0.0
    slowest: str = ""
    seconds: float = 0.0
    all: bool = False

    @property
    def tried(self) -> int:
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        return sum(self.counts[outcome] for outcome in OUTCOMES[2:])


class Report:
    """Collects results and writes report.md, report.json and failures/ as they come.

    Args:
        folder: for the files.
        names: of the properties.
        seed: of the run.
    """

    def __init__(self, folder: Path, names: list[str], seed: int):
        self.folder, self.seed, self.rows = folder, seed, {name: Row(name) for name in names}
        self.failures: list[str] = []
        self._alike: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, said: dict) -> None:
        """Take one line of a worker."""
        row = self.rows[said["property"]]
        if "all" in said:
            row.all = True
            return
        for outcome, count in (said["counts"] or {said["outcome"]: 1}).items():
            row.counts[outcome] += count
        row.seconds += said["seconds"]
        row.peak_mib = max(row.peak_mib, said["mib"])
        if said["seconds"] >= row.slowest_seconds and not said["counts"]:
            row.slowest_seconds, row.slowest = said["seconds"], said["name"]
        if said["outcome"] not in ("whole", "refused"):
            self._store(said)

    def _store(self, said: dict) -> None:
        last = said["text"].strip().splitlines()[-1:] or [""]
        kind = f"{said['property']} {said['outcome']} {re.sub('[0-9]+', '0', last[0])}"
        self._alike[kind] = self._alike.get(kind, 0) + 1
        if self._alike[kind] > _ALIKE:
            return
        path = self.folder / "failures" / f"{said['property']}-{len(self.failures)}-{said['outcome']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"seed": self.seed, **said}, indent=1))
        self.failures.append(f"- **{said['property']}** {said['outcome']}: {said['name']}: {one_line(last[0])} "
                             f"(`python -m tests.stress --replay {path}`)")

    @property
    def tried(self) -> int:
        """The number of inputs."""
        return sum(row.tried for row in self.rows.values())

    @property
    def failed(self) -> int:
        """The number of failures."""
        return sum(row.failed for row in self.rows.values())

    def table(self) -> str:
        """Markdown; a `+` behind the number of tries: there were no more to try."""
        heads = ("property", "tried", *OUTCOMES, "peak MiB", "slowest s")
        rows = [(row.property, f"{row.tried:,}{'+' if row.all else ''}", *map("{:,}".format, row.counts.values()),
                 f"{row.peak_mib:.0f}", f"{row.slowest_seconds:.1f}") for row in self.rows.values()]
        lines = [heads, ("---", *["---:"] * (len(heads) - 1)), *rows]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)

    def write(self, note: str) -> str:
        """Write both reports; -> the Markdown."""
        text = f"{note}\n\n{self.table()}" + ("\n" + "\n".join(self.failures) + "\n" if self.failures else "")
        (self.folder / "report.md").write_text(text)
        found = {"note": note, "seed": self.seed, "rows": [asdict(row) for row in self.rows.values()]}
        (self.folder / "report.json").write_text(json.dumps(found, indent=1))
        return text
