"""Networks that choose among tools; and one that predicts, by regression, what each tool would gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.image import check_image
from rlenhance.models.base import MODELS, ImageNetwork

_DETAIL = 3.0  # scale of the roots of the detail: noise of 10/255 becomes about 0.6
_PSNR = 30.0  # dB: the quality that the network begins with


class ToolPlanner(ImageNetwork):
    """Base class of the networks that say which tool a picture needs next: `planner(observation) -> scores`.

    An observation is what `envs` `rlenhance/Toolchain-v0` shows: "image" (N, 3, H, W) in [0, 1], and what was done so
    far. Scores are (N, len(tools) + 1); the last entry stands for stopping.

    Attributes:
        tools: names of the tools, see `rlenhance.tools.TOOLS`.
        in_decibels: scores are gains in dB, and stopping has 0; otherwise they are logits or values.
    """

    purpose = "restore"
    tools: tuple[str, ...]
    in_decibels: bool = False


@MODELS.register("tool_gains")
class ToolGains(ToolPlanner):
    """Predicts the gain of each tool on a picture in dB, and the picture's own PSNR without its reference.

    A few convolutions see the picture and the signed roots of its detail (what a blur of 3x3 pixels takes away), so
    that weak noise and the edges of JPEG blocks show in dark places too; their strides come to 8, the side of a block.
    Means and deviations over the picture give the predictions.

    Args:
        tools: names of the tools.
        width: channels of the first layer.

    Raises:
        UsageError: no tools.
    """

    in_decibels = True

    def __init__(self, tools: Sequence[str], width: int = 16):
        super().__init__()
        if not tools:
            raise UsageError("tools must name at least one tool; got none")
        self.tools = tuple(tools)
        sides = (width, 2 * width, 3 * width, 4 * width)
        self.features = nn.Sequential(
            nn.Conv2d(6, sides[0], 3, padding=1), nn.ReLU(),
            *(part for before, after in pairwise(sides)
              for part in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU())),
            nn.Conv2d(sides[3], sides[3], 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(2 * sides[3], 6 * width), nn.ReLU(),
                                  nn.Linear(6 * width, len(self.tools) + 1))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The gain of each tool in dB, and 0 for stopping: (N, len(tools) + 1).

        Args:
            observation: "image" (N, 3, H, W) in [0, 1], at least 8 pixels wide and high; the rest is not looked at.
        """
        gains, _ = self.assess(observation["image"])
        return torch.cat([gains, gains.new_zeros(len(gains), 1)], dim=1)

    def assess(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The gain of each tool (N, len(tools)) and the picture's own PSNR (N,), both in dB.

        Raises:
            UsageError: not pictures.
        """
        check_image(image)
        detail = image - F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        seen = torch.cat([image - 0.5, _DETAIL * detail.sign() * detail.abs().sqrt()], dim=1)
        features = self.features(seen.contiguous(memory_format=torch.channels_last))
        mean = features.mean(dim=(2, 3))
        deviation = (features.square().mean(dim=(2, 3)) - mean.square()).clamp(min=1e-8).sqrt()
        found = self.head(torch.cat([mean, deviation], dim=1))
        return found[:, :-1], _PSNR + 10 * found[:, -1]
