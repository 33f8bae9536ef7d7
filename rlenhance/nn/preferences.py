"""What a user may choose at use time, as numbers that a network takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.ops.image_statistics import auto_exposure, noise_deviation

#: Preferences that may be left to the policy -> the value for a picture: (N, 3, H, W) -> (N, 1, 1, 1).
AUTO = {"exposure_level": auto_exposure, "noise": lambda image: 255 * noise_deviation(image)}
#: Preferences that act by themselves, on what the agents chose: no network needs to know them.
NON_NETWORK = ("smoothness",)
#: What is told of a picture instead of wished for -> what a reference shows of it: (N, C, H, W) twice -> (N,).
MEASURED = {"noise": lambda image, target: 255 * (image - target).flatten(1).std(dim=1)}


@dataclass(frozen=True)
class Preferences:
    """Named choices, each with its range and default; encoded to [-1, 1] for the network.

    Attributes:
        ranges: name -> (lowest, default, highest). Empty: the user chooses nothing.
        auto: those of the names that take their value from the picture where the user names none. Each has a column
            of its own behind the others, 1 where it does and 0 where a number was asked for.

    Example:
        >>> Preferences({"exposure_level": (0.25, 0.5, 0.75)}).encode({"exposure_level": 0.625}, 1)
        tensor([[0.5000]])
    """

    ranges: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    auto: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (low, default, high) in self.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= default <= high and low < high):
                raise UsageError(f"preference {name} needs lowest <= default <= highest; got {low}, {default}, {high}")
        for name in self.auto:
            if name not in self.ranges or name not in AUTO:
                raise UsageError(f"{name} cannot be automatic; of {', '.join(self.ranges) or 'no preferences'}, "
                                 f"{', '.join(AUTO)} can")

    def __len__(self) -> int:
        return len(self.ranges) + len(self.auto)

    def encode(self, values: Mapping[str, float | None] | None, count: int,
               device: torch.device | str = "cpu") -> Tensor:
        """The same choices for `count` pictures: (count, P) in [-1, 1]; what is not named, or None, takes its default.

        A value that is automatic stands at its default until `resolve_auto` has seen the picture.

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
            if value is None:
                if name not in self.auto:
                    raise UsageError(f"{name}: this model does not choose it by itself; "
                                     f"give a number from {low} to {high}, or leave it out")
                continue
            if not low <= value <= high:
                raise UsageError(f"{name} must lie between {low} and {high}, the range this model was trained for; "
                                 f"got {value}")
        named = {name: value for name, value in values.items() if value is not None}
        row = [2 * (named.get(name, default) - low) / (high - low) - 1
               for name, (low, default, high) in self.ranges.items()]
        row += [float(name not in named) for name in self.auto]
        return torch.tensor(row, dtype=torch.float32, device=device).expand(count, -1).clone()

    def network_input(self, encoded: Tensor) -> Tensor:
        """What a network is told of them: choices that act by themselves (`NON_NETWORK`) always stand in the middle."""
        columns = [column for column, name in enumerate(self.ranges) if name in NON_NETWORK]
        if not columns:
            return encoded
        encoded = encoded.clone()
        encoded[:, columns] = 0
        return encoded

    def smoothness(self, encoded: Tensor) -> Tensor | None:
        """How far local agents are held back, as `attenuate_local` takes it; None where the user has no say in it."""
        return self.decode(encoded, only="smoothness").get("smoothness")

    def decode(self, encoded: Tensor, only: str | None = None) -> dict[str, Tensor]:
        """(N, P) in [-1, 1] -> name -> (N, 1, 1, 1) in the user's units; and `NAME_auto`, 1 where it is automatic.

        Args:
            only: this name alone, if it is one of them.
        """
        values = {
            name: low + (encoded[:, i, None, None, None] + 1) * ((high - low) / 2)
            for i, (name, (low, _, high)) in enumerate(self.ranges.items()) if only in (None, name)
        }
        flags = {f"{name}_auto": encoded[:, len(self.ranges) + i, None, None, None]
                 for i, name in enumerate(self.auto) if only in (None, name)}
        return values | flags

    def resolve_auto(self, encoded: Tensor, image: Tensor) -> Tensor:
        """Give automatic preferences their values for these pictures, once, at the start of an episode.

        Args:
            encoded: (N, P); image: (N, 3, H, W), what the policy sees first.
        """
        names = list(self.ranges)
        for i, name in enumerate(self.auto):
            low, _, high = self.ranges[name]
            column, flag = names.index(name), encoded[:, len(names) + i]
            value = (2 * (AUTO[name](image).flatten() - low) / (high - low) - 1).clamp(-1, 1)
            encoded = encoded.clone()
            encoded[:, column] = torch.where(flag > 0.5, value, encoded[:, column])
        return encoded

    def set_measured(self, encoded: Tensor, image: Tensor, target: Tensor | None) -> Tensor:
        """For training: what is no wish but a fact of the picture (`MEASURED`) is told as its reference shows it.

        Args:
            encoded: (N, P); image, target: (N, C, H, W). Without a reference all stays as it is.
        """
        names = list(self.ranges)
        for i, name in enumerate(names):
            if target is not None and name in MEASURED:
                low, _, high = self.ranges[name]
                encoded = encoded.clone()
                encoded[:, i] = (2 * (MEASURED[name](image, target) - low) / (high - low) - 1).clamp(-1, 1)
                if name in self.auto:
                    encoded[:, len(names) + self.auto.index(name)] = 0
        return encoded

    def sample(self, count: int, generator: torch.Generator, share: float = 0.5) -> Tensor:
        """For training: (count, P), each uniform over its range with probability `share`, else at its default.

        Where there are several, half of the pictures ask for nothing: what most users do must be learned best. Facts of
        the picture (`MEASURED`) stay at their default.
        """
        device, names = generator.device, list(self.ranges)
        drawn = torch.rand(count, len(names), generator=generator, device=device) * 2 - 1
        free = torch.rand(count, max(1, len(names)), generator=generator, device=device)[:, : len(names)] < share
        if len(names) > 1:
            free &= torch.rand(count, 1, generator=generator, device=device) < 0.5
        free[:, [column for column, name in enumerate(names) if name in MEASURED]] = False
        defaults = self.encode(None, count, device)
        values = torch.where(free, drawn, defaults[:, : len(names)])
        asked = [free[:, names.index(name), None] for name in self.auto]
        return torch.cat([values, *(1 - flag.float() for flag in asked)], dim=1)
