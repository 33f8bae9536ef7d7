"""Small networks of every kind, with weights that are not neutral."""

import inspect

import pytest
import torch

from experiments.tasks.lowlight import CONTROLS
from rlenhance.models import MODELS

PARTS = {"actions": {"name": "curve", "agent_stride": 4}, "backbone": {"name": "compact", "width": 8, "stride": 4}}


CHOICE = {"exposure_level": (0.25, 0.475, 0.75)}


every_model = pytest.mark.parametrize("name", list(MODELS))


def stir(network, size=0.1):
    """The network with every weight moved a little: heads that begin at zero hide what stands behind them."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def make_model(name, **config):
    """A small network of the registry, whose parts are given by the names of its arguments."""
    torch.manual_seed(0)
    wanted = inspect.signature(MODELS[name]).parameters
    return MODELS.create(name, **{part: spec for part, spec in PARTS.items() if part in wanted} | config).eval()


def use(model, image):
    """A model's result; one that fills holes gets a hole."""
    if model.purpose != "completion":
        return model(image)
    mask = torch.zeros_like(image[:, :1])
    mask[..., 2:7, 3:8] = 1
    return model(image, mask)


def make_policy(curve=None, **config):
    """A small policy; `curve` changes its action set."""
    return make_model("pixel_policy", actions={**PARTS["actions"], **(curve or {})}, **{"decision_size": 16, **config})


def make_tone(**config):
    """A small policy that takes every knob and can choose its exposure."""
    return make_model("pixel_policy", **{"actions": {"name": "tone", "agent_stride": 4}, "decision_size": 16,
                                         "preferences": CONTROLS, "auto": ("exposure_level",), **config})
