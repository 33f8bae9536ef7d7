"""The pages of results show stored tables; one whose table differs fails here: `make results` renders it again."""

import json
import re
from pathlib import Path

import pytest

from research.charts import draw
from research.results import DOCS, charts, main, render
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.stored_tables import StoredTable, tables_made_here

TABLES = DOCS / "results/tables"
BY_HAND = {"toolchain.md": 1}  # what the rows of its tables are, in words


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_tables_of_pages_are_as_stored(page):
    """Every figure is that of the JSON."""
    assert render(page.read_text(), TABLES, page.parent) == page.read_text(), "run make results"
    for chart, drawn in charts(page.read_text(), DOCS).items():
        assert chart.read_text() == drawn, "run make results"


def test_every_table_of_results_is_stored_and_shown_once():
    """None is typed by hand, and none is forgotten."""
    text = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    shown = re.findall(r"<!-- (?:table|chart) (\S+?):? ", text)
    assert sorted(shown) == sorted(path.stem for path in TABLES.glob("*.json"))
    for page in (DOCS / "results").glob("*.md"):
        for rows in re.findall(r"<!-- table .*?<!-- end -->", page.read_text(), re.DOTALL):
            assert rows.count("\n|") <= 2 + 8, f"{page}: a table of more than eight rows is a chart"
        typed = re.sub(r"<!-- table .*?<!-- end -->", "", page.read_text(), flags=re.DOTALL)
        assert len(re.findall(r"^\|(?:---\|)+$", typed, re.MULTILINE)) == BY_HAND.get(page.name, 0), page


def test_files_of_the_shipped_models_are_linked():
    """Settings and logs of the runs, each from the page of results."""
    linked = set(re.findall(r"\(shipped/([^)]+)\)", (DOCS / "results/index.md").read_text()))
    assert linked == {path.name for path in (DOCS / "results/shipped").iterdir()}


def test_a_study_s_table_goes_from_its_file_into_the_page(tmp_path, capsys):
    """With what made it; a second call changes nothing."""
    page = tmp_path / "docs/results/page.md"
    page.parent.mkdir(parents=True)
    page.write_text("Before.\n\n<!-- table own -->\n<!-- end -->\n\nAfter.\n")
    lines = ["| | dB |", "|---|---|", "| ours | 1.50 |", "", "words", "| a |", "|---|", "| b |"]
    (tmp_path / "study.json").write_text(json.dumps({"tables": tables_made_here(lines, seed=3)}))
    arguments = ((f"own={tmp_path / 'study.json'}",), tmp_path / "docs")
    assert main(*arguments) == [page] and main(*arguments) == []
    assert "Before.\n\n<!-- table own -->\n\n| | dB |\n|---|---|\n| ours | 1.50 |\n\n<!-- end -->" in page.read_text()
    table = StoredTable.read(tmp_path / "docs/results/tables/own.json")
    assert table.seed == 3 and "python" in table.command[0] and table.machine
    main((f"own={tmp_path / 'study.json'}:2",), tmp_path / "docs")
    assert "| a |\n|---|\n| b |" in page.read_text() and "every table" in capsys.readouterr().out


def test_a_chart_has_a_dot_for_every_number_and_the_text_of_every_cell():
    """One number, several, a deviation, an interval, none; a larger number lies farther to the right."""
    rows = [["**ours**, `a`", "21.90 ± 0.50", "1,200"], ["theirs", "20.00 / 23.00", "300"],
            ["a third", "", "400 (100 to 900)"], ["[a fourth](page.md)", "not run", "5"]]
    chart = draw(StoredTable(["", "PSNR", "ms < 1"], rows), ["PSNR", "ms < 1"])
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)]
    assert len(dots) == 3 + 4 and chart.count("<line ") == 2
    least, most = dots[1], dots[2]
    assert least[1] == most[1] > dots[0][1] and least[0] < dots[0][0] < most[0]
    for text in ("ours, a", "21.90 ± 0.50", "a fourth", "not run", "400 (100 to 900)", "ms &lt; 1"):
        assert f">{text}</text>" in chart
    for columns in (["dB"], ["none"]):
        with pytest.raises(UsageError, match=r"no column 'dB'|has no number"):
            draw(StoredTable(["", "none"], [["ours", "text"]]), columns)


@pytest.mark.parametrize(("word", "message"), [
    ("own", "NAME=FILE.json"), ("own=study.json:x", "NAME=FILE.json"), ("own=study.json:3", "has 0 tables"),
    ("own=broken.json", "the row .* has not the 2 cells"), ("own=other.json", "is no table of results")])
def test_what_is_no_table_is_refused(word, message, tmp_path, monkeypatch):
    """By its name."""
    monkeypatch.chdir(tmp_path)
    broken = {"columns": ["", "dB"], "rows": [["ours"]], "command": [], "commit": None, "seed": None, "machine": None}
    for name, tables in (("study", []), ("broken", [broken]), ("other", [{"rows": []}])):
        Path(f"{name}.json").write_text(json.dumps({"tables": tables}))
    with pytest.raises(UsageError, match=message):
        main((word,), tmp_path)
