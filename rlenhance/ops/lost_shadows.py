"""Shadows in which 8 bits and the coder have kept next to nothing: made plain before they are raised.

There the values are 0 to 3, constant within the 8x8 blocks of JPEG, and their colour is that of rounding. A curve that
raises them tenfold shows blocks, ochre, green and violet. What is known of such a place is its light, over an area of
more than a block: that is what stays of it.
"""

from __future__ import annotations

import cv2
import numpy as np

from rlenhance.core.pixels import bands, largest_channel

_LOST, _KEPT = 2.0, 6.0  # of 255: the largest channel around a pixel that holds nothing, and that counts in full
_COLORED = 12.0  # of 255: from here on the colour of a pixel is its own
_FEW = 0.01  # share of a picture's pixels that must be lost
_STEP = 4  # pixels of a side that are taken together
_AROUND, _SPREAD, _SOFT = 3, 1.5, 0.75  # of those: the area looked at; deviations of the mean light and of the mask
_BLOTCH = 4.0  # of those: deviation of the mean colour
_ROWS = 256  # of a picture at a time


def has_lost_shadows(picture: np.ndarray) -> bool:
    """Whether `plain_shadows` changes a hundredth of a picture, or of some of its pixels: (H, W, 3).

    Of a picture of 16 bits or of floats, nothing is lost.
    """
    return picture.dtype == np.uint8 and bool((largest_channel(picture) <= _LOST).mean() >= _FEW)


def plain_shadows(picture: np.ndarray) -> np.ndarray:
    """The picture with 16 bits, its lost shadows grey and as bright as their surroundings of some twenty pixels.

    A pixel counts as lost as far as the largest channels around it lie below 4.5 of 255; from 1.5 on it is lost
    altogether. What is lighter does not leak into the mean, so that edges of the light stay sharp.

    Args:
        picture: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint16; what is not lost is 257 times the picture.
    """
    height, width = picture.shape[:2]
    reduced = [_reduced(picture[rows]) for rows in bands(height, _ROWS)]
    top, small = (np.concatenate([part[kind] for part in reduced]) for kind in range(2))
    light = small.mean(axis=2)
    lost, faint = _share_below(top, _LOST, _KEPT), _share_below(top, _KEPT, _COLORED)
    fields = [lost, faint, _mean_where(lost, light, _SPREAD), _mean_where(faint, small - light[..., None], _BLOTCH)]
    result = np.empty(picture.shape, np.uint16)
    for rows in bands(height, _ROWS):
        share, smooth, plain, color = (_enlarged(part, rows, height, width) for part in fields)
        if not smooth.any():
            np.multiply(picture[rows], 257, out=result[rows], dtype=np.uint16)
            continue
        part = picture[rows].astype(np.float32)
        level = cv2.transform(part, np.full((1, 3), 1 / 3, np.float32))[..., None]
        part -= level
        part += smooth * (color - part)
        part *= 1 - share
        part += level + share * (plain - level)
        result[rows] = part.clip(0, 255, out=part) * 257 + 0.5
    return result


def lost_share(picture: np.ndarray) -> np.ndarray:
    """How far each place of a picture is lost, so that `plain_shadows` takes its light from around it.

    Args:
        picture: (H, W, 3) uint8.

    Returns:
        (H // 4, W // 4) float32 in [0, 1].
    """
    tops = [_reduced(picture[rows])[0] for rows in bands(len(picture), _ROWS)]
    return _share_below(np.concatenate(tops), _LOST, _KEPT)


def _share_below(top: np.ndarray, least: float, most: float) -> np.ndarray:
    """1 where the largest channels around a place are below `least` of 255, 0 above `most`, and softly between."""
    around = cv2.blur(top, (_AROUND, _AROUND))
    return np.asarray(cv2.GaussianBlur(np.clip((most - around) / (most - least), 0, 1), (0, 0), _SOFT))


def _enlarged(part: np.ndarray, rows: slice, height: int, width: int) -> np.ndarray:
    """Some rows of (h, w) or (h, w, C), interpolated to height x width: a whole picture would take its memory."""
    down, across = part.shape[0] / height, part.shape[1] / width
    places = np.array([[across, 0, across / 2 - 0.5], [0, down, (rows.start + 0.5) * down - 0.5]])
    found = cv2.warpAffine(part, places, (width, rows.stop - rows.start), borderMode=cv2.BORDER_REPLICATE,
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return found[..., None] if found.ndim == 2 else found


def _mean_where(weight: np.ndarray, values: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian means of (h, w) or (h, w, C) over what has a weight (h, w)."""
    sure = weight + 1e-3
    known = sure if values.ndim == 2 else sure[..., None]
    total = cv2.GaussianBlur(sure, (0, 0), deviation)
    return np.asarray(cv2.GaussianBlur(values * known, (0, 0), deviation) / (
        total if values.ndim == 2 else total[..., None]))


def _reduced(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of some rows (h, W, 3), reduced by `_STEP`: the largest channels around each pixel, and the pixels."""
    size = (max(1, part.shape[1] // _STEP), max(1, part.shape[0] // _STEP))
    most = cv2.dilate(largest_channel(part), np.ones((3, 3), np.uint8)).astype(np.float32)
    return (cv2.resize(most, size, interpolation=cv2.INTER_AREA),
            cv2.resize(part.astype(np.float32), size, interpolation=cv2.INTER_AREA))
