"""`rlenhance/Bracket-v0`: shots, stops, prices, what is seen, and Gymnasium's laws; the scenes it takes."""

import copy
import pickle

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

from rlenhance.core.errors import UsageError
from rlenhance.envs import BracketEnv
from rlenhance.learning.data.brackets import Bracket, load_brackets, render_bracket, sample_brackets
from rlenhance.ops.bracket import PLACES, SIDE, observe, taken_places
from rlenhance.ops.exposure_fusion import FusionsOfSets, fuse_exposures
from tests.support.camera import Camera, psnr, scene

STOP = 7


@pytest.fixture(scope="module")
def scenes():
    """Two rendered ones."""
    rng = np.random.default_rng(0)
    return [render_bracket(scene(48, 64, seed) / 65535, rng, f"scene{seed}") for seed in (0, 1)]


def make(scenes, count=1, **arguments):
    return BracketEnv(count, brackets=scenes, autoreset_mode="Disabled", **arguments)


def begin(env, scenes, *starts):
    return env.reset(options={"brackets": [scenes[0]] * len(starts), "starts": starts})


def test_the_return_is_the_quality_at_the_end_less_what_shots_cost(scenes):
    """It telescopes, whatever the order of the shots; a price counts once a shot, and time by its length."""
    env = make(scenes, 2, price=0.5, time_price=2.0)
    _, info = begin(env, scenes, 3, 3)
    first, total = info["quality"], np.zeros(2)
    for action in ((0, 5), (5, 6), (6, 0)):
        _, reward, ended, _, info = env.step(np.array(action))
        total += reward
    assert ended.all() and info["shots"].tolist() == [4, 4]
    frames = scenes[0].small
    wanted = psnr(255 * fuse_exposures([frames[place] for place in (0, 3, 5, 6)]), 255 * fuse_exposures(frames))
    assert info["quality"] == pytest.approx(wanted, abs=0.02)
    cost = 3 * 0.5 + 2.0 * (2.0**-6 + 2.0**-1 + 1)
    assert total == pytest.approx(info["quality"] - first - cost)


def test_a_stop_ends_an_episode_and_earns_nothing(scenes):
    """So does a place that was taken; the mask says so before."""
    env = make(scenes, 2, price=1.0)
    seen, before = begin(env, scenes, 2, 4)
    assert seen["action_mask"].tolist() == [[1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1]]
    _, reward, ended, _, info = env.step(np.array([STOP, 4]))
    assert ended.all() and not reward.any() and data_equivalence(info["quality"], before["quality"])
    with pytest.raises(UsageError, match="an episode has ended"):
        env.step(np.array([0, 0]))


def test_only_what_was_taken_is_seen(scenes):
    """The observation is that of a planner that holds the same shots; other frames may be anything."""
    env = make(scenes, 1, price=1.5)
    begin(env, scenes, 1)
    seen, *_ = env.step(np.array([5]))
    frames = scenes[0].frames
    wanted = observe([frames[1], frames[5]], [1.0, 5.0], [0, 2, 3, 4, 6], 2, 1.5)
    assert np.array_equal(seen["observation"][0], wanted) and taken_places(seen["observation"]) == [{1, 5}]
    other = frames.copy()
    other[[0, 2, 3, 4, 6]] = 128
    blind = make([Bracket(other)])
    blind.reset(options={"starts": [1], "brackets": [Bracket(other)]})
    assert np.array_equal(blind.step(np.array([5]))[0]["observation"][0][:-1], wanted[:-1])


def test_a_camera_may_lack_exposures(scenes):
    """They are not allowed, and not in what all of them would give."""
    few = Bracket(scenes[0].frames, "few", [1, 3, 6])
    env = make([few], 1, start="metered")
    seen, _ = env.reset(seed=0)
    (taken,) = taken_places(seen["observation"])
    assert taken < {1, 3, 6} and set(np.flatnonzero(seen["action_mask"][0, :STOP])) == {1, 3, 6} - taken
    for place in {1, 3, 6} - taken:
        _, _, ended, _, info = env.step(np.array([place]))
    assert ended.all() and info["quality"] == pytest.approx(60, abs=0.1)


def test_the_best_single_shot_is_an_objective_too(scenes):
    """Further shots never lower it."""
    env = make(scenes, 1, objective="single")
    _, info = begin(env, scenes, 0)
    for place in (6, 3, 2):
        before = info["quality"]
        _, reward, _, _, info = env.step(np.array([place]))
        assert reward >= 0 and info["quality"] == pytest.approx(before + reward)
    assert info["quality"] == max(scenes[0].quality(frozenset({place})) for place in (0, 2, 3, 6))


@pytest.mark.filterwarnings("ignore:.*A Box observation space")
def test_gymnasium_accepts_it():
    """Its checker; and a batch gives what each environment alone gives."""
    check_env(gymnasium.make("rlenhance/Bracket-v0", render_mode="rgb_array").unwrapped)
    batch, alone = (gymnasium.make_vec("rlenhance/Bracket-v0", 3, mode, shots=3, price=(0, 2)) if mode else
                    gymnasium.make_vec("rlenhance/Bracket-v0", 3, shots=3, price=(0, 2)) for mode in (None, "sync"))
    assert batch.single_observation_space == alone.single_observation_space
    assert batch.reset(seed=0)[0]["observation"].shape == alone.reset(seed=0)[0]["observation"].shape
    for _ in range(8):  # through ends and new beginnings
        actions = batch.action_space.sample()
        for env in (batch, alone):
            seen, reward, ended, cut, info = env.step(actions)
            assert env.observation_space.contains(seen) and reward.shape == ended.shape == cut.shape == (3,)
            assert set(info) >= {"quality", "shots"}


