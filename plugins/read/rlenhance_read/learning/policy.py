"""A policy that chooses how a photograph of text is read next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import ToolchainActions
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.policy import Observation
from rlenhance.learning.models.tool_gains import ToolPlanner
from rlenhance.learning.nn.preferences import Preferences
from rlenhance_read.ocr.observation import observation_size


@MODELS.register("read_policy")
class ReadPolicy(ToolPlanner):
    """A perceptron that sees the picture's statistics, the readings so far, the steps left and the price of a read.

    Trained for values, a score is what is still gained after a chain, in accuracy, and that of stopping is 0.
    Otherwise scores are logits.

    Args:
        tools: names of the chains.
        horizon: the most reads, as it was trained.
        learns_values: whether scores are values.
        price_range: (lowest, default, highest) price of a read, where the user may choose it.
        hidden: units of each of the two hidden layers.
        dropout: share of the hidden units that is left out in training.

    Raises:
        UsageError: a number outside its range.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, tools: Sequence[str], horizon: int = 6, learns_values: bool = False,
                 price_range: Sequence[float] | None = None, hidden: int = 128, dropout: float = 0.0):
        super().__init__()
        if horizon < 1 or hidden < 1 or not 0 <= dropout < 1:
            raise UsageError(f"horizon and hidden must be at least 1, dropout at least 0 and below 1; got {horizon}, "
                             f"{hidden} and {dropout}")
        self.actions = ToolchainActions(tuple(tools))
        self.tools, self.horizon, self.learns_values = self.actions.tools, horizon, learns_values
        if price_range is not None:
            low, default, high = price_range
            self.preferences = Preferences({"price": (low, default, high)})
        size = observation_size(len(self.tools)) - 2
        self.hidden = nn.Sequential(nn.Linear(size + 2, hidden), nn.ReLU(), nn.Dropout(dropout),
                                    nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.scores = nn.Linear(hidden, len(self.tools) + 1)
        nn.init.zeros_(self.scores.weight)
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))

    @torch.no_grad()
    def standardize(self, seen: Tensor) -> None:
        """Set the centre and the spread of what is seen, by examples (N, look and readings)."""
        self.center.copy_(seen.mean(dim=0))
        self.spread.copy_(seen.std(dim=0, correction=0).clamp(min=0.1))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The score of each chain and of stopping: (N, C + 1); minus infinity for what is not allowed.

        Args:
            observation: that of `rlenhance_read.learning.env.ReadEnv`; `look` and `readings` may be joined under
                `spectrum`.
        """
        seen = observation["spectrum"] if "spectrum" in observation else _joined(observation)
        remaining = observation.get("remaining", seen.new_ones(len(seen), 1))
        price = observation.get("preference", self.preferences.encode(None, len(seen), seen.device))
        price = price if price.shape[1] else seen.new_zeros(len(seen), 1)
        scores = self.scores(self.hidden(torch.cat([(seen - self.center) / self.spread, remaining, price], dim=1)))
        if self.learns_values:
            scores = scores - scores[:, -1:]
        if "action_mask" in observation:
            scores = scores.masked_fill(observation["action_mask"][:, :, 0, 0] < 0.5, -math.inf)
        return scores

    def first_sight(self, image: Tensor) -> dict[str, Tensor]:
        """See `ToolPlanner.first_sight`: the numbers are means of the pictures."""
        return {"image": image, "spectrum": image.mean(dim=(1, 2, 3))[:, None].expand(-1, len(self.center))}

    def evaluate(self, observation: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The scores (N, C + 1, 1, 1), and zeros for the value of each state (N, 1, 1, 1)."""
        scores = self(observation)[:, :, None, None]
        return scores, scores.new_zeros(len(scores), 1, 1, 1)

    def precompute(self, observation: Observation) -> Observation:
        """The observation with all that is seen under `spectrum`."""
        seen: Any = {name: value for name, value in observation.items() if name not in ("look", "readings")}
        return seen | {"spectrum": _joined(observation)}  # type: ignore[no-any-return]


def _joined(observation: Mapping[str, Any]) -> Tensor:
    return torch.cat([observation["look"], observation["readings"]], dim=1)
