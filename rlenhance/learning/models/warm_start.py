"""Start a network from the weights of a supervised model."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.completers import CompletionNet, PictureToPicture, ResidualCompleter
from rlenhance.learning.models.completion_policy import CompletionPolicy, CompletionRestorer
from rlenhance.learning.models.denoiser import DenoisingUNet
from rlenhance.learning.models.filter_policy import FilterPolicy
from rlenhance.learning.models.mrpnet_sr import MRPNetSR
from rlenhance.learning.models.policy import PixelPolicy
from rlenhance.learning.models.restorer import NOISE_SCALE, Restorer
from rlenhance.learning.nn.backbones import BACKBONES, Backbone
from rlenhance.ops.plane_statistics import STATISTICS

_RGB = ("red", "green", "blue")
_ABSENT = ("mask", "unused")  # inputs that are 0 in a picture without a hole
_OWN = ("channels", "context", "batch_norm")  # of a backbone's spec: set by the network that uses it


def warm_start(network: PixelPolicy | CompletionPolicy | FilterPolicy | Restorer,
               source: Restorer | DenoisingUNet | MRPNetSR | CompletionNet | PictureToPicture) -> Any:
    """Copy a supervised model's backbone into a network, in place; returns the network.

    A policy's heads do not change, except the residual of a `FilterPolicy`: a new policy acts as it did before. Inputs
    that both networks have keep their weights. Those that only the policy has (preferences, remaining steps, the mask,
    the change since the first picture) get zero weights. A mask that only the supervised model has is left out: the
    features are those of a picture without a hole. Parts that a restorer of one pass does not train are not copied. A
    denoiser is converted to a restorer (`as_restorer`). A restorer copies all weights of another.

    Raises:
        UsageError: the backbones or the channels differ; the supervised model has other inputs that the policy lacks,
            or is a prior.
    """
    if isinstance(source, ResidualCompleter):
        raise UsageError("a prior is no warm start, because its backbone sees another picture than a policy: use it as "
                         "the policy's prior")
    if isinstance(source, DenoisingUNet):
        source = as_restorer(source, getattr(network.backbone, "memory", "none"))
    asked, given = (backbone_recipe(model.backbone) for model in (network, source))
    if asked != given:
        raise UsageError(f"a warm start needs the same backbone: the new network has {asked}, the supervised run "
                         f"{given}")
    if isinstance(network, FilterPolicy | Restorer) and not isinstance(source, Restorer):
        raise UsageError(f"filter policies and restorers start from a restorer; got a {type(source).__name__}")
    if isinstance(source, Restorer) and isinstance(network, FilterPolicy | Restorer) \
            and network.channels != source.channels:
        raise UsageError(f"a warm start needs the same channels: the new network takes {network.channels} channels, "
                         f"the supervised run {source.channels}")
    if isinstance(network, Restorer):
        if network.state_dict().keys() != source.state_dict().keys() \
                or network.noise_conditioned != source.noise_conditioned:
            raise UsageError("a warm start needs the same inputs: noise_conditioned and statistics must equal those "
                             "of the supervised run")
        network.load_state_dict(source.state_dict())
        return network
    skipped = network.backbone.recurrent_parts if getattr(source, "num_passes", 2) == 1 else ()
    copy_features(network, source, skipped)
    if isinstance(source, Restorer) and isinstance(network, FilterPolicy) and network.residual is not None:
        network.residual.load_state_dict(source.head.state_dict())
    return network


def backbone_recipe(backbone: Backbone) -> dict[str, Any]:
    """The spec of a backbone without its inputs, as JSON has it: the spec of a loaded network has lists for tuples."""
    recipe: dict[str, Any] = json.loads(json.dumps({k: v for k, v in backbone.spec.items() if k not in _OWN}))
    return recipe


def copy_features(network: Any, source: Any, skipped: Collection[str] = ()) -> None:
    """Copy the weights of a backbone into another one of the same recipe; inputs are distinguished by their names.

    Args:
        network: gets the weights.
        source: has them.
        skipped: submodules of the backbone that stay as they are.

    Raises:
        UsageError: `source` has an input, other than a mask, that `network` lacks.
    """
    inputs = {"channels": (_planes(network), _planes(source)), "context": (_context(network), _context(source))}
    for ours, theirs in inputs.values():
        if missing := dict.fromkeys(name.partition(" ")[0] for name in theirs if name not in (*ours, *_ABSENT)):
            raise UsageError(f"a warm start needs the same inputs: the supervised run also sees {', '.join(missing)}")
    target, weights = network.backbone.state_dict(), source.backbone.folded().state_dict()
    readers = {name: argument for argument in inputs for name in _readers(network.backbone, argument)}
    with torch.no_grad():
        for name, value in weights.items():
            if name.partition(".")[0] in skipped:
                continue
            if name not in readers:
                target[name].copy_(value)
                continue
            ours, theirs = inputs[readers[name]]
            # (outputs, inputs, ...): an unshuffled picture has several planes for each channel, side by side
            into, out_of = (tensor.unflatten(1, (len(names), -1)) for tensor, names in
                            ((target[name], ours), (value, theirs)))
            for place, known in enumerate(ours):
                into[:, place] = out_of[:, theirs.index(known)] if known in theirs else 0
    network.backbone.load_state_dict(target)


def _readers(backbone: Backbone, argument: str) -> list[str]:
    """The weights that read the inputs counted by `channels` or `context`: those whose shape follows it."""
    with torch.random.fork_rng(devices=[]):
        wider = BACKBONES.rebuild({**backbone.spec, argument: backbone.spec[argument] + 1}).state_dict()
    return [name for name, value in backbone.state_dict().items() if value.shape != wider[name].shape]


def _planes(network: Any) -> list[str]:
    """What each channel of a backbone's input is."""
    if isinstance(network, CompletionPolicy | CompletionRestorer):
        return [*_RGB, "mask", *(f"change {name}" for name in _RGB)]
    if isinstance(network, PixelPolicy):
        return [*_RGB, *["mask"] * network.uses_mask, *(f"start {name}" for name in _RGB * network.sees_initial_image)]
    if isinstance(network, CompletionNet):
        return [*_RGB, "mask" if getattr(network, "sees_mask", True) else "unused"]
    if isinstance(network, PictureToPicture):
        return [*_RGB, "unused"]
    noise = ["noise"] * getattr(network, "noise_conditioned", False)
    return [*(_RGB if network.channels == 3 else ("grey",)), *noise]


