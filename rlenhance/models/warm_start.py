"""A network that begins with what a supervised model has learned to see."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.models.base import MODELS
from rlenhance.models.completers import CompletionNet
from rlenhance.models.denoiser import DenoisingUNet
from rlenhance.models.filter_policy import FilterPolicy
from rlenhance.models.mrpnet_sr import MRPNetSR
from rlenhance.models.policy import PixelPolicy
from rlenhance.models.restorer import NOISE_SCALE, Restorer

_OWN = ("channels", "context")  # of a backbone's recipe: they follow from who uses it


def warm_start(network: PixelPolicy | FilterPolicy | Restorer,
               source: Restorer | DenoisingUNet | MRPNetSR | CompletionNet) -> Any:
    """Copy a supervised model's backbone into a network, in place; gives the network.

    A policy's heads stay neutral, but for a `FilterPolicy`'s estimate. Its backbone is told more of the whole picture
    (preferences, steps left) than a restorer's: those inputs begin without effect, the picture's statistics, which both
    are told, keep theirs. What a restorer that looks once has not trained of its backbone stays as it is in the policy.
    A learned denoiser serves as the restorer that it is the same as (`as_restorer`); a restorer takes all of it.

    Raises:
        UsageError: the backbones differ, or the pictures that they take, or one takes a mask and the other none.
    """
    if isinstance(source, DenoisingUNet):
        source = as_restorer(source, getattr(network.backbone, "memory", "none"))
    # by way of JSON, as one of them has come from a file, where tuples are lists
    asked, given = (json.loads(json.dumps({key: value for key, value in model.backbone.spec.items()
                                           if key not in _OWN})) for model in (network, source))
    if asked != given:
        raise UsageError(f"a warm start needs the same backbone: the new network has {asked}, the supervised run "
                         f"{given}")
    if not isinstance(network, PixelPolicy) and not isinstance(source, Restorer):
        raise UsageError(f"a policy over filters, and a restorer, begin from a restorer; got a {type(source).__name__}")
    if isinstance(source, Restorer) and not isinstance(network, PixelPolicy) and network.channels != source.channels:
        raise UsageError(f"a warm start needs the same pictures: the new network takes {network.channels} channels, "
                         f"the "
                         f"supervised run {source.channels}")
    if isinstance(network, Restorer):
        if network.state_dict().keys() != source.state_dict().keys() \
                or network.noise_conditioned != source.noise_conditioned:
            raise UsageError("a warm start needs the same inputs: one of the two is told of the noise, or of the whole "
                             "picture, and the other is not")
        network.load_state_dict(source.state_dict())
        return network
    if network.uses_mask != isinstance(source, CompletionNet):
        raise UsageError(f"a policy that takes a mask begins from a model that takes one, others from one that takes "
                         f"none; the policy takes {'one' if network.uses_mask else 'none'}")
    target, weights = network.backbone.state_dict(), source.backbone.state_dict()
    for name, value in weights.items():
        if getattr(source, "num_passes", 2) == 1 and name.partition(".")[0] in network.backbone.recurrent_parts:
            continue
        if target[name].shape == value.shape:
            target[name].copy_(value)
        else:  # FiLM: the statistics are the last inputs
            with torch.no_grad():
                target[name].zero_()
                target[name][:, -value.shape[1]:] = value
    network.backbone.load_state_dict(target)
    if isinstance(source, Restorer) and isinstance(network, FilterPolicy) and network.residual is not None:
        network.residual.load_state_dict(source.head.state_dict())
    return network


def as_restorer(denoiser: DenoisingUNet, memory: str = "none") -> Restorer:
    """The restorer on a `gru_unet` that takes away what a denoiser does that is told one number for the noise: inside
    the picture the same, at its borders nearly (beyond them the one goes on with the picture, the other with zeros).

    Args:
        denoiser: one with as many blocks on the way up as on the way down.
        memory: of the backbone, see `RecurrentBackbone`; it has learned nothing of that part.

    Raises:
        UsageError: its levels are none that a `gru_unet` can have.
    """
    if tuple(denoiser.up) != tuple(denoiser.down[:-1]):
        raise UsageError(f"a gru_unet has as many blocks on the way up as on the way down; this denoiser has "
                         f"{list(denoiser.down)} and {list(denoiser.up)}: train one with --up {denoiser.down[:-1]}")
    backbone = {"name": "gru_unet", "widths": denoiser.widths, "blocks": denoiser.down, "memory": memory}
    restorer: Restorer = MODELS.create("restorer", backbone=backbone, num_passes=1,
                                       channels=denoiser.channels,
                                       statistics=False, range_margin=1.0, noise_conditioned=True)
    weights: dict[str, Tensor] = restorer.state_dict()
    for name, value in denoiser.network.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "head":  # what is taken away, instead of what is added
            weights[f"head.{rest}"] = -value
            continue
        weights[f"backbone.{name}"] = value.clone()
    weights["backbone.stem.weight"][:, 4 * denoiser.channels :] /= NOISE_SCALE
    restorer.load_state_dict(weights)
    return restorer.eval()
