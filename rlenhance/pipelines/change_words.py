"""What the enhancement of a photograph did, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from rlenhance.io import Photo
from rlenhance.metrics.visible_faults import newly_burnt
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

_BRIGHT, _FEW = 200, 0.005  # of 255; share of the picture
_BLACK, _MOSTLY, _HELD_BACK = 2, 0.3, 0.75  # of 255; share of the picture; stops


def describe_change(before: Photo, after: Photo, levels: Mapping[str, float], denoised: float) -> str:
    """What was done to a photograph, in a line: brightness, highlights, noise.

    Args:
        before, after: the photograph and its result, of one size.
        levels: their mean brightness in [0, 1], "exposure_before" and "exposure".
        denoised: share of the visible noise that was removed.
    """
    words = ["brightness {exposure_before:.2f} -> {exposure:.2f}".format(**levels)]
    step = [max(1, side // 512) for side in before.pixels.shape[:2]]
    seen = [photo.visible_pixels[:: step[0], :: step[1]] for photo in (before, after)]
    if before.pixels.dtype != np.uint8:
        factor = 1 / 257 if before.pixels.dtype == np.uint16 else 255.0
        seen = [cv2.convertScaleAbs(pixels, alpha=factor) for pixels in seen]
    burnt = newly_burnt(seen[1], seen[0])
    if burnt >= _FEW:
        words.append(f"{burnt:.1%} newly burnt")
    elif (seen[0].max(axis=2) >= _BRIGHT).mean() >= _FEW:
        words.append("highlights held")
    if denoised:
        words.append("noise taken out" if denoised == 1 else f"{denoised:.0%} of the noise taken out")
    return ", ".join(words)


def describe_shadows(pixels: np.ndarray, before: float, after: float) -> str:
    """Words for a picture of which too little was recorded to make it as bright as others; empty for any other.

    Args:
        pixels: (H, W, 3), uint8, uint16 or float in [0, 1].
        before, after: the mean brightness of the picture and of its result, in [0, 1].
    """
    part = pixels[:: max(1, pixels.shape[0] // 512), :: max(1, pixels.shape[1] // 512)]
    top = np.iinfo(part.dtype).max if np.issubdtype(part.dtype, np.integer) else 1.0
    black = float((part.max(axis=2) <= _BLACK / 255 * top).mean())
    before, after = max(before, 1e-4), max(after, 1e-4)
    raised, usual = math.log2(after / before), math.log2(DEFAULT_EXPOSURE / before)
    if black < _MOSTLY or usual - raised < _HELD_BACK:
        return ""
    return (f"almost nothing was recorded in {black:.0%} of the picture: raised by {raised:.1f} stops, not the "
            f"{usual:.1f} of an even exposure")
