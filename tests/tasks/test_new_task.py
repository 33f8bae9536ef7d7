"""The page on adding a task: its example is a task."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from rlenhance.experiments.core.cli import train_command
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.hub.checkpoint import read_config
from tests.support.training import resume

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "new_task.md"


@pytest.fixture
def contrast(tmp_path, monkeypatch):
    """The module on the page."""
    text = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    assert text.count("\n") <= 80
    (tmp_path / "contrast.py").write_text(text)
    spec = importlib.util.spec_from_file_location("contrast", tmp_path / "contrast.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "contrast", module)
    spec.loader.exec_module(module)
    yield module
    ACTION_SETS.remove("contrast_knob")


def test_the_task_on_the_page_is_a_task(contrast, tmp_path, capsys):
    """It has a command line, learns, and goes on with a run."""
    assert train_command(contrast.CONTRAST, ["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--kept FLOAT" in shown and "(one of a3c, direct, sac, supervised; default: direct)" in shown
    assert "in all. (default: 20)" in shown
    words = ["--eval-interval", "10", "--out", str(tmp_path), "--name", "run", "--device", "cpu",
             "--no-progress"]
    assert train_command(contrast.CONTRAST, words) == 0
    run = tmp_path / "run"
    assert read_config(run / "best")["about"]["scores"]["val/psnr"] > 35
    assert json.loads((run / "config.json").read_text())["task"] == "contrast"
    assert resume(contrast.CONTRAST, run, updates=22).fitted.updates == 22
    assert train_command(contrast.CONTRAST, ["--resume", str(run), "--kept", "0.3"]) == 2
    assert "leave out kept" in capsys.readouterr().err
