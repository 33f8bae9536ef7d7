"""What two small pictures of a series both show: frames of a burst, a bracket or a time-lapse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

#: Longest side of a view, in pixels.
SIDE = 192
#: Correlation of the details from which two pictures count as views of one thing.
ALIKE = 0.35
_LEAST = 24  # pixels along each side, also of a row of pixels
_BLUR, _AROUND = 1.0, 6.0  # standard deviations in pixels: against noise, and of what detail is separated from
_FAINT = 0.02  # contrast, of 1, below which detail is noise
_SMALLEST = 0.25  # share of a picture that must be common
_FEATURES, _INLIERS = 400, 15
_SHIFT = 0.35  # of the scale: a burst is held by hand, and not zoomed
_MOVED = 1.0  # stops beyond the median change of brightness: something moved there
_SIGNATURE = 16


@dataclass(frozen=True)
class View:
    """A picture made small, (h, w, 3) uint8, and what it is recognised by."""

    pixels: np.ndarray

    @classmethod
    def of(cls, picture: np.ndarray) -> View:
        """A view of (H, W, 3), uint8, uint16 or float in [0, 1]."""
        factor = min(1.0, SIDE / max(picture.shape[:2]))
        width, height = (max(_LEAST, round(side * factor)) for side in picture.shape[1::-1])
        smaller = width <= picture.shape[1] and height <= picture.shape[0]
        way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=way))
        top = np.iinfo(picture.dtype).max if np.issubdtype(picture.dtype, np.integer) else 1.0
        return cls(np.rint(picture * (255.0 / top)).astype(np.uint8))

    @cached_property
    def level(self) -> np.ndarray:
        """Brightness, (h, w) float32 in [0, 1], a little blurred."""
        return np.asarray(cv2.GaussianBlur(self.pixels.mean(axis=2).astype(np.float32) / 255, (0, 0), _BLUR))

    @cached_property
    def detail(self) -> np.ndarray:
        """(h, w) float32: structure, beside brightness and contrast."""
        beyond = self.level - cv2.GaussianBlur(self.level, (0, 0), _AROUND)
        return np.asarray(beyond / np.sqrt(cv2.GaussianBlur(beyond**2, (0, 0), _AROUND) + _FAINT**2))

    @cached_property
    def signature(self) -> np.ndarray:
        """(256,) float32 of length 1: the coarse structure, for a first guess."""
        small = cv2.resize(self.level, (_SIGNATURE, _SIGNATURE), interpolation=cv2.INTER_AREA)
        small = np.log2(small + 0.02)
        small = (small - small.mean()).ravel()
        return np.asarray(small / (np.linalg.norm(small) + 1e-6))

    @cached_property
    def features(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Points (n, 2) and their ORB descriptors."""
        shown = np.clip(128 + 50 * self.detail, 0, 255).astype(np.uint8)
        points, found = cv2.ORB.create(_FEATURES, edgeThreshold=12, patchSize=21).detectAndCompute(shown, None)
        return np.array([point.pt for point in points], np.float32).reshape(-1, 2), found


def common_pixels(one: View, other: View) -> tuple[np.ndarray, np.ndarray] | None:
    """The pixels of what both show, (n, 3) uint8 each; None where they show different things.

    Pictures of one size are compared as they lie, then as features lie over each other (a shift, a turn and a scale).
    What moved between them, and what is black or clipped in one, is left out.

    Source: Rublee et al. 2011, ORB: an efficient alternative to SIFT or SURF; Fischler and Bolles 1981, RANSAC.
    """
    if one.pixels.shape == other.pixels.shape:
        whole = np.ones(one.level.shape, bool)
        if correlation(one.detail, other.detail, whole) >= ALIKE:
            return _unmoved(one, other.pixels, other.level, whole)
    matrix = _transform(one, other)
    if matrix is None:
        return None
    size = one.level.shape[::-1]
    inside = cv2.warpAffine(np.ones(other.level.shape, np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    if inside.mean() < _SMALLEST or \
            correlation(one.detail, cv2.warpAffine(other.detail, matrix, size), inside) < ALIKE:
        return None
    return _unmoved(one, cv2.warpAffine(other.pixels, matrix, size), cv2.warpAffine(other.level, matrix, size), inside)


def correlation(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Of two maps (h, w), over the pixels of a mask."""
    a, b = one[where], other[where]
    return float((a * b).mean() / (np.sqrt((a * a).mean() * (b * b).mean()) + 1e-9))


def _transform(one: View, other: View) -> np.ndarray | None:
    """(2, 3): where the points of `other` lie in `one`; None where they do not fit."""
    (points, found), (others, other_found) = one.features, other.features
    if found is None or other_found is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(other_found, found)
    if len(matches) < _INLIERS:
        return None
    cv2.setRNGSeed(0)  # RANSAC draws; the same pictures give the same answer
    matrix, inliers = cv2.estimateAffinePartial2D(np.array([others[match.queryIdx] for match in matches]),
                                                  np.array([points[match.trainIdx] for match in matches]),
                                                  ransacReprojThreshold=2.0)
    if matrix is None or inliers.sum() < _INLIERS or abs(np.log(np.hypot(matrix[0, 0], matrix[1, 0]))) > _SHIFT:
        return None
    return np.asarray(matrix)


def _unmoved(one: View, pixels: np.ndarray, level: np.ndarray,
             where: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    change = np.log2((level + 0.01) / (one.level + 0.01))
    where = where & (np.abs(change - np.median(change[where])) <= _MOVED)
    return (one.pixels[where], pixels[where]) if where.mean() >= _SMALLEST / 2 else None
