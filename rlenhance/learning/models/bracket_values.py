"""What each exposure that may follow is worth: the planner of `rlenhance bracket --next`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlenhance.core.errors import check_ranges
from rlenhance.learning.models.base import MODELS, ImageNetwork
from rlenhance.ops.bracket import NUM_OBSERVED, PLACES, VALUE_SCALE

_LAYERS = 3


@MODELS.register("bracket_values")
class BracketValues(ImageNetwork):
    """Values of the actions of `rlenhance/Bracket-v0`, the mean of several perceptrons: `network(observation)`.

    A value is what the episode ends with: the PSNR in dB of the fusion of all shots to that of all exposures, less the
    price of the shots that are still taken.

    Args:
        width: units of each of the two hidden layers.
        heads: perceptrons, 1 or more; each begins with weights of its own.
        outputs: values; the places of a bracket, and stopping.
        dropout: share of the hidden units that are left out in training, in [0, 1).

    Raises:
        UsageError: a number outside its range.
    """

    purpose = "bracket"
    mean: Tensor
    deviation: Tensor
    level: Tensor

    def __init__(self, width: int = 128, heads: int = 4, dropout: float = 0.1,
                 outputs: int = PLACES + 1):
        super().__init__()
        self.dropout, self.heads = dropout, heads
        check_ranges(self, "[1, inf)", "heads")
        check_ranges(self, "[0, 1)", "dropout")
        self.register_buffer("mean", torch.zeros(NUM_OBSERVED))
        self.register_buffer("deviation", torch.ones(NUM_OBSERVED))
        self.register_buffer("level", torch.zeros(()))
        sizes = (NUM_OBSERVED, width, width, outputs)
        self.weights = nn.ParameterList(
            torch.randn(heads, inputs, outputs) * (2 / inputs) ** 0.5 for inputs, outputs in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(heads, 1, outputs) for outputs in sizes[1:])

    def standardize(self, observation: Tensor, level: float) -> None:
        """Take mean and deviation of observations (N, NUM_OBSERVED), and the mean of their values in dB."""
        self.mean.copy_(observation.mean(dim=0))
        self.deviation.copy_(observation.std(dim=0) + 0.05)
        self.level.fill_(level)

    def forward(self, observation: Tensor) -> Tensor:
        """The values in dB: (N, NUM_OBSERVED) -> (N, PLACES + 1), stopping last."""
        return self.each(observation.expand(self.heads, -1, -1)).mean(dim=0)

    def each(self, observation: Tensor) -> Tensor:
        """Those of every perceptron, of observations of its own: (heads, N, ...) -> (heads, N, PLACES + 1)."""
        found = ((observation - self.mean) / self.deviation).clamp(-5, 5)
        for number in range(_LAYERS):
            found = torch.baddbmm(self.biases[number], found, self.weights[number])
            if number + 1 < _LAYERS:
                found = F.dropout(found.relu(), self.dropout, self.training)
        return self.level + VALUE_SCALE * found