def test_seeds_copies_and_pickles_repeat(scenes):
    """Equal episodes from the same seed, and from a copy in the middle of one."""
    env = BracketEnv(4, brackets=scenes, price=(0, 2), render_mode="rgb_array")
    actions = [env.action_space.sample() for _ in range(6)]

    def play(env):
        return [env.reset(seed=3), *(env.step(each) for each in actions)]

    assert data_equivalence(play(env), play(env), exact=True)
    ways = copy.deepcopy(env), pickle.loads(pickle.dumps(env))
    wanted = env.step(actions[0])
    assert all(data_equivalence(each.step(actions[0]), wanted, exact=True) for each in ways)
    height, width = scenes[0].small[0].shape[:2]
    assert [frame.shape for frame in env.render()] == [(height, 8 * (width + 2) - 2, 3)] * 4


def test_a_branch_goes_on_elsewhere(scenes):
    """It gives what the environment itself would, which stays where it is."""
    env = make(scenes, 2)
    begin(env, scenes, 0, 3)
    made = env.branch([1, 1, 0])
    reward = made.step(np.array([6, 5, 6]))[1]
    assert made.keys()[0] != made.keys()[1] and env.potential() == pytest.approx(
        [scenes[0].quality(frozenset({place})) for place in (0, 3)])
    assert env.step(np.array([6, 6]))[1] == pytest.approx(reward[[2, 0]])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"shots": 5}, "shots are from 2 to 4"), ({"price": -1}, "none below 0"), ({"price": (2, 1)}, "two in order"),
    ({"objective": "best"}, "objective is one of fusion, single"), ({"start": "dark"}, "start is one of"),
    ({"autoreset_mode": "SameStep"}, "got SameStep"), ({"brackets": []}, "at least one scene")])
def test_bad_arguments_are_named(scenes, arguments, message):
    """With the value and what there is."""
    with pytest.raises(UsageError, match=message):
        BracketEnv(**{"brackets": scenes, **arguments})


def test_bad_steps_and_options_are_named(scenes):
    """Nothing is taken then."""
    env = make(scenes, 2)
    with pytest.raises(UsageError, match="call reset first"):
        env.step(np.array([0, 0]))
    for options, message in (({"starts": [0]}, "one for each of 2"), ({"starts": [0, 9]}, "names place 9")):
        with pytest.raises(UsageError, match=message):
            env.reset(options=options)
    begin(env, scenes, 0, 0)
    for actions in ([0], [0, 8], [0.5, 1.0], [-1, 0]):
        with pytest.raises(UsageError, match="whole numbers from 0 to 7"):
            env.step(np.array(actions))


def test_brackets_are_read_from_folders(tmp_path):
    """Sorted by brightness; seven of more frames, and fewer at the places between the ends."""
    camera = Camera(scene(40, 56))
    for name, stops in (("a", np.linspace(-3, 3, 9)), ("b", (-2, 0, 2)), ("c", (0,))):
        (tmp_path / name).mkdir()
        for number, ev in enumerate(np.random.default_rng(0).permutation(stops)):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), camera.shoot(ev)[..., ::-1])
    found = load_brackets(tmp_path)
    assert [(one.name, one.offered) for one in found] == [("a", tuple(range(PLACES))), ("b", (0, 3, 6))]
    assert all((np.diff(one.levels[list(one.offered)]) > 0).all() for one in found)
    cv2.imwrite(str(tmp_path / "b" / "x.png"), np.zeros((8, 8, 3), np.uint8))
    for folder, message in ((tmp_path, "have one size"), (tmp_path / "c", "there are no brackets"),
                            (tmp_path / "none", "there are no brackets")):
        with pytest.raises(UsageError, match=message):
            load_brackets(folder)


def test_rendered_scenes_brighten_by_a_stop(scenes):
    """Each place has twice the light of the one before, until it clips; noise is that of its seed."""
    light = np.full((8, 8, 3), 0.3)
    plain = render_bracket(light, np.random.default_rng(0), noise=0)
    seen = (plain.frames[:, 0, 0, 0] / 255 + 0.055) / 1.055
    assert seen[1:4] ** 2.4 == pytest.approx(2 * seen[:3] ** 2.4, rel=0.1) and plain.frames[6, 0, 0, 0] == 255
    with pytest.raises(UsageError, match="light is"):
        render_bracket(-light, np.random.default_rng(0))
    first, second = sample_brackets(), sample_brackets()
    assert all(np.array_equal(one.frames, other.frames) for one, other in zip(first, second, strict=True))


def test_parts_are_parts(scenes):
    """Of the same scene and shape; some with four to six exposures."""
    rng = np.random.default_rng(0)
    parts = [scenes[0].part(rng) for _ in range(20)]
    assert {len(part.offered) for part in parts} <= {4, 5, 6, 7} and len({len(part.offered) for part in parts}) > 1
    assert all(part.name == "scene0" and part.frames.shape[0] == PLACES for part in parts)
    with pytest.raises(UsageError, match="offered are two or more"):
        Bracket(scenes[0].frames, offered=[3])


def test_fusions_of_sets_are_those_of_the_sets(scenes):
    """To the rounding of floats, for every size of a set."""
    frames = [cv2.resize(frame, (SIDE, 60)) for frame in scenes[0].frames]
    fusions = FusionsOfSets(frames)
    for numbers in ([2], [0, 6], [1, 3, 4, 5], range(7)):
        assert np.abs(fusions.of(numbers) - fuse_exposures([frames[number] for number in numbers])).max() < 2e-6
