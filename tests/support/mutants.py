"""A mutation sample: how many small faults in the product do the tests see?

    python -m tests.support.mutants --count 60 --seed 0                    # this checkout
    python -m tests.support.mutants --count 60 --seed 0 --tree ../before   # another one, with its own tests

A mutant is one changed operator, constant or condition. The tests that run are the files that import its module, or
one that imports it, nearest first. A mutant is killed when one of them fails or takes five times as long as without it.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PRODUCT = ("rlenhance", "envs", "agents", "experiments")
_COMPARE = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
            ast.NotEq: ("!=", "==")}
_BINARY = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}
_BOOLEAN = {ast.And: ("and", "or"), ast.Or: ("or", "and")}


class Mutant(NamedTuple):
    """One change of one line.

    Attributes:
        path: of the file, relative to the checkout.
        line: its number, from 1.
        before: the line as it is.
        after: the line with the fault.
    """

    path: str
    line: int
    before: str
    after: str


def mutants_of(path: str, text: str) -> Iterator[Mutant]:
    """All mutants of a file: comparisons, sums, products, `and`, `or`, `not`, numbers, and conditions of `if`."""
    lines = text.encode().splitlines()

    def changed(line: int, start: int, end: int, old: str, new: str) -> Iterator[Mutant]:
        row = lines[line - 1]
        part = row[start:end]
        if part.count(old.encode()) == 1:
            after = row[:start] + part.replace(old.encode(), new.encode()) + row[end:]
            yield Mutant(path, line, row.decode(), after.decode())

    def between(left: ast.expr, right: ast.expr, words: tuple[str, str]) -> Iterator[Mutant]:
        if left.end_lineno == right.lineno and left.end_col_offset is not None:
            yield from changed(right.lineno, left.end_col_offset, right.col_offset, *words)

    tree, annotations = ast.parse(text), set[int]()
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if isinstance(getattr(node, field, None), ast.expr):
                annotations |= {id(inner) for inner in ast.walk(getattr(node, field))}
    for node in ast.walk(tree):
        if id(node) in annotations:
            continue
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            yield from between(node.left, node.comparators[0], _COMPARE[type(node.ops[0])])
        elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            yield from between(node.left, node.right, _BINARY[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            yield from between(node.values[0], node.values[1], _BOOLEAN[type(node.op)])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield from changed(node.lineno, node.col_offset, node.operand.col_offset, "not ", "")
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.end_col_offset is not None:
            word = lines[node.lineno - 1][node.col_offset:node.end_col_offset].decode()
            yield from changed(node.lineno, node.col_offset, node.end_col_offset, word, f"({word} + 1)")
        elif isinstance(node, ast.If) and node.test.lineno == node.test.end_lineno:
            test, end = node.test, node.test.end_col_offset or 0
            condition = lines[test.lineno - 1][test.col_offset:end].decode()
            yield from changed(test.lineno, test.col_offset, end, condition, f"not ({condition})")


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imports(text: str) -> set[str]:
    """What a file imports, by full names; the product's other name (`rlenhance.envs` is `envs`) counts as one."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {re.sub(r"^rlenhance\.(envs|agents|experiments)\b", r"\1", name) for name in found}


def tests_near(tree: Path, most: int = 6) -> dict[str, list[str]]:
    """Each module of the product -> the test files that import it, the nearest first, at most `most`.

    A module that nothing imports by its name (a command) counts as imported by the tests that name it.
    """
    files = {path.relative_to(tree): path.read_text()
             for room in (*PRODUCT, "tests") for path in sorted((tree / room).rglob("*.py"))}
    modules = {_module(path): path for path in files}
    importers: dict[str, set[str]] = collections.defaultdict(set)
    for path, text in files.items():
        for name in _imports(text) & set(modules):
            importers[name].add(_module(path))
    tests = [name for name, path in modules.items() if path.name.startswith("test_")]
    for name in modules:
        if not importers[name]:
            word = re.compile(rf"\b{name.rpartition('.')[2]}\b")
            importers[name] = {test for test in tests if word.search(files[modules[test]])}
    near = {}
    for module in modules:
        seen, row, found = {module}, [module], list[str]()
        while row and len(found) < most:
            found += [str(modules[name]) for name in row if modules[name].name.startswith("test_")]
            row = sorted({above for name in row for above in importers[name]} - seen)
            seen |= set(row)
        near[module] = found[:most]
    return near


class Suite:
    """The tests of a copy of a checkout, in which one file at a time is changed."""

    def __init__(self, tree: Path, folder: Path, limit: float):
        self.root = folder / "tree"
        shutil.copytree(tree, self.root, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "site", "__pycache__"))
        self.limit, self._seconds = limit, dict[str, float | None]()

    def fails(self, tests: list[str], seconds: float) -> bool:
        """Whether one of the test files fails, or all take longer than that."""
        environment = os.environ | {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-x", "-p", "no:cacheprovider", "-m",
             "not slow and not statistical", *tests], cwd=self.root, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            return process.wait(seconds) != 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return True

    def usable(self, tests: list[str]) -> list[str]:
        """The tests, nearest first, that pass as they are within the limit together."""
        kept, left = [], self.limit
        for test in tests:
            if test not in self._seconds:
                begun = time.monotonic()
                self._seconds[test] = None if self.fails([test], self.limit) else time.monotonic() - begun
            seconds = self._seconds[test]
            if seconds is not None and seconds <= left:
                kept.append(test)
                left -= seconds
        return kept

    def kills(self, mutant: Mutant, tests: list[str]) -> bool:
        """Whether one of these tests sees the mutant."""
        path = self.root / mutant.path
        text = path.read_bytes()
        rows = text.splitlines(keepends=True)
        rows[mutant.line - 1] = rows[mutant.line - 1].replace(mutant.before.encode(), mutant.after.encode())
        path.write_bytes(b"".join(rows))
        try:
            return self.fails(tests, 5 * sum(self._seconds[test] or 0 for test in tests) + 20)
        finally:
            path.write_bytes(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="mutants (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[2], help="the checkout (default: this one)")
    parser.add_argument("--limit", default=60.0, type=float, help="seconds that the tests of one may take (60)")
    arguments = parser.parse_args()
    tree = arguments.tree.resolve()
    near = tests_near(tree)
    pool = [mutant for room in PRODUCT for path in sorted((tree / room).rglob("*.py"))
            for mutant in mutants_of(str(path.relative_to(tree)), path.read_text())]
    sample = random.Random(arguments.seed).sample(pool, arguments.count)
    killed = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(tree, Path(folder), arguments.limit)
        for mutant in sample:
            tests = suite.usable(near[_module(Path(mutant.path))])
            dead = bool(tests) and suite.kills(mutant, tests)
            tried, killed = tried + 1, killed + dead
            print(json.dumps({"killed": dead, **mutant._asdict(), "tests": tests}), flush=True)
    print(f"{killed} of {tried} killed, of {len(pool)} possible mutants (seed {arguments.seed})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
