"""Networks that choose among tools; and one that predicts, by regression, what each tool would gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS, ImageNetwork
from rlenhance.learning.ops.image import check_image
from rlenhance.ops.damage_statistics import COLOR_STEP, GREY, NUM_STATISTICS, damage_statistics


class ToolPlanner(ImageNetwork):
    """Base class of the networks that say which tool a picture needs next: `planner(observation) -> scores`.

    An observation is what `rlenhance/Toolchain-v0` shows: "image" (N, 3, H, W) in [0, 1], and what was done so far.
    Scores are (N, len(tools) + 1); the last entry stands for stopping.

    Attributes:
        tools: names of the tools, see `rlenhance.tools.TOOLS`.
        in_decibels: scores are gains in dB, and stopping has 0; otherwise they are logits or values.
        horizon: the most tools in a chain, as it was trained; None: it has learned for no number of them.
        regions: cells along each side that choose for themselves.
    """

    purpose = "restore"
    tools: tuple[str, ...]
    in_decibels: bool = False
    horizon: int | None = None
    regions: int = 1

    def first_sight(self, image: Tensor) -> dict[str, Tensor]:
        """A made-up observation of pictures (N, 3, H, W) to which nothing was done yet, for trials."""
        return {"image": image}


@MODELS.register("tool_gains")
class ToolGains(ToolPlanner):
    """Predicts the gain of each tool on a picture in dB, and the picture's own PSNR without its reference.

    Several small perceptrons see the picture's `damage_statistics`, and their predictions are averaged.

    Args:
        tools: names of the tools.
        width: units of each of the two hidden layers.
        heads: perceptrons.
        grey: pictures without colours have as many perceptrons of their own.

    Raises:
        UsageError: no tools.
    """

    in_decibels = True

    def __init__(self, tools: Sequence[str], width: int = 64, heads: int = 4, grey: bool = False):
        super().__init__()
        if not tools:
            raise UsageError("tools must name at least one tool; got none")
        self.tools = tuple(tools)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(NUM_STATISTICS))
        self.register_buffer("deviation", torch.ones(NUM_STATISTICS))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(NUM_STATISTICS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                          nn.Linear(width, len(self.tools) + 1)) for _ in range(heads))
        self.grey = ToolGains(tools, width, heads) if grey else None

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The gain of each tool in dB, and 0 for stopping: (N, len(tools) + 1).

        Args:
            observation: "image" (N, 3, H, W) in [0, 1]; the rest is not looked at.
        """
        gains, _ = self.assess(observation["image"])
        return torch.cat([gains, gains.new_zeros(len(gains), 1)], dim=1)

    def assess(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The gain of each tool (N, len(tools)) and the picture's own PSNR (N,), both in dB.

        Raises:
            UsageError: not pictures.
        """
        seen = damage_statistics(check_image(image).detach().float().cpu().numpy())
        found = self.predict(torch.from_numpy(seen).to(image.device))
        return found[:, :-1], 10 * found[:, -1]

    def predict(self, statistics: Tensor) -> Tensor:
        """The gains in dB and a tenth of the PSNR: (N, NUM_STATISTICS) -> (N, len(tools) + 1)."""
        scaled = self.scale_statistics(statistics)
        found = torch.stack([head(scaled) for head in self.heads]).mean(dim=0)
        if self.grey is None:
            return found
        return torch.where(statistics[:, COLOR_STEP, None] < GREY, self.grey.predict(statistics), found)

    def scale_statistics(self, statistics: Tensor) -> Tensor:
        """What the perceptrons see: deviations from the mean of the training, at most 5."""
        return ((statistics - self.mean) / self.deviation).clamp(-5, 5)
