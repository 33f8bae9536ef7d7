"""Style of an image, measured in the units of the preferences: a reference image sets preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from rlenhance.core.image import check_image
from rlenhance.core.registry import Registry
from rlenhance.metrics.full_reference import mean_level

#: Measures by preference: (1, 3, H, W) -> a number in the units of that preference.
MEASURES: Registry[Callable[[Tensor], float]] = Registry("measure")


@MEASURES.register("exposure_level")
def exposure_level(image: Tensor) -> float:
    """Mean of the 8-bit sRGB values, divided by 255."""
    return mean_level(image).item()


def measure(image: Tensor) -> dict[str, float]:
    """All measures of an image, by preference.

    Args:
        image: (1, 3, H, W) in [0, 1].

    Raises:
        UsageError: an image outside the convention.

    Example:
        >>> import torch
        >>> measure(torch.full((1, 3, 8, 8), 0.6))["exposure_level"]
        0.6
    """
    check_image(image)
    return {name: MEASURES[name](image) for name in MEASURES}


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
