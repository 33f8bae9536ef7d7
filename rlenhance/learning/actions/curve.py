"""Tone curves as actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlenhance.engine.edits import CurveEdits
from rlenhance.learning.actions.base import ACTION_SETS, PointwiseActions
from rlenhance.learning.types import Action


class TwoScopes(PointwiseActions):
    """Global and local numbers are added before the squashing, see `combine_scopes`."""

    low: float
    high: float

    @property
    def local_zero_mean(self) -> bool:
        return self.scopes == ("global", "local")

    def noop(self, count: int, height: int, width: int) -> Action:
        """All parameters at zero."""
        action = {scope: torch.zeros(count, self.action_dim, *self.agent_grid(scope, height, width))
                  for scope in self.scopes}
        action["global"][:, : self.strength_heads] = -(self.low + self.high) / (self.high - self.low)
        return action


@ACTION_SETS.register("curve")
@dataclass(frozen=True)
class CurveActions(CurveEdits, TwoScopes):
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
    @property
    def strength_heads(self) -> int:
        return self.action_dim if self.channels == "coupled" else 1

    @property
    def num_choices(self) -> int | None:
        return self.num_bins if self.kind == "categorical" else None

    def _normal(self, entry: Tensor) -> Tensor:
        if self.num_choices is None:
            return entry.clamp(-1, 1)
        if entry.is_floating_point():  # probabilities: A is linear in the choice, so their mean is the mixture
            values = torch.linspace(-1, 1, self.num_choices, device=entry.device, dtype=entry.dtype)
            return (entry * values[:, None, None]).sum(dim=2)
        return entry.float() * (2 / (self.num_choices - 1)) - 1

    def parameters_and_magnitude(self, action: Action) -> tuple[Tensor, Tensor]:
        magnitude = self.magnitude(action)
        return (1 - self.momentum) * magnitude if self.momentum else magnitude, magnitude

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
