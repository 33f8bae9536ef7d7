"""The wrappers for outside agents: spaces, round trips, and agents from elsewhere that train through them."""

import re
import warnings
from ast import literal_eval
from inspect import signature

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from rlenhance import envs
from rlenhance.core.errors import UsageError
from rlenhance.envs import ENV_IDS, FlattenActions, GlobalAction, ImageEnv, LowLightEnv, PixelEnv, Uint8Observation
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.data import Batch
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.rewards import Reward, RewardWeights

ID = "rlenhance/CurveOracle-v0"
CLASSIC = {"kind": "categorical", "agent_stride": 1, "global_agent": False, "channels": "coupled"}
CURVES = {
    "picture": {"agent_stride": 0},
    "two levels": {"agent_stride": 8},
    "chroma": {"agent_stride": 8, "channels": "chroma"},
    "categorical": {"agent_stride": 8, "kind": "categorical"},
    "categorical heads": {"agent_stride": 8, "kind": "categorical", "channels": "coupled"},
    "classic": CLASSIC,
}
every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
with_picture_agent = pytest.mark.parametrize("curve", [c for c in CURVES.values() if c.get("global_agent", True)],
                                             ids=[n for n, c in CURVES.items() if c.get("global_agent", True)])


def make(**arguments):
    return gymnasium.make(ID, render_mode="rgb_array", **arguments)


def complaints(env):
    """What Gymnasium's checker warns of, beside that it is shown a wrapper, which it is."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=False)
    return [str(warning.message) for warning in caught if "different from the unwrapped" not in str(warning.message)]


@every_curve
def test_gymnasium_accepts_flat_actions(curve):
    """The checker finds nothing, for one or two levels, one or three heads, continuous or categorical."""
    assert complaints(FlattenActions(make(curve=curve))) == []


@with_picture_agent
def test_gymnasium_accepts_picture_actions(curve):
    """The checker finds nothing, wherever there is a global agent."""
    assert complaints(GlobalAction(make(curve=curve))) == []


@pytest.mark.parametrize("preferences", [None, {"exposure_level": (0.3, 0.475, 0.65)}], ids=["none", "exposure"])
def test_gymnasium_accepts_bytes(preferences):
    """The checker finds nothing, and neither around a wrapped action."""
    assert complaints(Uint8Observation(make(preferences=preferences))) == []
    assert complaints(GlobalAction(Uint8Observation(make(preferences=preferences)))) == []


@every_curve
def test_flat_actions_are_the_same_actions(curve):
    """Flattened and back is unchanged, and the flat step is the step; the picture's agent comes first."""
    flat, plain = FlattenActions(make(curve=curve)), make(curve=curve)
    plain.action_space.seed(0)
    action = plain.action_space.sample()
    row = flat.flatten(action)
    assert row.shape == flat.action_space.shape and flat.action_space.contains(row)
    if isinstance(action, dict):
        assert np.array_equal(row[:action["global"].size], action["global"].ravel())
    both = []
    for env, taken in ((flat, row), (plain, action)):
        env.reset(seed=0)
        both.append(env.step(taken))
    assert np.array_equal(both[0][0]["image"], both[1][0]["image"]) and both[0][1] == both[1][1]


@with_picture_agent
def test_picture_action_leaves_the_local_agents_neutral(curve):
    """It does what the same curve does where there is no local agent at all."""
    wrapped = GlobalAction(make(curve=curve))
    alone = GlobalAction(make(curve={**curve, "agent_stride": 0}))
    assert wrapped.action_space == alone.action_space
    wrapped.action_space.seed(1)
    action = wrapped.action_space.sample()
    start = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    after = [env.unwrapped.env.actions.apply(start, {level: torch.as_tensor(np.asarray(value))[None] for level, value
                                                     in as_levels(env, action).items()}) for env in (wrapped, alone)]
    assert torch.allclose(after[0], after[1], atol=1e-5) and not torch.allclose(after[0], start, atol=1e-3)


