"""Edge-aware tone curves: the agents are cells of a bilateral grid, places times bands of luminance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from rlenhance.engine.edits import BilateralEdits
from rlenhance.learning.actions.base import ACTION_SETS
from rlenhance.learning.actions.curve import TwoScopes
from rlenhance.learning.ops.image import resize
from rlenhance.learning.types import Action
from rlenhance.ops.plane_statistics import GUIDE_SIDE, base_layer, guide_coefficients


@ACTION_SETS.register("bilateral")
@dataclass(frozen=True)
class BilateralActions(BilateralEdits, TwoScopes):
    """Each agent sets a tone curve, a saturation and, with `gain`, a gain per band of luminance.

    With L the pixel's brightness (mean of its channels), every channel c becomes

        b = c + B c (1 - c), with B = clip(A + max(S, 0) (c - L), -1, 1),

    and where S < 0, b moves by the share -S towards the mean of the pixel's three b. A and S are those of the pixel's
    place and band. The band is that of the base layer g in [0, 1] of the log-luminance of the first image of the
    episode (`luminance_guide`), which is smooth within a surface and sharp at its edges. So a window and the wall
    beside it get different curves without a halo, the detail within each stays, and shadows that hold only the noise
    of colours can lose these. With `gain`, the three channels are then multiplied by

        (g^4 / (1 + (g^4 - 1) m^4))^(1/4), m the largest of them:

    the gain g where the pixel is dark, less and less towards white, which nothing exceeds; hue and saturation stay, and
    gains one after the other multiply. A curve flattens what it raises, a gain does not, so that a band's contrast and
    the picture's whites can be chosen apart from its level. [0, 1] is invariant, black and white stay, zeros change
    nothing. A head's a in [-1, 1] means A = (low + high) / 2 + a (high - low) / 2, S = saturation a, g = 2^(gain a).

    Global and local actions are added before the squashing, see `combine_scopes`.

    Args:
        agent_stride: pixels per local agent along each side; 0: the global agent only.
        bands: of luminance, evenly spaced in g from 0 to 1; 2 to 32.
        low, high: range of A.
        saturation: largest |S|.
        gain: of a step at most, in stops, up or down, in [0, 1]; 0: there are no gains.

    Source: bilateral grid, Chen, Paris and Durand 2007; chosen by a network from a reduced picture, HDRnet (Gharbi et
    al. 2017). The curve is the LE-curve of Zero-DCE (Guo et al. 2020), equation 2.
    """

    needs_initial_image: ClassVar[bool] = True
    supports_controls: ClassVar[bool] = True

    @property
    def strength_heads(self) -> int:
        return self.bands

    def magnitude(self, action: Action) -> Tensor:
        """A, S and, where there are gains, g^4 - 1 of the bands, over the root of their number: (N, C, h, w)."""
        return self.parameters_and_magnitude(action)[1]

    def parameters_and_magnitude(self, action: Action) -> tuple[Tensor, Tensor]:
        parameters = self.parameters(action)
        return parameters, parameters * self.bands**-0.5

    def _base_layer(self, first: Tensor, small: Tensor | None) -> Tensor:
        return luminance_guide(first, small)


def luminance_guide(image: Tensor, small: Tensor | None = None) -> Tensor:
    """`rlenhance.ops.plane_statistics.base_layer` of pictures: (N, 3, H, W) -> (N, 1, H, W) in [0, 1].

    Args:
        image: (N, 3, H, W).
        small: the same at `GUIDE_SIDE`, where it is known already.
    """
    parts = guide_coefficients(resize(image, GUIDE_SIDE) if small is None else small)
    size = list(image.shape[-2:])
    slope, offset = (part if list(part.shape[-2:]) == size else
                     F.interpolate(part, size, mode="bilinear", align_corners=False) for part in parts)
    return base_layer(image, slope, offset)
