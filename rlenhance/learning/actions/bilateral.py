"""Edge-aware tone curves: the agents are cells of a bilateral grid, places times bands of luminance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.base import ACTION_SETS, PointwiseActions
from rlenhance.learning.actions.curve import combine_scopes
from rlenhance.learning.ops.guided_filter import log_luminance, luminance_guide
from rlenhance.learning.ops.image import brightness
from rlenhance.learning.types import Action


@ACTION_SETS.register("bilateral")
@dataclass(frozen=True)
class BilateralActions(PointwiseActions):
    """Each agent sets a tone curve and a saturation per band of luminance.

    With L the pixel's brightness (mean of its channels), every channel c becomes

        b = c + B c (1 - c), with B = clip(A + max(S, 0) (c - L), -1, 1),

    and where S < 0, b moves by the share -S towards the mean of the pixel's three b. A and S are those of the pixel's
    place and band. The band is that of the base layer g in [0, 1] of the log-luminance of the first image of the
    episode (`luminance_guide`), which is smooth within a surface and sharp at its edges. So a window and the wall
    beside it get different curves without a halo, the detail within each stays, and shadows that hold only the noise
    of colours can lose these. [0, 1] is invariant, black and white stay, zeros change nothing. A head's a in [-1, 1]
    means A = (low + high) / 2 + a (high - low) / 2, S = saturation a.

    Global and local actions are added before the squashing, see `combine_scopes`.

    Args:
        agent_stride: pixels per local agent along each side; 0: the global agent only.
        bands: of luminance, evenly spaced in g from 0 to 1; 2 to 32.
        low, high: range of A.
        saturation: largest |S|.

    Source: bilateral grid, Chen, Paris and Durand 2007; chosen by a network from a reduced picture, HDRnet (Gharbi et
    al. 2017). The curve is the LE-curve of Zero-DCE (Guo et al. 2020), equation 2.
    """

    agent_stride: int = 0
    bands: int = 9
    low: float = -0.3
    high: float = 1.0
    saturation: float = 0.5

    needs_initial_image: ClassVar[bool] = True
    binary_mask: ClassVar[bool] = False
    supports_controls: ClassVar[bool] = True
    global_agent = True

    def __post_init__(self) -> None:
        if self.agent_stride < 0:
            raise UsageError(f"agent_stride must not be negative; got {self.agent_stride}")
        if not 2 <= self.bands <= 32:
            raise UsageError(f"bands must lie between 2 and 32; got {self.bands}")
        if not -1 <= self.low < 0 < self.high <= 1:
            raise UsageError(f"A must range from below 0 to above 0 within [-1, 1]; got {self.low} to {self.high}")
        if not 0 <= self.saturation <= 1:
            raise UsageError(f"saturation lies in [0, 1]; got {self.saturation}")

    @property
    def action_dim(self) -> int:
        return 2 * self.bands

    @property
    def strength_heads(self) -> int:
        return self.bands

    @property
    def local_zero_mean(self) -> bool:
        return "local" in self.scopes  # see `combine_scopes`

    def parameters(self, action: Action) -> Tensor:
        """A of every band, then S of every band, of every agent: (N, 2 bands, h, w)."""
        normal = combine_scopes(action) if len(action) > 1 else action["global"].clamp(-1, 1)
        strength, saturation = torch.split(normal, self.bands, dim=1)
        return torch.cat([(self.low + self.high) / 2 + (self.high - self.low) / 2 * strength,
                          self.saturation * saturation], dim=1)

    def magnitude(self, action: Action) -> Tensor:
        """A and S of the bands, over the root of their number: (N, 2 bands, h, w)."""
        return self.parameters_and_magnitude(action)[1]

    def parameters_and_magnitude(self, action: Action) -> tuple[Tensor, Tensor]:
        parameters = self.parameters(action)
        return parameters, parameters * self.bands**-0.5

    def guide(self, first: Tensor, small: Tensor | None = None, flat: bool = False) -> Tensor:
        return log_luminance(first).clamp(0, 1) if flat else luminance_guide(first, small)

    def at_pixels(self, parameters: Tensor, guide: Tensor | None) -> Tensor:
        """A and S of every pixel, (N, 2, H, W), interpolated between its two bands.

        Source: slicing of a bilateral grid, Chen, Paris and Durand 2007, section 3.1.
        """
        assert guide is not None
        bands = torch.arange(self.bands, device=guide.device, dtype=guide.dtype)[:, None, None]
        shares = (1 - (guide * (self.bands - 1) - bands).abs()).clamp_min(0)
        return torch.cat([(part * shares).sum(dim=1, keepdim=True)
                          for part in torch.split(parameters, self.bands, dim=1)], dim=1)

    def apply_parameters(self, image: Tensor, parameters: Tensor) -> Tensor:
        """The edited picture for A and S of every pixel: (N, 2, H, W)."""
        strength, saturation = torch.split(parameters, 1, dim=1)
        curve = (strength + saturation.clamp(min=0) * (image - brightness(image))).clamp(-1, 1)
        edited: Tensor = image + curve * (image * (1 - image))
        return edited + saturation.clamp(max=0) * (edited - brightness(edited))

    @property
    def shown_parameters(self) -> Mapping[str, int]:
        top = self.bands - 1
        return {"shadows": round(top / 4), "midtones": round(top / 2), "highlights": top,
                "saturation": self.bands + round(top / 2)}

    def noop(self, count: int, height: int, width: int) -> Action:
        """All numbers at zero."""
        zero = -(self.low + self.high) / (self.high - self.low)
        action = {scope: torch.zeros(count, self.action_dim, *self.agent_grid(scope, height, width))
                  for scope in self.scopes}
        action["global"][:, : self.bands] = zero
        return action
