"""The sRGB encoding of linear light."""

from __future__ import annotations

import numpy as np


def linear_from_srgb(value: np.ndarray) -> np.ndarray:
    """Decode sRGB (IEC 61966-2-1): values in [0, 1] to linear light in [0, 1], float32."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_from_linear(value: np.ndarray) -> np.ndarray:
    """Encode linear light in [0, 1] as sRGB (IEC 61966-2-1), float32."""
    curve = 1.055 * np.maximum(value, 0) ** (1 / 2.4) - 0.055
    return np.where(value <= 0.0031308, value * 12.92, curve).astype(np.float32)