def as_levels(env, action):
    """What the environment below gets, by level."""
    taken = env.action(action)
    return taken if isinstance(taken, dict) else {"global": taken}


def test_picture_action_spaces():
    """One number per head; an index for one categorical head, several for several."""
    found = {name: GlobalAction(make(curve=CURVES[name])).action_space
             for name in ("two levels", "chroma", "categorical", "categorical heads")}
    assert found == {"two levels": spaces.Box(-1, 1, (1,), np.float32), "chroma": spaces.Box(-1, 1, (3,), np.float32),
                     "categorical": spaces.Discrete(27), "categorical heads": spaces.MultiDiscrete([27] * 3)}


def test_bytes_hold_picture_steps_left_and_preference():
    """Colours, a plane that falls from 255 to 0 over the horizon, and one for the preference."""
    arguments = {"horizon": 4, "preferences": {"exposure_level": (0.3, 0.5, 0.7)}}
    env, plain = Uint8Observation(make(**arguments)), make(**arguments)
    options = {"preference": torch.tensor([[0.5]])}
    seen, floats = env.reset(seed=0, options=options)[0], plain.reset(seed=0, options=options)[0]
    assert seen.shape == (5, 16, 16) and seen.dtype == np.uint8
    assert np.array_equal(seen[:3], np.rint(255 * floats["image"])) and (seen[4] == 191).all()
    remaining = [seen[3]]
    for _ in range(4):
        remaining.append(env.step(env.action_space.sample())[0][3])
    assert [set(plane.ravel().tolist()) for plane in remaining] == [{255}, {191}, {128}, {64}, {0}]


def loose_env(**arguments):
    """An environment without a source, of 16 x 16 pixels."""
    return ImageEnv(PixelEnv(ACTION_SETS.create("curve"), Reward(RewardWeights()), size=(16, 16),
                             autoreset_mode=AutoresetMode.DISABLED, preferences=Preferences(), **arguments))


def test_bytes_hold_the_mask():
    """The last plane is the mask, 255 where the picture may change."""
    inner, mask = loose_env(), torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    options = {"batch": Batch(torch.rand(1, 3, 16, 16), mask=mask)}
    inner.reset(options=options)
    seen, _ = Uint8Observation(inner).reset(options=options)
    assert np.array_equal(seen[4], 255 * mask[0, 0].numpy())


@pytest.mark.parametrize("wrapper", [FlattenActions, GlobalAction, Uint8Observation])
def test_batched_environments_are_refused(wrapper):
    """With the way to an environment of one picture."""
    with pytest.raises(UsageError, match=r"one image; got LowLightEnv: use gymnasium\.make"):
        wrapper(LowLightEnv(2, size=16))


def test_wrapping_twice_is_refused():
    """Actions once, observations once."""
    with pytest.raises(UsageError, match="wrapped already"):
        GlobalAction(FlattenActions(make()))
    with pytest.raises(UsageError, match="wrapped already"):
        Uint8Observation(Uint8Observation(make()))


IDS = sorted(ENV_IDS)


def arguments_of(name):
    """Those that the environment can be made with."""
    return signature(getattr(envs, gymnasium.spec(name).entry_point.partition(":")[2].replace("ImageEnv",
    "Env"))).parameters


#: Every id as it is registered, and with local agents alone in each way that its arguments and the action sets allow.
LOCAL = [(name, arguments) for name in IDS for taken in [arguments_of(name)]
         for arguments in [{}] + [{"curve": {"global_agent": False, "agent_stride": 8}}] * ("curve" in taken)
         + [{"actions": {"name": kind, "global_agent": False, "agent_stride": 8}} for kind in ACTION_SETS
            if {"curve", "actions"} <= set(taken) and "global_agent" in signature(ACTION_SETS[kind]).parameters]]


