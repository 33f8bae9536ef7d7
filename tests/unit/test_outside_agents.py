"""Tools from elsewhere take the environments: TorchRL, stable-baselines3, sb3-contrib, CleanRL's loop, Ray's pickling.

Each is skipped where it is not installed: pip install ".[outside]".
"""

import io
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from rlenhance.envs import ENV_IDS, FlattenActions, GlobalAction, Uint8Observation

ROOT = Path(__file__).parents[2]
ORACLE, LOWLIGHT = "rlenhance/CurveOracle-v0", "rlenhance/LowLight-v0"
#: Small forms of each id; and those whose actions are a mapping, or indices.
SMALL = [(name, {"size": 32 if name.endswith("SelfEnhance-v0") else 16, "horizon": 2}) for name in ENV_IDS]
FORMS = [*SMALL, ("rlenhance/Toolchain-v0", {"size": 16, "horizon": 2, "regions": 2}),
         (LOWLIGHT, {"size": 16, "curve": {"kind": "categorical"}}),
         (LOWLIGHT, {"size": 16, "actions": {"name": "tone"}, "preferences": {"exposure_level": (0.3, 0.475, 0.65)}})]


def needs(*modules):
    """Skip with the command that installs what is missing."""
    for module in modules:
        pytest.importorskip(module, reason=f'{module} is not installed: pip install ".[outside]"')


