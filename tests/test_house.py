"""The order of the house: names, docstrings, sizes, and examples that run; import-linter holds the layers."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import rlenhance

ROOT = Path(rlenhance.__file__).parent.parent
FLOORS = ("rlenhance", "envs", "agents", "experiments", "benchmarks")  # each may use those before it
FILES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def _imports(tree):
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out in full"
            yield node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            yield from (word.value for word in node.args if isinstance(word, ast.Constant))


def _module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    home = ("rlenhance",) * (parts[0] in ("envs", "agents", "experiments"))  # as the wheel has them
    return ".".join((*home, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def test_there_is_a_house():
    """All floors are looked at."""
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(FLOORS)


@every_file
def test_every_folder_is_a_package(path):
    """Each folder has an `__init__`: without one the wheel leaves it out."""
    assert (path.parent / "__init__.py").is_file()


@every_file
def test_rooms_have_names(path):
    """No file is called utils, helpers, common or misc: a function without a room means a missing name."""
    names = path.relative_to(ROOT).with_suffix("").parts
    assert not {"utils", "util", "helpers", "helper", "common", "misc"} & set(names)


@every_file
def test_what_is_public_is_explained(path):
    """Every file, and every public function and class in it, says in a sentence what it is."""
    tree = TREES[path]
    unexplained = [] if ast.get_docstring(tree) else ["the file itself"]
    unexplained += [node.name for node in tree.body
                    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
                    and not ast.get_docstring(node)]
    assert not unexplained


@every_file
def test_rooms_are_small(path):
    """A file that outgrows 400 lines hides a missing name."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@every_file
def test_errors_are_not_swallowed(path):
    """No except catches everything: a failure is handled by its name, or told by `describe_failure`."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}"
            caught = {leaf.id for leaf in ast.walk(node.type) if isinstance(leaf, ast.Name)}
            raised = any(isinstance(leaf, ast.Raise) for leaf in ast.walk(node))
            told = any(isinstance(leaf, ast.Call) and isinstance(leaf.func, ast.Name)
                       and leaf.func.id == "describe_failure" for leaf in ast.walk(node))
            assert raised or "BaseException" not in caught, f"line {node.lineno}"
            assert raised or told or "Exception" not in caught, f"line {node.lineno}"


@every_file
def test_nothing_is_unpickled(path):
    """No pickle is used, torch.load takes tensors alone and np.load plain arrays: what is loaded cannot run code."""
    tree = TREES[path]
    assert not {"pickle", "dill", "joblib", "cloudpickle"} & {name.split(".")[0] for name in _imports(tree)}
    needed = {"torch": ("weights_only", True), "np": ("allow_pickle", False)}
    safe = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute) and needed.get(getattr(node.func.value, "id", "")) in
            {(word.arg, getattr(word.value, "value", None)) for word in node.keywords}}
    assert not any(isinstance(node, ast.Attribute) and node.attr == "load" and id(node) not in safe
                   and getattr(node.value, "id", "") in needed for node in ast.walk(tree))


@pytest.mark.parametrize("path", [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")
                                  and path.relative_to(ROOT).parts[0] not in ("experiments", "benchmarks")],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(path):
    """The examples in the docstrings do what they say."""
    assert doctest.testmod(importlib.import_module(_module(path))).failed == 0


@pytest.mark.parametrize("name", rlenhance.__all__)
def test_the_front_door_opens(name):
    """Every name that the package offers can be had from it."""
    assert getattr(rlenhance, name).__doc__


def test_the_front_door_names_what_it_offers():
    """A name that it does not offer is answered with those that it does."""
    with pytest.raises(AttributeError, match=", ".join(rlenhance.__all__)):
        _ = rlenhance.Enhanser
