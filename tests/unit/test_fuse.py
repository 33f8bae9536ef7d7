"""Exposure fusion: equal to OpenCV's, whatever the order of the frames; what is held by hand is laid straight, and what
moved leaves no ghost."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

from rlenhance import fuse
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.io.discovery import MOST_FRAMES
from rlenhance.io.photo import Metadata, Photo
from rlenhance.ops.exposure_alignment import after, find_motion, moved
from rlenhance.ops.exposure_fusion import fuse_exposures
from rlenhance.ops.exposure_ghosts import replace_moved, value_map
from rlenhance.pipelines.fuse import fuse_photos
from tests.support.camera import Camera, exif, psnr, scene

STEPS = (-2, 0, 2)


@pytest.fixture(scope="module")
def frames():
    """A bracket of three from a tripod."""
    camera = Camera(scene())
    return [camera.shoot(step) for step in STEPS]


def handheld(motions, size=(120, 160), border=24):
    """A bracket of a larger scene, each frame seen after a shift and a turn; the motions are (x, y, degrees)."""
    whole = scene(size[0] + 2 * border, size[1] + 2 * border, seed=3)
    result = []
    for number, (step, (x, y, turn)) in enumerate(zip(STEPS, motions, strict=True)):
        matrix = cv2.getRotationMatrix2D((whole.shape[1] / 2, whole.shape[0] / 2), turn, 1)
        matrix[:, 2] += (x, y)
        seen = cv2.warpAffine(whole, matrix, whole.shape[1::-1], flags=cv2.INTER_CUBIC)
        result.append(Camera(seen, seed=number).shoot(step)[border:-border, border:-border])
    return result


@pytest.mark.parametrize("size", [(120, 160), (61, 47), (8, 9)])
def test_fusion_is_that_of_opencv(frames, size):
    """To a hundredth of a level, whatever the sides."""
    part = [np.ascontiguousarray(frame[: size[0], : size[1]]) for frame in frames]
    wanted = np.clip(cv2.createMergeMertens(1, 1, 1).process(part), 0, 1)
    assert np.abs(fuse_exposures(part) - wanted).max() < 0.01 / 255
    deep = fuse_exposures([frame.astype(np.uint16) * 257 for frame in part], np.uint16)
    assert np.abs(deep / 65535 - wanted).max() < 0.1 / 255  # where all is grey, rounding weighs


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_equal_frames_give_that_frame(frames, dtype):
    """Within 1/255; the kind of number stays."""
    frame = frames[1] if dtype == np.uint8 else (frames[1] / 255 * (65535 if dtype == np.uint16 else 1)).astype(dtype)
    result = fuse([frame, frame.copy(), frame.copy()])
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert result.dtype == dtype and np.abs(result.astype(float) - frame).max() <= top / 255


def test_the_order_of_the_frames_does_not_matter(frames):
    """Bit for bit; what was given stays as it was."""
    before = [frame.copy() for frame in frames]
    wanted = fuse(frames)
    for order in permutations(frames):
        assert np.array_equal(fuse(order), wanted)
    assert all(map(np.array_equal, frames, before))


def test_frames_of_a_tripod_are_fused_as_they_lie(frames):
    """Nothing is moved and nothing replaced: the result is the plain fusion."""
    result = fuse_photos([Photo(frame) for frame in frames])
    assert result.decision["words"] == "3 frames"
    assert np.array_equal(result.photo.pixels, fuse_exposures(frames, np.uint8))


def test_fusion_shows_what_no_frame_does(frames):
    """The window with its structure, as in the dark frame, and a room as bright as in the middle one."""
    dark, middle, _ = frames
    window, room = np.s_[20:55, 85:135], np.s_[65:, :]
    fused = fuse(frames)
    assert fused[window].std() > 3 * middle[window].std()
    assert np.median(fused[room]) > 1.3 * np.median(dark[room])


@pytest.mark.parametrize("motions", [[(5, -3, 0), (0, 0, 0), (-4, 2, 0)], [(2.4, 1.3, 0.7), (0, 0, 0), (-1.6, 3.2, -1)],
                                     [(0, 0, 0), (0, 0, 0), (-9, 7, 0)]])
def test_frames_held_by_hand_are_laid_straight(motions):
    """Inside, the fusion is nearly that of a tripod, and far nearer than the fusion of the frames as they lie."""
    still = fuse(handheld([(0, 0, 0)] * 3))
    shaken = handheld(motions)
    inner = np.s_[16:-16, 16:-16]
    straight = psnr(fuse(shaken)[inner], still[inner])
    assert straight > psnr(fuse_exposures(shaken, np.uint8)[inner], still[inner]) + 3
    assert straight > 28


def test_motions_are_found_and_add_up():
    """A shift of whole pixels to a fifth of a pixel, between exposures four stops apart; motions are composed."""
    dark, _, light = handheld([(3, -2, 0), (0, 0, 0), (0, 0, 0)])
    motion = find_motion(dark, light)
    assert motion.known and np.abs(motion.matrix - [[1, 0, 3], [0, 1, -2]]).max() < 0.2
    whole = np.array([[1.0, 0, 3], [0, 1, -2]])
    assert np.array_equal(after(whole, np.array([[1.0, 0, 1], [0, 1, 1]])), [[1, 0, 4], [0, 1, -1]])
    laid, inside = moved(dark, whole)
    assert np.array_equal(laid[4:-4, 4:-8], dark[2:-6, 7:-5]) and not inside[:, -1].any() and inside[8:-8, 8:-8].all()
    assert moved(dark, np.eye(2, 3)) == (dark, None)


def test_a_moving_object_leaves_no_ghost():
    """A ball that is elsewhere in each frame stands where the reference has it, and nowhere else."""
    taken = []
    for number, (step, column) in enumerate(zip(STEPS, (30, 80, 130), strict=True)):
        room = scene(seed=1)
        cv2.circle(room, (column, 90), 11, (9000, 2500, 1500), -1)
        taken.append(Camera(room, seed=number).shoot(step))
    alone = scene(seed=1)
    cv2.circle(alone, (80, 90), 11, (9000, 2500, 1500), -1)
    wanted = fuse([Camera(alone, seed=number).shoot(step) for number, step in enumerate(STEPS)])
    result = fuse_photos([Photo(frame, name=f"{number}.jpg") for number, frame in enumerate(taken)])
    assert result.decision["reference"] == "1.jpg" and "moved" in result.decision["words"]
    for column in (30, 80, 130):
        ball = np.s_[80:101, column - 10 : column + 11]
        plain = psnr(fuse_exposures(taken, np.uint8)[ball], wanted[ball])
        assert psnr(result.photo.pixels[ball], wanted[ball]) > max(24, plain + 3 * (column != 80))


def test_what_moved_is_replaced_at_the_exposure_of_the_frame(frames):
    """A patch from elsewhere goes, the rest stays bit for bit."""
    frame = frames[2].copy()
    frame[60:90, 20:50] = frame[20:50, 90:120][::-1]
    cleaned, share = replace_moved(frame, frames[1], None)
    assert 0.01 < share < 0.2 and psnr(cleaned[60:90, 20:50], frames[2][60:90, 20:50]) > 22
    assert np.array_equal(cleaned[:40, :70], frames[2][:40, :70])
    assert replace_moved(frames[2], frames[1], None)[0] is frames[2]


def test_values_are_mapped_as_the_exposure_has_them():
    """A map never falls; of a ramp it is the ramp's own."""
    before = np.tile(np.arange(256, dtype=np.uint8), 200)
    after_ = np.minimum(before * 1.5, 255).astype(np.uint8)
    found = value_map(before, after_).values
    assert (np.diff(found) >= 0).all() and np.abs(found - np.minimum(np.arange(256) * 1.5, 255)).max() <= 1


