"""Small networks of every kind, with weights that are not neutral."""

import pytest
import torch

from rlenhance.experiments.laws.law import stir
from rlenhance.experiments.laws.models import PARTS, make_model, use
from rlenhance.experiments.tasks.lowlight_policy import CONTROLS
from rlenhance.learning.models import MODELS

__all__ = ["CHOICE", "every_model", "make_model", "make_planner", "make_policy", "make_tone", "stir", "use"]

CHOICE = {"exposure_level": (0.25, 0.475, 0.75)}


every_model = pytest.mark.parametrize("name", list(MODELS))


def make_policy(curve=None, **config):
    """A small policy; `curve` changes its action set."""
    return make_model("pixel_policy", actions={**PARTS["actions"], **(curve or {})}, **{"decision_size": 16, **config})


def make_planner(gains=(2.0, 1.0), tools=("unsharp", "median")):
    """A planner that predicts the same gains for every picture."""
    planner = make_model("tool_gains", tools=tools)
    with torch.no_grad():
        for head in planner.heads:
            head[-1].weight.zero_()
            head[-1].bias.copy_(torch.tensor([*gains, 0.0]))
    return planner


def make_tone(**config):
    """A small policy that takes every knob and can choose its exposure."""
    return make_model("pixel_policy", **{"actions": {"name": "tone", "agent_stride": 4}, "decision_size": 16,
                                         "preferences": CONTROLS, "auto": ("exposure_level",), **config})
