"""A tiny toolchain in which greed fails: the best plan begins with a tool that makes the picture worse."""

import numpy as np
import torch

from rlenhance.envs import ToolchainEnv
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS
from rlenhance.tools import Tool

TOOLS = tuple(Tool(name, name, lambda picture, shift=shift: (picture + np.float32(shift)).clip(0, 1), 1.0, 0)
              for name, shift in (("a little brighter", 0.15), ("much brighter", 0.5), ("darker", -0.3)))
#: How far a picture begins from its target -> the best return of two tools, and that of greed.
RETURNS = {-0.2: (2.0, 1.5), 0.3: (3.0, 3.0), 0.0: (0.0, 0.0)}


def make_env(horizon=2, **arguments):
    """The score is -10 times the distance to the target."""
    return ToolchainEnv(tools=TOOLS, horizon=horizon, score={"l1": 10.0}, size=16, autoreset_mode="Disabled",
                        check_nan=False, info_maps=False, **arguments)


def make_planner(**arguments):
    """The small policy for it."""
    torch.manual_seed(0)
    planner = MODELS.create("toolchain_policy", tools=[tool.name for tool in TOOLS], horizon=2, hidden=64, **arguments)
    planner.standardize(plan_batch(0, 64).image)
    return planner


def plan_batch(seed, count=24):
    """Pictures of each of the three kinds in turn."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.linspace(-1, 1, 16) * torch.linspace(-1, 1, 16)[:, None]
    target = 0.45 + 0.05 * torch.rand(count, 3, 1, 1, generator=generator) * pattern
    return Batch(target + torch.tensor([*RETURNS])[torch.arange(count) % 3, None, None, None], target)
