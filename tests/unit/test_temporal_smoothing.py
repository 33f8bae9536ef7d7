"""Decisions over time: steady where the scene is, new where another begins. No clip is needed for it."""

import cv2
import numpy as np
import pytest
from skimage import data

from rlenhance import Enhancer
from rlenhance.pipelines.decision import Decision
from rlenhance.pipelines.temporal_smoothing import TemporalSmoother, difference

FRAME = 1 / 25
VIEW = np.kron(np.random.default_rng(0).random((4, 4)), np.ones((4, 4))) * 0.3 + 0.02


def _steady(frames, views=None, decide=float, **options):
    """The decisions (one number each) for frames that are (number, view)."""
    frames = list(enumerate(frames))
    steady = TemporalSmoother(lambda frame: (frame[0] * FRAME, VIEW if views is None else views[frame[0]]),
                    lambda frame: Decision(actions=[{"global": np.full((1, 1, 1, 1), decide(frame[1]))}]), **options)
    given = list(steady(frames))
    assert [frame for frame, _ in given] == frames
    return np.array([decision.actions[0]["global"].item() for _, decision in given]), steady


def test_noise_in_decisions_is_averaged_away():
    """Of a scene that stands still the decisions change a tenth as much, and their mean stays."""
    noise = np.random.default_rng(0).normal(0.3, 0.1, 200)
    smooth, steady = _steady(noise, every=0.0)
    assert np.diff(smooth).std() < 0.1 * np.diff(noise).std()
    assert smooth.mean() == pytest.approx(noise.mean(), abs=0.01)
    assert (steady.scenes, steady.decided) == (1, 200)


def test_few_decisions_do_as_well():
    """Asked every 0.1 seconds, the policy works a third as often, and the decisions are as steady."""
    noise = np.random.default_rng(1).normal(0.3, 0.1, 200)
    smooth, steady = _steady(noise)
    assert steady.decided == 67
    assert np.diff(smooth).std() < 0.15 * np.diff(noise).std()
    ramp = np.linspace(-0.5, 0.5, 200)
    assert np.abs(_steady(ramp)[0] - _steady(ramp, every=0.0)[0]).max() < 0.01


def test_a_decision_of_all_frames_is_left_alone():
    """What is the same for every frame stays what it is, to the last bit of float32."""
    assert set(_steady([0.25] * 30)[0]) == {0.25}


@pytest.mark.parametrize("after", [VIEW * 2.5, np.rot90(VIEW), np.zeros_like(VIEW)], ids=["light", "cut", "black"])
@pytest.mark.parametrize("at", [1, 2, 20, 38, 39])
def test_a_new_scene_is_followed_at_once(after, at):
    """A light switched on, another scene, darkness: the first frame has its own decision, the last one the old."""
    decided, steady = _steady([0.0] * at + [1.0] * (40 - at), [VIEW] * at + [after] * (40 - at))
    assert steady.scenes == 2
    assert (decided[:at] == 0).all() and (decided[at:] == 1).all()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_changes_nothing(length):
    """A few bright frames, then all is as before: they get the decision of the scene that they interrupt."""
    frames, views = [0.0] * 40, [VIEW] * 40
    frames[20 : 20 + length], views[20 : 20 + length] = [1.0] * length, [VIEW * 3] * length
    decided, steady = _steady(frames, views)
    assert (decided == 0).all() and steady.scenes == 1


def test_a_moving_camera_or_lamp_is_one_scene():
    """What changes every frame, however much, is followed smoothly."""
    wide = np.random.default_rng(0).random((16, 90)) * 0.3
    views = [wide[:, number : number + 16] for number in range(60)]
    assert difference(views[0], views[1]) > 0.2
    decided, steady = _steady(np.linspace(0, 1, 60), views)
    assert steady.scenes == 1
    assert np.diff(decided).min() > -1e-6 and np.diff(decided).max() < 0.05
    assert np.abs(decided - np.linspace(0, 1, 60)).max() < 0.15


