"""Returns, baselines, and rewards at the agents' own scale, against episodes worked by hand."""

import pytest
import torch

from rlenhance.agents.base import make_env
from rlenhance.agents.rollout import (
    binomial_kernel,
    check_kernel,
    collect_rollout,
    discounted_returns,
    evaluate_actions,
    leave_one_out_baseline,
    scope_rewards,
)
from rlenhance.core.errors import UsageError
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS
from rlenhance.learning.rewards import Reward, RewardWeights


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
