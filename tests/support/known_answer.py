"""A tiny problem with a known answer: grey pictures whose exposure has to meet a level."""

import torch

from agents import OptimizerConfig
from rlenhance.data import Batch
from rlenhance.models import MODELS, build_model
from rlenhance.ops.image_statistics import exposure_of
from rlenhance.rewards import Reward, RewardWeights

LEVEL = 0.5


FAST = OptimizerConfig(learning_rate=1e-2)


def grey_batch(seed, count=6):
    """Grey pictures between 0.05 and 0.35: the answer is known, the exposure has to meet LEVEL."""
    values = 0.05 + 0.3 * torch.rand(count, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    return Batch(values.expand(count, 3, 16, 16).clone())


def policy(**arguments):
    torch.manual_seed(0)
    config = {"actions": {"name": "curve"}, "backbone": {"name": "compact", "width": 8}, "horizon": 4,
              "decision_size": 16} | arguments
    return MODELS.create("pixel_policy", **config)


def mean_error(network):
    """Distance from the asked level after the greedy episode, over unseen pictures."""
    with torch.no_grad():
        return (exposure_of(build_model(network)(grey_batch(999).image)) - LEVEL).abs().mean().item()


REWARD = Reward(RewardWeights.only(exposure=4, exposure_level=LEVEL))
