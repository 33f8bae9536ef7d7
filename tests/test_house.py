"""The order of the house: names, docstrings, sizes, and examples that run; import-linter holds the layers."""

import ast
import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest

import rlenhance

ROOT = Path(rlenhance.__file__).parent.parent
FLOORS = ("rlenhance", "envs", "agents", "experiments", "research", "benchmarks")
PLUGINS = sorted(folder for folder in (ROOT / "plugins").glob("*/*") if (folder / "__init__.py").is_file())
FILES = [path for floor in (*FLOORS, *PLUGINS) for path in sorted((ROOT / floor).rglob("*.py"))]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
WITH_EXAMPLES = [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")
                 and path.relative_to(ROOT).parts[0] not in ("experiments", "research", "benchmarks")]


def _breaches(law):
    """What the files break of a law that yields the places: "rlenhance/core/errors.py: line 3"."""
    return [f"{path.relative_to(ROOT)}: {place}" for path in FILES for place in law(path)]


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
    place = next((plugin.parent for plugin in PLUGINS if plugin in path.parents), ROOT)
    parts = path.relative_to(place).with_suffix("").parts
    home = ("rlenhance",) * (parts[0] in ("envs", "agents", "experiments"))  # as the wheel has them
    return ".".join((*home, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def test_all_packages_are_read():
    """The laws below look at every package of the project."""
    floors = {floor for floor in (*FLOORS, "plugins") if (ROOT / floor).is_dir()}
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == floors
    assert len(FILES) > 400


def test_every_folder_is_a_package():
    """Each folder has an `__init__`: without one the wheel leaves it out."""
    assert not _breaches(lambda path: ["no __init__.py beside it"] * (not (path.parent / "__init__.py").is_file()))


def test_files_have_names():
    """No file is called utils, helpers, common or misc: a function without a place means a missing name."""
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not _breaches(lambda path: vague & set(path.relative_to(ROOT).with_suffix("").parts))


def test_what_is_public_is_explained():
    """Every file, and every public function and class in it, says in a sentence what it is."""
    def law(path):
        yield from [] if ast.get_docstring(TREES[path]) else ["the file itself"]
        yield from (node.name for node in TREES[path].body
                    if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
                    and not ast.get_docstring(node))

    assert not _breaches(law)


def test_files_are_small():
    """A file that outgrows 400 lines hides a missing name."""
    assert not _breaches(lambda path: ["over 400 lines"] * (len(path.read_text("utf-8").splitlines()) > 400))


def test_errors_are_not_swallowed():
    """No except catches everything: a failure is handled by its name, or reported by `describe_failure`."""
    def law(path):
        for node in ast.walk(TREES[path]):
            if not isinstance(node, ast.ExceptHandler):
                continue
            if node.type is None:
                yield f"line {node.lineno}"
                continue
            caught = {leaf.id for leaf in ast.walk(node.type) if isinstance(leaf, ast.Name)}
            raised = any(isinstance(leaf, ast.Raise) for leaf in ast.walk(node))
            reported = any(isinstance(leaf, ast.Call) and isinstance(leaf.func, ast.Name)
                           and leaf.func.id == "describe_failure" for leaf in ast.walk(node))
            if ("BaseException" in caught and not raised) or ("Exception" in caught and not (raised or reported)):
                yield f"line {node.lineno}"

    assert not _breaches(law)


def test_nothing_is_unpickled():
    """No pickle is used, torch.load takes tensors alone and np.load plain arrays: what is loaded cannot run code."""
    needed = {"torch": ("weights_only", True), "np": ("allow_pickle", False)}

    def law(path):
        tree = TREES[path]
        yield from {"pickle", "dill", "joblib", "cloudpickle"} & {name.split(".")[0] for name in _imports(tree)}
        safe = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute) and needed.get(getattr(node.func.value, "id", "")) in
                {(word.arg, getattr(word.value, "value", None)) for word in node.keywords}}
        yield from (f"line {node.lineno}" for node in ast.walk(tree)
                    if isinstance(node, ast.Attribute) and node.attr == "load" and id(node) not in safe
                    and getattr(node.value, "id", "") in needed)

    assert not _breaches(law)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(path):
    """The examples in the docstrings do what they say."""
    assert doctest.testmod(importlib.import_module(_module(path))).failed == 0


@pytest.mark.parametrize("name", rlenhance.__all__)
def test_each_name_can_be_imported(name):
    """By a from-import, as users write it; what it gives is documented."""
    scope: dict = {}
    exec(f"from rlenhance import {name}", scope)
    assert scope[name].__doc__


def test_the_front_door_names_what_it_offers():
    """A name that it does not offer is answered with those that it does."""
    with pytest.raises(AttributeError, match=", ".join(rlenhance.__all__)):
        _ = rlenhance.Enhanser


def test_the_checker_sees_the_same_names():
    """What is loaded on first use is imported for type checkers too, and listed; nothing of it is loaded at once."""
    tree = ast.parse(Path(rlenhance.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    named = {alias.asname or alias.name for node in block.body if isinstance(node, ast.ImportFrom)
             for alias in node.names}
    named |= {target.id for node in block.body if isinstance(node, ast.Assign) for target in node.targets}
    assert set(rlenhance.__all__) <= named
    assert set(rlenhance.__all__) == set(rlenhance._HOMES) and set(rlenhance.__all__) <= set(dir(rlenhance))


def test_change_notes_are_files_that_the_release_finds():
    """Each is of a kind that has a heading, and is no bullet; the changelog has none that is not released."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in settings["type"]}
    notes = [path for path in (ROOT / settings["directory"]).iterdir() if path.name != ".gitignore"]
    wrong = [path.name for path in notes if not re.fullmatch(rf"\+[a-z0-9-]+\.({'|'.join(kinds)})\.md", path.name)
             or path.read_text().startswith(("-", "#")) or not path.read_text().strip()]
    assert not wrong
    assert "## Unreleased" not in (ROOT / settings["filename"]).read_text()
