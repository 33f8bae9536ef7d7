"""The tables of the pages from their JSON: `python -m research.results`, or `make results`.

A page names a table by `<!-- table NAME -->`; its lines up to `<!-- end -->` are rendered from
docs/results/tables/NAME.json. `<!-- chart NAME: COLUMN; COLUMN -->` is the same table as a picture of these columns,
docs/images/results/NAME.svg. Studies and comparisons write such tables under "tables" of the JSON of their `--out`:

    python -m research.results --take learners=runs/compare/table.json
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from research.charts import draw
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.stored_tables import StoredTable
from rlenhance.io.files import write_atomically

DOCS = Path(__file__).parents[1] / "docs"
_PLACE = re.compile(r"<!-- table (\S+) -->\n.*?<!-- end -->", re.DOTALL)
_CHART = re.compile(r"<!-- chart (\S+): (.+?) -->\n.*?<!-- end -->", re.DOTALL)


def main(take: tuple[str, ...] = (), docs: Path = DOCS) -> list[Path]:
    """Render the tables of the pages from docs/results/tables.

    Args:
        take: NAME=FILE.json of a study: its table replaces the stored one first; its second one is
            NAME=FILE.json:2.
        docs: The folder of the pages.
    """
    for word in take:
        _take(word, docs / "results/tables")
    changed = []
    for page in sorted(docs.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        made = render(text, docs / "results/tables", page.parent)
        for chart, drawn in charts(text, docs).items():
            if not chart.exists() or chart.read_text(encoding="utf-8") != drawn:
                chart.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(chart, drawn.encode())
                changed.append(chart)
        if made != text:
            write_atomically(page, made.encode())
            changed.append(page)
    print("\n".join(map(str, changed)) or "every table of the pages is as stored")
    return changed


def charts(text: str, docs: Path) -> dict[Path, str]:
    """The pictures that a page names, with what they hold."""
    return {docs / f"images/results/{name}.svg": draw(StoredTable.read(docs / f"results/tables/{name}.json"),
                                                      columns.split("; "))
            for name, columns in _CHART.findall(text)}


def render(text: str, tables: Path, folder: Path | None = None) -> str:
    """A page with the tables and charts that it names; it lies in `folder` (None: beside the tables')."""
    def place(found: re.Match[str]) -> str:
        table = StoredTable.read(tables / f"{found[1]}.json")
        return "\n".join([f"<!-- table {found[1]} -->\n", *table.markdown(), "\n<!-- end -->"])

    def picture(found: re.Match[str]) -> str:
        table = StoredTable.read(tables / f"{found[1]}.json")
        way = Path(os.path.relpath(tables.parents[1], folder or tables.parent)).as_posix()
        return (f"<!-- chart {found[1]}: {found[2]} -->\n\n"
                f"![{len(table.rows)} rows: {found[2]}]({way}/images/results/{found[1]}.svg)\n\n"
                f"[All columns]({way}/results/tables/{found[1]}.json)\n\n<!-- end -->")

    return _CHART.sub(picture, _PLACE.sub(place, text))


def _take(word: str, tables: Path) -> None:
    name, sign, place = word.partition("=")
    file, _, number = place.partition(":")
    if not (sign and re.fullmatch(r"\w+", name) and file and re.fullmatch(r"([1-9]\d*)?", number)):
        raise UsageError(f"--take is NAME=FILE.json or NAME=FILE.json:NUMBER; got {word!r}")
    found = read_object(Path(file), finite=False).get("tables") or []
    if len(found) < int(number or 1):
        raise UsageError(f"--take {word}: the file has {len(found)} tables")
    StoredTable.of(found[int(number or 1) - 1], Path(file)).write(tables / f"{name}.json")


if __name__ == "__main__":
    sys.exit(run_cli(main))
