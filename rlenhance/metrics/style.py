"""What a picture looks like, in the units of the knobs: one that is liked says how others are to be enhanced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from rlenhance.core.image import check_image
from rlenhance.core.registry import Registry
from rlenhance.metrics.full_reference import mean_level

#: Measures by the preference that they answer: each takes (1, 3, H, W) and gives a number in the preference's units.
MEASURES: Registry[Callable[[Tensor], float]] = Registry("measure")


@MEASURES.register("exposure_level")
def exposure_level(image: Tensor) -> float:
    """Mean of the 8-bit sRGB values, divided by 255."""
    return mean_level(image).item()


def measure(image: Tensor) -> dict[str, float]:
    """Every measure of a picture (1, 3, H, W), by preference.

    Raises:
        UsageError: not a picture of the image convention.

    Example:
        >>> import torch
        >>> measures(torch.full((1, 3, 8, 8), 0.6))["exposure_level"]
        0.6
    """
    check_image(image)
    return {name: MEASURES[name](image) for name in MEASURES}


def clamp_to_ranges(measured: Mapping[str, float],
                ranges: Mapping[str, Sequence[float]]) -> tuple[dict[str, float], list[str]]:
    """What a model can be asked for of a look, and what was moved into its ranges.

    Args:
        measured: see `measure`.
        ranges: what the model takes, name -> (lowest, default, highest).

    Returns:
        The values by name, and a sentence for each one that was moved.
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
