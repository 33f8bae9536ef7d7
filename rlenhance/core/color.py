"""The sRGB encoding of linear light, and action maps as colours."""

from __future__ import annotations

import numpy as np

_DARKENS, _BRIGHTENS = (0.15, 0.35, 0.95), (1.0, 0.55, 0.05)  # blue, orange; white does nothing


def linear_from_srgb(value: np.ndarray) -> np.ndarray:
    """Decode sRGB (IEC 61966-2-1): values in [0, 1] to linear light in [0, 1], float32."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_from_linear(value: np.ndarray) -> np.ndarray:
    """Encode linear light in [0, 1] as sRGB (IEC 61966-2-1), float32."""
    curve = 1.055 * np.maximum(value, 0) ** (1 / 2.4) - 0.055
    return np.where(value <= 0.0031308, value * 12.92, curve).astype(np.float32)


def magnitude_colors(magnitude: np.ndarray, size: tuple[int, int], limit: float = 1.0) -> np.ndarray:
    """Action magnitudes as colours, one block per agent: (C, h, w) -> (*size, 3) float32 in [0, 1].

    White is no change, orange brightens, blue darkens. Channels are averaged.

    Args:
        magnitude: (C, h, w), see `rlenhance.learning.actions.ActionSet.magnitude`.
        size: (height, width) in pixels.
        limit: magnitude of the full colour.
    """
    amount = (magnitude.mean(axis=0) / limit).clip(-1, 1)[..., None]
    colors = np.ones((*amount.shape[:2], 3), np.float32)
    for sign, color in ((-1, _DARKENS), (1, _BRIGHTENS)):
        colors = colors + (sign * amount).clip(0, None) * (np.array(color, np.float32) - 1)
    rows, columns = (np.arange(pixels) * agents // pixels for pixels, agents in zip(size, amount.shape, strict=False))
    return np.asarray(colors[rows][:, columns], np.float32)
