"""Style of an image, measured in the units of the preferences: a reference image sets preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rlenhance.core.pixels import check_picture, check_planes, reduced_by_area, to_planes
from rlenhance.core.registry import Registry

_MOST_PIXELS = 1 << 22  # a larger picture is reduced before it is measured
#: Measures by preference: planes (1, 3, H, W) -> a number in the units of that preference.
MEASURES: Registry[Callable[[np.ndarray], float]] = Registry("measure")


@MEASURES.register("exposure_level")
def exposure_level(planes: np.ndarray) -> float:
    """Mean of the 8-bit sRGB values, divided by 255."""
    return float(np.rint(planes.astype(np.float64) * 255).mean() / 255)


def measure(picture: np.ndarray) -> dict[str, float]:
    """All measures of a picture, by preference; one of more than four megapixels is reduced by area means first.

    Args:
        picture: (H, W, 3) uint8, uint16 or float in [0, 1].

    Raises:
        UsageError: no picture.

    Example:
        >>> measure(np.full((8, 8, 3), 0.6))["exposure_level"]
        0.6
    """
    check_picture(picture)
    planes = check_planes(to_planes(reduced_by_area(picture, _MOST_PIXELS)))
    return {name: MEASURES[name](planes) for name in MEASURES}


def clamp_to_ranges(measured: Mapping[str, float],
                ranges: Mapping[str, Sequence[float]]) -> tuple[dict[str, float], list[str]]:
    """Measured values that a model takes, clamped to its ranges.

    Args:
        measured: see `measure`.
        ranges: the model's preferences, name -> (lowest, default, highest).

    Returns:
        The values by name, and a sentence for each one that was clamped.
    """
    values, moved = {}, []
    for name, value in measured.items():
        if name in ranges:
            low, _, high = ranges[name]
            values[name] = min(max(value, low), high)
            if values[name] != value:
                moved.append(f"{name} {value:.3g} lies outside {low:g} to {high:g}, the range that this model was "
                             f"trained for: {values[name]:g} is asked for")
    return values, moved
