"""Every wrapper that Gymnasium has, around every registered environment; those that cannot work stand in the docs."""

import warnings
from functools import cache, partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces, wrappers
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate
from gymnasium.wrappers import vector

from rlenhance import envs  # noqa: F401  registers the ids
from rlenhance.envs import ENV_IDS, FlattenActions, Uint8Observation

IDS = sorted(ENV_IDS)
every_id = pytest.mark.parametrize("name", IDS)
SMALL = {"size": 16, "horizon": 2, "render_mode": "rgb_array"}
PAGE = (Path(__file__).parents[2] / "docs/reference/environment.md").read_text()

#: Wrappers that no environment of this package can have: the page on environments says why.
IMPOSSIBLE = {"AtariPreprocessing", "JaxToNumpy", "JaxToTorch"}
#: Those for actions in an interval: agents that choose by index have none.
CONTINUOUS = {"ClipAction", "RescaleAction", "DiscretizeAction"}


@cache
def single(name):
    return gymnasium.make(name, **SMALL)


@cache
def batched(name, mode=AutoresetMode.NEXT_STEP):
    return gymnasium.make_vec(name, num_envs=2, autoreset_mode=mode, **SMALL)


def rgb(observation):
    """The picture as other libraries' wrappers want it: (H, W, 3) bytes."""
    image = np.broadcast_to(observation["image"], (3, *observation["image"].shape[-2:]))
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)


def pictures(env):
    """Observations are pictures alone, (H, W, 3) bytes."""
    return wrappers.TransformObservation(env, rgb, spaces.Box(0, 255, (16, 16, 3), np.uint8))


def vector_pictures(env):
    """The same, of each of N."""
    space, given = spaces.Box(0, 255, (16, 16, 3), np.uint8), env.observation_space
    return vector.TransformObservation(env, lambda batch: np.stack([rgb(one) for one in iterate(given, batch)]),
                                       single_observation_space=space)


def same(value):
    return value


