"""What a user may choose at use time, as numbers that a network takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlenhance.errors import UnknownName, UsageError

#: The exposure level that is aimed at when nobody says otherwise (fitted on training scenes).
DEFAULT_EXPOSURE = 0.475


@dataclass(frozen=True)
class Preferences:
    """Named choices, each with its range and default; encoded to [-1, 1] for the network.

    Attributes:
        ranges: name -> (lowest, default, highest). Empty: the user chooses nothing.

    Example:
        >>> Preferences({"exposure_level": (0.25, 0.5, 0.75)}).encode({"exposure_level": 0.625}, 1)
        tensor([[0.5000]])
    """

    ranges: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, default, high) in self.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= default <= high and low < high):
                raise UsageError(f"preference {name} needs lowest <= default <= highest; got {low}, {default}, {high}")

    def __len__(self) -> int:
        return len(self.ranges)

    def encode(self, values: Mapping[str, float] | None, count: int, device: torch.device | str = "cpu") -> Tensor:
        """The same choices for `count` pictures: (count, P) in [-1, 1]; what is not named takes its default.

        Raises:
            UnknownName: a name that this policy was not trained for.
            UsageError: it takes none at all; or a value outside the range it was trained for.
        """
        values = dict(values or {})
        for name, value in values.items():
            if not self.ranges:
                raise UsageError(f"this model was trained for one fixed choice and takes no {name}; "
                                 f"train one that does, or leave it out")
            if name not in self.ranges:
                raise UnknownName("preference", name, self.ranges)
            low, _, high = self.ranges[name]
            if not low <= value <= high:
                raise UsageError(f"{name} must lie between {low} and {high}, the range this model was trained for; "
                                 f"got {value}")
        row = [2 * (values.get(name, default) - low) / (high - low) - 1
               for name, (low, default, high) in self.ranges.items()]
        return torch.tensor(row, dtype=torch.float32, device=device).expand(count, -1).clone()

    def decode(self, encoded: Tensor) -> dict[str, Tensor]:
        """(N, P) in [-1, 1] -> name -> (N, 1, 1, 1) in the user's units."""
        return {
            name: (low + (encoded[:, i] + 1) / 2 * (high - low))[:, None, None, None]
            for i, (name, (low, _, high)) in enumerate(self.ranges.items())
        }

    def sample(self, count: int, generator: torch.Generator, share: float = 0.5) -> Tensor:
        """For training: (count, P), uniform over the ranges for a `share` of the pictures, else the defaults."""
        device = generator.device
        drawn = torch.rand(count, len(self), generator=generator, device=device) * 2 - 1
        free = torch.rand(count, 1, generator=generator, device=device) < share
        return torch.where(free, drawn, self.encode(None, count, device))