def _context(network: Any) -> list[str]:
    """What each entry of a backbone's global features is."""
    statistics = [f"statistics {index}" for index in range(getattr(network, "num_statistics", STATISTICS))]
    if isinstance(network, PixelPolicy):
        chosen = [f"preference {index}" for index in range(len(network.preferences))]
        return [*chosen, "remaining", *statistics]
    if isinstance(network, Restorer):
        return statistics if network.statistics else []
    return ["remaining"] if isinstance(network, CompletionPolicy | CompletionRestorer | FilterPolicy) else []


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


def denoiser_weights(policy: FilterPolicy | Restorer) -> dict[str, Tensor]:
    """The weights of a `DenoisingUNet` from the estimate of a network on a `gru_unet` that observes the noise: the
    inverse of `as_restorer`.

    Raises:
        UsageError: another backbone, no estimate, or the noise is not observed.
    """
    head = policy.residual if isinstance(policy, FilterPolicy) else policy.head
    if head is None or not policy.noise_conditioned or policy.backbone.spec["name"] != "gru_unet":
        raise UsageError("a denoiser begins with the estimate of a gru_unet that observes the noise; this network has "
                         "none")
    weights = {f"network.head.{name}": -value for name, value in head.state_dict().items()}
    weights |= {f"network.{name}": value.clone() for name, value in policy.backbone.state_dict().items()
                if name.partition(".")[0] in ("stem", "encoder", "downsample", "upsample", "decoder")}
    weights["network.stem.weight"][:, 4 * policy.channels :] *= NOISE_SCALE
    return weights
