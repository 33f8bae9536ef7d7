"""Which exposure comes next: laws of the planner, what the command prints, and the loops of the page with a camera."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

import rlenhance
from rlenhance import BracketPlanner
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.io.exif import Exposure, exposure_of
from rlenhance.io.photo import Metadata, Photo
from rlenhance.io.reduced import read_reduced
from tests.support.camera import METERED, Camera, exif, psnr, scene

ROOT = Path(__file__).parents[2]
STEPS = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]


@pytest.fixture(scope="module")
def camera():
    """A camera before a dark room with a window."""
    return Camera(scene())


@pytest.fixture(scope="module")
def planner():
    """The shipped one."""
    return BracketPlanner(frames=4)


def bracket(planner, camera, available, start=0.0):
    """The exposures that a planner takes."""
    taken, step = [], start
    while step is not None:
        taken.append(step)
        step = planner.next([camera.shoot(ev) for ev in taken], taken, available)
    return taken


@pytest.mark.parametrize("available", [STEPS, [-2.0, 0.0, 2.0], np.arange(-9, 10) / 3, [4.0, -4.0, 1.5], [0.0]])
def test_each_exposure_is_available_and_taken_once(planner, camera, available):
    """Whatever the spacing and the order; a bracket ends when the frames are used up, or nothing is left."""
    taken = bracket(planner, camera, available)
    assert taken[0] == 0 and len(taken) <= 4 and len(set(taken)) == len(taken)
    assert set(taken[1:]) <= set(np.asarray(available).tolist())


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_no_more_frames_than_allowed(camera, frames):
    """One shot, two, and more than was learned."""
    taken = bracket(BracketPlanner(frames=frames), camera, STEPS)
    assert len(taken) <= frames and (frames > 2 or len(taken) == frames)


def test_the_same_shots_give_the_same_answer(planner, camera):
    """With a common offset of all exposures, in another order of shots and of what is available, and as uint16."""
    shots, taken = [camera.shoot(ev) for ev in (0.0, 2.0)], [0.0, 2.0]
    found = planner.advise(shots, taken, STEPS)
    assert planner.advise(shots, taken, STEPS) == found and found.exposure in STEPS
    for offset in (5.0, -1 / 3, 0.1):
        moved = planner.advise(shots, [ev + offset for ev in taken], [ev + offset for ev in STEPS])
        assert moved.exposure == pytest.approx(found.exposure + offset) and moved.expected == found.expected
    assert planner.advise(shots[::-1], taken[::-1], STEPS[::-1]).exposure == found.exposure
    assert planner.next([shot.astype(np.uint16) * 257 for shot in shots], taken, STEPS) == found.exposure


def test_third_stops_are_handled_by_the_nearest_place(planner, camera):
    """An offer around each whole stop gives the stop itself: it lies at the place that was learned."""
    shots = [camera.shoot(0.0)]
    thirds = sorted(np.round(np.arange(-9, 10) / 3, 4).tolist())
    assert planner.next(shots, [0.0], thirds) == planner.next(shots, [0.0], STEPS)


def test_a_price_ends_a_bracket_sooner(camera):
    """The higher it is, the fewer shots; one that nothing can pay ends it at once."""
    counts = [len(bracket(BracketPlanner(frames=4, price=price), camera, STEPS)) for price in (0.0, 1.5, 100.0)]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 1


def test_a_chosen_bracket_is_better_than_the_metered_shot(planner, camera):
    """Its fusion is nearer to that of all seven exposures, by decibels, and so is what was expected."""
    from rlenhance.ops.exposure_fusion import fuse_exposures

    whole = fuse_exposures([camera.shoot(ev) for ev in STEPS], np.uint8)
    taken = bracket(planner, camera, STEPS)
    found = psnr(fuse_exposures([camera.shoot(ev) for ev in sorted(taken)], np.uint8), whole)
    assert found > psnr(camera.shoot(0.0), whole) + 5
    advice = planner.advise([camera.shoot(0.0)], [0.0], STEPS)
    assert advice.expected > advice.stopping


@pytest.mark.parametrize(("shots", "exposures", "available", "message"), [
    (0, [], STEPS, "shots: there is none"), (2, [0.0], STEPS, "got 2 shots and 1 exposures"),
    (1, [float("nan")], STEPS, "exposures must be finite"), (1, [0.0], [float("inf")], "available must be finite")])
def test_bad_input_is_named(planner, camera, shots, exposures, available, message):
    """With the value and the way out."""
    with pytest.raises(UsageError, match=message):
        planner.next([camera.shoot()] * shots, exposures, available)


def test_bad_settings_are_named(planner, camera):
    """Frames, prices, models, and shots of several sizes."""
    for options, message in (({"frames": 0}, "frames must be"), ({"price": -1}, "price must be"),
                             ({"model": "natural"}, "a model to enhance, not to bracket")):
        with pytest.raises(UsageError, match=message):
            BracketPlanner(**options)
    with pytest.raises(UsageError, match="shots must have one size"):
        planner.next([camera.shoot(), camera.shoot()[:50]], [0.0, 1.0], STEPS)


def test_the_planner_is_a_name_of_the_package_and_needs_no_torch(camera, tmp_path):
    """In a fresh process; `--next` imports no decoders but that of its files either, so that it starts in a moment."""
    write(Photo(camera.shoot(), metadata=Metadata(exif=exif())), tmp_path / "shot.jpg")
    code = ("import sys\nfrom rlenhance.cli.main import main\nstatus = main(['bracket', '--next', 'shot.jpg', '-q'])\n"
            "print(status, [name for name in ('torch', 'imagecodecs', 'scipy') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.splitlines()[1:] == ["0 []"], done.stderr
    assert rlenhance.BracketPlanner is BracketPlanner


@pytest.mark.parametrize("order", ["<", ">"])
def test_exposures_are_read_from_exif(order):
    """In both byte orders; without a time there is none, and what is not stated counts as nothing."""
    found = exposure_of(exif(1 / 64, 4.0, 400, order))
    assert found == pytest.approx((1 / 64, 4.0, 400), rel=1e-4) and found.stops == pytest.approx(-8, abs=1e-3)
    assert exposure_of(exif(1 / 64, None, None, order)).stops == pytest.approx(-6, abs=1e-3)
    assert exposure_of(exif(None)) is None and exposure_of(None) is None and exposure_of(b"II*\0") is None
    assert exposure_of(exif(0)) is None
    assert Exposure(2.0, 1.0, 200).stops == 2


@pytest.mark.parametrize("name", ["shot.jpg", "shot.png", "shot.tif"])
def test_a_reduced_photograph_has_the_means_of_the_whole(camera, tmp_path, name):
    """Within a level or two, with its exposure and its size, whatever the format."""
    shot = cv2.resize(camera.shoot(), (480, 360), interpolation=cv2.INTER_LINEAR)
    write(Photo(shot, metadata=Metadata(exif=exif(1 / 30))), tmp_path / name)
    pixels, exposure, size = read_reduced(tmp_path / name, 40)
    whole = shot.reshape(40, 9, 40, 12, 3).mean(axis=(1, 3))
    assert pixels.shape == (40, 40, 3) and size == (480, 360) and np.abs(pixels - whole).mean() < 1.5
    assert exposure.seconds == pytest.approx(1 / 30, rel=1e-4)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / name).read_bytes()[:300])
    with pytest.raises(UsageError, match=r"broken\.jpg"):
        read_reduced(tmp_path / "broken.jpg", 40)
    with pytest.raises(UsageError, match="the limit is"):
        read_reduced(tmp_path / name, 40, megapixels=0.1)


@pytest.fixture
def place(tmp_path, monkeypatch, camera):
    """A folder with the seven frames of a bracket."""
    monkeypatch.chdir(tmp_path)
    for number, ev in enumerate(STEPS):
        write(Photo(camera.shoot(ev), metadata=Metadata(exif=exif(METERED * 2**ev))), tmp_path / f"seven/{number}.png")
    return tmp_path


def test_the_command_prints_the_next_step(place, capsys, planner, camera):
    """That of the planner, from the first shot; with the time that the camera needs."""
    words = ["bracket", "--next", "seven/3.png", "seven/5.png"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exposures"] == [0.0, pytest.approx(2, abs=1e-3)] and found["step"] in STEPS
    assert found["seconds"] == pytest.approx(METERED * 2 ** found["step"], rel=1e-3)
    assert main([*words, "-q"]) == 0 and float(capsys.readouterr().out) == found["step"]
    assert main(words) == 0
    assert re.match(r"[+-]\d EV from seven/3.png, 1?[/.\d]+ s at its aperture and ISO \(", capsys.readouterr().out)
    assert main([*words, "--available", "-3", "2"]) == 0 and capsys.readouterr().out.startswith("-3 EV")
    assert main([*words, "--frames", "2"]) == 0 and capsys.readouterr().out == "stop (2 of 2 frames are taken)\n"
    assert main([*words, "--price", "99"]) == 0 and capsys.readouterr().out.startswith("stop (")


@pytest.mark.parametrize(("words", "message"), [
    (["seven", "--next", "seven/0.png"], "name all shots behind --next"),
    (["--next", "seven/0.png", "plain.png"], "plain.png: its EXIF states no exposure; name the steps"),
    (["--next", "seven/0.png", "plain.png", "--exposures", "0"], "--exposures has one number for each shot"),
    (["--next", "seven/0.png", "small.png", "--exposures", "0", "1"], "small.png: has 40x30 pixels"),
    (["--next", "nothing.jpg"], "nothing.jpg")])
def test_calls_that_are_refused(place, camera, words, message, capsys):
    """In one line with the way out."""
    write(camera.shoot(), place / "plain.png")
    write(camera.shoot()[:30, :40], place / "small.png")
    assert main(["bracket", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def _loop(word):
    """The indented code of the page that contains a word."""
    page = (ROOT / "docs/howto/bracket.md").read_text()
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, re.MULTILINE)
    return re.sub(r"^    ", "", next(block for block in blocks if word in block), flags=re.MULTILINE)


def test_the_loop_for_picamera2_takes_and_fuses_a_bracket(tmp_path, monkeypatch, camera):
    """With a camera that takes two frames to follow and rounds its exposure, as real ones do."""
    taken = []

    class Request:
        def __init__(self, seconds):
            self._seconds = seconds

        def make_array(self, stream):
            return camera.shoot(np.log2(self._seconds / 10_000))

        def get_metadata(self):
            return {"ExposureTime": self._seconds}

        def release(self):
            pass

    class Picamera2:
        waiting = [10_000] * 3

        def create_still_configuration(self, main):
            assert main == {"format": "BGR888"}

        def configure(self, configuration):
            pass

        def start(self):
            pass

        def capture_metadata(self):
            return {"ExposureTime": 10_000, "AnalogueGain": 1.0, "ColourGains": (2.0, 1.5)}

        def set_controls(self, controls):
            self.wanted = controls.get("ExposureTime", 10_000) // 30 * 30
            taken.append(self.wanted)

        def capture_request(self):
            self.waiting = [*self.waiting[1:], self.wanted]
            return Request(self.waiting[0])

    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Picamera2))
    monkeypatch.chdir(tmp_path)
    exec(compile(_loop("Picamera2()"), "bracket.md", "exec"), {})
    result, metered = read("scene.jpg").pixels, camera.shoot()
    assert 2 <= len(set(taken)) <= 4
    assert ((result > 247).all(axis=2)).mean() <= ((metered > 247).all(axis=2)).mean()


def test_the_loop_for_gphoto2_takes_and_fuses_a_bracket(tmp_path, camera):
    """With a command of that name which takes photographs of the scene at each compensation."""
    for ev in STEPS:
        write(Photo(camera.shoot(ev), metadata=Metadata(exif=exif(METERED * 2**ev))), tmp_path / f"scene/{ev:g}.jpg")
    (tmp_path / "gphoto2").write_text('#!/bin/sh\nstep=${2#exposurecompensation=}\n'
                                      'echo "$step" >> taken\ncp "scene/$step.jpg" "$5"\n')
    (tmp_path / "rlenhance").write_text(f'#!/bin/sh\nexec {sys.executable} -m rlenhance "$@"\n')
    for name in ("gphoto2", "rlenhance"):
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["bash", "-ec", _loop("gphoto2 --set")], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT),
                               "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    assert done.returncode == 0 and (tmp_path / "scene.jpg").is_file(), done.stderr
    steps = (tmp_path / "taken").read_text().split()
    assert 2 <= len(steps) <= 4 and steps[0] == "0" and len(set(steps)) == len(steps)
