"""Planning where greed fails, and branches of an environment's episodes."""

import copy
from dataclasses import replace

import pytest
import torch

from rlenhance.agents import OptimizerConfig
from rlenhance.agents.dqn import DQN, DQNConfig
from rlenhance.agents.vine import Vine, VineConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.tasks.toolchain import run_chains
from tests.support import known_chain
from tests.support.known_plan import RETURNS, make_env, make_planner, plan_batch

FAST = OptimizerConfig(3e-3, 10, 0.02, 5.0)
SETTINGS = VineConfig(optimizer=FAST, ema_decay=0.9, gradient_steps=12, states=48, entropy=(0.4, 0.0))


def returns(planner):
    """Of the greedy chains on unseen pictures, for each distance at the start."""
    return run_chains(planner, make_env(), plan_batch(99, 30)).gain.view(-1, len(RETURNS)).mean(dim=0)


def fit(learner, updates=12):
    for update in range(updates):
        numbers = learner.step(plan_batch(update), update / updates)
    return numbers


def test_vine_learns_to_lose_first():
    """A tool that makes the picture worse is taken where it leads to more; what is reported is what the chains earn."""
    planner = make_planner(learns_values=False)
    numbers = fit(Vine(planner, make_env(), SETTINGS, seed=1))
    best = torch.tensor([most for most, _ in RETURNS.values()])
    assert torch.allclose(returns(planner), best, atol=0.05)
    assert numbers["rollout/return"] == pytest.approx(best.mean().item(), abs=0.2)


def test_greed_does_not():
    """Values of the next gain alone have the return of greed."""
    planner = make_planner()
    config = DQNConfig(optimizer=FAST, ema_decay=0.9, gradient_steps=10, states=48, gamma=0.0)
    fit(DQN(planner, make_env(), config, seed=1))
    assert torch.allclose(returns(planner), torch.tensor([greed for _, greed in RETURNS.values()]), atol=0.05)


def test_a_branch_goes_on_as_its_pictures_would():
    """The same rewards, states and allowed tools, for any rows in any order; the environment itself stays."""
    env = known_chain.make_env(budget=2.5, price_range=(0.0, 0.5, 2.0), cache=None)
    preference = torch.linspace(-1, 1, 4)[:, None]
    env.reset(options={"batch": known_chain.chain_batch(0, 4)[0], "preference": preference})
    env.step(torch.tensor([0, 1, 2, 0]))
    before, rows, action = env.action_mask(), torch.tensor([3, 0, 3, 2]), torch.tensor([1, 0, 0, 1])
    branch = env.branch(rows)
    seen, reward, *_ = branch.step(action)
    assert branch.num_envs == 4
    assert torch.equal(env.action_mask(), before) and env._state.step == 1
    for place, (row, choice) in enumerate(zip(rows.tolist(), action.tolist(), strict=True)):
        other = env.branch(torch.arange(4))
        known, earned, *_ = other.step(torch.full((4,), choice))
        assert earned[row] == reward[place]
        assert all(torch.equal(known[name][row], value[place]) for name, value in seen.items()), place


@pytest.mark.statistical
def test_vine_learns_prices():
    """At a price above the worth of a step nothing runs, at none every step does; one policy knows both."""
    arguments = {"price_range": (0.0, 0.5, 4.0)}
    planner = known_chain.make_planner(learns_values=False, **arguments)
    env = known_chain.make_env(**arguments)
    learner = Vine(planner, env, replace(SETTINGS, gradient_steps=16), seed=1)
    for update in range(30):
        learner.step(known_chain.chain_batch(update)[0], update / 30)
    for price, steps in ((0.0, 1.2), (1.0, 1.2), (3.5, 0.0)):
        missed, result = known_chain.regret(planner, env, price)
        assert missed < 0.15 and abs(result.length.mean() - steps) < 0.3, price


def test_a_vine_is_repeated_and_goes_on():
    """The same seed gives the same weights; its state is taken up."""
    one, two = (Vine(make_planner(learns_values=False), make_env(), seed=3) for _ in range(2))
    for learner in (one, two):
        learner.step(plan_batch(0))
    assert all(torch.equal(*pair) for pair in zip(one.network.parameters(), two.network.parameters(), strict=True))
    three = Vine(make_planner(learns_values=False), make_env(), seed=4)
    three.load_state_dict(copy.deepcopy(one.state_dict()))
    assert three.step(plan_batch(1), 0.5)["optim/lr"] > 0


def test_values_are_for_dqn():
    """And regions for a3c."""
    for arguments in ({}, {"learns_values": False, "regions": 2}):
        with pytest.raises(UsageError, match="use a3c for regions, and dqn for values"):
            Vine(make_planner(**arguments), make_env())
