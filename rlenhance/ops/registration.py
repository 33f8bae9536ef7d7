"""Find the part of a photograph that an edit of it shows, whatever was done to its colours."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

#: Correlation of the structures from which on a place counts as found, and from which on the whole picture is taken
#: without a search. On exposure stacks, edited and cropped, true places have 0.6 and more, other scenes 0.3 at most.
FOUND, SURE = 0.42, 0.75
_SIDE = 224  # pixels of the longer side on which places are searched
_SMALLEST = 0.3  # of a side of the photograph
_STEP = 0.985  # from one scale to the next
_FLOOR = 2 / 255


class Place(NamedTuple):
    """A part of a picture: shares of its sides from the top left corner, and the correlation there."""

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def whole(self) -> bool:
        """Nothing was cut away."""
        return self[:4] == (0.0, 0.0, 1.0, 1.0)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The part of (H, W, 3)."""
        height, width = pixels.shape[:2]
        return pixels[round(self.top * height) : max(round(self.bottom * height), round(self.top * height) + 1),
                      round(self.left * width) : max(round(self.right * width), round(self.left * width) + 1)]


def find_place(before: np.ndarray, after: np.ndarray) -> Place:
    """The part of a photograph that its edit shows: cut out and of any size, but upright.

    The edit is moved over the photograph at every scale; what is compared is the structure, see `structure`.

    Args:
        before, after: (H, W, 3), uint8, uint16 or float in [0, 1].

    Returns:
        The best place; a `score` below `FOUND` means that there is none.
    """
    height, width = before.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    field = structure(_reduced(before, size))
    ratio = after.shape[1] / after.shape[0]
    score = _correlation(field, structure(_reduced(after, size)))
    alike = abs(np.log(ratio * height / width)) < 0.012
    best = Place(0.0, 0.0, 1.0, 1.0, score if alike else -1.0)
    if best.score >= SURE:
        return best
    small = _reduced(after, (min(_SIDE, round(_SIDE * ratio)) or 1, min(_SIDE, round(_SIDE / ratio)) or 1))
    widest = min(size[0], size[1] * ratio)
    share = 1.0
    while share * widest >= _SMALLEST * size[0] and share * widest / ratio >= _SMALLEST * size[1]:
        window = round(share * widest), round(share * widest / ratio)
        if min(window) < 8:
            break
        part = structure(cv2.resize(small, window, interpolation=cv2.INTER_AREA))
        found = cv2.matchTemplate(field, part, cv2.TM_CCOEFF_NORMED)
        _, most, _, (left, top) = cv2.minMaxLoc(found)
        if most > best.score:
            best = Place(float(left / size[0]), float(top / size[1]), min(float((left + window[0]) / size[0]), 1.0),
                         min(float((top + window[1]) / size[1]), 1.0), float(most))
        share *= _STEP
    return best


def structure(grey: np.ndarray) -> np.ndarray:
    """Where a picture has edges, beside how strong they are around: (H, W) logarithm of the luminance -> (H, W).

    Curves, exposure and colours hardly change it.
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    strength = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return np.asarray(strength / (cv2.GaussianBlur(strength, (0, 0), 6.0) + 0.05), np.float32)


def _reduced(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Logarithm of the luminance of a picture at a size (width, height)."""
    grey = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32).mean(axis=2)
    top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
    return np.asarray(np.log2(grey / top + _FLOOR), np.float32)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(cv2.matchTemplate(one, other, cv2.TM_CCOEFF_NORMED)[0, 0])
