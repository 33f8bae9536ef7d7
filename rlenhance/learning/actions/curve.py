"""Tone curves as actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.base import ACTION_SETS, EDGE, PointwiseActions
from rlenhance.learning.ops.image import constants
from rlenhance.learning.types import Action

CHANNELS = ("luminance", "chroma", "coupled")


def combine_scopes(normal: Action) -> Tensor:
    """The sum of global and local actions: (N, C, h, w) in [-1, 1].

    They are added before the squashing, without the mean of the local ones: only the global agent changes the mean.

    Args:
        normal: "global" (N, C, 1, 1) and "local" (N, C, h, w), in [-1, 1].
    """
    raw = {scope: torch.atanh(entry.clamp(-EDGE, EDGE)) for scope, entry in normal.items()}
    return torch.tanh(raw["global"] + raw["local"] - raw["local"].mean(dim=(2, 3), keepdim=True))


@ACTION_SETS.register("curve")
@dataclass(frozen=True)
class CurveActions(PointwiseActions):
    """Each agent sets the tone curve of its pixels: c' = c + A c (1 - c), with A in [low, high].

    [0, 1] is invariant, black and white stay, A = 0 changes nothing, A < 0 darkens. A continuous head's a in [-1, 1]
    means A = (low + high) / 2 + a (high - low) / 2; a categorical head has `num_bins` evenly spaced values.

    Global and local actions are added before the squashing, see `combine_scopes`:
    A = squash(atanh(a_global) + atanh(a_local) - mean over the cells of atanh(a_local)).

    Args:
        kind: "continuous" or "categorical".
        agent_stride: pixels per local agent along each side; 1: one agent per pixel, 0: the global agent only.
        global_agent: whether one agent acts on the whole picture.
        channels: "luminance", one A for all channels; "chroma", that plus a bounded offset for red and for blue;
            "coupled", one head per channel, mixed as ReLLIE does.
        chroma: largest offset of A for red and blue ("chroma").
        coupling: share of a channel's own head in its A; the leading channel's head makes up the rest ("coupled").
        lead_channel: index (RGB) of the leading channel ("coupled"); in the released ReLLIE, blue.
        momentum: share of the picture before the step in the result: I <- (1 - momentum) I' + momentum I.
        low, high: range of A.
        num_bins: values of a categorical head.

    Source: Zero-DCE (Guo et al. 2020), equation 2, the LE-curve; ReLLIE (Zhang et al. 2021), its action range,
    coupling and momentum. We depart in the global agent, the grid and the chroma heads.
    """
    kind: str = "continuous"
    agent_stride: int = 8
    global_agent: bool = True
    channels: str = "luminance"
    chroma: float = 0.1
    coupling: float = 0.1
    lead_channel: int = 0
    momentum: float = 0.0
    low: float = -0.3
    high: float = 1.0
    num_bins: int = 27

    def __post_init__(self) -> None:
        if self.kind not in ("continuous", "categorical"):
            raise UsageError(f"curve kind is continuous or categorical; got {self.kind!r}")
        if self.channels not in CHANNELS:
            raise UsageError(f"curve channels is one of {', '.join(CHANNELS)}; got {self.channels!r}")
        if self.agent_stride < 0 or not (self.agent_stride or self.global_agent):
            raise UsageError(f"agent_stride must be at least 1, or 0 beside a global agent; got {self.agent_stride}")
        if not -1 <= self.low < 0 < self.high <= 1:
            raise UsageError(f"A must range from below 0 to above 0 within [-1, 1]; got {self.low} to {self.high}")
        if not (0 <= self.coupling <= 1 and 0 <= self.momentum < 1 and 0 <= self.chroma <= 0.5):
            raise UsageError(f"coupling lies in [0, 1], momentum in [0, 1), chroma in [0, 0.5]; got {self.coupling}, "
                             f"{self.momentum}, {self.chroma}")
        if self.lead_channel not in (0, 1, 2) or self.num_bins < 2:
            raise UsageError(f"lead_channel is 0, 1 or 2 and num_bins at least 2; got {self.lead_channel} and "
                             f"{self.num_bins}")

    @property
    def action_dim(self) -> int:
        return 1 if self.channels == "luminance" else 3

    @property
    def strength_heads(self) -> int:
        return self.action_dim if self.channels == "coupled" else 1

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        return {"A": 0} if self.channels == "luminance" else {"red": 0, "green": 1, "blue": 2}

    @property
    def num_choices(self) -> int | None:
        return self.num_bins if self.kind == "categorical" else None

    @property
    def local_zero_mean(self) -> bool:
        return self.scopes == ("global", "local")  # see `combine_scopes`

    def _normal(self, entry: Tensor) -> Tensor:
        """One scope's entry as numbers in [-1, 1]: (N, heads, h, w)."""
        if self.num_choices is None:
            return entry.clamp(-1, 1)
        if entry.is_floating_point():  # probabilities: A is linear in the choice, so their mean is the mixture
            values = torch.linspace(-1, 1, self.num_choices, device=entry.device, dtype=entry.dtype)
            return (entry * values[:, None, None]).sum(dim=2)
        return entry.float() * (2 / (self.num_choices - 1)) - 1

    def magnitude(self, action: Action) -> Tensor:
        """A of every agent: (N, 1, h, w) for "luminance", (N, 3, h, w) in RGB otherwise."""
        if len(action) == 1:
            normal = self._normal(next(iter(action.values())))
        elif self.num_choices is None:
            normal = combine_scopes(action)  # which clips
        else:
            normal = combine_scopes({scope: self._normal(entry) for scope, entry in action.items()})
        middle, half = (constants((number,), (), normal)
                        for number in ((self.low + self.high) / 2, (self.high - self.low) / 2))
        if self.channels == "luminance":
            return middle + half * normal
        if self.channels == "chroma":
            common = middle + half * normal[:, :1]
            red, blue = normal[:, 1:2], normal[:, 2:3]
            return (common + self.chroma * torch.cat([red, torch.zeros_like(red), blue], dim=1)).clamp(-1, 1)
        own = middle + half * normal
        return self.coupling * own + (1 - self.coupling) * own[:, self.lead_channel : self.lead_channel + 1]

    def parameters(self, action: Action) -> Tensor:
        """A of every agent times 1 - momentum: (N, 1 or 3, h, w)."""
        return self.parameters_and_magnitude(action)[0]

    def parameters_and_magnitude(self, action: Action) -> tuple[Tensor, Tensor]:
        magnitude = self.magnitude(action)
        return (1 - self.momentum) * magnitude if self.momentum else magnitude, magnitude

    def apply_parameters(self, image: Tensor, parameters: Tensor) -> Tensor:
        """The edited picture for A of every pixel."""
        return image + parameters * (image * (constants((1.0,), (), image) - image))

    def noop(self, count: int, height: int, width: int) -> Action:
        """A = 0 everywhere; for categorical heads the value nearest to it."""
        zero = -(self.low + self.high) / (self.high - self.low)
        shapes = {scope: (count, self.action_dim, *self.agent_grid(scope, height, width)) for scope in self.scopes}
        action = {}
        for scope, shape in shapes.items():
            # beside a global agent, local actions of 0 change nothing
            value = torch.full(shape, 0.0 if scope == "local" and self.global_agent else zero)
            if self.channels == "chroma":
                value[:, 1:] = 0.0
            if self.num_choices is not None:
                value = ((value + 1) / 2 * (self.num_choices - 1)).round().long()
            action[scope] = value
        return action
