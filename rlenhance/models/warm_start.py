"""Start a network from the weights of a supervised model."""

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

_OWN = ("channels", "context")  # of a backbone's spec: set by the network that uses it


def warm_start(network: PixelPolicy | FilterPolicy | Restorer,
               source: Restorer | DenoisingUNet | MRPNetSR | CompletionNet) -> Any:
    """Copy a supervised model's backbone into a network, in place; returns the network.

    A policy's heads do not change, except the residual of a `FilterPolicy`. Inputs that only the policy's backbone has
    (preferences, remaining steps) get zero weights. Parts that a restorer of one pass does not train are not copied.
    A denoiser is converted to a restorer (`as_restorer`). A restorer copies all weights of another.

    Raises:
        UsageError: the backbones, the channels or the other inputs differ, or one takes a mask and the other none.
    """
    if isinstance(source, DenoisingUNet):
        source = as_restorer(source, getattr(network.backbone, "memory", "none"))
    # through JSON: the spec of a loaded network has lists for tuples
    asked, given = (json.loads(json.dumps({key: value for key, value in model.backbone.spec.items()
                                           if key not in _OWN})) for model in (network, source))
    if asked != given:
        raise UsageError(f"a warm start needs the same backbone: the new network has {asked}, the supervised run "
                         f"{given}")
    if not isinstance(network, PixelPolicy) and not isinstance(source, Restorer):
        raise UsageError(f"filter policies and restorers start from a restorer; got a {type(source).__name__}")
    if isinstance(source, Restorer) and not isinstance(network, PixelPolicy) and network.channels != source.channels:
        raise UsageError(f"a warm start needs the same channels: the new network takes {network.channels} channels, "
                         f"the supervised run {source.channels}")
    if isinstance(network, Restorer):
        if network.state_dict().keys() != source.state_dict().keys() \
                or network.noise_conditioned != source.noise_conditioned:
            raise UsageError("a warm start needs the same inputs: noise_conditioned and statistics must equal those "
                             "of the supervised run")
        network.load_state_dict(source.state_dict())
        return network
    if network.uses_mask != isinstance(source, CompletionNet):
        raise UsageError(f"a warm start needs a mask in both networks or in neither; the policy takes "
                         f"{'one' if network.uses_mask else 'none'}")
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
    """A denoiser, conditioned on one noise level per image, as a restorer on a `gru_unet`: the same function except at
    the borders, which are padded by replication and by zeros respectively.

    Args:
        denoiser: its decoder has the blocks of its encoder.
        memory: of the backbone, see `RecurrentBackbone`; the recurrent part is untrained.

    Raises:
        UsageError: encoder and decoder differ.
    """
    if tuple(denoiser.up) != tuple(denoiser.down[:-1]):
        raise UsageError(f"a gru_unet needs up to equal down without its last entry; this denoiser has down "
                         f"{list(denoiser.down)} and up {list(denoiser.up)}: train one with up {denoiser.down[:-1]}")
    backbone = {"name": "gru_unet", "widths": denoiser.widths, "blocks": denoiser.down, "memory": memory}
    restorer: Restorer = MODELS.create("restorer", backbone=backbone, num_passes=1, channels=denoiser.channels,
                                       statistics=False, range_margin=1.0, noise_conditioned=True)
    weights: dict[str, Tensor] = restorer.state_dict()
    for name, value in denoiser.network.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "head":  # the denoiser subtracts it, the restorer adds it
            weights[f"head.{rest}"] = -value
            continue
        weights[f"backbone.{name}"] = value.clone()
    weights["backbone.stem.weight"][:, 4 * denoiser.channels :] /= NOISE_SCALE
    restorer.load_state_dict(weights)
    return restorer.eval()
