"""RL-Restore's networks: its twelve tools, and the policy that chooses among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.engine.small_tools import RL_RESTORE
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.tool_gains import ToolPlanner
from rlenhance.learning.ops.image import check_image

#: Side in pixels of the patches that the policy takes.
PATCH = 63
_MOST_PATCHES = 8  # along a side of a larger picture


class RLRestoreTool(nn.Module):
    """One tool: picture + network(picture), (N, 3, H, W) -> (N, 3, H, W), not clipped.

    Tools 1 and 2 of each kind have three convolutions (9x9 to 32 channels, 5x5 to 16, 5x5) with ReLU between them;
    tools 3 and 4 go to 64 channels (5x5, ReLU), shrink to 32 (1x1), pass two residual blocks (ReLU before each of their
    3x3 convolutions), and grow to 64 again (1x1, ReLU) before the last convolution (5x5). Zero padding.

    Args:
        deep: whether it is a tool 3 or 4.

    Source: RL-Restore (Yu et al. 2018), section 3.2; the order of the residual blocks is the one in which the released
    weights do what the paper says (tests).
    """

    def __init__(self, deep: bool):
        super().__init__()
        self.deep = deep
        shapes = {"conv1": (3, 64, 5), "conv1_2": (64, 32, 1), "conv2": (32, 32, 3), "conv2a": (32, 32, 3),
                  "conv2c": (32, 32, 3), "conv2d": (32, 32, 3), "conv2_2": (32, 64, 1), "conv3": (64, 3, 5)} if deep \
            else {"conv1": (3, 32, 9), "conv2": (32, 16, 5), "conv3": (16, 3, 5)}
        self.layers = nn.ModuleDict({name: nn.Conv2d(inputs, outputs, size, padding=size // 2)
                                     for name, (inputs, outputs, size) in shapes.items()})
        self.receptive_radius = sum(size // 2 for _, _, size in shapes.values())

    def forward(self, image: Tensor) -> Tensor:
        layers = self.layers
        features = F.relu(layers["conv1"](image))
        if not self.deep:
            return image + layers["conv3"](F.relu(layers["conv2"](features)))
        features = layers["conv1_2"](features)
        for first, second in (("conv2", "conv2a"), ("conv2c", "conv2d")):
            features = features + layers[second](F.relu(layers[first](F.relu(features))))
        return image + layers["conv3"](F.relu(layers["conv2_2"](features)))


class _AppliesTools(Protocol):
    """A tool as the policy needs it; `rlenhance.tools.Tool` is one."""

    @property
    def name(self) -> str: ...

    def batch(self, images: Tensor) -> Tensor: ...


@MODELS.register("rl_restore")
class RLRestorePolicy(ToolPlanner):
    """A recurrent Q-network: the value of each of the twelve tools, and of stopping, for patches of 63x63 pixels.

    Four convolutions of stride 2 (9x9 to 32 channels, then 5x5 to 24, with ReLU), a linear layer to 32 features (ReLU),
    an LSTM of 50 units that also sees the tool of the step before, and a linear layer to the 13 values.

    Source: RL-Restore (Yu et al. 2018), section 3.3 and its released code. TensorFlow pads an even side by one pixel
    before and two behind.
    """

    learns_values = True
    tools = RL_RESTORE
    horizon = 3

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(3, 32, 9, 2), nn.Conv2d(32, 24, 5, 2), nn.Conv2d(24, 24, 5, 2),
                                           nn.Conv2d(24, 24, 5, 2)])
        self.features = nn.Linear(24 * 4 * 4, 32)
        self.memory = nn.LSTMCell(32 + len(self.tools), 50)
        self.values = nn.Linear(50, len(self.tools) + 1)

    def advance(self, observation: Mapping[str, Tensor], state: Any = None) -> tuple[Tensor, Any]:
        """The values and the next state.

        Args:
            observation: image (N, 3, 63, 63) in [0, 1]; last_tools (N, 13, 1, 1) or (N, 13), 1 at the choice of the
                step before, 0 everywhere before the first.
            state: of the step before; None: the first.

        Returns:
            (N, 13), the last is that of stopping; and the state.

        Raises:
            UsageError: patches of another size.
        """
        image = check_image(observation["image"]).float()
        if image.shape[-2:] != (PATCH, PATCH):
            raise UsageError(f"RL-Restore's policy takes patches of {PATCH}x{PATCH} pixels; got "
                             f"{image.shape[-1]}x{image.shape[-2]}: cut the picture")
        features = image
        for layer, pad in zip(self.convolutions, ((4, 4, 4, 4), *[(1, 2, 1, 2)] * 3), strict=True):
            features = F.relu(layer(F.pad(features, pad)))
        last = observation["last_tools"].flatten(1)[:, : len(self.tools)]
        inputs = torch.cat([F.relu(self.features(features.flatten(1))), last.to(image)], dim=1)
        state = self.memory(inputs, state)
        return self.values(state[0]), state

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The values for pictures of any size, without memory of the steps before: (N, 13).

        Args:
            observation: see `advance`; the image may have any size: the values are the means over patches that are
                spread over it, at most 8 along each side. last_tools may be missing.
        """
        image = check_image(observation["image"]).float()
        height, width = image.shape[-2:]
        image = F.pad(image, (0, max(0, PATCH - width), 0, max(0, PATCH - height)), mode="replicate")
        patches = [image[..., top : top + PATCH, left : left + PATCH]
                   for top in _starts(image.shape[-2]) for left in _starts(image.shape[-1])]
        last = observation.get("last_tools", image.new_zeros(len(image), len(self.tools) + 1))
        values, _ = self.advance({"image": torch.cat(patches), "last_tools": last.flatten(1).repeat(len(patches), 1)})
        return values.unflatten(0, (len(patches), len(image))).mean(dim=0)

    @torch.no_grad()
    def run(self, images: Tensor, tools: Sequence[_AppliesTools], steps: int = 3) -> list[tuple[Tensor, Tensor]]:
        """Greedy episodes.

        Args:
            images: (N, 3, 63, 63) in [0, 1].
            tools: RL-Restore's twelve, in their order.
            steps: the most tools in a chain.

        Returns:
            For each step the choices (N,), 12 from the stop on, and the pictures after it (N, 3, 63, 63).

        Raises:
            UsageError: other tools.
        """
        if tuple(tool.name for tool in tools) != self.tools:
            raise UsageError(f"RL-Restore's policy chooses among its own tools, {self.tools[0]} to {self.tools[-1]}; "
                             f"got {', '.join(tool.name for tool in tools)}: take toolkit('rl-restore', path=...)")
        stop = len(self.tools)
        last, state, trace = images.new_zeros(len(images), stop + 1), None, []
        stopped = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for _ in range(steps):
            values, state = self.advance({"image": images, "last_tools": last}, state)
            choices = values.argmax(dim=1).masked_fill(stopped, stop)
            stopped = choices == stop
            images = images.clone()
            for choice in choices[~stopped].unique().tolist():
                images[choices == choice] = tools[choice].batch(images[choices == choice])
            last = F.one_hot(choices, stop + 1).to(last)
            trace.append((choices, images))
        return trace

    def plan(self, image: Tensor, tools: Sequence[_AppliesTools], steps: int = 3,
             price: float = 0.0) -> list[tuple[str, Tensor]]:
        """The greedy chain for one patch (1, 3, 63, 63): names of the tools, and the picture after each.

        Raises:
            UsageError: see `run`; or a price, which this policy does not know.
        """
        if price:
            raise UsageError(f"RL-Restore's policy knows no prices; got price {price}: leave it out")
        return [(self.tools[int(choices[0])], picture) for choices, picture in self.run(image, tools, steps)
                if int(choices[0]) < len(self.tools)]


def _starts(length: int) -> list[int]:
    """Where patches begin along a side of at least `PATCH` pixels."""
    count = min(-(-length // PATCH), _MOST_PATCHES)
    return [i * (length - PATCH) // max(1, count - 1) for i in range(count)]
