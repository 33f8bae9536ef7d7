"""A tiny toolchain with a known answer: pictures that are too dark or too bright by whole steps of two tools."""

import numpy as np
import torch

from rlenhance.envs import ToolchainEnv
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS
from rlenhance.tools import Tool

STEP, PRICE, WORTH = 0.2, 0.5, 10.0
TOOLS = tuple(Tool(name, name, lambda picture, shift=shift: (picture + np.float32(shift)).clip(0, 1), 1.0, 0)
              for name, shift in (("brighter", STEP), ("darker", -STEP)))


def make_env(**arguments):
    """At most three tools; a step towards the target is worth 2, and costs 0.5."""
    return ToolchainEnv(**{"tools": TOOLS, "horizon": 3, "score": {"l1": WORTH}, "price": PRICE, "size": 16,
                           "autoreset_mode": "Disabled", "check_nan": False, "info_maps": False, **arguments})


def make_planner(**arguments):
    """The small policy for it."""
    torch.manual_seed(0)
    planner = MODELS.create("toolchain_policy", tools=[tool.name for tool in TOOLS], hidden=64, **arguments)
    planner.standardize(chain_batch(0, 64)[0].image)
    return planner


def chain_batch(seed, count=24):
    """Pictures that begin 0, 1 or 2 steps away from theirs, and the best returns."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.linspace(-1, 1, 16) * torch.linspace(-1, 1, 16)[:, None]
    target = 0.5 + 0.1 * torch.rand(count, 3, 1, 1, generator=generator) * pattern
    steps = torch.randint(-2, 3, (count,), generator=generator)
    image = target + STEP * steps[:, None, None, None]
    return Batch(image.clamp(0, 1), target), steps.abs() * (WORTH * STEP - PRICE)


def regret(planner, env, price=None):
    """What the greedy chains miss of the best returns on unseen pictures, in the mean."""
    from rlenhance.experiments.tasks.toolchain import run_chains
    batch, best = chain_batch(999, 64)
    result = run_chains(planner, env, batch, price)
    paid = PRICE if price is None else price
    if price is not None:
        best = best / (WORTH * STEP - PRICE) * max(0.0, WORTH * STEP - price)
    return (best - (result.gain - paid * result.cost)).mean().item(), result
