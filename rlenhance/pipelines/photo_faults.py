"""What is seen of a photograph without a reference, for people: brightness, clipped places, noise, blocks, a cast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlenhance.core.pixels import largest_channel, to_planes
from rlenhance.ops.camera_noise import see_noise
from rlenhance.ops.noise_estimation import estimate_sigma
from rlenhance.ops.plane_statistics import exposure_of
from rlenhance.ops.white_balance import auto_gains, describe_gains
from rlenhance.pipelines.tool_choice import patches_of, shows_blocks

_GRID = 512  # pixels along a side that levels are taken of, at least
_MEASURED = 3072  # longest side of the middle of a photograph in which noise is measured
_PATCHES = 12  # in which blocks of JPEG are looked for
_BLACK, _BURNT = 2 / 255, 250 / 255  # the largest channel of a pixel without light; that of a burnt one is above
_LEAST_NOISE = 3.0  # of 255: what is weaker hardly shows
#: Brightness up to which a photograph is called so; above the last it is bright.
_LEVELS = ((0.12, "very dark"), (0.25, "dark"), (0.65, ""))


@dataclass(frozen=True)
class PhotoFaults:
    """What was measured of a photograph.

    Attributes:
        brightness: see `rlenhance.ops.plane_statistics.exposure_of`, about in [0, 1].
        black, burnt: shares of the pixels whose largest channel is at most 2, and above 250, of 255.
        noise: standard deviation in 255ths; below 1 none is seen.
        blocks: whether the blocks of JPEG show.
        cast: of the colours ("green"), or "".
    """

    brightness: float
    black: float
    burnt: float
    noise: float
    blocks: bool
    cast: str

    @property
    def level_words(self) -> str:
        """The brightness: "dark (brightness 0.21)"."""
        name = next((word for most, word in _LEVELS if self.brightness < most), "bright")
        return f"{name} (brightness {self.brightness:.2f})" if name else f"brightness {self.brightness:.2f}"

    @property
    def damage(self) -> list[str]:
        """What a repair is for, each with its strength; empty where nothing is wrong."""
        return [word for word, seen in ((f"noise {self.noise:.0f} of 255", self.noise >= _LEAST_NOISE),
                                        ("JPEG blocks", self.blocks), (self.level_words, self.is_dark)) if seen]

    @property
    def is_dark(self) -> bool:
        """Whether the photograph is called dark."""
        return self.brightness < _LEVELS[1][0]

    @property
    def words(self) -> str:
        """All of it, in a line."""
        return ", ".join([self.level_words, f"{self.burnt:.1%} burnt out", f"{self.black:.1%} black",
                          f"noise {self.noise:.0f} of 255" if self.noise >= 1 else "no noise seen",
                          "JPEG blocks" if self.blocks else "no blocks",
                          f"a {self.cast} cast" if self.cast else "no cast"]).replace("%", " %")

    @property
    def scores(self) -> dict[str, float]:
        """The numbers by name."""
        return {"brightness": self.brightness, "burnt": self.burnt, "black": self.black, "noise": self.noise,
                "blocks": float(self.blocks)}


def see_faults(pixels: np.ndarray, coded: bool = False) -> PhotoFaults:
    """Measure what people see of a photograph.

    Args:
        pixels: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.
        coded: its file is a JPEG.
    """
    down, across = (max(1, side // _GRID) for side in pixels.shape[:2])
    small = np.ascontiguousarray(pixels[::down, ::across])
    top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    largest = largest_channel(small) / np.float32(top)
    first = [max(0, (side - _MEASURED) // 2) for side in pixels.shape[:2]]
    middle = pixels[first[0] : first[0] + _MEASURED, first[1] : first[1] + _MEASURED]
    seen = see_noise(middle, coded)
    # of noise that was coded, whose colours are gone, the flattest blocks show more
    noise = max(0.0 if seen.kind == "none" else seen.level, 255 * estimate_sigma(middle))
    patches = patches_of(np.divide(middle, top, dtype=np.float32), _PATCHES)
    return PhotoFaults(
        exposure_of(to_planes(small)[0]).item(), float((largest <= _BLACK).mean()), float((largest > _BURNT).mean()),
        noise, min(patches.shape[-2:]) >= 16 and shows_blocks(patches),
        describe_gains(auto_gains(small)).partition(" cast")[0].removeprefix("a "))
