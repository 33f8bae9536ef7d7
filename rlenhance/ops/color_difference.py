"""How different two photographs look beside each other as thumbnails."""

from __future__ import annotations

import cv2
import numpy as np

from rlenhance.core.errors import UsageError

#: Mean CIEDE2000 above which two thumbnails are distinguished. Of 36 pairs, looked at side by side: at 1 none of four
#: is, at 2 every second one, at 2.5 three of four, from 3 on all. Stokes et al. 1992 ("Precision requirements for
#: digital color reproduction") found 2.2, in CIELAB units, for photographs beside each other.
DISTINGUISHED = 2.5
SIDE = 64  # pixels of a thumbnail's longer side


def thumbnail_difference(image: np.ndarray, other: np.ndarray) -> float:
    """Mean CIEDE2000 over the pixels of both pictures, reduced to 64 pixels along the longer side.

    Args:
        image, other: (H, W, 3) uint8, of one size.

    Raises:
        UsageError: of two sizes.

    Example:
        >>> white, grey = (np.full((8, 8, 3), level, np.uint8) for level in (255, 119))
        >>> round(thumbnail_difference(white, grey), 1), thumbnail_difference(grey, grey)
        (36.7, 0.0)
    """
    if image.shape != other.shape:
        raise UsageError(f"pictures of one size are compared; got {image.shape} and {other.shape}")
    return float(ciede2000(_lab(image), _lab(other)).mean())


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The colour difference CIEDE2000 of colours in CIELAB: (..., 3), (..., 3) -> (...) float64.

    Source: Sharma, Wu and Dalal 2005, "The CIEDE2000 Color-Difference Formula", equations 2 to 22.
    """
    (light, a, b), (light2, a2, b2) = (np.moveaxis(np.asarray(lab, np.float64), -1, 0) for lab in (first, second))
    seventh = ((np.hypot(a, b) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1 + 0.5 * (1 - np.sqrt(seventh / (seventh + 25.0**7)))
    chroma, chroma2 = np.hypot(stretch * a, b), np.hypot(stretch * a2, b2)
    hue, hue2 = (np.arctan2(y, stretch * x) % (2 * np.pi) for x, y in ((a, b), (a2, b2)))
    grey = chroma * chroma2 == 0
    turn = np.where(grey, 0, (hue2 - hue + np.pi) % (2 * np.pi) - np.pi)
    level, mean = (light + light2) / 2, (chroma + chroma2) / 2
    angle = np.where(grey, hue + hue2, (hue + hue2) / 2 + np.pi * (np.abs(hue - hue2) > np.pi))
    tone = 1 - 0.17 * np.cos(angle - np.radians(30)) + 0.24 * np.cos(2 * angle) \
        + 0.32 * np.cos(3 * angle + np.radians(6)) - 0.20 * np.cos(4 * angle - np.radians(63))
    by_light = (light2 - light) / (1 + 0.015 * (level - 50) ** 2 / np.sqrt(20 + (level - 50) ** 2))
    by_chroma = (chroma2 - chroma) / (1 + 0.045 * mean)
    by_hue = 2 * np.sqrt(chroma * chroma2) * np.sin(turn / 2) / (1 + 0.015 * mean * tone)
    blue = np.radians(60) * np.exp(-(((np.degrees(angle) % 360 - 275) / 25) ** 2))
    turned = -2 * np.sqrt(mean**7 / (mean**7 + 25.0**7)) * np.sin(blue)
    return np.asarray(np.sqrt(by_light**2 + by_chroma**2 + by_hue**2 + turned * by_chroma * by_hue))


def _lab(image: np.ndarray) -> np.ndarray:
    """CIELAB of the thumbnail (D65): (h, w, 3) float32."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))),
                       interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
