"""Ranges of the numbers in stored settings: a config.json from elsewhere must not ask for more than a machine has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlenhance.core.errors import UsageError

#: Entries of a list or object.
MAX_ENTRIES = 256
#: Setting -> lowest and highest value; of a list, of its entries. Others lie within `OTHER`. What is saved is checked
#: too, so that what was trained can be loaded.
RANGES: Mapping[str, tuple[float, float]] = {
    "width": (1, 2048), "widths": (1, 2048), "generator_width": (1, 2048), "channels": (1, 256), "context": (0, 4096),
    "stride": (1, 64), "strides": (1, 256), "agent_stride": (0, 256), "dilations": (1, 64), "looks": (1, 32),
    "blocks": (0, 128), "down": (0, 64), "up": (0, 64), "layers": (1, 128), "curves": (1, 64), "block": (1, 256),
    "overlap": (0, 256), "latent_dim": (1, 4096), "codes": (1, 65_536), "groups": (1, 1024), "axes": (0, 256),
    "neighbours": (1, 256), "parts": (0, 64), "horizon": (1, 1000), "num_passes": (1, 100), "num_tta_views": (1, 8),
    "decision_size": (8, 4096), "train_size": (8, 4096), "num_bins": (2, 1024), "scale": (1, 16),
    "lead_channel": (0, 2), "own_shares": (0, 1), "receptive_radius": (0, 100_000),
    "batch_size": (0, 65_536), "crop": (1, 16_384), "side": (1, 65_536), "devices": (1, 1024), "workers": (0, 1024),
    "update_epochs": (1, 1000), "codebook_size": (1, 65_536), "clusters": (1, 1024), "recursions": (0, 1000),
}
#: Of all other settings.
OTHER = (-1e12, 1e12)


def check_stored(name: str, value: Any) -> None:
    """Check the numbers in a stored setting, and the lengths of its lists.

    Args:
        name: of the setting.
        value: a number, or lists and objects with numbers; anything else passes.

    Raises:
        UsageError: names setting, value and range.
    """
    low, high = RANGES.get(name, OTHER)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (math.isfinite(value) and low <= value <= high):
            raise UsageError(f"{name:.60} must lie in [{low:,.10g}, {high:,.10g}]; got {value}")
    elif isinstance(value, list | tuple | Mapping):
        if len(value) > MAX_ENTRIES:
            raise UsageError(f"{name:.60} must have at most {MAX_ENTRIES} entries; got {len(value):,}")
        for item in value.items() if isinstance(value, Mapping) else ((name, item) for item in value):
            check_stored(*item)
