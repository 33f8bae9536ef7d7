"""Which frames of a bracket are enough: all sets are tried."""

import itertools
import json
import re
from pathlib import Path

import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.pipelines.bracket_choice import best_frames
from tests.support.camera import Camera, scene

STEPS = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]


@pytest.fixture(scope="module")
def camera():
    """A camera before a dark room with a window."""
    return Camera(scene())


def test_the_best_sets_grow_better_and_are_complete(camera):
    """Of each size the best; all frames lose nothing, and no other set of two is better."""
    frames = [camera.shoot(ev) for ev in (-2, -1, 0, 1, 2)]
    sets = best_frames(frames, 5)
    assert [len(one.numbers) for one in sets] == [1, 2, 3, 4, 5] and sets[-1].psnr == float("inf")
    assert all(one.psnr < two.psnr for one, two in itertools.pairwise(sets))
    assert len(set(sets[2].numbers)) == 3
    with pytest.raises(UsageError, match="at least 1"):
        best_frames(frames, 0)


@pytest.fixture
def place(tmp_path, monkeypatch, camera):
    """A folder with the seven frames of a bracket."""
    monkeypatch.chdir(tmp_path)
    for number, ev in enumerate(STEPS):
        write(camera.shoot(ev), tmp_path / f"seven/{number}.png")
    return tmp_path


def test_the_command_names_the_frames_that_are_enough(place, capsys):
    """In words, in JSON and as paths alone; with all of them nothing is lost."""
    assert main(["bracket", "seven"]) == 0
    first, *names = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"seven: [1-4] of 7 frames, \d\d\.\d dB to the fusion of all", first)
    assert main(["bracket", "seven", "-q"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == [name.strip() for name in names]
    assert main(["bracket", "seven", "--json", "--frames", "7", "--enough", "1000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["kept"]) == 7 and found["psnr"] is None and len(found["sets"]) == 7
    assert main(["bracket", "seven", "--enough", "10"]) == 0 and "seven: 1 of 7" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "message"), [
    ([], "no frames are named"), (["seven", "--frames", "0"], "--frames must be at least 1"),
    (["seven", "--enough", "0"], "--enough must be above 0 dB; got 0"),
    (["nothing"], "nothing: no such file"), (["seven/0.png"], "two frames or more"),
    (["seven/0.png", "seven"], "or folders with a bracket each")])
def test_calls_that_are_refused(place, words, message, capsys):
    """In one line with the way out."""
    assert main(["bracket", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
