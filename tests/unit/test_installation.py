"""The lines that add an extra work for the installation at hand."""

import json
import sys
from importlib import metadata

import pytest

from rlenhance.core.installation import install_line, require_extra

PLACES = [
    (None, 'pip install "rlenhance[video]"'),
    ("nonsense", 'pip install "rlenhance[video]"'),
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
