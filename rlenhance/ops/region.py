"""Edits inside a region: the rest of the image does not change by a bit."""

from __future__ import annotations

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import bands

_SOFT = 0.01  # of the longer side: width of the soft edge
_ROWS = 256  # that are blended at once


def region_weights(region: np.ndarray, soft: float = _SOFT) -> np.ndarray:
    """Blending weights of a region: (H, W) float32 in [0, 1].

    Args:
        region: (H, W), 0 outside; bool, uint8, uint16 or float in [0, 1]; greys are partial.
        soft: width of the soft edge, as a share of the longer side. It lies inside; the border of the image is no edge.

    Raises:
        UsageError: another shape, dtype or range.
    """
    region = np.asarray(region)
    if region.ndim != 2 or not (region.dtype in (np.uint8, np.uint16, bool) or
                                np.issubdtype(region.dtype, np.floating)):
        raise UsageError(f"a region must be (H, W), bool, uint8, uint16 or float in [0, 1]; got {region.shape} "
                         f"{region.dtype}")
    top = np.iinfo(region.dtype).max if region.dtype in (np.uint8, np.uint16) else 1
    share = region.astype(np.float32) / np.float32(top)
    if not (share.size and share.min() >= 0 and share.max() <= 1):
        raise UsageError("the values of a region must lie in [0, 1]: 0 outside, 1 where all of the change is made")
    width = soft * max(share.shape)
    if width < 1 or (share > 0).all():
        return share
    way: np.ndarray = cv2.distanceTransform((share > 0).astype(np.uint8), cv2.DIST_L2, 5)
    way /= np.float32(width)
    np.clip(way, 0, 1, out=way)
    for rows in bands(len(way), _ROWS):
        share[rows] *= way[rows] * way[rows] * (3 - 2 * way[rows])
    return share


def check_region(weights: np.ndarray, picture: np.ndarray) -> None:
    """Refuse a region (H, W) of another size than that of the picture (H, W, 3).

    Raises:
        UsageError: the sizes differ.
    """
    if weights.shape != picture.shape[:2]:
        (height, width), (rows, columns) = picture.shape[:2], weights.shape
        raise UsageError(f"the region is {columns}x{rows} and the picture {width}x{height} (upright): give a mask of "
                         f"the picture's size")


def blend_region(picture: np.ndarray, result: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Blend the result into the picture: (H, W, 3) of the picture's dtype, unchanged where the weight is 0.

    Args:
        picture, result: (H, W, 3) of one dtype.
        weights: (H, W) in [0, 1], see `region_weights`.
    """
    blended = picture.copy()
    for rows in bands(len(picture), _ROWS):
        part = weights[rows, :, None]
        if part.any():
            before = picture[rows].astype(np.float64 if picture.dtype == np.float64 else np.float32)
            change = before + part * (result[rows] - before)
            blended[rows] = np.where(part > 0, change if np.issubdtype(picture.dtype, np.floating)
                                     else np.rint(change), before)
    return blended