SINGLE = {
    "AddRenderObservation": lambda env, _: wrappers.AddRenderObservation(env, render_only=False),
    "AddWhiteNoise": lambda env, _: wrappers.AddWhiteNoise(env, probability_of_noise_per_pixel=0.5),
    "ArrayConversion": lambda env, _: pytest.importorskip("gymnasium.wrappers.array_conversion").ArrayConversion(
        env, env_xp=np, target_xp=torch),
    "Autoreset": lambda env, _: wrappers.Autoreset(env),
    "ClipAction": lambda env, _: wrappers.ClipAction(FlattenActions(env)),
    "ClipReward": lambda env, _: wrappers.ClipReward(env, -0.1, 0.1),
    "DelayObservation": lambda env, _: wrappers.DelayObservation(wrappers.FlattenObservation(env), delay=1),
    "DiscretizeAction": lambda env, _: wrappers.DiscretizeAction(FlattenActions(env), bins=3, multidiscrete=True),
    "DiscretizeObservation": lambda env, _: wrappers.DiscretizeObservation(wrappers.FlattenObservation(env), bins=3,
                                                                           multidiscrete=True),
    "DtypeObservation": lambda env, _: wrappers.DtypeObservation(wrappers.FlattenObservation(env), np.float64),
    "FilterObservation": lambda env, _: wrappers.FilterObservation(env, ["image"]),
    "FlattenObservation": lambda env, _: wrappers.FlattenObservation(env),
    "FrameStackObservation": lambda env, _: wrappers.FrameStackObservation(env, 2),
    "GrayscaleObservation": lambda env, _: wrappers.GrayscaleObservation(pictures(env)),
    "HumanRendering": lambda env, _: human(wrappers.HumanRendering, env),
    "MaxAndSkipObservation": lambda env, _: wrappers.MaxAndSkipObservation(wrappers.FlattenObservation(env), skip=2),
    "NormalizeObservation": lambda env, _: wrappers.NormalizeObservation(wrappers.FlattenObservation(env)),
    "NormalizeReward": lambda env, _: wrappers.NormalizeReward(env),
    "NumpyToTorch": lambda env, _: wrappers.NumpyToTorch(env),
    "ObstructView": lambda env, _: wrappers.ObstructView(env, obstructed_pixels_ratio=0.5, obstruction_width=2),
    "OrderEnforcing": lambda env, _: wrappers.OrderEnforcing(env),
    "PassiveEnvChecker": lambda env, _: wrappers.PassiveEnvChecker(env),
    "RecordEpisodeStatistics": lambda env, _: wrappers.RecordEpisodeStatistics(env),
    "RecordVideo": lambda env, folder: recorded(wrappers.RecordVideo, env, folder),
    "RenderCollection": lambda env, _: wrappers.RenderCollection(env),
    "RepeatAction": lambda env, _: wrappers.RepeatAction(env, num_repeats=2),
    "RescaleAction": lambda env, _: wrappers.RescaleAction(FlattenActions(env), np.float32(0), np.float32(1)),
    "RescaleObservation": lambda env, _: wrappers.RescaleObservation(wrappers.FlattenObservation(env), np.float32(0),
                                                                     np.float32(255)),
    "ReshapeObservation": lambda env, _: wrappers.ReshapeObservation(pictures(env), (48, 16)),
    "ResizeObservation": lambda env, _: wrappers.ResizeObservation(pictures(env), (8, 8)),
    "StickyAction": lambda env, _: wrappers.StickyAction(env, 0.5),
    "TimeAwareObservation": lambda env, _: wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 2)),
    "TimeLimit": lambda env, _: wrappers.TimeLimit(env, 1),
    "TransformAction": lambda env, _: wrappers.TransformAction(env, same, env.action_space),
    "TransformObservation": lambda env, _: pictures(env),
    "TransformReward": lambda env, _: wrappers.TransformReward(env, same),
}
VECTOR = {
    "ArrayConversion": lambda env, _: pytest.importorskip("gymnasium.wrappers.vector.array_conversion").ArrayConversion(
        env, env_xp=np, target_xp=torch),
    "ClipAction": lambda env, _: vector.ClipAction(env),
    "ClipReward": lambda env, _: vector.ClipReward(env, -0.1, 0.1),
    "DictInfoToList": lambda env, _: vector.DictInfoToList(vector.RecordEpisodeStatistics(env)),
    "DtypeObservation": lambda env, _: vector.DtypeObservation(vector.FlattenObservation(env), np.float64),
    "FilterObservation": lambda env, _: vector.FilterObservation(env, ["image"]),
    "FlattenObservation": lambda env, _: vector.FlattenObservation(env),
    "GrayscaleObservation": lambda env, _: vector.GrayscaleObservation(vector_pictures(env)),
    "HumanRendering": lambda env, _: human(vector.HumanRendering, env),
    "NormalizeObservation": lambda env, _: vector.NormalizeObservation(vector.FlattenObservation(env)),
    "NormalizeReward": lambda env, _: vector.NormalizeReward(env),
    "NumpyToTorch": lambda env, _: vector.NumpyToTorch(env),
    "RecordEpisodeStatistics": lambda env, _: vector.RecordEpisodeStatistics(env),
    "RecordVideo": lambda env, folder: recorded(vector.RecordVideo, env, folder),
    "RescaleAction": lambda env, _: vector.RescaleAction(env, np.float32(0), np.float32(1)),
    "RescaleObservation": lambda env, _: vector.RescaleObservation(vector.FlattenObservation(env), np.float32(0),
                                                                   np.float32(255)),
    "ReshapeObservation": lambda env, _: vector.ReshapeObservation(vector_pictures(env), (48, 16)),
    "ResizeObservation": lambda env, _: vector.ResizeObservation(vector_pictures(env), (8, 8)),
    "TransformAction": lambda env, _: vector.TransformAction(env, same),
    "TransformObservation": lambda env, _: vector_pictures(env),
    "TransformReward": lambda env, _: vector.TransformReward(env, same),
    "VectorizeTransformAction": lambda env, _: vector.VectorizeTransformAction(
        env, wrappers.TransformAction, func=same, action_space=env.single_action_space),
    "VectorizeTransformObservation": lambda env, _: vector.VectorizeTransformObservation(
        env, wrappers.FilterObservation, filter_keys=["image"]),
    "VectorizeTransformReward": lambda env, _: vector.VectorizeTransformReward(env, wrappers.TransformReward,
                                                                               func=same),
}


def human(wrapper, env):
    pytest.importorskip("pygame")
    return wrapper(env)


def recorded(wrapper, env, folder):
    pytest.importorskip("moviepy")
    return wrapper(env, str(folder), episode_trigger=lambda _: True)


def cases(tried):
    """Every id with every wrapper; encoding videos takes long, so all ids but one are slow tests there."""
    return [pytest.param(name, wrapper, marks=[pytest.mark.slow] * (wrapper == "RecordVideo" and name != IDS[0]))
            for name in IDS for wrapper in tried]


def test_every_wrapper_of_gymnasium_has_its_place():
    """It is tried here, or the page on environments has a sentence for it."""
    assert set(SINGLE) | IMPOSSIBLE == set(wrappers.__all__) - {"vector"}
    assert set(VECTOR) | IMPOSSIBLE - {"AtariPreprocessing"} == set(vector.__all__)
    assert all(f"`{name}`" in PAGE for name in IMPOSSIBLE | CONTINUOUS)


def numbers(value):
    """All arrays and tensors in an observation."""
    if isinstance(value, dict):
        return [part for inner in value.values() for part in numbers(inner)]
    return [np.asarray(value)]


