"""The user's weights: one validated mapping over the registry of terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.core.preferences import check_weight, parse_weights
from rlenhance.learning.rewards.base import TERMS
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE


class RewardWeights(Mapping[str, float]):
    """A weight for every registered term (0 is off), and the exposure level to reach.

    Args:
        weights: name -> weight; terms that are not named keep their default.
        exposure_level: exposure to reach, in (0, 1), where no preference overrides it.

    Raises:
        UnknownName: no such term; the nearest names are listed.
        UsageError: a weight that is NaN, infinite or negative; a level outside (0, 1).

    Example:
        >>> weights = RewardWeights({"color": 0.5})
        >>> weights["color"], weights["exposure"]
        (0.5, 4.0)
        >>> RewardWeights.parse(["exposure=1.2", "ssim=0"])["exposure"]
        1.2
    """

    def __init__(self, weights: Mapping[str, float] | None = None, *, exposure_level: float = DEFAULT_EXPOSURE):
        self._weights = {name: TERMS[name].default for name in TERMS}
        for name, weight in (weights or {}).items():
            term = term_name(name)  # refuses unknown names
            self._weights[term] = check_weight(name, weight)
        if not (isinstance(exposure_level, (int, float)) and 0 < exposure_level < 1):
            raise UsageError(f"the exposure level must lie between 0 and 1; got {exposure_level!r}")
        self.exposure_level = float(exposure_level)
        self._active = {name: weight for name, weight in self._weights.items() if weight}

    @classmethod
    def only(cls, **weights: float) -> RewardWeights:
        """These terms and no other: the other weights are 0."""
        level = weights.pop("exposure_level", DEFAULT_EXPOSURE)
        return cls({**dict.fromkeys(TERMS, 0.0), **weights}, exposure_level=level)

    @classmethod
    def parse(cls, words: Iterable[str], *, exposure_level: float = DEFAULT_EXPOSURE) -> RewardWeights:
        """Weights from words, `name=weight` each.

        Raises:
            UsageError: a word of another form, a name given twice, or an error of the constructor.
        """
        weights = parse_weights(words, term_name)
        return cls(weights, exposure_level=exposure_level)

    def __getitem__(self, name: str) -> float:
        weight = self._weights.get(name)
        return self._weights[TERMS[name].name] if weight is None else weight  # refuses unknown names

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def active(self) -> dict[str, float]:
        """The terms with a weight above 0."""
        return dict(self._active)

    @property
    def needs_reference(self) -> list[str]:
        """Active terms that compare with a reference."""
        return [name for name in self.active if TERMS[name].reference]

    def to_dict(self) -> dict[str, Any]:
        """The weights and the exposure level, as stored in config.json."""
        return {"weights": dict(self._weights), "exposure_level": self.exposure_level}

    def __repr__(self) -> str:
        inside = " ".join(f"{name}={weight:g}" for name, weight in self.active.items())
        return f"RewardWeights({inside}, exposure_level={self.exposure_level:g})"


def term_name(typed: str) -> str:
    """The name of a term, if there is one.

    Raises:
        UnknownName: there is none.
    """
    name: str = TERMS[typed].name
    return name
