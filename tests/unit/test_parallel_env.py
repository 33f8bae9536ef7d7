"""PettingZoo's interface: cells are agents, and their rewards are the environment's, by place."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.core.errors import UsageError
from rlenhance.envs import ENV_IDS
from rlenhance.learning.data import Batch
from rlenhance.learning.rewards import TERMS

pettingzoo = pytest.importorskip("pettingzoo", reason='pip install ".[pettingzoo]"')
from pettingzoo.test import parallel_api_test, parallel_seed_test  # noqa: E402

from rlenhance.envs.parallel import ParallelImageEnv, parallel_env  # noqa: E402

PIXELWISE = {"agent_stride": 1, "global_agent": False}
#: Arguments with which each id has an 8x8 grid, or the coarse one that its agents allow; a score that has a map, since
#: all cells would earn the same PSNR.
SMALL = {
    "rlenhance/LowLight-v0": {"size": 32, "horizon": 2, "curve": {"agent_stride": 4}},
    "rlenhance/Denoise-v0": {"size": 32, "horizon": 2},
    "rlenhance/Completion-v0": {"size": 32, "horizon": 2},
    "rlenhance/SelfEnhance-v0": {"size": 64, "horizon": 2, "cells": (4, 4)},
    "rlenhance/CurveOracle-v0": {"size": 16, "horizon": 2, "curve": {"agent_stride": 2}},
    "rlenhance/Toolchain-v0": {"size": 16, "horizon": 2, "regions": 4, "cells": (4, 4), "score": "ssim"},
}
VARIANTS = [*SMALL.items(), *(("rlenhance/LowLight-v0", {"size": 16, "horizon": 2, "cells": (4, 4), **variant})
                              for variant in (
    {"curve": {**PIXELWISE, "kind": "categorical", "channels": "coupled"}},
    {"curve": {"agent_stride": 4, "kind": "categorical"}, "margin": 0},
    {"actions": {"name": "tone", "agent_stride": 2}, "preferences": {"exposure_level": (0.3, 0.475, 0.65)}},
))]
every_variant = pytest.mark.parametrize("name, arguments", VARIANTS)


def make(name, **arguments):
    """The environment; one whose networks begin with random weights has the same ones each time."""
    torch.manual_seed(0)
    return parallel_env(name, **arguments)


def sampled(env):
    """An action of each agent."""
    return {agent: env.action_space(agent).sample() for agent in env.agents}


def test_every_id_is_tried():
    """A new environment needs a line here."""
    assert set(SMALL) == set(ENV_IDS) <= set(pettingzoo.parallel_registry)
    env = pettingzoo.make("parallel", "rlenhance/LowLight-v0", size=16, cells=(2, 2))
    assert isinstance(env, ParallelImageEnv) and env.possible_agents == [
        "cell_0_0", "cell_0_1", "cell_1_0", "cell_1_1", "global"]


@every_variant
def test_pettingzoo_accepts_it(name, arguments):
    """PettingZoo's checkers for the interface and for seeds find nothing; their odd option is told and ignored."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left to the garbage collector
        parallel_api_test(make(name, **arguments), num_cycles=5)
        parallel_seed_test(lambda: make(name, **arguments))
    told = [str(warning.message) for warning in caught if "reset knows the options" not in str(warning.message)]
    assert told == []


@every_variant
def test_observations_lie_in_their_spaces(name, arguments):
    """From the first to the last; all agents have the same spaces, and the state has its own."""
    env = parallel_env(name, **arguments)
    observations, _ = env.reset(seed=0)
    assert len({str(env.observation_space(agent)) + str(env.action_space(agent)) for agent in env.agents}) == 1
    while True:
        assert all(env.observation_space(agent).contains(seen) for agent, seen in observations.items())
        assert set(observations) == set(env.possible_agents) and env.state_space.contains(env.state())
        if not env.agents:
            return
        observations, *_ = env.step(sampled(env))