def quiet(build, *arguments):
    """Gymnasium warns of what is not the matter here, of a folder that exists or of a wrapper that is not needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(*arguments)


@pytest.mark.parametrize("name, wrapper", cases(SINGLE))
def test_single_environments_take_it(name, wrapper, tmp_path, monkeypatch):
    """Two episodes with sampled actions: observations lie in the wrapper's space, and everything is finite."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setitem(single(name).metadata, "render_fps", 1000)
    if wrapper in CONTINUOUS and single(name).unwrapped.env.actions.num_choices is not None:
        with pytest.raises(TypeError, match="Box"):
            SINGLE[wrapper](single(name), tmp_path)
        return
    env = quiet(SINGLE[wrapper], single(name), tmp_path)
    env.action_space.seed(0)
    for _ in range(2):
        observation, ended = quiet(partial(env.reset, seed=0))[0], False
        check(env, env.observation_space, observation)
        while not ended:
            observation, reward, terminated, truncated, _ = quiet(env.step, env.action_space.sample())
            ended = terminated or truncated
            check(env, env.observation_space, observation)
            assert np.isfinite(float(reward))
        assert env.render() is not None or wrapper == "HumanRendering"
    finish(env, wrapper, tmp_path)


@pytest.mark.parametrize("name, wrapper", cases(VECTOR))
def test_vector_environments_take_it(name, wrapper, tmp_path, monkeypatch):
    """Two episodes of `make_vec` as it is registered, in the same way."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setitem(batched(name).metadata, "render_fps", 1000)
    if wrapper in CONTINUOUS and not isinstance(batched(name).single_action_space, spaces.Box):
        with pytest.raises(TypeError, match="Box"):
            VECTOR[wrapper](batched(name), tmp_path)
        return
    env = quiet(VECTOR[wrapper], batched(name), tmp_path)
    env.action_space.seed(0)
    check(env, env.observation_space, env.reset(seed=0)[0])
    for _ in range(5):
        observation, reward, terminated, truncated, _ = quiet(env.step, env.action_space.sample())
        check(env, env.observation_space, observation)
        assert np.isfinite(np.asarray(reward)).all() and len(reward) == len(terminated) == len(truncated) == 2
    finish(env, wrapper, tmp_path)


def check(env, space, observation):
    if "torch" not in str(type(observation if not isinstance(observation, dict) else observation["image"])):
        assert space.contains(observation), env
    assert all(np.isfinite(part).all() for part in numbers(observation))


def finish(env, wrapper, folder):
    """The window closes, the videos are there: one per episode."""
    if wrapper == "RecordVideo":
        if env.recording:
            env.stop_recording()
        assert all(video.stat().st_size > 0 for video in folder.glob("*.mp4")) and len([*folder.glob("*.mp4")]) >= 2
    elif wrapper == "HumanRendering":
        import pygame
        pygame.quit()


@every_id
def test_statistics_and_lists_of_infos_tell_each_episode(name):
    """With both autoresets: the return is the sum of the rewards, the length the horizon, and each image has its own
    info, the last step's in `final_info`."""
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = vector.DictInfoToList(vector.RecordEpisodeStatistics(batched(name, mode)))
        env.reset(seed=0)
        env.action_space.seed(0)
        results = [env.step(env.action_space.sample()) for _ in range(2)]
        total, infos = sum(result[1] for result in results), results[-1][4]
        assert len(infos) == 2 and all(info["episode"]["l"] == 2 for info in infos)
        assert np.allclose([info["episode"]["r"] for info in infos], total)
        last = [info.get("final_info", info) for info in infos]
        assert np.allclose([sum(part["weighted"] for part in info["reward_terms"].values()) for info in last],
                           results[-1][1], atol=1e-5)
        assert mode == AutoresetMode.NEXT_STEP or all(info["final_obs"]["remaining"] == 0 for info in infos)


@every_id
def test_wrappers_of_one_image_serve_many(name):
    """`vectorization_mode="sync"` holds single environments, each in this package's own wrappers."""
    env = gymnasium.make_vec(name, 2, "sync", wrappers=[FlattenActions, Uint8Observation], **SMALL)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation) and observation.dtype == np.uint8
    observation, reward, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation) and reward.shape == (2,)


@every_id
def test_flat_actions_of_many_pictures_are_one_array_and_the_caller_begins_their_episodes(name):
    """The form that TorchRL takes: no mapping, no autoreset."""
    env = gymnasium.make_vec(name, 2, "sync", wrappers=[FlattenActions],
                             vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED}, **SMALL)
    env.reset(seed=0)
    assert len(env.action_space.shape) == 2 and env.action_space.shape[0] == 2
    ended = np.zeros(2, bool)
    while not ended.any():
        _, _, ended, _, info = env.step(env.action_space.sample())
    assert ended.all() and "final_obs" not in info
    observation, _ = env.reset()
    assert (observation["remaining"] == 1).all()
