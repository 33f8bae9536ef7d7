"""Tone curves with controls for brightness, contrast, highlights and saturation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlenhance.core.arrays import constants
from rlenhance.engine.edits import ToneEdits
from rlenhance.learning.actions.base import ACTION_SETS
from rlenhance.learning.actions.curve import TwoScopes
from rlenhance.learning.types import Action

_WEIGHT = 4.0  # of K, H and S beside A in the magnitude


@ACTION_SETS.register("tone")
@dataclass(frozen=True)
class ToneActions(ToneEdits, TwoScopes):
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

    supports_controls: ClassVar[bool] = True

    def magnitude(self, action: Action) -> Tensor:
        """A, and 4 times K, H and S, of every agent: (N, 4, h, w).

        The factor keeps the effort term from favouring plain brightening by several controls at once.
        """
        return self.parameters_and_magnitude(action)[1]

    def parameters_and_magnitude(self, action: Action) -> tuple[Tensor, Tensor]:
        parameters = self.parameters(action)
        weights = constants((1.0, _WEIGHT, _WEIGHT, _WEIGHT), (4, 1, 1), parameters)
        return parameters, parameters * weights
