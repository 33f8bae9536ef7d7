"""The white balance of a photograph as part of its decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rlenhance.core.types import ArrayAction
from rlenhance.ops.white_balance import NEUTRAL, apply_gains, auto_gains, describe_gains, kelvin_gains

_MEASURED, _NAMED = "white", "light"  # scopes of the action


@dataclass(frozen=True)
class White:
    """Gains of the channels.

    Gains of a light that was named act on the photograph, before the policy, which is exact. Those against a measured
    cast act on the result: by the scores of pairs and of known casts this is as good, and blocks of coding in black are
    tinted less.

    Attributes:
        gains: (3,).
        named: see above.
    """

    gains: np.ndarray = field(default_factory=lambda: NEUTRAL)
    named: bool = False

    @classmethod
    def of(cls, pixels: np.ndarray, setting: float | None) -> White:
        """Those of a setting (see `EnhanceSettings.white`) for a picture (H, W, 3)."""
        return cls() if setting == 0 else cls(auto_gains(pixels)) if setting is None else cls(kelvin_gains(setting),
                                                                                             True)

    @property
    def neutral(self) -> bool:
        """They change nothing."""
        return bool((self.gains == 1).all())

    def before(self, picture: np.ndarray) -> np.ndarray:
        """The photograph as the policy gets it: (H, W, 3); of 8 bits with 16, where it changes."""
        return apply_gains(picture, self.gains, wide=True) if self.named and not self.neutral else picture

    def after(self, picture: np.ndarray) -> np.ndarray:
        """The result of the policy, (H, W, 3), with the gains that it has not got yet; its array is used for them."""
        if self.named or self.neutral:
            return picture
        return apply_gains(picture, self.gains, out=picture if picture.flags.c_contiguous else None)

    @property
    def words(self) -> str:
        """What was done unasked; may be empty."""
        return "" if self.named else describe_gains(self.gains)

    def action(self) -> ArrayAction:
        """The first action of a decision: logarithms of the gains, (1, 3, 1, 1)."""
        return {_NAMED if self.named else _MEASURED: np.log(self.gains).astype(np.float32).reshape(1, 3, 1, 1)}


def split_white(actions: Sequence[ArrayAction]) -> tuple[White, Sequence[ArrayAction]]:
    """The gains of a decision, and the actions of the policy."""
    for scope in (_MEASURED, _NAMED):
        if actions and scope in actions[0]:
            return White(np.exp(actions[0][scope].ravel().astype(np.float64)), scope == _NAMED), actions[1:]
    return White(), actions
