"""The choices of a user as numbers: preferences for a network, and weights of reward terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlenhance.core.errors import UnknownName, UsageError

#: Preferences that can be automatic.
AUTOMATIC = ("exposure_level", "noise")
#: Preferences that change the chosen actions; networks do not see them.
NON_NETWORK = ("smoothness",)


@dataclass(frozen=True)
class PreferenceRanges:
    """Named choices, each with its range and default; encoded to [-1, 1] for the network.

    Attributes:
        ranges: name -> (lowest, default, highest). Empty: there is no choice.
        auto: names whose value is computed from the image where the user gives none. Each has one more column, after
            those of the ranges: 1 where it is automatic, 0 where the user gave a number.

    Example:
        >>> PreferenceRanges({"exposure_level": (0.25, 0.5, 0.75)}).row({"exposure_level": 0.625}).tolist()
        [0.5]
    """

    ranges: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    auto: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in self.ranges.items():
            if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
                raise UsageError(f"preferences: {name} needs (lowest, default, highest); got {values!r:.60}")
            low, default, high = values
            if not (math.isfinite(low) and math.isfinite(high) and low <= default <= high and low < high):
                raise UsageError(f"preference {name} needs lowest <= default <= highest; got {low}, {default}, {high}")
        for name in self.auto:
            if name not in self.ranges or name not in AUTOMATIC:
                raise UsageError(f"{name} cannot be automatic; of {', '.join(self.ranges) or 'no preferences'}, "
                                 f"{', '.join(AUTOMATIC)} can")

    def __len__(self) -> int:
        return len(self.ranges) + len(self.auto)

    def row(self, values: Mapping[str, float | None] | None) -> np.ndarray:
        """The choices for one image: (P,) float32 in [-1, 1]; a missing name, or None, takes its default.

        An automatic value has its default; what computes it from the image sets it afterwards.

        Raises:
            UnknownName: a name that this policy was not trained for.
            UsageError: there are no preferences, or a value is outside its range.
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
        return np.array([*row, *(float(name not in named) for name in self.auto)], np.float32)

    def scaled(self, name: str, value: float) -> float:
        """A value in the user's units, in [-1, 1]; outside its range it takes the nearest end."""
        low, _, high = self.ranges[name]
        return min(max(2 * (value - low) / (high - low) - 1, -1.0), 1.0)

    def value(self, row: np.ndarray, name: str) -> float | None:
        """A choice of `row` in the user's units; None without it."""
        if name not in self.ranges:
            return None
        low, _, high = self.ranges[name]
        return low + (float(row[list(self.ranges).index(name)]) + 1) * ((high - low) / 2)

    def is_automatic(self, row: np.ndarray, name: str) -> bool:
        """Whether the value of a name is computed from the image."""
        return name in self.auto and bool(row[len(self.ranges) + self.auto.index(name)] > 0.5)

    def seen(self, row: np.ndarray) -> np.ndarray:
        """The row as a network sees it: the columns of `NON_NETWORK` are 0."""
        hidden = [column for column, name in enumerate(self.ranges) if name in NON_NETWORK]
        row = row.copy()
        row[hidden] = 0
        return row


def check_weight(name: str, weight: Any) -> float:
    """The weight of a reward term.

    Raises:
        UsageError: it is no finite number of at least 0.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
        raise UsageError(f"the weight of {name} must be a finite number; got {weight!r}")
    if weight < 0:
        raise UsageError(f"the weight of {name} must not be negative (0 turns it off); got {weight}")
    return float(weight)


def parse_weights(words: Iterable[str], current_name: Callable[[str], str]) -> dict[str, float]:
    """The weights of reward terms in words, `name=weight` each.

    Args:
        words: as they were typed.
        current_name: the name of a term for a typed one; refuses unknown ones.

    Raises:
        UsageError: a word of another form, a name given twice, or what is no number.
    """
    weights: dict[str, float] = {}
    for word in words:
        typed, sign, value = word.partition("=")
        if not sign:
            raise UsageError(f"a reward is written name=weight, as in exposure=1.2; got {word!r}")
        name = current_name(typed)
        if name in weights:
            raise UsageError(f"the reward {name} is given twice")
        try:
            weights[name] = float(value)
        except ValueError as error:
            raise UsageError(f"the weight of {name} must be a number; got {value!r}") from error
    return weights
