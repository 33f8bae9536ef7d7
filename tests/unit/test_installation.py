"""The lines that add an extra work for the installation at hand."""

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import rlenhance
from rlenhance.core.installation import install_line, require_extra

PLACES = [
    (None, 'pip install ".[video]" in a clone of rlenhance'),
    ("nonsense", 'pip install ".[video]" in a clone of rlenhance'),
    ({"url": "file:///home/an%20na/rlenhance", "dir_info": {"editable": True}},
     'pip install -e "/home/an na/rlenhance[video]"'),
    ({"url": "file:///src", "dir_info": {}}, 'pip install "/src[video]"'),
    ({"url": "file:///w/rlenhance-1-py3-none-any.whl", "archive_info": {}},
     'pip install "rlenhance[video] @ file:///w/rlenhance-1-py3-none-any.whl"'),
    ({"url": "https://example.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
     'pip install "rlenhance[video] @ git+https://example.org/r.git@abc"'),
]


@pytest.mark.parametrize(("told", "line"), PLACES, ids=["index", "unreadable", "checkout", "folder", "wheel", "git"])
def test_an_extra_is_added_where_the_package_came_from(monkeypatch, told, line):
    """Nothing else would find the package again."""
    class Installed:
        def read_text(self, name):
            return json.dumps(told) if isinstance(told, dict) else told

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert install_line("video") == line


def test_a_checkout_that_is_not_installed_is_named(monkeypatch):
    """By its folder."""
    def none(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", none)
    assert install_line("raw").startswith('pip install -e "/') and install_line("raw").endswith('[raw]"')


@pytest.mark.parametrize(("mark", "line"), [
    ("pipx_metadata.json", 'pipx install --force --editable "/src[raw]"'),
    ("uv-receipt.toml", 'uv tool install --force --editable "/src[raw]"')])
def test_an_environment_of_a_tool_is_changed_by_the_tool(monkeypatch, tmp_path, mark, line):
    """pip alone would install into another environment."""
    class Installed:
        def read_text(self, name):
            return json.dumps({"url": "file:///src", "dir_info": {"editable": True}})

    (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert install_line("raw") == line


def test_what_lacks_its_extra_is_refused_with_the_line(monkeypatch):
    """Imported, by the error of a missing module; run as a module, without a traceback."""
    require_extra("train", ["numpy"], "training")
    line = r"^training needs nosuchlibrary, of the extra train: p.* install .*\[train\]"
    with pytest.raises(ModuleNotFoundError, match=line):
        require_extra("train", ["numpy", "nosuchlibrary"], "training")
    monkeypatch.setattr(sys, "argv", ["-m"])
    with pytest.raises(SystemExit, match="error: training needs"):
        require_extra("train", ["nosuchlibrary"], "training")


ROOT = Path(__file__).parents[2]


def test_everything_that_any_extra_installs_is_pinned():
    """The requirements of setup.cfg and of plugins, and whatever they require in turn."""
    pinned = dict(line.lower().replace("_", "-").split("==") for line in (ROOT / "constraints.txt").read_text().split())
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    todo = [Requirement(line) for lines in wanted for line in lines.splitlines() if line.strip()]
    for path in (ROOT / "plugins").glob("*/pyproject.toml"):
        about = tomllib.loads(path.read_text())["project"]
        todo += map(Requirement, [*about["dependencies"], *chain(*about["optional-dependencies"].values())])
    seen = set()
    while todo:
        needed = todo.pop()
        name = re.sub("[-_.]+", "-", needed.name).lower()
        if name == "rlenhance" or (name, *needed.extras) in seen:  # its extras are all looked at
            continue
        seen.add((name, *needed.extras))
        if name not in pinned and "==" in str(needed.specifier):
            continue  # its parent names the version, as torch does for CUDA's libraries
        assert name in pinned, f"{needed} has no version in constraints.txt"
        assert needed.specifier.contains(pinned[name], prereleases=True), f"{needed} and {name}=={pinned[name]}"
        try:
            deeper = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of an extra that is not installed here
            continue
        extras = needed.extras or {""}
        todo += [each for each in map(Requirement, deeper)
                 if not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in extras)]


@pytest.mark.parametrize("name", ["rlenhance/LowLight-v0", "rlenhance.envs:rlenhance/LowLight-v0"])
def test_a_folder_with_an_envs_of_its_own_is_left_alone(name, tmp_path):
    """The packages of the project are known by `rlenhance.envs` alone: somebody's `envs` stays importable beside it."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("mine = True\n")
    code = (f"import envs, gymnasium; assert envs.mine\n{'' if ':' in name else 'import rlenhance.envs'}\n"
            f"gymnasium.make({name!r}, size=16).reset(seed=0)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(Path(rlenhance.__file__).parents[1])})
    assert done.returncode == 0, done.stderr
