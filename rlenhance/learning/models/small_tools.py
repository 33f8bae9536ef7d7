"""Small restoration networks for one damage each, the tools of a toolchain, in one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.engine.small_tools import DILATIONS, TOOL_NAMES, tool_radius
from rlenhance.learning.models.base import MODELS, FeedForwardModel
from rlenhance.learning.nn.backbones.base import zero_init
from rlenhance.learning.ops.image import pad_to_multiple


class SmallTool(nn.Module):
    """One tool: a residual of dilated 3x3 convolutions at half the size. It begins as the identity.

    Args:
        width: channels inside.
        dilations: one convolution each.
    """

    def __init__(self, width: int = 24, dilations: Sequence[int] = DILATIONS):
        super().__init__()
        self.stem = nn.Conv2d(12, width, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=step, dilation=step) for step in dilations)
        self.head = zero_init(nn.Conv2d(width, 12, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] of any size -> the same shape, not clipped."""
        height, width = image.shape[-2:]
        cells = F.pixel_unshuffle(pad_to_multiple(image, 2), 2).contiguous(memory_format=torch.channels_last)
        return image + F.pixel_shuffle(self.on_cells(cells), 2)[..., :height, :width].float()

    def on_cells(self, cells: Tensor) -> Tensor:
        """The residual with 2 x 2 pixels as channels: (N, 12, h, w) -> the same."""
        features = F.relu(self.stem(cells))
        for block in self.blocks:
            features = features + F.relu(block(features))
        result: Tensor = self.head(features)
        return result


@MODELS.register("small_tools")
class SmallTools(FeedForwardModel):
    """Several tools under their names. As a model in one pass it applies a fixed chain of them, or the one tool whose
    number the preference `tool` gives.

    Args:
        names: of the tools.
        width, dilations: of each, see `SmallTool`.
        chain: names of the tools of the fixed chain; default: each tool once.

    Attributes:
        names: of the tools.
        tool_radius: pixels beyond which an input pixel has no influence on a tool's output pixel.

    Raises:
        UsageError: no names, or a chain with a tool that is not among them.
    """

    purpose = "denoise"
    accepted = ("tool",)

    def __init__(self, names: Sequence[str] = TOOL_NAMES, width: int = 24, dilations: Sequence[int] = DILATIONS,
                 chain: Sequence[str] | None = None):
        super().__init__()
        self.names, self.chain = tuple(names), tuple(names if chain is None else chain)
        if not names or not set(self.chain) <= set(names):
            raise UsageError(f"names must hold a tool, and every tool of the chain; got {', '.join(names)} and "
                             f"{', '.join(self.chain)}")
        self.tools = nn.ModuleDict({name: SmallTool(width, dilations) for name in names})
        self.tool_radius = tool_radius({"dilations": dilations})
        self.receptive_radius = self.tool_radius * len(self.chain)

    def apply_tool(self, name: str, image: Tensor) -> Tensor:
        """The result of one tool: (N, 3, H, W) in [0, 1] -> the same shape, clipped to [0, 1] outside training.

        Raises:
            UsageError: there is no such tool.
        """
        if name not in self.tools:
            raise UsageError(f"there is no tool {name!r}; there are {', '.join(self.names)}")
        result: Tensor = self.tools[name](image)
        return result if self.training else result.clamp(0, 1)

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        for name in (self.names[int(preference["tool"])],) if "tool" in preference else self.chain:
            image = self.apply_tool(name, image)
        return image