@pytest.fixture
def torchrl():
    """The module `torchrl.envs`, without what it says of other libraries."""
    needs("torchrl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchrl.envs
        yield torchrl.envs


@pytest.mark.parametrize("name, arguments", FORMS)
def test_torchrl_accepts_every_environment(torchrl, name, arguments):
    """`check_env_specs` finds that what comes is what the spaces say, plain and flat."""
    torch.manual_seed(0)
    plain = gymnasium.make(name, **arguments)
    torchrl.check_env_specs(torchrl.GymWrapper(plain))
    if not isinstance(plain.action_space, gymnasium.spaces.Discrete):  # TorchRL takes a vector of one choice for one
        flat = Uint8Observation(FlattenActions(gymnasium.make(name, **arguments)))
        torchrl.check_env_specs(torchrl.GymWrapper(flat))


@pytest.mark.parametrize("output", ["numpy", "torch"])
@pytest.mark.parametrize("name", [ORACLE, "rlenhance/Denoise-v0"])
def test_torchrl_accepts_many_pictures(torchrl, name, output):
    """In the mode in which it resets them itself, in NumPy and in torch; episodes follow each other."""
    env = torchrl.GymWrapper(gymnasium.make_vec(name, num_envs=3, autoreset_mode=AutoresetMode.DISABLED, output=output,
                                                size=16, horizon=2))
    torchrl.check_env_specs(env)
    done = env.rollout(5, break_when_any_done=False)["next", "done"].squeeze(-1)
    assert done.tolist() == [[False, True, False, True, False]] * 3


def test_torchrl_accepts_cells(torchrl):
    """Its wrapper of PettingZoo, with all agents in one group."""
    needs("pettingzoo")
    from rlenhance.envs.parallel import parallel_env
    env = parallel_env(ORACLE, size=16, cells=(4, 4), curve={"agent_stride": 4})
    wrapped = torchrl.PettingZooWrapper(env, group_map={"agents": env.possible_agents})
    torchrl.check_env_specs(wrapped)
    assert wrapped.rollout(4)["next", "agents", "reward"].shape == (4, 17, 1)


@pytest.mark.parametrize("name, arguments", FORMS)
def test_stable_baselines_finds_nothing_to_complain_of(name, arguments):
    """Its checker of environments, on a flat action and a picture of bytes."""
    needs("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(Uint8Observation(FlattenActions(gymnasium.make(name, **arguments))))
    known = "too small (expect at least (36, 36) with the default CnnPolicy)", "minimal resolution"
    told = [str(warning.message) for warning in caught]
    assert [text for text in told if not any(part in text for part in known)] == []


@pytest.mark.parametrize("name", ["PPO", "SAC", "TRPO", "RecurrentPPO", "TQC"])
def test_agents_of_stable_baselines_train(name):
    """A few updates move the policy and leave it finite; greedy actions lie in the space."""
    needs("stable_baselines3", "sb3_contrib")
    from benchmarks.outside import sb3
    env = sb3.make_env(ORACLE, size=16, horizon=4)
    small = {"n_steps": 32, "batch_size": 16} if "n_steps" in sb3.AGENTS[name][2] else {"learning_starts": 20}
    before, after = (torch.nn.utils.parameters_to_vector(
        sb3.train(name, env, total_steps=steps, **small).policy.parameters()) for steps in (0, 40))
    assert torch.isfinite(after).all() and not torch.equal(before, after)
    act = sb3.act_of(sb3.train(name, env, total_steps=0, **small))
    assert env.action_space.contains(act(env.reset(seed=0)[0], True))


def test_torchrl_trains():
    """PPO of its parts: an update moves the policy, and the same seed gives the same one."""
    needs("torchrl")
    from benchmarks.outside import torchrl_ppo
    found = []
    for steps in (0, 32, 32):
        actor = torchrl_ppo.train(torchrl_ppo.make_env(ORACLE, 8, size=16, horizon=4), 4, total_steps=steps, epochs=1)
        found.append(torchrl_ppo.act(actor, np.full((1, 769), 0.25, np.float32)))
    assert found[0].shape == (1, 1) and found[0] != found[1] and found[1] == found[2]


def test_cleanrls_loop_trains():
    """PPO in one file: the return of every update, the same twice with one seed."""
    from benchmarks.outside.cleanrl_ppo import Config, train
    (agent, returns), (_, again) = (train(Config(num_envs=8, total_steps=64, epochs=1)) for _ in range(2))
    assert len(returns) == 2 and returns == again and np.isfinite(returns).all()
    assert agent.act(np.zeros((3, 769), np.float32)).shape == (3, 1, 1, 1)


def test_array_conversion_gives_what_numpy_gives():
    """`output="torch"` through Gymnasium's ArrayConversion is the environment in NumPy."""
    needs("array_api_compat")
    from gymnasium.wrappers.vector import ArrayConversion
    arguments = {"num_envs": 2, "size": 16, "horizon": 3, "autoreset_mode": AutoresetMode.SAME_STEP}
    plain = gymnasium.make_vec(LOWLIGHT, **arguments)
    other = ArrayConversion(gymnasium.make_vec(LOWLIGHT, output="torch", **arguments), env_xp=torch, target_xp=np)
    plain.action_space.seed(0)
    first, second = plain.reset(seed=0)[0], other.reset(seed=0)[0]
    for _ in range(4):
        assert isinstance(second["image"], np.ndarray) and np.array_equal(first["image"], second["image"])
        action = plain.action_space.sample()
        (first, reward, *_), (second, same, *_) = plain.step(action), other.step(action)
        assert np.array_equal(reward.astype(np.float32), same)


CHILD = """
import cloudpickle, numpy as np, sys
make, env, action = cloudpickle.load(sys.stdin.buffer)
made = make()
made.reset(seed=0)
np.save(sys.stdout.buffer, np.array([made.step(action)[1], env.step(action)[1]]))
"""


def test_environments_travel_to_other_processes():
    """As with Ray: a function that makes an environment, and an environment in mid-episode, do the same there."""
    needs("cloudpickle")
    import cloudpickle

    def make():
        from rlenhance import envs  # noqa: F401  registers the ids in the other process
        return Uint8Observation(GlobalAction(gymnasium.make("rlenhance/LowLight-v0", size=16)))

    env = make()
    env.reset(seed=1)
    env.step(np.float32([0.5]))
    action = np.float32([0.25])
    done = subprocess.run([sys.executable, "-c", CHILD], input=cloudpickle.dumps((make, env, action)), cwd=ROOT,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    here = make()
    here.reset(seed=0)
    assert np.load(io.BytesIO(done.stdout)).tolist() == [here.step(action)[1], env.step(action)[1]]


def test_cells_share_one_policy():
    """SuperSuit makes entries of a vector environment of the agents, and one PPO learns from all."""
    needs("pettingzoo", "supersuit", "stable_baselines3")
    from benchmarks.outside import parameter_sharing
    from rlenhance.envs.parallel import parallel_env
    arguments = {"size": 16, "cells": (4, 4), "curve": {"agent_stride": 4}}
    agent = parameter_sharing.train(ORACLE, total_steps=2, worlds=2, **arguments)
    assert agent.num_timesteps == 32 * 2 * 17  # a rollout of every agent in both worlds
    share = parameter_sharing.share_of_best(parallel_env(ORACLE, **arguments), agent, seed=5, pictures=2)
    assert np.isfinite(share)


def test_the_constant_is_no_oracle():
    """The measure: the oracle earns 1, the best constant far less."""
    from benchmarks.outside.problem import ARGUMENTS, ID, best_constant, share_of_best
    env = gymnasium.make(ID, **ARGUMENTS)
    assert share_of_best(env, lambda seen, first: env.unwrapped.oracle(), 5) == pytest.approx(1, abs=1e-4)
    assert 0.2 < best_constant(5, pictures=5) < 0.8


@pytest.mark.statistical
@pytest.mark.parametrize("tool, least", [("stable-baselines3 PPO", 0.65), ("TorchRL PPO", 0.75),
                                         ("CleanRL-style PPO", 0.75)])
def test_outside_agents_learn(tool, least):
    """They earn more than the best constant, which earns about half of the best return."""
    needs("stable_baselines3", "sb3_contrib", "torchrl", "pettingzoo", "supersuit")
    from benchmarks.outside.__main__ import Arguments, main
    found = main(Arguments((tool,), steps=8192, seeds=(0,), pictures=25))[tool]
    assert found["before"][0] < 0.6 and found["after"][0] > least


@pytest.mark.statistical
def test_cells_that_share_a_policy_learn():
    """64 agents with rewards of their own, after 2048 steps of a picture."""
    needs("stable_baselines3", "sb3_contrib", "torchrl", "pettingzoo", "supersuit")
    from benchmarks.outside.__main__ import Arguments, main
    found = main(Arguments(("PettingZoo",), steps=2048, seeds=(0,), pictures=10))["PettingZoo, parameter sharing"]
    assert found["after"][0] > 0.7


def test_the_page_has_a_row_for_each_tool():
    """docs/howto/outside_agents.md: every row of the benchmark, with the versions of constraints.txt."""
    needs("stable_baselines3", "sb3_contrib", "torchrl", "pettingzoo", "supersuit")
    from benchmarks.outside.__main__ import ROWS
    text = (ROOT / "docs/howto/outside_agents.md").read_text()
    pinned = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().split())
    for row, (packages, _) in ROWS.items():
        versions = ", ".join(f"{package} {pinned[package]}" for package in packages)
        assert f"| {row} | {versions} |" in text
