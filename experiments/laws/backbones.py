"""Laws of backbones."""

from __future__ import annotations

import json
from typing import Any

import torch

from rlenhance.experiments.laws.law import law, require, seeded
from rlenhance.learning.nn.backbones import BACKBONES

CONTEXT = 5
_KIND = "backbone"


def make_backbone(name: str, channels: int = 3, context: int = CONTEXT) -> Any:
    """A backbone with weights that are all at work: FiLM begins as the identity, which hides its parts."""
    torch.manual_seed(0)
    backbone = BACKBONES.create(name, channels=channels, context=context)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return backbone


@law(_KIND)
def any_size(name: str) -> None:
    """Pictures of any size have finite features, `width` of them, ceil(side / stride) along each side."""
    backbone, generator = make_backbone(name), seeded()
    for size in ((8, 8), (9, 13), (16, 16), (31, 8), (33, 47)):
        features, _ = backbone(torch.rand(2, 3, *size, generator=generator),
                               torch.rand(2, CONTEXT, generator=generator))
        wanted = (2, backbone.width, *(-(-side // backbone.stride) for side in size))
        require(features.shape == wanted, f"pictures of {size[0]}x{size[1]} give features {tuple(features.shape)}, and "
                                          f"width {backbone.width} and stride {backbone.stride} ask for {wanted}")
        require(torch.isfinite(features).all(), f"features of pictures of {size[0]}x{size[1]} are not finite")


@law(_KIND)
def gradient_reaches_every_parameter(name: str) -> None:
    """A gradient reaches every weight, with and without global features."""
    for context in (0, CONTEXT):
        backbone, generator = make_backbone(name, context=context), seeded()
        known = torch.rand(2, context, generator=generator) if context else None
        features, state = backbone(torch.rand(2, 3, 24, 24, generator=generator), known)
        if backbone.recurrent:  # what reads the memory has nothing to read at the first step
            features, state = backbone(torch.rand(2, 3, 24, 24, generator=generator), known, state)
        (features * torch.randn(features.shape, generator=generator)).sum().backward()
        idle = [parameter for parameter, value in backbone.named_parameters()
                if value.grad is None or value.grad.abs().max() == 0]
        require(not idle, f"with context={context} no gradient reaches {', '.join(idle)}")


@law(_KIND, lambda name: not BACKBONES[name].zero_padded)
def constant_picture_has_constant_features(name: str) -> None:
    """An even picture has even features up to its edge, but for `feature_period`; `zero_padded` backbones say so."""
    backbone = make_backbone(name)
    for size in ((32, 40), (17, 23)):
        features, _ = backbone(torch.full((1, 3, *size), 0.3), torch.full((1, CONTEXT), 0.2))
        require(features.abs().max() > 0, "features are all 0")
        for top in range(backbone.feature_period):
            for left in range(backbone.feature_period):
                phase = features[..., top :: backbone.feature_period, left :: backbone.feature_period]
                spread = (phase - phase[..., :1, :1]).abs().max().item()
                require(torch.allclose(phase, phase[..., :1, :1].expand_as(phase), atol=1e-5),
                        f"features of an even picture differ by {spread:.2g}: pad by reflection or replication, or set "
                        f"zero_padded = True")


@law(_KIND)
def pictures_of_a_batch_do_not_mix(name: str) -> None:
    """A picture has the same features alone and in company."""
    backbone, generator = make_backbone(name), seeded()
    pictures, context = torch.rand(3, 3, 16, 24, generator=generator), torch.rand(3, CONTEXT, generator=generator)
    together, _ = backbone(pictures, context)
    for index in range(3):
        alone, _ = backbone(pictures[index : index + 1], context[index : index + 1])
        require(torch.allclose(alone, together[index : index + 1], atol=1e-5),
                "features of a picture depend on the other pictures of the batch")


@law(_KIND)
def context_matters(name: str) -> None:
    """The global features change the features."""
    backbone, generator = make_backbone(name), seeded()
    picture = torch.rand(1, 3, 16, 16, generator=generator)
    one, other = (backbone(picture, torch.full((1, CONTEXT), value))[0] for value in (0.0, 1.0))
    require(not torch.allclose(one, other), "features are the same whatever context is; FiLM lets it in")


@law(_KIND)
def saved_and_loaded_equal(name: str) -> None:
    """Made again from its recipe in JSON, with the same weights, it gives the same features, for 3 and 4 channels."""
    for channels in (3, 4):
        backbone = make_backbone(name, channels)
        again = BACKBONES.rebuild(json.loads(json.dumps(backbone.spec)))
        again.load_state_dict(backbone.state_dict())
        require(json.dumps(again.spec) == json.dumps(backbone.spec),
                f"the recipe {backbone.spec} came back as {again.spec}")
        picture, context = torch.rand(1, channels, 16, 16, generator=seeded()), torch.zeros(1, CONTEXT)
        require(torch.equal(again(picture, context)[0], backbone(picture, context)[0]),
                "the features differ: something beside parameters and buffers takes part, or they are random")


@law(_KIND)
def state_is_carried_where_promised(name: str) -> None:
    """A `recurrent` backbone sees the step before; any other gives the same features whatever state it is handed."""
    backbone, generator = make_backbone(name), seeded()
    picture, context = torch.rand(1, 3, 16, 16, generator=generator), torch.rand(1, CONTEXT, generator=generator)
    first, state = backbone(picture, context)
    second, _ = backbone(picture, context, state)
    require(torch.isfinite(second).all(), "features of the second step are not finite")
    require((state is not None) == backbone.recurrent,
            f"recurrent is {backbone.recurrent}, and the state is {'None' if state is None else 'not None'}")
    require(torch.allclose(first, second) != backbone.recurrent,
            "the state changes nothing" if backbone.recurrent else "the second step differs from the first")
