"""Tone curves with controls for brightness, contrast, highlights and saturation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.base import ACTION_SETS, PointwiseActions
from rlenhance.learning.actions.curve import combine_scopes
from rlenhance.learning.ops.image import brightness, constants, max_channel
from rlenhance.learning.types import Action

_WEIGHT = 4.0  # of K, H and S beside A in the magnitude


@ACTION_SETS.register("tone")
@dataclass(frozen=True)
class ToneActions(PointwiseActions):
    """Each agent sets four controls: brightness, contrast, highlights, saturation.

    With L the pixel's brightness (mean of its channels) and M its largest channel, every channel c becomes
    c + B c (1 - c), with

        B = clip(A + K (2 L - 1) - H M^8 + S (c - L), -1, 1):

    A is the strength of the curve, K raises the contrast, H darkens highlights, S raises the saturation. As with
    `CurveActions`, [0, 1] is invariant, black and white stay, and zeros change nothing. The curve of grey never falls
    by more than 3e-5, a hundredth of an 8-bit level (near white, where the clip ends and H is largest). A head's a in
    [-1, 1] means A = (low + high) / 2 + a (high - low) / 2, K = contrast a, H = highlights a, S = saturation a.

    Global and local actions are added before the squashing, see `combine_scopes`.

    Args:
        agent_stride: pixels per local agent along each side; 0: the global agent only.
        low, high: range of A.
        contrast, highlights, saturation: largest |K|, |H| and |S|; K and H at most 0.5, so that grey stays monotonic.

    Source: the LE-curve of Zero-DCE (Guo et al. 2020), equation 2, whose A is B here; the controls are ours.
    """

    agent_stride: int = 8
    low: float = -0.3
    high: float = 1.0
    contrast: float = 0.5
    highlights: float = 0.5
    saturation: float = 1.0

    action_dim: ClassVar[int] = 4
    supports_controls: ClassVar[bool] = True
    global_agent = True

    def __post_init__(self) -> None:
        if self.agent_stride < 0:
            raise UsageError(f"agent_stride must not be negative; got {self.agent_stride}")
        if not -1 <= self.low < 0 < self.high <= 1:
            raise UsageError(f"A must range from below 0 to above 0 within [-1, 1]; got {self.low} to {self.high}")
        if not (0 <= self.contrast <= 0.5 and 0 <= self.highlights <= 0.5 and 0 <= self.saturation <= 1):
            raise UsageError(f"contrast and highlights lie in [0, 0.5], saturation in [0, 1]; "
                             f"got {self.contrast}, {self.highlights} and {self.saturation}")

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        return {"brightness": 0, "contrast": 1, "highlights": 2, "saturation": 3}

    @property
    def local_zero_mean(self) -> bool:
        return "local" in self.scopes  # see `combine_scopes`

    def magnitude(self, action: Action) -> Tensor:
        """A, and 4 times K, H and S, of every agent: (N, 4, h, w).

        The factor keeps the effort term from favouring plain brightening by several controls at once.
        """
        return self.parameters_and_magnitude(action)[1]

    def parameters_and_magnitude(self, action: Action) -> tuple[Tensor, Tensor]:
        parameters = self.parameters(action)
        weights = constants((1.0, _WEIGHT, _WEIGHT, _WEIGHT), (4, 1, 1), parameters)
        return parameters, parameters * weights

    def parameters(self, action: Action) -> Tensor:
        """A, K, H and S of every agent: (N, 4, h, w)."""
        normal = combine_scopes(action) if len(action) > 1 else action["global"].clamp(-1, 1)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        scale = constants((half, self.contrast, self.highlights, self.saturation), (4, 1, 1), normal)
        return torch.addcmul(constants((middle, 0.0, 0.0, 0.0), (4, 1, 1), normal), normal, scale)

    def apply_parameters(self, image: Tensor, parameters: Tensor) -> Tensor:
        """The edited picture for A, K, H and S of every pixel."""
        level = brightness(image)
        strength, contrast, highlights, saturation = torch.split(parameters, 1, dim=1)
        burning = ((max_channel(image) ** 2) ** 2) ** 2  # squares cost less than a power
        common = strength + contrast * (2 * level - 1) - highlights * burning - saturation * level
        curve = (common + saturation * image).clamp(-1, 1)
        edited: Tensor = image + curve * (image * (1 - image))
        return edited

    def noop(self, count: int, height: int, width: int) -> Action:
        """All controls at zero."""
        zero = -(self.low + self.high) / (self.high - self.low)
        action = {scope: torch.zeros(count, self.action_dim, *self.agent_grid(scope, height, width))
                  for scope in self.scopes}
        action["global"][:, 0] = zero
        return action
