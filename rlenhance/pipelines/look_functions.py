"""What a look may set, and how it follows the picture: knobs as linear functions of statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rlenhance.core.errors import UsageError
from rlenhance.pipelines.color_table import MOST_GAIN
from rlenhance.pipelines.options import PREFERENCES, EnhanceSettings

if TYPE_CHECKING:
    import numpy as np

_DAYLIGHT = 6504.0  # kelvin
_SIDE = 128  # pixels of the picture that is looked at

#: What a look may set: name -> (lowest, default, highest). `exposure_shift` is added to the automatic exposure;
#: `warmth` is in mired: 1e6/6504 K less 1e6/K of the light that is made daylight, so that above 0 the picture becomes
#: warmer; `table_gain` is that of the colour table, in stops; the others are preferences and settings of their names.
KNOBS: Mapping[str, tuple[float, float, float]] = {
    "exposure_shift": (-0.3, 0.0, 0.3), "contrast": (-1.0, 0.0, 1.0), "color": (-1.0, 0.0, 1.0),
    "highlights": (0.0, 0.0, 1.0), "smoothness": (0.0, 0.0, 1.0), "strength": (0.0, 1.0, 1.0),
    "denoise": (0.0, 0.5, 1.0), "warmth": (-245.0, 0.0, 70.0), "table_gain": (-MOST_GAIN, 0.0, MOST_GAIN)}


class Statistic(NamedTuple):
    """A number that is measured in a picture.

    Attributes:
        about: what it is, with its unit.
        mean, deviation: over photographs, dark and well exposed ones; functions take (value - mean) / deviation.
    """

    about: str
    mean: float
    deviation: float


#: The statistics by name. None depends on the resolution, so that a preview and the whole photograph get the same
#: settings. The means and deviations belong to the version of the file.
STATISTICS: Mapping[str, Statistic] = {
    "level": Statistic("mean brightness, 0 to 1", 0.2, 0.16),
    "stops": Statistic("mean logarithm of the luminance, in stops", -5.9, 1.9),
    "spread": Statistic("standard deviation of that logarithm, in stops", 1.8, 0.6),
    "dark": Statistic("share of the picture below 0.1", 0.5, 0.3),
    "bright": Statistic("share of the picture with a channel above 0.8", 0.05, 0.08),
    "saturation": Statistic("difference of the largest and the smallest channel, over the largest", 0.25, 0.15),
    "automatic": Statistic("automatic exposure, 0 to 1", 0.47, 0.05),
    "warmth": Statistic("warmth of the light, log of red over blue", 0.0, 0.4),
    "tint": Statistic("magenta (above 0) or green tint of the light", 0.0, 0.08),
}
#: Standardised statistics are clipped to this, so that an odd picture does not throw a knob.
CLIP = 2.5


@dataclass(frozen=True)
class LinearFunction:
    """A knob as a function of the picture: bias + the sum of weights times standardised statistics.

    Attributes:
        bias: its value for a picture of mean statistics.
        weights: statistic -> change of the knob per standard deviation.
    """

    bias: float
    weights: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, found: Mapping[str, float]) -> float:
        """The value for the `statistics` of a picture."""
        return self.bias + sum(weight * standardised(name, found[name]) for name, weight in self.weights.items())


def with_knobs(settings: EnhanceSettings, values: Mapping[str, float]) -> EnhanceSettings:
    """Settings with knobs of `KNOBS` at these values, clipped to their ranges; others stay.

    Example:
        >>> with_knobs(EnhanceSettings(), {"contrast": 2, "warmth": -153.2}).white
        3257.8
    """
    clipped = {name: min(max(float(value), KNOBS[name][0]), KNOBS[name][2]) for name, value in values.items()}
    changes: dict[str, Any] = {name: round(value, 4) for name, value in clipped.items()
                               if name not in PREFERENCES and name not in ("warmth", "table_gain")}
    if "table_gain" in clipped:
        if settings.table is None:
            raise UsageError("table_gain is the gain of a colour table, and there is none: leave it out")
        changes["table"] = replace(settings.table, gain=round(clipped["table_gain"], 4))
    if "warmth" in clipped:
        kelvin = 1e6 / (1e6 / _DAYLIGHT - clipped["warmth"])
        changes["white"] = round(min(max(kelvin, 2500.0), 12000.0), 1) if abs(clipped["warmth"]) > 0.5 else 0.0
    preference = {name: round(value, 4) for name, value in clipped.items() if name in PREFERENCES}
    return replace(settings, preference={**settings.preference, **preference}, **changes)


def warmth_of(kelvin: float) -> float:
    """The knob `warmth`, in mired, of a light of a temperature that is made daylight.

    Example:
        >>> round(warmth_of(3257.8), 1)
        -153.2
    """
    return 1e6 / _DAYLIGHT - 1e6 / kelvin


def standardised(name: str, value: float) -> float:
    """A statistic in standard deviations from its mean, clipped to `CLIP`."""
    about = STATISTICS[name]
    return min(max((value - about.mean) / about.deviation, -CLIP), CLIP)


def statistics(pixels: np.ndarray) -> dict[str, float]:
    """The `STATISTICS` of a picture (H, W, 3), uint8, uint16 or float in [0, 1]."""
    import numpy as np

    from rlenhance.core.pixels import linear_from_srgb, resized_planes
    from rlenhance.ops.plane_statistics import auto_exposure
    from rlenhance.ops.white_balance import estimate_lights, warmth_and_tint

    planes = resized_planes(pixels, _SIDE)[0]
    small = planes.transpose(1, 2, 0)
    level, top = small.mean(axis=2), small.max(axis=2)
    stops = np.log2(linear_from_srgb(level) + 2.0**-10)
    warmth, tint = warmth_and_tint(estimate_lights(small)).mean(axis=0)
    found = {
        "level": level.mean(), "stops": stops.mean(), "spread": stops.std(), "dark": (level < 0.1).mean(),
        "bright": (top > 0.8).mean(), "saturation": (top - small.min(axis=2)).mean() / (top.mean() + 1e-3),
        "automatic": auto_exposure(planes).item(), "warmth": warmth, "tint": tint}
    return {name: float(value) for name, value in found.items()}
