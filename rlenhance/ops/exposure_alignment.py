"""How a frame of a bracket lies over another one: a shift and a turn, found whatever their exposures."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from rlenhance.core.pixels import reduced_by_area

#: Correlation of the details from which two frames count as views of one thing.
ALIKE = 0.25
_PIXELS = 600_000  # on which motion is found
_COARSE = 384  # pixels of the longer side on which the shift is found
_FARTHEST, _TURN = 0.2, 8.0  # of a side, and degrees: frames of a bracket are held by hand
_STILL = 0.3  # pixels of the corners, below which frames lie as they are: so exact is what is found
_FLAT = 0.02  # power of details below which there are none
_DARK, _LIGHT = 4 / 255, 250 / 255  # beyond them nothing was recorded
_ANYTHING = 0.0005  # share of the pixels that a frame has recorded, if it shows anything: a lamp
_LEAST = 0.02  # share of the pixels that both recorded, below which nothing can be said
_AROUND, _FAINT = 0.012, 0.04  # of the longer side: the surroundings of a detail; its least contrast in log2


class Motion(NamedTuple):
    """Where a frame shows what the other one has.

    Attributes:
        matrix: (2, 3) float64: a pixel (x, y, 1) of the other one -> its place in the frame.
        correlation: of the details there; NaN where too little was recorded by both to say it, and the frame is taken
            as it lies.
    """

    matrix: np.ndarray
    correlation: float

    @property
    def known(self) -> bool:
        """Whether both are seen to show the same."""
        return self.correlation >= ALIKE

    @property
    def still(self) -> bool:
        """Whether the frame lies as the other one does."""
        return bool(np.array_equal(self.matrix, np.eye(2, 3)))


def find_motion(frame: np.ndarray, other: np.ndarray) -> Motion:
    """The shift and the turn of a frame against another one of the same size.

    The details of both (the logarithm of the brightness, less its surroundings, by the contrast there) do not depend on
    the exposure. Their correlation gives the shift, and the enhanced correlation coefficient a shift below a pixel and
    a turn; what one of them has clipped does not count. A motion below 0.3 pixels of at most 600,000 is none.

    Args:
        frame, other: (H, W, 3), uint8 or uint16.

    Source: Evangelidis and Psarakis 2008, Parametric image alignment using enhanced correlation coefficient
    maximization.
    """
    levels = [_level(picture) for picture in (other, frame)]
    height, width = levels[0].shape
    factor = min(1.0, _COARSE / max(height, width))
    small = [cv2.resize(level, (max(8, round(width * factor)), max(8, round(height * factor))),
                        interpolation=cv2.INTER_AREA) for level in levels]
    matrix = np.eye(2, 3, dtype=np.float32)
    matrix[:, 2] = _shift(*map(_detail, small), *map(_recorded, small))
    matrix = _refined(matrix, *small)
    matrix[:, 2] *= np.array([width, height]) / np.array(small[0].shape[::-1])
    matrix = _refined(matrix, *levels)
    best, still = (_correlation(choice, *levels) for choice in (matrix, np.eye(2, 3, dtype=np.float32)))
    if np.isnan(still) or not best > still + 0.002 or not _plausible(matrix, width, height) or \
            _farthest(matrix, width, height) < _STILL:
        return Motion(np.eye(2, 3), still)
    scale = frame.shape[1] / width
    matrix = matrix.astype(np.float64)
    # pixel centres: x + 1/2 is what scales
    turn = matrix[:, :2]
    matrix[:, 2] = scale * (matrix[:, 2] + turn @ (0.5, 0.5) - 0.5) - turn @ (0.5, 0.5) + 0.5
    return Motion(matrix, best)


def shows_anything(frame: np.ndarray) -> bool:
    """Whether a frame (H, W, 3), uint8 or uint16, is neither black nor burnt all over."""
    return bool(_recorded(_level(frame)).mean() >= _ANYTHING)


def after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Of two motions (2, 3) the one that does what the first does, and then the second."""
    return np.asarray(second[:, :2] @ first + np.array([[0, 0, 1]]) * second[:, 2:])