@every_variant
def test_the_mean_of_the_rewards_is_the_environments(name, arguments):
    """Over the cells, and over all agents; the global agent gets it itself."""
    env = parallel_env(name, **arguments)
    env.reset(seed=0)
    _, rewards, terminated, truncated, infos = env.step(sampled(env))
    whole = infos["cell_0_0"]["team_reward"]
    cells = [reward for agent, reward in rewards.items() if agent != "global"]
    assert np.mean(cells) == pytest.approx(whole, abs=1e-5) and rewards.get("global", whole) == whole
    assert np.std(cells) > 0 and not any(terminated.values()) and not any(truncated.values())


@pytest.mark.parametrize("term", list(TERMS))
def test_the_law_of_the_mean_holds_for_every_term(term, pairs):
    """A term that is a map counts by place, one of the whole image in full in each cell."""
    wishes = {name: (-1, 0.5, 1) for name in ("color", "contrast", "highlights")}
    env = parallel_env(size=32, horizon=2, cells=(4, 4), data=pairs, preferences=wishes, curve={"agent_stride": 4},
                       reward={**dict.fromkeys(TERMS, 0.0), "exposure": 0.5, term: 1.5})
    env.reset(seed=0)
    for _ in range(2):
        _, rewards, _, _, infos = env.step(sampled(env))
        whole = infos["cell_0_0"]["team_reward"]
        assert np.mean(list(rewards.values())) == pytest.approx(whole, abs=1e-5 * max(1, abs(whole)))