def test_another_scene_is_left_out(frames):
    """By name; where nothing else is left, fusion is refused."""
    other = Camera(scene(seed=9)[::-1]).shoot(3.5)
    photos = [Photo(frame, name=f"{number}.jpg") for number, frame in enumerate(frames)]
    result = fuse_photos([*photos, Photo(other, name="elsewhere.jpg")])
    assert "elsewhere.jpg does not show the scene and is left out" in result.decision["words"]
    assert np.array_equal(result.photo.pixels, fuse(frames))
    with pytest.raises(UsageError, match=r"\.jpg: does not show the scene of"):
        fuse_photos([photos[1], Photo(other, name="elsewhere.jpg")])


def test_black_and_white_frames_add_nothing_and_harm_nothing(frames):
    """A lens cap, and a frame that is burnt."""
    result = fuse([*frames, np.zeros_like(frames[0]), np.full_like(frames[0], 255)])
    assert np.array_equal(result, fuse(frames))


@pytest.mark.parametrize(("given", "message"), [
    ([], "two frames or more"), (["a"], "two frames or more"),
    (["a", "small"], "has 150x120 pixels, and frame 0 160x120"), (["a", "deep"], "frames must have one type"),
    (["flat", "flat"], r"array \(H, W, 3\)")])
def test_what_is_no_bracket_is_refused(frames, given, message):
    """By what is wrong with it, and the way out."""
    first = frames[0]
    kinds = {"a": first, "small": first[:, :150], "deep": first.astype(np.uint16), "flat": first[..., 0]}
    with pytest.raises(UsageError, match=message):
        fuse([kinds[kind] for kind in given])


