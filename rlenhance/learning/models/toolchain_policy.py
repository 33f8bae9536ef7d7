"""Policies that choose one tool after the other, trained by reinforcement learning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import ToolchainActions
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.models.tool_gains import ToolPlanner
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.image import check_image

_BLOCK = 8  # side of a JPEG block
_LEAST = 12  # sides in pixels that hold a block half a block off
_FLOOR = (0.25 / 255) ** 2  # of a coefficient's square: below it lies the rounding to 8 bits


class AppliesTools(Protocol):
    """A tool as a policy needs it; `rlenhance.tools.Tool` is one."""

    @property
    def name(self) -> str: ...

    @property
    def cost(self) -> float: ...

    def batch(self, images: Tensor) -> Tensor: ...


class BlockSpectrum(nn.Module):
    """What blur, noise and JPEG leave in the spectrum of small blocks: logarithms of DCT coefficients.

    Of luma and both differences of colours, in 8x8 blocks that begin at the picture's corner as those of JPEG do, and
    of luma in blocks that lie half a block off: for each of the 64 coefficients the logarithm of its mean square, and
    the mean of the logarithm of its square. Their difference distinguishes noise, where all blocks are alike, from a
    quantised coefficient, which is 0 in most blocks.

    Attributes:
        size: numbers of a picture.
    """

    size = 4 * 2 * _BLOCK**2
    basis: Tensor
    colors: Tensor

    def __init__(self) -> None:
        super().__init__()
        place = torch.arange(_BLOCK, dtype=torch.float64)
        rows = torch.cos(math.pi / _BLOCK * place[:, None] * (place + 0.5)) * math.sqrt(2 / _BLOCK)
        rows[0] /= math.sqrt(2)
        basis = torch.einsum("iy,jx->ijyx", rows, rows).reshape(_BLOCK**2, 1, _BLOCK, _BLOCK)
        self.register_buffer("basis", basis.float(), persistent=False)
        colors = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
        self.register_buffer("colors", colors, persistent=False)

    def forward(self, image: Tensor, cells: int = 1) -> Tensor:
        """(N, 3, H, W) in [0, 1], at least 12 pixels wide and high -> (N, size, cells, cells), about -1 to 1."""
        planes = torch.einsum("oi,nihw->nohw", self.colors, image)
        found = [planes[:, :1], planes[:, 1:2], planes[:, 2:], planes[:, :1, _BLOCK // 2 :, _BLOCK // 2 :]]
        pooled = []
        for plane in found:
            squares = F.conv2d(plane, self.basis, stride=_BLOCK).square() + _FLOOR
            pooled += [F.adaptive_avg_pool2d(squares, cells).log(), F.adaptive_avg_pool2d(squares.log(), cells)]
        return (torch.cat(pooled, dim=1) + 8) / 4


@MODELS.register("toolchain_policy")
class ToolchainPolicy(ToolPlanner):
    """A small network that sees the picture, what was done so far, and what may still be done.

    The block spectrum and a few convolutions are averaged over the picture, or over each region of it; a hidden layer
    takes them with the last tools, the remaining steps, the budget and the price. Trained for values, a score is the
    gain still to come after the tool, in units of the score (duelling: a common part and each tool's own), and that of
    stopping is 0. Otherwise scores are logits.

    Args:
        tools: names of the tools.
        horizon: the most tools in a chain, as it was trained.
        regions: cells along each side that choose for themselves.
        learns_values: whether scores are values.
        price_range: (lowest, default, highest) price of a second per megapixel, where the user may choose it.
        conv_channels: of the first convolution; 0: the block spectrum alone.
        hidden: units of each of the two hidden layers.
        dropout: share of the hidden units that is left out in training.

    Raises:
        UsageError: a number outside its range.

    Source: duelling networks (Wang et al. 2016), equation 9.
    """

    center: Tensor
    spread: Tensor
    horizon: int

    def __init__(self, tools: Sequence[str], horizon: int = 3, regions: int = 1, learns_values: bool = True,
                 price_range: Sequence[float] | None = None, conv_channels: int = 0, hidden: int = 128,
                 dropout: float = 0.0):
        super().__init__()
        if horizon < 1 or conv_channels < 0 or hidden < 1 or not 0 <= dropout < 1:
            raise UsageError(f"horizon and hidden must be at least 1, conv_channels at least 0, dropout at least 0 and "
                             f"below 1; got {horizon}, {hidden}, {conv_channels} and {dropout}")
        self.actions = ToolchainActions(tuple(tools), regions)
        self.tools, self.horizon, self.regions = self.actions.tools, horizon, regions
        self.learns_values = self.in_decibels = learns_values
        if price_range is not None:
            low, default, high = price_range
            self.preferences = Preferences({"price": (low, default, high)})
        sides = tuple(factor * conv_channels for factor in (1, 2, 3, 4))
        self.spectrum = BlockSpectrum()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, sides[0], 3, padding=1), nn.ReLU(),
            *(part for before, after in pairwise(sides)
              for part in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()))) if conv_channels else None
        told = self.actions.num_choices + 2 + len(self.preferences)
        seen = BlockSpectrum.size + 2 * sides[-1]
        self.hidden = nn.Sequential(nn.Conv2d(seen * (1 if regions == 1 else 2) + told, hidden, 1), nn.ReLU(),
                                    nn.Conv2d(hidden, hidden, 1), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.advantages = nn.Conv2d(hidden, self.actions.num_choices, 1)
        self.values = nn.Conv2d(hidden, 1, 1)
        nn.init.zeros_(self.advantages.weight)
        nn.init.zeros_(self.values.weight)
        self.register_buffer("center", torch.zeros(BlockSpectrum.size, 1, 1))
        self.register_buffer("spread", torch.ones(BlockSpectrum.size, 1, 1))

    @torch.no_grad()
    def standardize(self, images: Tensor) -> None:
        """Set the centre and the spread of the block spectrum, by pictures (N, 3, H, W) to train on."""
        self.standardize_spectra(torch.cat([self.spectrum(part) for part in images.split(64)]))

    @torch.no_grad()
    def standardize_spectra(self, spectra: Tensor) -> None:
        """The same by their block spectra (N, size, 1, 1)."""
        self.center.copy_(spectra.mean(dim=0))
        self.spread.copy_(spectra.std(dim=0, correction=0).clamp(min=0.05))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The score of each tool and of stopping: (N, K + 1), with regions (N, K + 1, r, r).

        Args:
            observation: that of `envs.ToolchainEnv`; everything but `image` may be missing, as at the first step
                without a limit. What `action_mask` does not allow has the score minus infinity.
        """
        scores, _ = self.evaluate(observation)
        return scores[..., 0, 0] if self.actions.regions == 1 else scores

    def evaluate(self, observation: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The scores (N, K + 1, r, r), and the value of each cell's state (N, 1, r, r).

        Raises:
            UsageError: not pictures, or smaller ones than 12 pixels.
        """
        cells = self.actions.regions
        parts = [observation["spectrum"]] if "spectrum" in observation else \
            [self._features(check_image(observation["image"]), size) for size in dict.fromkeys((cells, 1))]
        count, new = len(parts[0]), parts[0]
        remaining = observation.get("remaining", new.new_ones(count, 1))
        budget = observation.get("budget", new.new_ones(count, 1))
        preference = observation.get("preference", self.preferences.encode(None, count, new.device))
        last = observation.get("last_tools", new.new_zeros(count, self.actions.num_choices, cells, cells))
        told = torch.cat([remaining, budget, preference], dim=1)[..., None, None]
        hidden = torch.cat([part.expand(-1, -1, cells, cells) for part in (*parts, last, told)], dim=1)
        for layer in (self.hidden[:2], self.hidden[2:]):
            hidden = self.dropout(layer(hidden))
        scores, value = self.advantages(hidden), self.values(hidden)
        if self.learns_values:
            own = scores[:, :-1]
            scores = torch.cat([value + own - own.mean(dim=1, keepdim=True), torch.zeros_like(value)], dim=1)
        if "action_mask" in observation:
            scores = scores.masked_fill(observation["action_mask"] < 0.5, -math.inf)
        return scores, value

    def precompute(self, observation: Observation) -> Observation:
        """The observation with its features, where no trained weight has a part in them."""
        if self.convolutions is not None or self.actions.regions > 1:
            return observation
        return {**observation, "spectrum": self._features(check_image(observation["image"]), 1)}

    def _features(self, image: Tensor, cells: int) -> Tensor:
        """(N, features, cells, cells)."""
        if min(image.shape[-2:]) < _LEAST:
            raise UsageError(f"pictures must be at least {_LEAST} pixels wide and high; got "
                             f"{image.shape[-1]}x{image.shape[-2]}")
        found = [(self.spectrum(image, cells) - self.center) / self.spread]
        if self.convolutions is not None:
            maps = self.convolutions((image - 0.5).contiguous(memory_format=torch.channels_last))
            mean = F.adaptive_avg_pool2d(maps, cells)
            square = F.adaptive_avg_pool2d(maps.square(), cells)
            found += [mean, (square - mean.square()).clamp(min=1e-8).sqrt()]
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def plan(self, image: Tensor, tools: Sequence[AppliesTools], steps: int | None = None,
             price: float | None = None) -> list[tuple[str, Tensor]]:
        """The greedy chain for a picture: the name of each tool, and the picture (1, 3, H, W) after it.

        Args:
            image: (1, 3, H, W) in [0, 1].
            tools: this policy's, in their order.
            steps: the most tools in the chain; None: the horizon.
            price: of a second per megapixel; None: its default.

        Raises:
            UsageError: other tools; several pictures; a policy over regions; a price that it was not trained for.
        """
        if tuple(tool.name for tool in tools) != self.tools:
            raise UsageError(f"this policy chooses among {', '.join(self.tools)}; got "
                             f"{', '.join(tool.name for tool in tools)}")
        if len(image) != 1 or self.actions.regions > 1:
            raise UsageError(f"plan takes one picture and a policy without regions; got {len(image)} and "
                             f"{self.actions.regions} regions")
        preference = self.preferences.encode(None if price is None else {"price": price}, 1, image.device)
        last = image.new_zeros(1, self.actions.num_choices, 1, 1)
        chain: list[tuple[str, Tensor]] = []
        for step in range(self.horizon if steps is None else steps):
            left = image.new_full((1, 1), max(0.0, 1 - step / self.horizon))
            choice = int(self({"image": image, "last_tools": last, "remaining": left,
                               "preference": preference}).argmax(dim=1))
            if choice == self.actions.stop:
                break
            image = tools[choice].batch(image)
            last = F.one_hot(torch.tensor([choice]), self.actions.num_choices)[..., None, None].to(image)
            chain.append((self.tools[choice], image))
        return chain