def test_a_cut_in_a_moving_scene_is_seen():
    """Motion raises what counts as a cut, but not over a cut."""
    wide = cv2.GaussianBlur(np.random.default_rng(0).random((16, 90)), (0, 0), 3) * 0.5
    views = [wide[:, number : number + 16] for number in range(30)] + [np.full((16, 16), 0.8)] * 30
    decided, steady = _steady([0.0] * 30 + [1.0] * 30, views)
    assert steady.scenes == 2 and (decided[:30] == 0).all() and (decided[30:] == 1).all()


def test_frames_are_given_back_soon():
    """At most `ahead` frames wait, and a clip of one frame, or of none, is a clip."""
    taken = []
    frames = (taken.append(number) or number for number in range(100))
    steady = TemporalSmoother(lambda number: (number * FRAME, VIEW),
                              lambda _: Decision(actions=[{"global": np.zeros((1, 1, 1, 1))}]), ahead=4)
    for given, _ in steady(frames):
        assert taken[-1] - given <= 4
    assert _steady([0.5])[0].tolist() == [0.5]
    assert _steady([])[0].size == 0


def test_times_count_not_frames():
    """Twice as many frames per second are smoothed over the same seconds; pauses make a decision forget."""
    step = np.r_[np.zeros(50), np.ones(50)]
    slow = _steady(step, every=0.0)[0]
    pause = TemporalSmoother(lambda frame: (frame * 10.0, VIEW),
                             lambda frame: Decision(actions=[{"global": np.full((1, 1, 1, 1), frame)}]))
    assert 0.2 < slow[50] < 0.8 and slow[53] > slow[52] > slow[51]
    assert [round(decision.actions[0]["global"].item(), 6) for _, decision in pause(range(5))] == [0, 1, 2, 3, 4]


def test_choices_become_shares_of_a_mixture():
    """Where agents choose between tools, the frames between two choices mix them, and shares sum to one."""
    steady = TemporalSmoother(lambda frame: (frame * FRAME, VIEW), choices=3, every=0.0,
                    decide=lambda frame: Decision(actions=[{"local": np.full((1, 2, 4, 4), int(frame > 9))}]))
    given = [decision.actions[0]["local"] for _, decision in steady(range(20))]
    assert given[0].shape == (1, 2, 3, 4, 4)
    assert np.allclose(given[10].sum(axis=2), 1)
    assert given[0][0, 0, 0, 0, 0] > 0.8 and given[-1][0, 0, 1, 0, 0] > 0.8


def _dark(photograph, size=(160, 96), stops=6):
    small = cv2.resize(photograph, size, interpolation=cv2.INTER_AREA) / 255
    return (small**2.2 / stops) ** (1 / 2.2) * 255


def _lamp(scene, part):
    rows, columns = np.mgrid[: scene.shape[0], : scene.shape[1]]
    away = (columns - scene.shape[1] * part) ** 2 + (rows - 40) ** 2
    return scene + np.exp(-away / 200)[..., None] * (230, 200, 140) + 50 * np.exp(-away / 3000)[..., None]


@pytest.mark.parametrize("moving", [False, True], ids=["static", "lamp"])
def test_what_is_shipped_does_not_flicker(moving):
    """The luma's jitter, divided by the gain, is no higher than the input's; decided frame by frame it is higher."""
    rng, scene = np.random.default_rng(0), _dark(data.astronaut())
    frames = []
    for number in range(32):
        picture = _lamp(scene, 0.2 + 0.016 * number) if moving else scene
        frames.append(np.clip(np.rint(picture + rng.normal(0, 5, scene.shape)), 0, 255).astype(np.uint8))
    enhancer = Enhancer(denoise=0.0)  # as for clips
    steady = TemporalSmoother(lambda frame: (frame[0] * FRAME, cv2.resize(frame[1].mean(axis=2) / 255, (16, 16))),
                              lambda frame: enhancer.decide(frame[1]))
    results = [enhancer.with_decision(decision)(frame[1]) for frame, decision in steady(enumerate(frames))]
    alone = [] if moving else [enhancer(frame) for frame in frames]

    def jitter(pictures):
        means = np.array([picture.mean() for picture in pictures])
        return np.diff(means).std() / (means.mean() / np.mean(frames))

    assert steady.scenes == 1
    assert jitter(results) <= jitter(frames)
    assert moving or jitter(frames) < jitter(alone)
