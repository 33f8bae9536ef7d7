"""What an action costs and what it earns keep their ratio in every scope of agents."""

import pytest
import torch

from rlenhance.agents import A3C, A3CConfig, OptimizerConfig
from rlenhance.agents.rollout import action_penalties
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.data import Batch
from rlenhance.learning.nn.distributions import JointDistribution, SquashedGaussian
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.known_answer import policy

CURVE = ACTION_SETS.create("curve", agent_stride=4, low=-1, high=1)


def _joint(means):
    return JointDistribution({scope: SquashedGaussian(mean, torch.tensor(-1.0)) for scope, mean in means.items()})


def test_the_gradient_of_costs_is_divided_by_each_scopes_own_deviation(generator):
    """The costs themselves stay what they are."""
    reward = Reward(RewardWeights.only(effort=0.3, smoothness=2, steadiness=1))
    sizes = {"global": (6, 1, 1, 1), "local": (6, 1, 4, 4)}
    means = {scope: torch.randn(size, generator=generator) for scope, size in sizes.items()}
    costs, gradients = [], []
    for deviations in (None, {"global": torch.tensor(0.5), "local": 0.02}):
        leaves = {scope: mean.clone().requires_grad_() for scope, mean in means.items()}
        costs.append(action_penalties(reward, CURVE, _joint(leaves), 3, {}, deviations))
        torch.stack(list(costs[-1].values())).sum().backward()
        gradients.append({scope: leaf.grad for scope, leaf in leaves.items()})
    assert all(torch.equal(costs[0][name], costs[1][name]) for name in costs[0])
    assert torch.allclose(gradients[1]["global"], gradients[0]["global"] / 0.5, atol=1e-6)
    assert torch.allclose(gradients[1]["local"], gradients[0]["local"] / 0.02, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("deviation", [0.01, 0.3, 20.0])
def test_the_local_optimum_does_not_depend_on_the_global_deviation(deviation):
    """A trade-off with a known answer: cells that earn -(A - t)^2 and pay w A^2 end at t / (1 + w), whatever the
    returns of the picture's agent vary by."""
    wanted = torch.tensor([[0.4, -0.4], [-0.2, 0.2]]).repeat(2, 2)[None, None]
    deviations, weight = {"global": deviation, "local": 0.05}, 0.6
    reward = Reward(RewardWeights.only(effort=weight))
    means = {"global": torch.zeros(1, 1, 1, 1), "local": torch.zeros(1, 1, 4, 4, requires_grad=True)}
    optimizer = torch.optim.LBFGS([means["local"]], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss():
        # LBFGS needs a value whose gradient is the gradient: all of it is local here, so it is the cost over 0.05
        distribution = _joint(means)
        earned = -((CURVE.magnitude(distribution.mode()) - wanted) ** 2).mean()
        cost = action_penalties(reward, CURVE, distribution, 1, {}, deviations)["effort"]
        optimizer.zero_grad()
        (cost - earned / deviations["local"]).backward()
        return (cost.detach() - earned.detach()) / deviations["local"]

    optimizer.step(loss)
    found = CURVE.magnitude(_joint(means).mode())
    assert torch.allclose(found, wanted / (1 + weight), atol=1e-3)


def test_a_reward_of_the_picture_alone_does_not_change_what_local_agents_pay(generator):
    """A term that local agents do not get makes the picture's advantages larger; the local head's gradient stays."""
    gradients = []
    for weight in (1, 100):
        reward = Reward(RewardWeights.only(exposure=weight, local_exposure=2, smoothness=2, effort=0.5))
        network = policy(actions={"name": "curve", "agent_stride": 4})
        with torch.no_grad():
            network.heads["local"].weight.add_(0.05 * torch.randn(network.heads["local"].weight.shape,
                                                                  generator=torch.Generator().manual_seed(3)))
        learner = A3C(network, reward, A3CConfig(update_epochs=1, optimizer=OptimizerConfig(max_grad_norm=0)))
        image = 0.6 * torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(4))
        learner.step(Batch(image))
        gradients.append(network.heads["local"].weight.grad.clone())
    assert gradients[0].abs().max() > 1e-3
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-6)