@pytest.fixture
def album(tmp_path, monkeypatch, frames):
    """Two folders of brackets, and one of them as files."""
    monkeypatch.chdir(tmp_path)
    for folder in ("brackets/one", "brackets/two"):
        for name, frame, step in zip("abc", frames, STEPS, strict=True):
            block = exif(seconds=2.0**step / 64)
            write(Photo(frame, metadata=Metadata(exif=block, dpi=(300.0, 300.0))), tmp_path / folder / f"{name}.png")
    return tmp_path


def test_the_command_writes_what_the_function_gives(album, frames, capsys):
    """In any order of the files; with the metadata of the reference."""
    assert main(["fuse", "brackets/one/c.png", "brackets/one/a.png", "brackets/one/b.png", "-o", "out.png"]) == 0
    out = capsys.readouterr().out
    assert "brackets/one/c.png -> out.png: 3 frames" in out
    result = read(album / "out.png")
    assert np.array_equal(result.pixels, fuse(frames))
    assert result.metadata.exif == read(album / "brackets/one/b.png").metadata.exif and result.metadata.dpi is not None


def test_each_folder_is_a_bracket(album, frames, capsys):
    """Results lie beside the folders; a second run passes over them, and -o mirrors folders."""
    assert main(["fuse", "brackets/one", "brackets/two", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["target"]).name for line in lines[:-1]] == ["one_fused.png", "two_fused.png"]
    assert lines[0]["decision"]["reference"] == "brackets/one/b.png" and len(lines[0]["decision"]["frames"]) == 3
    assert main(["fuse", "brackets", "-r", "-o", "out"]) == 0
    assert sorted(path.relative_to(album / "out").as_posix() for path in (album / "out").rglob("*.png")) == [
        "one.png", "two.png"]
    assert main(["fuse", "brackets", "-r", "-o", "out"]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main(["fuse", "brackets", "-r", "-o", "out", "--skip-existing"]) == 0
    assert main(["fuse", "brackets/one", "-o", "one.jpg", "--format", "jpg"]) == 0 and (album / "one.jpg").is_file()


@pytest.mark.parametrize(("words", "message"), [
    (["brackets/one/a.png"], "fusion takes two frames or more"),
    (["brackets/one/a.png", "brackets/two"], "or folders with a bracket each"),
    (["brackets/one", "-o", "brackets/one/a.png", "--overwrite"], "would replace"),
    (["brackets/one/a.png", "brackets/one/b.png", "-o", "x.gif"], "such a picture cannot be written"),
    (["brackets/one", "brackets/two", "-o", "-"], "standard output takes one picture"),
    (["brackets/one/a.png", "nothing.png"], "nothing.png: no such file"), (["-"], "a bracket is several files")])
def test_calls_that_are_refused(album, words, message, capsys):
    """With one line that says why; no frame is replaced."""
    before = {path: path.read_bytes() for path in album.rglob("*.png")}
    assert main(["fuse", *words]) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in album.rglob("*.png")} == before


@pytest.mark.parametrize("command", ["fuse", "bracket"])
def test_a_folder_of_all_photographs_is_no_bracket(album, frames, command, capsys):
    """It fails before its frames are read, and the bracket beside it does not."""
    for number in range(MOST_FRAMES + 1):
        write(frames[0][:16, :16], album / f"brackets/many/{number}.png")
    assert main([command, "brackets/many", "brackets/one"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"failed: brackets/many/0.png: is one of {MOST_FRAMES + 1} photographs, and")
    assert "one" in told.out and "many" not in told.out


def test_depth_grey_and_turned_frames(album, frames, capsys):
    """16 bits beside 8 give 16; grey stays grey; a frame on its side is refused by its size."""
    deep = frames[1].astype(np.uint16) * 257
    write(deep, album / "deep.png")
    write(frames[2], album / "light.png")
    assert main(["fuse", "deep.png", "light.png", "-o", "x.png"]) == 0
    assert read(album / "x.png").depth == 16
    write(np.ascontiguousarray(frames[0].swapaxes(0, 1)), album / "turned.png")
    assert main(["fuse", "deep.png", "turned.png", "-o", "y.png"]) == 2
    assert "turned.png: has 120x160 pixels, and deep.png 160x120" in capsys.readouterr().err
    grey = [Photo(np.repeat(frame[..., 1:2], 3, axis=2), grey=True) for frame in frames]
    assert fuse_photos(grey).photo.grey and not fuse_photos([*grey[:2], replace(grey[2], grey=False)]).photo.grey
