"""What learners of toolchains must learn where the answer is known, and the laws of their policy."""

import json

import pytest
import torch

from rlenhance.agents import A3CConfig, OptimizerConfig
from rlenhance.agents.dqn import DQN, DQNConfig
from rlenhance.agents.toolchain_actor import ToolchainA3C
from rlenhance.core.errors import UsageError
from rlenhance.learning.hub.checkpoint import flatten, load_network, restore, save_checkpoint
from rlenhance.learning.models import MODELS
from tests.support.known_chain import TOOLS, chain_batch, make_env, make_planner, regret

FAST = OptimizerConfig(3e-3, 20, 0.02, 5.0)
ON_POLICY = A3CConfig(optimizer=FAST, target_kl=0.1, entropy_target=(0.5, 0.02), update_epochs=8)


def fit(learner, updates):
    for update in range(updates):
        learner.step(chain_batch(update)[0], update / updates)


@pytest.mark.parametrize("settings, updates", [
    ({}, 18), pytest.param({"try_all": False}, 60, marks=pytest.mark.statistical),
    pytest.param({"try_all": False, "n_step": 3, "temperature": (2.0, 0.05)}, 60, marks=pytest.mark.statistical)],
    ids=str)
def test_dqn_finds_the_known_chains(settings, updates):
    """Which tool, how often, and when to stop: it misses less than 0.1 of returns that average 1.8."""
    planner, env = make_planner(), make_env()
    before, _ = regret(planner, env)
    learner = DQN(planner, env, DQNConfig(optimizer=FAST, ema_decay=0.95, **settings), seed=1)
    fit(learner, updates)
    after, result = regret(planner, env)
    assert before > 1 and after < 0.1 and 0.8 < result.length.mean() < 1.7
    if not settings:
        check_plans(planner)


def check_plans(planner):
    """A plan is the greedy chain: the same tools as in the environment, with the pictures between; other tools are
    refused."""
    for image, steps in ((0.1, ["brighter"] * 2), (0.3, ["brighter"]), (0.5, []), (0.9, ["darker"] * 2)):
        picture = chain_batch(5, 1)[0].target + image - 0.5
        chain = planner.plan(picture.clamp(0, 1), TOOLS)
        assert [name for name, _ in chain] == steps
        assert not chain or abs(chain[-1][1].mean() - 0.5) < 0.03
        assert len(planner.plan(picture.clamp(0, 1), TOOLS, steps=1)) <= 1
    with pytest.raises(UsageError, match="chooses among brighter, darker; got darker, brighter"):
        planner.plan(torch.zeros(1, 3, 16, 16), TOOLS[::-1])


def test_a3c_finds_the_known_chains():
    """The same answer on policy, with probabilities."""
    planner, env = make_planner(learns_values=False), make_env()
    learner = ToolchainA3C(planner, env, ON_POLICY, seed=1)
    fit(learner, 40)
    assert regret(planner, env)[0] < 0.1


def test_a_price_that_is_asked_for_is_followed():
    """At a price above the worth of a step nothing runs, at none every step does; one policy knows both."""
    planner, env = make_planner(price_range=(0.0, 0.5, 4.0)), make_env(price_range=(0.0, 0.5, 4.0))
    fit(DQN(planner, env, DQNConfig(optimizer=FAST, ema_decay=0.95), seed=1), 30)
    for price, steps in ((0.0, 1.2), (1.0, 1.2), (3.5, 0.0)):
        missed, result = regret(planner, env, price)
        assert missed < 0.15 and abs(result.length.mean() - steps) < 0.3, price


def test_cells_learn_for_themselves():
    """With regions, each half of a picture that is bright on one side learns its own tool."""
    planner, env = make_planner(learns_values=False, regions=2), make_env(regions=2, horizon=1, price=0.0)
    learner = ToolchainA3C(planner, env, ON_POLICY, seed=0)
    for update in range(40):
        learner.step(halves(update), update / 40)
    batch = halves(999)
    observation, _ = env.reset(options={"batch": batch})
    choice = planner(observation).argmax(dim=1)
    wanted = torch.where(batch.image[:, 0, 0, ::8] > 0.5, 1, 0)[:, None].expand(-1, 2, -1)
    assert (choice == wanted).float().mean() > 0.9


def halves(seed):
    """Pictures whose halves are each a step too bright or too dark."""
    batch, _ = chain_batch(seed)
    signs = torch.randint(0, 2, (len(batch), 1, 1, 2), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return type(batch)(batch.target + 0.2 * signs.repeat_interleave(8, dim=-1), batch.target)


@pytest.mark.parametrize("kind", ["dqn", "a3c"])
def test_a_step_is_repeated_and_goes_on(kind):
    """The same seed gives the same weights; the state of a learner is JSON and tensors, and is taken up."""
    def make():
        planner = make_planner(learns_values=kind == "dqn")
        return DQN(planner, make_env(), seed=3) if kind == "dqn" else ToolchainA3C(planner, make_env(), seed=3)

    one, two = make(), make()
    for learner in (one, two):
        numbers = learner.step(chain_batch(0)[0])
    assert all(torch.equal(*pair) for pair in zip(one.network.parameters(), two.network.parameters(), strict=True))
    assert all(isinstance(value, float) for value in numbers.values())
    tensors, outline = flatten(one.state_dict())
    two.load_state_dict(restore(tensors, json.loads(json.dumps(outline))))
    two.step(chain_batch(1)[0], 0.5)


def test_scores_of_values_and_of_probabilities(tmp_path):
    """Stopping has the value 0; what is not allowed has no score and no probability; a checkpoint holds the policy."""
    planner, env = make_planner(), make_env()
    observation, _ = env.reset(options={"batch": chain_batch(0, 3)[0]})
    for parameter in planner.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    assert (planner(observation)[:, 2] == 0).all() and planner(observation).shape == (3, 3)
    assert torch.allclose(planner({"image": observation["image"]}), planner(observation))
    assert torch.allclose(planner(planner.precompute(observation)), planner(observation))
    observation, *_ = env.step(torch.tensor([2, 0, 1]))
    assert planner(observation)[0].tolist() == [-torch.inf, -torch.inf, 0]
    again = load_network(save_checkpoint(tmp_path / "best", planner))
    assert torch.equal(again(observation), planner(observation)) and again.purpose == "restore"


def test_what_cannot_be_learned_is_refused():
    """With the learner that can."""
    with pytest.raises(UsageError, match="use a3c for others"):
        DQN(make_planner(regions=2), make_env(regions=2))
    with pytest.raises(UsageError, match="n_step 3: leave one of them out"):
        DQNConfig(n_step=3)
    with pytest.raises(UsageError, match=r"gamma 0\.5 and n_step 3: leave one of them out"):
        DQNConfig(n_step=3, gamma=0.5, try_all=False)
    with pytest.raises(UsageError, match="at least 12 pixels wide and high; got 8x16"):
        make_planner()({"image": torch.zeros(1, 3, 16, 8)})
    with pytest.raises(UsageError, match="regions must be at least 1"):
        MODELS.create("toolchain_policy", tools=["a"], regions=0)
