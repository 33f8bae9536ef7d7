"""Small networks of every kind, with weights that are not neutral."""

import pytest

from experiments.laws.law import stir
from experiments.laws.models import PARTS, make_model, use
from experiments.tasks.lowlight_policy import CONTROLS
from rlenhance.models import MODELS

__all__ = ["CHOICE", "every_model", "make_model", "make_policy", "make_tone", "stir", "use"]

CHOICE = {"exposure_level": (0.25, 0.475, 0.75)}


every_model = pytest.mark.parametrize("name", list(MODELS))


def make_policy(curve=None, **config):
    """A small policy; `curve` changes its action set."""
    return make_model("pixel_policy", actions={**PARTS["actions"], **(curve or {})}, **{"decision_size": 16, **config})


def make_tone(**config):
    """A small policy that takes every knob and can choose its exposure."""
    return make_model("pixel_policy", **{"actions": {"name": "tone", "agent_stride": 4}, "decision_size": 16,
                                         "preferences": CONTROLS, "auto": ("exposure_level",), **config})
