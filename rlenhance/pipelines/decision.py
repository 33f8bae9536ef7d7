"""What is decided on a photograph before it is rendered, and what was done to it, in words.

See `Enhancer.decide` and `Enhancer.render`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rlenhance.core import ArrayAction
from rlenhance.core.pixels import largest_channel
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE
from rlenhance.ops.white_balance import NEUTRAL, apply_gains, auto_gains, describe_gains, kelvin_gains

if TYPE_CHECKING:
    from rlenhance.io.photo import Photo
    from rlenhance.pipelines.color_table import ColorTable

_GRID = 256  # pixels along a side that are looked at, at least
_BRIGHT, _FEW = 200, 0.005  # of 255; share of the picture
_BLACK, _MOSTLY, _HELD_BACK = 2, 0.3, 0.75  # of 255; share of the picture; stops
_MISSED = 0.03  # brightness
_BURNT, _WAS_WHOLE = 250, 240  # of 255: the largest channel after, and before


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
        plain_shadows: whether shadows that hold next to nothing are made plain before they are raised, see
            `rlenhance.ops.lost_shadows`.
    """

    white: White = field(default_factory=White)
    actions: Sequence[ArrayAction] | None = None
    noise: float | None = 0.0
    gains: np.ndarray | None = None
    table: ColorTable | None = None
    plain_shadows: bool = False


def every_other(photo: Photo) -> np.ndarray:
    """A copy of every n-th visible pixel along each side, as few as are 256 or more: (h, w, 3), of the same dtype."""
    down, across = (max(1, side // _GRID) for side in photo.pixels.shape[:2])
    return photo.visible_pixels[::down, ::across].copy()


def describe_change(before: np.ndarray, after: np.ndarray, levels: Mapping[str, float], denoised: float) -> str:
    """What was done to a photograph, in a line: brightness, highlights, noise.

    Args:
        before, after: of the photograph and its result, see `every_other`.
        levels: their mean brightness in [0, 1], "exposure_before" and "exposure".
        denoised: share of the visible noise that was removed.
    """
    words = ["brightness {exposure_before:.2f} -> {exposure:.2f}".format(**levels)]
    seen = [before, after]
    if before.dtype != np.uint8:
        factor = 1 / 257 if before.dtype == np.uint16 else 255.0
        seen = [cv2.convertScaleAbs(pixels, alpha=factor) for pixels in seen]
    burnt = newly_burnt(seen[1], seen[0])
    if burnt >= _FEW:
        words.append(f"{burnt:.1%} newly burnt")
    elif (largest_channel(seen[0]) >= _BRIGHT).mean() >= _FEW:
        words.append("highlights held")
    if denoised:
        words.append("noise taken out" if denoised == 1 else f"{denoised:.0%} of the noise taken out")
    return ", ".join(words)


def exposure_notes(part: np.ndarray, levels: Mapping[str, float], named: float | None) -> dict[str, str]:
    """What is to be said of the exposure: "missed" of a named one, "shadows" of an automatic one, or nothing.

    Args:
        part: of the photograph, see `every_other`.
        levels: see `describe_change`.
        named: the exposure that was named, in [0, 1]; None: it is automatic.
    """
    name, words = ("missed", describe_missed(part, named, levels["exposure"])) if named is not None else \
        ("shadows", describe_shadows(part, levels["exposure_before"], levels["exposure"]))
    return {name: words} if words else {}


def describe_shadows(part: np.ndarray, before: float, after: float) -> str:
    """Words for a picture of which too little was recorded to make it as bright as others; empty for any other.

    Args:
        part: see `every_other`.
        before, after: the mean brightness of the picture and of its result, in [0, 1].
    """
    black = _black_share(part)
    before, after = max(before, 1e-4), max(after, 1e-4)
    raised, usual = math.log2(after / before), math.log2(DEFAULT_EXPOSURE / before)
    if black < _MOSTLY or usual - raised < _HELD_BACK:
        return ""
    return (f"almost nothing was recorded in {black:.0%} of the picture: raised by {raised:.1f} stops, not the "
            f"{usual:.1f} of an even exposure")


def describe_missed(part: np.ndarray, asked: float, reached: float) -> str:
    """Words for a picture that has not got the exposure that was named; empty for one that has, within 0.03.

    Args:
        part: of the photograph, see `every_other`.
        asked, reached: mean brightness in [0, 1].
    """
    if abs(asked - reached) <= _MISSED:
        return ""
    black = _black_share(part)
    why = f"almost nothing was recorded in {black:.0%} of the picture" if reached < asked and black >= _MOSTLY else \
        "the model takes this picture no further"
    return f"asked for an exposure of {asked:.2f}, reached {reached:.2f}: {why}"


def _black_share(part: np.ndarray) -> float:
    """Share of the pixels in which next to nothing was recorded."""
    top = np.iinfo(part.dtype).max if np.issubdtype(part.dtype, np.integer) else 1.0
    return float((largest_channel(part) <= _BLACK / 255 * top).mean())


def newly_burnt(image: np.ndarray, initial: np.ndarray) -> float:
    """Share of the pixels with a channel above 250 where the initial image had none at 240 or more.

    Args:
        image, initial: (H, W, 3) uint8.
    """
    return float(((largest_channel(image) > _BURNT) & (largest_channel(initial) < _WAS_WHOLE)).mean())
