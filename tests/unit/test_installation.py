"""The lines that add an extra work for the installation at hand."""

import json
from importlib import metadata

import pytest

from rlenhance.core.installation import install_line

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
