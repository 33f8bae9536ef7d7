"""What the enhancement of a photograph did, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from rlenhance.core.pixels import largest_channel
from rlenhance.io import Photo
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE
from rlenhance.ops.visible_faults import newly_burnt

_GRID = 256  # pixels along a side that are looked at, at least
_BRIGHT, _FEW = 200, 0.005  # of 255; share of the picture
_BLACK, _MOSTLY, _HELD_BACK = 2, 0.3, 0.75  # of 255; share of the picture; stops


def every_other(photo: Photo) -> np.ndarray:
    """A copy of every n-th visible pixel along each side, as few as are 256 or more: (h, w, 3), of the same dtype."""
    down, across = (max(1, side // _GRID) for side in photo.pixels.shape[:2])
    return photo.visible_pixels[::down, ::across].copy()


def describe_change(before: np.ndarray, after: np.ndarray, levels: Mapping[str, float], denoised: float) -> str:
    """What was done to a photograph, in a line: brightness, highlights, noise.

    Args:
        before, after: of the photograph and its result, see `every_other`.
        levels: their mean brightness in [0, 1], "exposure_before" and "exposure".
        denoised: share of the visible noise that was removed.
    """
    words = ["brightness {exposure_before:.2f} -> {exposure:.2f}".format(**levels)]
    seen = [before, after]
    if before.dtype != np.uint8:
        factor = 1 / 257 if before.dtype == np.uint16 else 255.0
        seen = [cv2.convertScaleAbs(pixels, alpha=factor) for pixels in seen]
    burnt = newly_burnt(seen[1], seen[0])
    if burnt >= _FEW:
        words.append(f"{burnt:.1%} newly burnt")
    elif (largest_channel(seen[0]) >= _BRIGHT).mean() >= _FEW:
        words.append("highlights held")
    if denoised:
        words.append("noise taken out" if denoised == 1 else f"{denoised:.0%} of the noise taken out")
    return ", ".join(words)


def describe_shadows(part: np.ndarray, before: float, after: float) -> str:
    """Words for a picture of which too little was recorded to make it as bright as others; empty for any other.

    Args:
        part: see `every_other`.
        before, after: the mean brightness of the picture and of its result, in [0, 1].
    """
    top = np.iinfo(part.dtype).max if np.issubdtype(part.dtype, np.integer) else 1.0
    black = float((largest_channel(part) <= _BLACK / 255 * top).mean())
    before, after = max(before, 1e-4), max(after, 1e-4)
    raised, usual = math.log2(after / before), math.log2(DEFAULT_EXPOSURE / before)
    if black < _MOSTLY or usual - raised < _HELD_BACK:
        return ""
    return (f"almost nothing was recorded in {black:.0%} of the picture: raised by {raised:.1f} stops, not the "
            f"{usual:.1f} of an even exposure")
