"""The stress suite: its short form, and that it sees a crash, a hang, too much memory and a broken law."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlenhance.core.errors import UsageError
from tests.stress import fuzz, registry, watch
from tests.stress.__main__ import main
from tests.stress.registry import Broken, Case, Property

ROOT = Path(registry.__file__).parents[2]


def test_every_property_holds_for_its_first_cases(tmp_path):
    """`make stress` tries more of the same, for as long as it is told."""
    done = subprocess.run([sys.executable, "-m", "tests.stress", "--cases", "0", "--jobs", "1", "--out", tmp_path],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = {row["property"]: sum(row["counts"].values()) for row in json.loads(
        (tmp_path / "report.json").read_text())["rows"]}
    assert set(tried) == set(registry.names())
    assert all(tried[name] for name in tried if registry.load(name).short)


@pytest.mark.slow
def test_a_search_guided_by_coverage_ends_with_its_runs():
    """One search of each reader, of a few hundred inputs."""
    assert main(["--only", "fuzz", "--cases", "12"]) == 0


def test_the_search_follows_modules_that_exist():
    """A name that was moved would be searched without guidance, and nothing would say so."""
    assert all(importlib.util.find_spec(name) for name in fuzz._INSTRUMENTED)


def test_the_page_has_every_property():
    """docs/security.md: what is promised stands beside the property that tries it."""
    table = re.findall(r"^\|.*\|(.*)\|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)
    assert {name for cell in table for name in re.findall(r"`(\w+)`", cell)} == set(registry.names())


def _behave(case, folder):
    way = case.options["way"]
    if way == "raise":
        raise KeyError("key")
    if way == "signal":
        os.abort()
    if way == "print":
        print("Traceback (most recent call last):", file=sys.stderr)
    if way == "compute":
        while True:
            pass
    if way == "sleep":
        time.sleep(600)
    if way == "start":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        subprocess.run([sys.executable, "-c", "while True: pass"])
    if way == "fill":
        bytearray(300 << 20)
    if way == "law":
        raise Broken("not even")
    if way == "refuse":
        raise UsageError(case.options["text"])


LAW = Property("behave", "", None, _behave, seconds=0.4, mib=100)


@pytest.mark.parametrize(("way", "outcome"), [
    ("raise", "crashed"), ("signal", "crashed"), ("print", "crashed"), ("compute", "hung"), ("sleep", "hung"),
    ("start", "hung"), ("fill", "fat"), ("law", "wrong"), ("quiet", "whole")])
def test_each_failure_is_seen_and_the_cases_after_it_are_tried(way, outcome):
    """A child that dies is narrowed to its case; nothing that it started is left."""
    before = set(watch._tree(os.getpid()))
    seen = []
    watch.run(LAW, [Case(str(n), options={"way": way if n == 1 else "quiet"}, wall=0.5 if way == "sleep" else None,
                         mib=8000 if way == "start" else None)  # a fork counts as its parent until it starts a program
                    for n in range(3)], seen.append)
    assert [(each.case.name, each.outcome) for each in seen] == [("0", "whole"), ("1", outcome), ("2", "whole")]
    assert set(watch._tree(os.getpid())) <= before


@pytest.mark.parametrize(("text", "outcome"), [("x.png: too large", "refused"), ("too large", "wrong"),
                                               ("x.png: two\nlines", "wrong"), ("", "wrong")])
def test_a_refusal_is_one_line_that_names_the_file(text, outcome):
    """Anything else is a broken law."""
    results = []
    watch.run(LAW, [Case("x.png", options={"way": "refuse", "text": text})], results.append)
    assert results[0].outcome == outcome


def test_a_stored_failure_can_be_run_again(tmp_path, capsys):
    """The file holds the property, the bytes and the options."""
    path = tmp_path / "failure.json"
    path.write_text(json.dumps({"property": "tfrecords", "name": "a.tfrecords", "data": b"no".hex(), "options": {}}))
    assert main(["--replay", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "| tfrecords | 1 | 0 | 1 | 0 |" in capsys.readouterr().out
