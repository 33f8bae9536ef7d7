"""What is decided on a photograph before it is rendered: see `Enhancer.decide` and `Enhancer.render`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rlenhance.core import ArrayAction
from rlenhance.ops.white_balance import NEUTRAL, apply_gains, auto_gains, describe_gains, kelvin_gains
from rlenhance.pipelines.color_table import ColorTable


@dataclass(frozen=True, eq=False)
class White:
    """The white balance: gains of the channels.

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
    def rounded(self) -> White:
        """Gains whose logarithms have 32 bits, as the actions have, so that results stay those of version 0.2."""
        return White(np.exp(np.log(self.gains).astype(np.float32).astype(np.float64)), self.named)

    @property
    def words(self) -> str:
        """What was done unasked; may be empty."""
        return "" if self.named else describe_gains(self.gains)


@dataclass(frozen=True, eq=False)
class Decision:
    """What makes the result of a photograph, beside the strength of the settings.

    Attributes:
        white: the white balance; a grey picture is rendered without one.
        actions: of the policy, step by step; None: a network that acts in one pass, or pixel by pixel, acts anew.
        noise: share of the noise that is taken out afterwards; None: as much of it as is visible.
        gains: (3,) of linear light on the result, whatever the strength, for a series; None: none.
        table: of a look, see `EnhanceSettings.table`.
    """

    white: White = field(default_factory=White)
    actions: Sequence[ArrayAction] | None = None
    noise: float | None = 0.0
    gains: np.ndarray | None = None
    table: ColorTable | None = None
