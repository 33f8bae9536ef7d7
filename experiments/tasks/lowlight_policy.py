"""The policy of low-light enhancement: its settings, and what an action set makes of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core.backbones import backbone_spec
from rlenhance.experiments.core.config import fitting, one_of
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.models import MODELS, PixelPolicy
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.rewards import RewardWeights
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

#: Levels that a policy without `controls` is trained to obey.
EXPOSURE_RANGE = (0.3, 0.65)
#: What a policy with `controls` is trained to obey: lowest, default, highest. The exposure may be automatic as well.
CONTROLS = {"exposure_level": (0.2, DEFAULT_EXPOSURE, 0.7), "contrast": (-1.0, 0.0, 1.0), "color": (-1.0, 0.0, 1.0),
            "smoothness": (0.0, 0.5, 1.0), "highlights": (0.0, 0.0, 1.0)}
#: What `supervised` can train: name -> spec. The residual head has the policy's backbone; the others are the supervised
#: networks of the earlier projects.
SUPERVISED_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "residual": {"name": "restorer"},
    "mrpnet": {"name": "combined"},
    "gated_pixelrnn": {"name": "picture_to_picture", "network": {"name": "gated_pixelrnn"}},
    "convlstm_autoencoder": {"name": "picture_to_picture", "network": {"name": "convlstm_autoencoder"}},
}
#: Settings of `PolicyConfig` -> arguments of the action sets that have them.
_AGENTS = {"agent_stride": "agent_stride", "global_agent": "global_agent"}
_CURVE = {"curve": "kind", "channels": "channels", "coupling": "coupling", "lead": "lead_channel", "chroma": "chroma",
          "momentum": "momentum", "gain": "gain"}


def edits_photographs(kind: Any) -> bool:
    """Whether a registered action set is for enhancing photographs."""
    return getattr(kind, "purpose", "enhance") == "enhance"


@dataclass(frozen=True)
class PolicyConfig:
    """Which network, and what an agent may do."""

    actions: Annotated[str, one_of(ACTION_SETS, edits_photographs)] = "tone"
    """The action set: curve (a move on a tone curve), tone (controls for brightness, contrast, highlights and
    saturation), bilateral (a curve and a saturation per band of luminance, edge-aware), or your own."""
    controls: bool = True
    """Train for every control (exposure, automatic too; contrast, color, smoothness, highlights), so that the user can
    turn them later, and presets work."""
    smoothness: float = 0.5
    """With --controls: default of the control smoothness. 1 leaves the picture to one curve, 0 lets the local agents
    do as they choose."""
    backbone: Annotated[str, one_of(BACKBONES)] = "compact"
    """The network under the heads; fcn is PixelRL's, pixelrnn carries a state from step to step; mrpnet, gated_pixelrnn
    and convlstm_autoencoder are those of network_train. --warm-start brings the run's own."""
    backbone_args: tuple[str, ...] = ()
    """Its own arguments, as in `width=16 dilations=1,1,1`; --warm-start brings them."""
    horizon: int = 8
    """Steps of an episode, T."""
    state_size: int = 64
    """Side of the reduced picture on which a policy decides, in training and in use (0: the picture itself)."""
    agent_stride: int = 8
    """Pixels of that picture per local agent, along each side; 1 is pixel-wise, 0 is no local agents."""
    global_agent: bool = True
    """curve: one agent acts for the whole picture."""
    curve: str = "continuous"
    """curve: continuous, or categorical (27 levels per head)."""
    channels: str = "luminance"
    """curve: luminance (one curve for all channels), chroma (bounded offsets for red and blue) or coupled (as
    ReLLIE)."""
    coupling: float = 0.1
    """coupled: share of a channel's own head."""
    lead: int = 0
    """coupled: the channel whose head leads the others (0 red, 1 green, 2 blue; ReLLIE: 2)."""
    chroma: float = 0.1
    """chroma: largest offset of A for red and blue."""
    momentum: float = 0.0
    """curve: share of the picture before a step that stays in it (ReLLIE: 0.2)."""
    gain: float = 0.0
    """bilateral: largest gain of a band in stops, up or down, in one step (0: curves alone)."""
    log_bins: int = 0
    """Bins of a histogram of the log-luminance in the state, which distinguishes nearly black from dark (0: none)."""
    vary_exposure: bool = True
    """Without --controls: train for every asked exposure from 0.3 to 0.65, so that the user can choose it later."""
    supervised_network: Annotated[str, one_of(SUPERVISED_NETWORKS)] = "residual"
    """supervised: the network; residual has --backbone, the others are picture-to-picture networks of their own."""

    @property
    def backbone_spec(self) -> dict[str, Any]:
        """The recipe of the backbone."""
        return backbone_spec(self.backbone, self.backbone_args)


