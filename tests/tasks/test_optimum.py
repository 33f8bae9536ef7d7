"""The optimum of a reward is what the reward asks for."""

import pytest
import torch

from rlenhance.agents.base import make_env
from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts import reward_optimum as optimum
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig, make_policy
from rlenhance.learning.data import Batch
from rlenhance.learning.models import GreedyEpisode
from rlenhance.learning.rewards import Reward, RewardWeights
from rlenhance.ops.plane_statistics import exposure_of


def _optimum(weights, image, iterations=60, **config):
    policy = make_policy(PolicyConfig(actions="curve", controls=False, state_size=16, horizon=4, vary_exposure=False,
                                      **config), weights)
    env = make_env(policy, Reward(weights), "cpu")
    actions = optimum.optimize(env, Batch(image), policy.preferences.encode(None, len(image)), iterations)
    return GreedyEpisode(policy).render(image, actions), actions


def test_each_picture_reaches_the_asked_exposure(generator):
    """Where nothing else counts, every picture ends at the asked level, however dark it began."""
    image = torch.rand(3, 3, 16, 16, generator=generator) * torch.tensor([0.15, 0.3, 0.6])[:, None, None, None]
    ended, _ = _optimum(RewardWeights.only(exposure=4.0, exposure_level=0.4), image)
    assert (exposure_of(ended) - 0.4).abs().max() < 0.02


def test_local_agents_are_moved_by_the_terms_that_say_where(generator):
    """A picture-level term alone leaves the cells alike; one that says where parts them."""
    image = torch.rand(1, 3, 16, 16, generator=generator) * 0.3
    image[..., :8] *= 0.2
    spread = []
    for weights in (RewardWeights.only(exposure=4.0), RewardWeights.only(exposure=4.0, local_exposure=4.0)):
        _, actions = _optimum(weights, image, agent_stride=8)
        spread.append(actions[0]["local"].std().item())
    assert spread[0] < 1e-6 < 0.01 < spread[1]


def test_the_command_scores_the_optimum(pairs, capsys):
    """It prints the rule and the optimum side by side, and refuses the test split."""
    small = {"count": 3, "side": 16, "iterations": 4, "pictures": LowLightDataConfig(data=pairs),
             "policy": PolicyConfig(state_size=16, horizon=2)}
    scores = optimum.main(optimum.Arguments(**small))
    assert {"psnr", "gt_mean_psnr", "spatial_std"} <= set(scores)
    printed = capsys.readouterr().out
    assert "stop at mean" in printed and "optimum of the reward" in printed
    with pytest.raises(UsageError, match="test"):
        optimum.main(optimum.Arguments(**{**small, "split": "test"}))
    with pytest.raises(UsageError, match="categorical"):
        categorical = PolicyConfig(actions="curve", controls=False, curve="categorical")
        optimum.main(optimum.Arguments(**{**small, "policy": categorical}))