@pytest.mark.parametrize("name, arguments", LOCAL, ids=map(str, LOCAL))
def test_picture_action_needs_a_picture_agent(name, arguments):
    """Where only local agents act it names the argument that helps, of this environment, or that none does."""
    env = gymnasium.make(name, size=16, **arguments)
    if "global" in env.unwrapped.env.actions.scopes:
        assert GlobalAction(env).action_space.shape is not None
        return
    with pytest.raises(UsageError, match=r"only local agents do.*take FlattenActions$") as caught:
        GlobalAction(env)
    advice = re.search(r"make the environment with (\w+)=(\{.*\}), or", str(caught.value))
    if advice is None:
        assert "has none" in str(caught.value) and not arguments
    else:
        wrapped = GlobalAction(gymnasium.make(name, size=16, **{advice[1]: literal_eval(advice[2])}))
        wrapped.reset(seed=0)
        assert np.isfinite(wrapped.step(wrapped.action_space.sample())[1])
    assert FlattenActions(env).action_space.shape[0] > 1


@pytest.mark.parametrize("name", IDS)
def test_bytes_have_the_planes_that_they_promise(name):
    """Grey or in colour, with a mask or without: the checker finds nothing, and the image comes first."""
    for color in [{}] + [{"color": True}] * ("color" in arguments_of(name)):
        plain = gymnasium.make(name, size=16, render_mode="rgb_array", **color)
        env, floats = Uint8Observation(plain), plain.reset(seed=0)[0]["image"]
        assert complaints(env) == []
        seen = env.reset(seed=0)[0]
        assert env.observation_space.contains(seen)
        assert np.array_equal(seen[:len(floats)], np.rint(255 * floats.clip(0, 1)))
        assert (seen[len(floats)] == 255).all()  # the steps left


@pytest.mark.parametrize("action, told", [
    (np.zeros(4, np.float32), r"takes 5 numbers.*got shape \(4,\)"),
    (np.full(5, 1.5, np.float32), "got 1.5: clip or squash"),
    (np.full(5, np.nan, np.float32), "got nan"),
    (np.zeros((1, 5), np.float32), r"got shape \(1, 5\)"),
])
def test_actions_outside_the_space_are_refused(action, told):
    """Wrong length, out of range and not a number are told before anything is edited."""
    env = FlattenActions(make(curve=CURVES["two levels"]))
    env.reset(seed=0)
    with pytest.raises(UsageError, match=told):
        env.step(action)


def test_choices_are_whole_numbers_in_range():
    """A categorical agent takes indices."""
    env = GlobalAction(make(curve=CURVES["categorical"]))
    env.reset(seed=0)
    for action, told in ((27, r"\[0, 26\]; got 27"), (np.array([3.0]), "pass integers")):
        with pytest.raises(UsageError, match=told):
            env.step(action)
    env.step(np.int64(3))


@pytest.mark.parametrize("wrapper", [FlattenActions, Uint8Observation])
def test_pictures_of_another_size_are_refused(wrapper):
    """An outside agent has asked for its spaces once; a picture that breaks the promise does not begin."""
    env = wrapper(loose_env())
    env.reset(options={"batch": Batch(torch.rand(1, 3, 16, 16))})
    with pytest.raises(UsageError, match="this image needs"):
        env.reset(options={"batch": Batch(torch.rand(1, 3, 24, 16))})


def test_outside_ppo_trains_on_flat_actions():
    """stable-baselines3's PPO: a few updates move its weights, on every agent's action and a picture of bytes."""
    from stable_baselines3 import PPO
    env = Uint8Observation(FlattenActions(make(curve={"agent_stride": 4})))
    agent = PPO("MlpPolicy", env, n_steps=32, batch_size=16, n_epochs=2, seed=0, device="cpu")
    assert moved(agent, 64) and agent.predict(env.reset(seed=0)[0])[0].shape == (17,)


def moved(agent, steps):
    """Whether training changed the policy, and left it finite."""
    before = torch.nn.utils.parameters_to_vector(agent.policy.parameters()).clone()
    agent.learn(steps)
    after = torch.nn.utils.parameters_to_vector(agent.policy.parameters())
    return bool(torch.isfinite(after).all()) and not torch.equal(before, after)
