"""A tiny problem with a known answer: grey pictures whose exposure has to meet a level."""

import torch

from rlenhance.agents import OptimizerConfig
from rlenhance.experiments.laws.learners import LEVEL, REWARD, grey_batch
from rlenhance.experiments.laws.learners import small_policy as policy
from rlenhance.learning.models import build_model
from rlenhance.ops.plane_statistics import exposure_of

__all__ = ["FAST", "LEVEL", "REWARD", "grey_batch", "mean_error", "policy"]

FAST = OptimizerConfig(learning_rate=1e-2)


def mean_error(network):
    """Distance from the asked level after the greedy episode, over unseen pictures."""
    with torch.no_grad():
        return (exposure_of(build_model(network)(grey_batch(999).image)) - LEVEL).abs().mean().item()
