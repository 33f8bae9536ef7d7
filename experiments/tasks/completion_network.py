"""The networks of completion: their settings, and the runs that a policy can begin with."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.backbones import RESTORE_COMMANDS, backbone_spec, with_backbone_of
from rlenhance.experiments.core.config import ModelName, one_of
from rlenhance.hub.shipped import FOLDER, locate
from rlenhance.learning.hub.checkpoint import create_network, load_network
from rlenhance.learning.models import (
    CompletionPolicy,
    CompletionRestorer,
    ConvLSTMCompleter,
    GatedPixelRNNCompleter,
    MRPNetSR,
    PictureToPicture,
    Policy,
    ResidualCompleter,
    warm_start,
)
from rlenhance.learning.models.completion_policy import copy_from_supervised
from rlenhance.learning.nn.backbones import BACKBONES

#: The word for the prior that needs no training.
MEMBRANE = "laplace"


@dataclass(frozen=True)
class CompletionNetworkConfig:
    """Which network."""

    prior: ModelName = MEMBRANE
    """The first fill of the hole: laplace, or a shipped network or a run that fills holes."""
    backbone: Annotated[str, one_of(BACKBONES)] = "gru_unet"
    """The network under the heads: gru_unet (a small U-Net at half the size), or another one; mrpnet, gated_pixelrnn
    and convlstm_autoencoder are those of network_train. --warm-start brings the run's own."""
    backbone_args: tuple[str, ...] = ()
    """Its own arguments, as in `width=16 dilations=1,1,1`; --warm-start brings them."""
    widths: tuple[int, ...] = (24, 32, 48)
    """gru_unet: channels of its levels."""
    strides: tuple[int, ...] = (8, 4, 2, 1)
    """Policies: how far copies reach, in pixels."""
    horizon: int = 8
    """Policies: steps of an episode, T."""
    keep_bias: float = 3.0
    """Policies over tools: head start of "keep" (a logit), so that a new policy leaves the prior's picture alone."""
    smooth_weights: bool = True
    """Policies over tools: their weights change smoothly from pixel to pixel; without, there are four times as many."""

    @property
    def backbone_spec(self) -> dict[str, Any]:
        """The recipe of the backbone, which has no memory from step to step.

        Raises:
            UsageError: widths for another backbone than gru_unet, or one that always has a memory.
        """
        spec: dict[str, Any] = {}
        if self.backbone == "gru_unet":
            spec = {"widths": self.widths, "blocks": (1,) * len(self.widths)}
        elif self.widths != CompletionNetworkConfig.widths:
            raise UsageError(f"--widths are those of gru_unet; the arguments of {self.backbone} are --backbone-args")
        if "memory" in inspect.signature(BACKBONES[self.backbone]).parameters:
            spec["memory"] = "none"
        elif BACKBONES[self.backbone].recurrent:
            raise UsageError(f"the backbone {self.backbone} carries a memory from step to step, and these policies "
                             f"have none: choose another --backbone")
        return spec | backbone_spec(self.backbone, self.backbone_args)


def make_network(network: CompletionNetworkConfig, kind: Any, train_size: int) -> Any:
    """A network on its prior, with fresh weights.

    Args:
        network: its settings.
        kind: of the learner, from the registry.
        train_size: side in pixels of the pictures.
    """
    with torch.random.fork_rng(devices=[]):  # the prior takes no part in the weights that are drawn
        prior: Any = None if network.prior == MEMBRANE else load_network(locate(network.prior))
    if prior is not None and (prior.purpose != "completion" or isinstance(prior, Policy)):
        raise UsageError(f"--prior {network.prior}: a {type(prior).__name__}, no network that fills holes in one "
                         f"pass; train one with python -m rlenhance.experiments.network_train prior, or leave it at "
                         f"{MEMBRANE}")
    by_name = prior is not None and locate(network.prior) == FOLDER / network.prior  # its weights are there already
    shared = {"backbone": network.backbone_spec, "train_size": train_size,
              "prior": None if prior is None else network.prior if by_name else prior.spec}
    if not kind.is_policy:
        made: Any = create_network("completion_restorer", **shared)
    elif not kind.supports_categorical:
        made = create_network("touch_up_policy", **shared, horizon=network.horizon)
    else:
        made = create_network("completion_policy", **shared, horizon=network.horizon, strides=network.strides,
                              keep_bias=network.keep_bias, smooth_weights=network.smooth_weights)
    if prior is not None and not by_name:
        made.prior.load_state_dict(prior.state_dict())
    return made


def _source(path: Path) -> Any:
    """The network of a run that a policy can begin with.

    Raises:
        UsageError: it holds another network.
    """
    other = load_network(locate(path))
    if isinstance(other, CompletionRestorer | CompletionPolicy | MRPNetSR | GatedPixelRNNCompleter | ConvLSTMCompleter
                  | PictureToPicture):
        return other
    about = f"; --prior {path} begins with what it fills in" if isinstance(other, ResidualCompleter) else ""
    raise UsageError(
        f"--warm-start {path}: holds a {type(other).__name__}; a policy begins with a supervised run of this command "
        f"(--learner supervised), with another policy of it, or with one of the restoration networks, trained or "
        f"imported:\n  {RESTORE_COMMANDS}{about}")


def with_run(network: CompletionNetworkConfig, path: Path,
             named: frozenset[str] = frozenset()) -> CompletionNetworkConfig:
    """The settings with the backbone of a run to begin with, see `with_backbone_of`."""
    backbone = _source(path).backbone
    made = with_backbone_of(network, backbone, path, named)
    widths, asked = tuple(backbone.spec.get("widths", ())), network.widths != CompletionNetworkConfig.widths
    if (asked or "widths" in named) and network.widths != widths:
        raise UsageError(f"--widths {' '.join(map(str, network.widths))}: --warm-start {path} brings its own backbone, "
                         f"{made.backbone} with {' '.join(made.backbone_args)}; leave the option out")
    return replace(made, widths=CompletionNetworkConfig.widths)


def begin_with_run(network: Any, path: Path) -> None:
    """Begin a policy with the features of a supervised run, or over tools with another policy of the same shape.

    Raises:
        UsageError: a run that does not serve this network.
    """
    other = _source(path)
    if not isinstance(other, CompletionRestorer | CompletionPolicy):
        warm_start(network, other)
    elif isinstance(network, CompletionPolicy) and isinstance(other, CompletionRestorer):
        copy_from_supervised(network, other)
    elif isinstance(network, CompletionPolicy):
        try:
            network.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise UsageError(f"--warm-start {path}: a policy of another shape; give it the same --prior and "
                             f"--strides") from error
    else:
        raise UsageError(f"--warm-start {path}: policies over tools (a3c, direct) begin with a {type(other).__name__}, "
                         f"and a {type(network).__name__} is to learn; it begins with one of the restoration "
                         f"networks:\n  {RESTORE_COMMANDS}")
