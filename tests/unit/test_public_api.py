"""The names that `rlenhance` offers: each can be imported, with the type that the checker sees."""

import ast
from pathlib import Path

import pytest

import rlenhance


@pytest.mark.parametrize("name", rlenhance.__all__)
def test_each_name_can_be_imported(name):
    """By a from-import, as users write it; what it gives is documented."""
    scope: dict = {}
    exec(f"from rlenhance import {name}", scope)
    assert scope[name].__doc__


def test_the_checker_sees_the_same_names():
    """What is loaded on first use is imported for type checkers too, and listed; nothing of it is loaded at once."""
    tree = ast.parse(Path(rlenhance.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    named = {alias.asname or alias.name for node in block.body if isinstance(node, ast.ImportFrom)
             for alias in node.names}
    named |= {target.id for node in block.body if isinstance(node, ast.Assign) for target in node.targets}
    assert set(rlenhance.__all__) <= named
    assert set(rlenhance.__all__) == set(rlenhance._HOMES) and set(rlenhance.__all__) <= set(dir(rlenhance))