@every_variant
def test_it_is_the_same_environment(name, arguments):
    """What the agents do together does what the environment of one image does with their actions."""
    env = make(name, **arguments)
    torch.manual_seed(0)
    plain = gymnasium.make(name, **{key: value for key, value in arguments.items() if key not in ("cells", "margin")})
    env.reset(seed=3)
    plain.reset(seed=3)
    actions = sampled(env)
    heads, (rows, columns) = env.env.actions.action_dim, env.cells
    local = np.array([[np.reshape(actions[f"cell_{row}_{column}"], heads) for column in range(columns)]
                      for row in range(rows)]).transpose(2, 0, 1)
    grid = env.env.actions.agent_grid("local", *env.env.size)
    local = np.kron(local, np.ones((1, grid[0] // rows, grid[1] // columns), local.dtype))
    both = {"local": local}
    if "global" in actions:
        both["global"] = np.reshape(actions["global"], (heads, 1, 1))
    env.step(actions)
    observation, *_ = plain.step(both if len(both) > 1 else local)
    np.testing.assert_allclose(env.state()[:len(observation["image"])], observation["image"], rtol=0, atol=3e-7)


def test_a_cell_sees_its_neighbourhood_and_the_whole():
    """Planes: the cell with its margin, the whole image averaged, who it is and where, the steps left, the wish."""
    env = parallel_env(size=32, horizon=4, cells=(8, 8), margin=3, curve={"agent_stride": 4},
                       preferences={"exposure_level": (0.3, 0.5, 0.7)})
    seen, _ = env.reset(seed=0, options={"preference": torch.tensor([[0.5]])})
    seen, *_ = env.step(sampled(env))
    image, cell, whole = env.state()[:3], seen["cell_3_5"], seen["global"]
    assert np.array_equal(cell[:3], image[:, 9:19, 17:27])
    assert np.array_equal(seen["cell_0_7"][:3], np.pad(image, ((0, 0), (3, 3), (3, 3)), "reflect")[:, :10, 28:38])
    mean = F.interpolate(torch.from_numpy(image)[None], (10, 10), mode="area")[0].numpy()
    assert np.allclose(cell[3:6], mean) and np.allclose(whole[:6], np.concatenate([mean, mean]))
    assert np.allclose(cell[6:, 0, 0], [0, 3.5 / 8, 5.5 / 8, 0.75, 0.5]) and (cell[6:] == cell[6:, :1, :1]).all()
    assert np.allclose(whole[6:, 0, 0], [1, 0.5, 0.5, 0.75, 0.5])


def test_an_agent_earns_where_it_acts():
    """With agents per pixel and a reward per pixel, what a cell does changes its own reward alone."""
    env = parallel_env("rlenhance/CurveOracle-v0", size=16, cells=(4, 4), curve=PIXELWISE)
    earned = []
    for value in (0.0, 0.5):
        env.reset(seed=0)
        actions = {agent: np.zeros(1, np.float32) for agent in env.agents} | {"cell_1_2": np.float32([value])}
        earned.append(env.step(actions)[1])
    assert {agent for agent in earned[0] if earned[0][agent] != earned[1][agent]} == {"cell_1_2"}


def test_the_oracle_earns_the_best_return():
    """Each agent taking its part of the known best action leaves no regret."""
    env = parallel_env("rlenhance/CurveOracle-v0", size=16, cells=(8, 8), curve={**PIXELWISE, "agent_stride": 2})
    env.reset(seed=0)
    best = env.env.oracle()[0, 0].numpy().reshape(-1, 1)
    total = 0.0
    while env.agents:
        _, _, _, _, infos = env.step(dict(zip(env.agents, best, strict=True)))
        total += infos["cell_0_0"]["team_reward"]
    assert float(env.info["regret"]) == pytest.approx(0, abs=1e-5) and total > 0.01


def test_the_frame_is_the_environments():
    """Input, current image and action map, side by side."""
    env = parallel_env(size=16, cells=(2, 2), render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (16, 3 * 16 + 4, 3) and env.render().dtype == np.uint8
    env.close()


def test_what_does_not_fit_is_refused():
    """With the value and the way out."""
    with pytest.raises(UsageError, match=r"2 x 2 local agents; got \(8, 8\): give cells=\(2, 2\)"):
        parallel_env(size=16)
    with pytest.raises(UsageError, match=r"no local agents.*agent_stride=8"):
        parallel_env(size=16, curve={"agent_stride": 0})
    with pytest.raises(UsageError, match="margin lies between 0 and 15; got 16"):
        parallel_env(size=16, cells=(2, 2), margin=16)
    two = gymnasium.make_vec("rlenhance/LowLight-v0", num_envs=2, size=16)
    for other, message in ((two, r"got 2 images.*parallel_env"), (gymnasium.make("CartPole-v1"), "got no images")):
        with pytest.raises(UsageError, match=message):
            ParallelImageEnv(other)


def test_an_environment_of_gymnasium_is_taken():
    """As it is, or in wrappers of Gymnasium."""
    made = gymnasium.make("rlenhance/LowLight-v0", size=16)
    for env in (made, made.unwrapped, gymnasium.wrappers.RecordEpisodeStatistics(made)):
        assert len(ParallelImageEnv(env, cells=(2, 2)).possible_agents) == 5


def test_wrong_steps_and_images_are_refused():
    """A missing agent, an unknown one, a wrong number and an image of another size do not pass in silence."""
    env = parallel_env(size=16, cells=(2, 2))
    with pytest.raises(UsageError, match="call reset first"):
        env.step({"cell_0_0": np.zeros(1)})
    env.reset(seed=0)
    good = sampled(env)
    for wrong, told in (({"cell_1_1": None}, None), ({"cell_9_9": good["global"]}, "unknown: cell_9_9"),
                        ({"global": np.zeros(2, np.float32)}, r"global has 1 numbers; got shape \(2,\)"),
                        ({"global": np.float32([np.nan])}, "got nan"), ({"global": np.float32([1.5])}, "got 1.5")):
        action = {**good, **wrong}
        if told is None:
            del action["cell_1_1"]
        with pytest.raises(UsageError, match=told or "missing or unknown: cell_1_1"):
            env.step(action)
    with pytest.raises(UsageError, match="one image of 16 x 16 pixels"):
        env.reset(options={"batch": Batch(torch.rand(1, 3, 24, 16))})
    env.reset(options={"batch": Batch(torch.full((1, 3, 16, 16), 0.25))})
    assert (env.state()[:3] == 0.25).all()
    choosing = parallel_env(size=16, cells=(2, 2), curve={"kind": "categorical"})
    choosing.reset(seed=0)
    with pytest.raises(UsageError, match="pass integers"):
        choosing.step({agent: 3.0 for agent in choosing.agents})


def test_one_step_serves_all_agents(monkeypatch):
    """The environment below is stepped once, however many agents act."""
    env = parallel_env(size=32, cells=(8, 8), curve={"agent_stride": 4})
    env.reset(seed=0)
    calls = []
    monkeypatch.setattr(env.env, "step", lambda action, step=env.env.step: calls.append(1) or step(action))
    env.step(sampled(env))
    assert calls == [1]