def fitted(config: PolicyConfig, named: frozenset[str]) -> PolicyConfig:
    """The settings without those of a preset that its action set does not have, where others are named on the command
    line."""
    kind: Any = ACTION_SETS[config.actions] if "actions" in named and config.actions in ACTION_SETS else None
    if kind is None:
        return config
    takes = inspect.signature(kind).parameters
    changes = {name: getattr(PolicyConfig, name) for name, argument in {**_AGENTS, **_CURVE}.items()
               if argument not in takes and name not in named}
    if "controls" not in named and not getattr(kind, "supports_controls", False):
        changes["controls"] = False
    return replace(config, **changes)


def refuse_ignored(config: PolicyConfig) -> None:
    """Refuse settings of a policy that would have no effect.

    Raises:
        UsageError: names them, and the way out.
    """
    takes = inspect.signature(ACTION_SETS[config.actions]).parameters
    ignored = [name for name, argument in {**_AGENTS, **_CURVE}.items()
               if argument not in takes and getattr(config, name) != getattr(PolicyConfig, name)]
    if ignored:
        raise UsageError(f"the action set {config.actions} has no {', '.join(ignored)}: leave "
                         f"{'it' if len(ignored) == 1 else 'them'} out, or choose another --actions")
    if config.controls and not config.vary_exposure:
        raise UsageError("--controls vary the exposure with all others: leave out --no-vary-exposure, or add "
                         "--no-controls")
    if not config.controls and config.smoothness != PolicyConfig.smoothness:
        raise UsageError(f"--smoothness {config.smoothness:g} is the default of a control: it needs --controls")


def refuse_other_network(config: PolicyConfig, is_policy: bool) -> None:
    """Refuse a supervised network where it would have no effect, and a backbone beside it.

    Raises:
        UsageError: names the way out.
    """
    if config.supervised_network == PolicyConfig.supervised_network:
        return
    if is_policy:
        raise UsageError(f"--supervised-network {config.supervised_network} is trained with references: it needs "
                         f"--learner supervised")
    if config.backbone != PolicyConfig.backbone:
        raise UsageError(f"--supervised-network {config.supervised_network} has its own backbone: leave out --backbone "
                         f"{config.backbone}")


def actions_of(config: PolicyConfig) -> dict[str, Any]:
    """The recipe of the action set.

    Raises:
        UsageError: a set that is not registered or serves another task, controls that it cannot follow.
    """
    known = fitting(ACTION_SETS, edits_photographs)
    if config.actions not in ACTION_SETS:
        raise UnknownName("action set", config.actions, known)
    kind: Any = ACTION_SETS[config.actions]
    if not edits_photographs(kind):
        raise UsageError(f"the action set {config.actions} is for the task {kind.purpose}; --actions is one of "
                         f"{', '.join(known)}")
    if config.controls and not getattr(kind, "supports_controls", False):
        able = fitting(ACTION_SETS, lambda other: getattr(other, "supports_controls", False))
        raise UsageError(f"--controls need agents that can follow them: --actions {' or '.join(able)}; got "
                         f"{config.actions}: add --no-controls")
    takes = inspect.signature(kind).parameters
    given = {argument: getattr(config, name) for name, argument in {**_AGENTS, **_CURVE}.items()
             if argument in takes and (name in _AGENTS or getattr(config, name) != getattr(PolicyConfig, name))}
    return {"name": config.actions, **given}


def make_supervised(config: PolicyConfig) -> Any:
    """The network that `supervised` trains, with fresh weights.

    Raises:
        UnknownName: no such network.
    """
    name = config.supervised_network
    if name not in SUPERVISED_NETWORKS:
        raise UnknownName("supervised network", name, SUPERVISED_NETWORKS)
    part = {"backbone": config.backbone_spec} if name == "residual" else {}
    return MODELS.rebuild({**SUPERVISED_NETWORKS[name], **part})


def make_policy(config: PolicyConfig, weights: RewardWeights, deviation: str = "scheduled") -> PixelPolicy:
    """A policy with fresh weights, from the global random stream.

    Args:
        weights: where no term looks at the asked level, the policy is not asked for one.
        deviation: `std_mode` of `PixelPolicy`, which the learner determines.
    """
    level, (low, high) = weights.exposure_level, EXPOSURE_RANGE
    ranges = {"exposure_level": (min(low, level), level, max(high, level))}
    asked = config.vary_exposure and (weights["exposure"] or weights["local_exposure"])
    if config.controls:
        ranges, asked = {**CONTROLS, "smoothness": (0.0, config.smoothness, 1.0)}, True
    return MODELS.create(
        "pixel_policy",
        actions=actions_of(config),
        backbone=config.backbone_spec, horizon=config.horizon, decision_size=config.state_size or None,
        preferences=ranges if asked else {}, auto=("exposure_level",) if config.controls else (), std_mode=deviation,
        log_bins=config.log_bins,
    )
