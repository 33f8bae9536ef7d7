"""How different two photographs look beside each other as thumbnails."""

from __future__ import annotations

import cv2
import numpy as np

from rlenhance.core.errors import UsageError

#: Mean CIEDE2000 above which two thumbnails are told apart. Of 36 pairs, looked at side by side: at 1 none of four is
#: told apart, at 2 every second one, at 2.5 three of four, from 3 on all. Stokes et al. 1992 ("Precision requirements
#: for digital color reproduction") found 2.2, in CIELAB units, for photographs beside each other.
TOLD_APART = 2.5
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
    from skimage.color import deltaE_ciede2000  # here: it costs start-up time

    if image.shape != other.shape:
        raise UsageError(f"pictures of one size are compared; got {image.shape} and {other.shape}")
    difference: np.ndarray = deltaE_ciede2000(_lab(image), _lab(other))  # type: ignore[no-untyped-call]
    return float(difference.mean())


def _lab(image: np.ndarray) -> np.ndarray:
    """CIELAB of the thumbnail (D65): (h, w, 3) float32."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))),
                       interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