def moved(frame: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """A frame as the other one lies, and where it has something to show.

    Args:
        frame: (H, W, 3), uint8 or uint16.
        matrix: (2, 3) of its motion.

    Returns:
        (H, W, 3), the frame itself where nothing moves; and (H, W) bool, None for everywhere. Outside, the border of
        the frame is repeated.
    """
    if np.array_equal(matrix, np.eye(2, 3)):
        return frame, None
    height, width = frame.shape[:2]
    whole = np.allclose(matrix[:, :2], np.eye(2)) and np.allclose(matrix[:, 2], np.rint(matrix[:, 2]))
    way = cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if whole else cv2.INTER_CUBIC)
    result = cv2.warpAffine(frame, matrix, (width, height), flags=way, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones((height, width), np.uint8), matrix, (width, height),
                            flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST)
    return np.asarray(result), np.asarray(cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)) > 0


def _level(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (h, w) float32 in [0, 1], small enough to be searched."""
    small = reduced_by_area(picture, _PIXELS)
    top = np.iinfo(small.dtype).max if np.issubdtype(small.dtype, np.integer) else 1
    return np.asarray(small.astype(np.float32).mean(axis=2) / np.float32(top), np.float32)


def _recorded(level: np.ndarray) -> np.ndarray:
    """(h, w) uint8: 1 where a frame is neither black nor clipped."""
    return ((level > _DARK) & (level < _LIGHT)).astype(np.uint8)


def _detail(level: np.ndarray) -> np.ndarray:
    """(h, w) float32: structure, whatever the brightness and the contrast around."""
    spread = max(2.0, _AROUND * max(level.shape))
    light = np.log2(cv2.GaussianBlur(level, (0, 0), 0.8) + _DARK)
    beyond = light - cv2.GaussianBlur(light, (0, 0), spread)
    return np.asarray(beyond / np.sqrt(cv2.GaussianBlur(beyond**2, (0, 0), 2 * spread) + _FAINT**2), np.float32)


def _shift(other: np.ndarray, frame: np.ndarray, other_known: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The shift in whole pixels at which the details of two frames agree best, (x, y)."""
    height, width = other.shape
    size = 2 * height, 2 * width
    parts = [np.fft.rfft2(detail * where, size) for detail, where in ((other, other_known), (frame, known))]
    product = np.fft.irfft2(np.conj(parts[0]) * parts[1], size)
    down, across = int(_FARTHEST * height), int(_FARTHEST * width)
    rows, columns = np.arange(-down, down + 1), np.arange(-across, across + 1)
    near = product[np.ix_(rows, columns)]
    row, column = np.unravel_index(near.argmax(), near.shape)
    return np.array([columns[column], rows[row]], np.float32)


def _refined(matrix: np.ndarray, other: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A motion made exact; as it was where there is too little to go by."""
    both = _common(matrix, other, frame)
    if both.mean() < _LEAST:
        return matrix
    # the mask is of the frame: where it and the other one, laid over it, were recorded
    known = cv2.warpAffine(both, matrix, other.shape[::-1], flags=cv2.INTER_NEAREST)
    try:
        _, found = cv2.findTransformECC(_detail(other), _detail(frame), matrix.copy(), cv2.MOTION_EUCLIDEAN,
                                        (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-5), known, 5)
    except cv2.error:  # it does not converge: they show different things
        return matrix
    return np.asarray(found)


def _common(matrix: np.ndarray, other: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(h, w) uint8: 1 where both were recorded, as the other one lies."""
    there = cv2.warpAffine(_recorded(frame), matrix, other.shape[::-1],
                           flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST)
    return np.asarray(_recorded(other) & there)


def _correlation(matrix: np.ndarray, other: np.ndarray, frame: np.ndarray) -> float:
    """Of the details, where both were recorded; NaN where that is hardly anywhere, or there are none."""
    both = _common(matrix, other, frame) > 0
    if both.mean() < _LEAST:
        return float("nan")
    laid = cv2.warpAffine(frame, matrix, other.shape[::-1], flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR)
    one, two = _detail(other)[both], _detail(laid)[both]
    power = (one * one).mean(), (two * two).mean()
    return float((one * two).mean() / np.sqrt(power[0] * power[1])) if min(power) > _FLAT else float("nan")


def _farthest(matrix: np.ndarray, width: int, height: int) -> float:
    """How far the corner that moves most is moved, in pixels."""
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    return float(np.hypot(*(matrix @ corners - corners[:2])).max())


def _plausible(matrix: np.ndarray, width: int, height: int) -> bool:
    """Whether a hand may have moved a camera so."""
    middle = np.array([width / 2, height / 2, 1.0])
    share = np.abs(matrix @ middle - middle[:2]) / (width, height)
    return bool(share.max() <= _FARTHEST and abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= _TURN)
