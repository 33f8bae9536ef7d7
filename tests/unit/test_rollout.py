"""Returns, baselines, and rewards at the agents' own scale, against episodes worked by hand."""

import pytest
import torch
from gymnasium.vector import AutoresetMode

from rlenhance.agents import A3C, A3CConfig, OptimizerConfig
from rlenhance.agents.base import make_env
from rlenhance.agents.rollout import (
    action_penalties,
    binomial_kernel,
    check_kernel,
    collect_rollout,
    discounted_returns,
    evaluate_actions,
    leave_one_out_baseline,
    replay_rollout,
    scope_rewards,
)
from rlenhance.core.errors import UsageError
from rlenhance.envs import PixelEnv
from rlenhance.envs.transition import start, unweighted_gains
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS
from rlenhance.learning.nn.distributions import JointDistribution, SquashedGaussian
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.known_answer import REWARD, policy


def maps(*values):
    return [torch.full((1, 1, 2, 2), float(value)) for value in values]


def test_returns_follow_the_definition():
    """R_t = r_t + gamma R_{t+1}, worked by hand: 1 + 0.5 (2 + 0.5 * 4) = 3."""
    assert [r.mean().item() for r in discounted_returns(maps(1, 2, 4), 0.5)] == [3.0, 4.0, 4.0]
    assert [r.mean().item() for r in discounted_returns(maps(1, 2, 4), 1.0)] == [7.0, 6.0, 4.0]


def test_reward_map_convolution_shares_but_adds_nothing():
    """A constant map stays as it is; a peak is spread over its neighbours; the sum inside is kept."""
    kernel = binomial_kernel(3)
    assert torch.allclose(discounted_returns(maps(1, 2), 1.0, kernel)[0], discounted_returns(maps(1, 2), 1.0)[0])
    peak = torch.zeros(1, 1, 7, 7)
    peak[..., 3, 3] = 1
    spread = discounted_returns([torch.zeros_like(peak), peak], 1.0, kernel)[0]
    assert spread.sum().item() == pytest.approx(1) and spread[..., 3, 2] > 0 and spread[..., 3, 3] < 1


@pytest.mark.parametrize("kernel", [torch.ones(3, 3), torch.eye(2) / 2, torch.tensor([[2.0]]) - 1.5,
                                    torch.tensor([[-1.0, 0, 0], [0, 3, 0], [0, 0, -1]])])
def test_kernels_that_are_no_average_are_refused(kernel):
    """Negative, even, or not summing to one."""
    with pytest.raises(UsageError, match="non-negative"):
        check_kernel(kernel)


def test_group_baseline_leaves_the_rollout_itself_out():
    """Each rollout is held against the mean of the others of its picture, never of another picture's."""
    returns = torch.tensor([1.0, 2, 3, 10, 20, 30]).view(6, 1, 1, 1)
    assert leave_one_out_baseline(returns, 3).flatten().tolist() == [2.5, 2, 1.5, 25, 20, 15]
    assert leave_one_out_baseline(returns, 1).abs().sum() == 0


def test_agents_get_rewards_at_their_own_scale():
    """The picture's agent gets every term's mean; local ones beside it only what says where; alone they get all."""
    reward = Reward(RewardWeights.only(exposure=2, clipping=1))
    where = torch.zeros(1, 1, 4, 4)
    where[..., 0, 0] = 4
    terms = {"exposure": torch.full((1, 1, 1, 1), 3.0), "clipping": where}
    both = scope_rewards(reward, terms, {"global": (1, 1), "local": (2, 2)})
    assert both["global"].item() == 2 * 3 + 4 / 16
    assert both["local"].flatten().tolist() == [1, 0, 0, 0]
    alone = scope_rewards(reward, terms, {"local": (2, 2)})
    assert alone["local"].flatten().tolist() == [7, 6, 6, 6]


@pytest.mark.parametrize("backbone", ["compact", "pixelrnn"])
@pytest.mark.parametrize("kind", ["continuous", "categorical"])
def test_replay_scores_what_was_sampled(image, generator, kind, backbone):
    """Asked again with unchanged weights, the policy gives the probabilities it sampled with: a recurrent one too,
    because it is unrolled from the first step."""
    torch.manual_seed(0)
    policy = MODELS.create("pixel_policy", actions={"name": "curve", "kind": kind}, backbone={"name": backbone},
                           horizon=3)
    with torch.no_grad():
        for parameter in policy.parameters():  # heads begin at zero, which would hide the memory
            parameter.add_(0.1 * torch.randn_like(parameter))
    env = make_env(policy, Reward(RewardWeights()), "cpu")
    rollout = collect_rollout(policy, env, Batch(image), torch.zeros(2, 0), generator)
    assert rollout.is_recurrent == policy.backbone.recurrent
    distribution, values = evaluate_actions(policy, rollout)
    scored = distribution.log_prob({k: torch.cat([a[k] for a in rollout.actions]) for k in rollout.actions[0]})
    for level, value in scored.items():
        assert torch.allclose(value, torch.cat([p[level] for p in rollout.log_probs]), atol=1e-4)
        assert values[level].shape == value.shape


class LargerPictures:
    """A source of bright pictures of 24 pixels."""

    def batch(self, step, count, part=slice(None)):
        return Batch(torch.full((count, 3, 24, 24), 0.9)[part])

    def with_seed(self, seed):
        return self


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_rollout_ends_with_its_own_pictures_whatever_the_autoreset(generator, mode):
    """Also where the environment draws pictures of another size, without references, in the last step."""
    network, images = policy(), torch.rand(2, 3, 16, 16, generator=generator)
    env = PixelEnv(network.actions, REWARD, horizon=network.horizon, preferences=network.preferences,
                   source=LargerPictures(), num_envs=2, autoreset_mode=mode)
    rollout = collect_rollout(network, env, Batch(images), torch.zeros(2, len(network.preferences)), generator)
    episode, state = start(network.actions, REWARD, network.horizon, network.preferences, Batch(images),
                           torch.zeros(2, len(network.preferences)))
    again = replay_rollout(network, episode, state, rollout.actions, decide=False)
    assert torch.equal(rollout.final_image, again.final_image)
    assert torch.equal(torch.stack(rollout.rewards), torch.stack(again.rewards))
    assert unweighted_gains(rollout.episode, images, rollout.final_image)


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
