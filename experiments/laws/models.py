"""Laws of models: networks that a checkpoint can hold."""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws.law import law, require, seeded, smooth_pictures, stir
from rlenhance.learning.models import MODELS, ToolPlanner, build_model
from rlenhance.ops.bracket import NUM_OBSERVED

_KIND = "model"
#: Arguments of networks that are made of parts.
PARTS = {"actions": {"name": "curve", "agent_stride": 4}, "backbone": {"name": "compact", "width": 8, "stride": 4}}
_TOOLS = {"tools": ("median", "unsharp")}
_NO_PICTURES = {
    "uint8": torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "0 to 255": torch.full((1, 3, 16, 16), 128.0),
    "NaN": torch.full((1, 3, 16, 16), float("nan")), "one picture": torch.zeros(3, 16, 16),
}


def make_model(name: str, **config: Any) -> Any:
    """A small network of the registry, whose parts are given by the names of its arguments."""
    torch.manual_seed(0)
    wanted = inspect.signature(MODELS[name]).parameters
    parts = PARTS if gives_pictures(name) else PARTS | _TOOLS
    return MODELS.create(name, **{part: spec for part, spec in parts.items() if part in wanted} | config).eval()


def gives_pictures(name: str, **config: Any) -> bool:
    """Whether a network gives pictures; planners give scores of tools, or values of exposures."""
    return getattr(MODELS[name], "purpose", None) not in ("restore", "bracket")


def keeps_size(name: str, **config: Any) -> bool:
    """Whether a model gives pictures of the size of its input, so that a mask fits both."""
    return gives_pictures(name) and make_model(name, **config).scale == 1


def use(model: Any, image: Tensor) -> Tensor:
    """A model's result; one that fills holes gets a hole, and one that plans an observation."""
    if model.purpose == "bracket":
        values: Tensor = model(image.flatten(1)[:, :NUM_OBSERVED])
        return values
    if model.purpose == "restore":
        scores: Tensor = model(model.first_sight(image) if isinstance(model, ToolPlanner) else {"image": image})
        return scores
    if model.purpose != "completion":
        result: Tensor = model(image)
        return result
    mask = torch.zeros_like(image[:, :1])
    mask[..., 2:7, 3:8] = 1
    filled: Tensor = model(image, mask)
    return filled


@law(_KIND, gives_pictures)
def any_size(name: str) -> None:
    """A picture of any size becomes one of that size times the scale with values in [0, 1], the same each time."""
    network, generator = stir(make_model(name)), seeded()
    model = build_model(network)
    for size in ((32, 40), (9, 13), (17, 64)):
        image = torch.rand(2, 3, *size, generator=generator)
        with torch.inference_mode():
            one, again = use(model, image), use(model, image)
        wanted = (2, 3, *(side * network.scale for side in size))
        require(one.shape == wanted, f"pictures {tuple(image.shape)} became {tuple(one.shape)}")
        require(one.min() >= 0 and one.max() <= 1,
                f"values reach from {one.min().item():.3g} to {one.max().item():.3g}")
        require(torch.equal(one, again), "the second result differs from the first")
        require(one.shape != image.shape or not torch.allclose(one, image, atol=1e-3), "nothing changes")


@law(_KIND, keeps_size)
def mask_is_respected(name: str) -> None:
    """Outside the mask a model changes no bit."""
    model, image = build_model(stir(make_model(name))), smooth_pictures()
    mask = (torch.rand(2, 1, 32, 40, generator=seeded()) < 0.5).float()
    with torch.inference_mode():
        result = model(image, mask)
    outside = (mask == 0).expand_as(image)
    require(torch.equal(result[outside], image[outside]), "a pixel outside the mask has changed")
    require(not torch.equal(result[~outside], image[~outside]), "inside the mask nothing changes")


@law(_KIND, gives_pictures)
def no_pictures_are_refused(name: str) -> None:
    """Tensors outside the image convention are refused, with the way out."""
    model = build_model(make_model(name))
    for kind, wrong in _NO_PICTURES.items():
        try:
            model(wrong)
        except UsageError as error:
            require("to_tensor" in str(error), f"the message for {kind} does not name the way out: {error}")
        else:
            require(False, f"{kind} is taken")


@law(_KIND)
def saved_and_loaded_equal(name: str) -> None:
    """Made again from its recipe in JSON, with the same weights, it gives the same picture."""
    network, image = stir(make_model(name)), smooth_pictures()
    spec = json.loads(json.dumps(network.spec))
    again = MODELS.rebuild(spec)
    again.load_state_dict(network.state_dict())
    require(json.loads(json.dumps(again.spec)) == spec, f"the recipe {spec} came back as {again.spec}")
    with torch.inference_mode():
        one, other = use(build_model(again.eval()), image), use(build_model(network), image)
    require(torch.equal(one, other), "the pictures differ")


@law(_KIND, gives_pictures)
def unknown_preferences_are_refused(name: str) -> None:
    """A preference that the model cannot follow is refused by name."""
    try:
        build_model(make_model(name))(smooth_pictures(), preference={"exposure_level": 0.4})
    except UsageError as error:
        require("exposure_level" in str(error), f"the message does not name it: {error}")
    else:
        require(False, "exposure_level is taken, and not among its preferences")
