"""Filters that prepare a picture of text for an engine, and chains of them.

Each takes and returns grey pictures (H, W) uint8; `enlarge` alone changes the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np

from rlenhance.core.errors import UnknownName

GreyFunction = Callable[[np.ndarray], np.ndarray]
_WIDEST = 72  # pixels: more than letters of a page are high, whatever its size


@runtime_checkable
class ColorFilter(Protocol):
    """A filter that makes more of a picture in colour.

    Attributes:
        version: of what it is made of; readings of other versions are others.
    """

    version: str

    def __call__(self, grey: np.ndarray) -> np.ndarray:
        """(H, W) uint8 -> (H, W) uint8."""

    def on_color(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8, RGB -> the same."""


class ReadChain(NamedTuple):
    """One way to read a picture: filters, then the engine.

    Attributes:
        filters: their names, in order.
        layout: how the engine is to look for text, see `rlenhance_read.ocr.engines.Engine.read`.
    """

    filters: tuple[str, ...] = ()
    layout: str = "block"

    def __str__(self) -> str:
        return (" > ".join(self.filters) or "as it is") + f", {self.layout}" * (self.layout != "block")


def grey_of(picture: np.ndarray) -> np.ndarray:
    """The brightness of an RGB picture: (H, W, 3) or (H, W) uint8 or uint16 -> (H, W) uint8."""
    if picture.dtype == np.uint16:
        picture = np.rint(picture / 257).astype(np.uint8)
    return np.ascontiguousarray(picture) if picture.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(picture),
                                                                               cv2.COLOR_RGB2GRAY)


def chain_versions(chain: ReadChain) -> str:
    """The versions of those filters of a chain that have some: "" where none has."""
    filters = [FILTERS[name] for name in chain.filters]
    return " ".join(each.version for each in filters if isinstance(each, ColorFilter))


def stretch(grey: np.ndarray) -> np.ndarray:
    """The darkest and brightest hundredth of the pixels become black and white."""
    low, high = np.percentile(grey, (1, 99))
    return _whole((grey.astype(np.float32) - low) * (255 / max(1.0, float(high - low))))


def flatten(grey: np.ndarray) -> np.ndarray:
    """Uneven light evened out: each pixel relative to the mean and the contrast around it, then stretched."""
    level = grey.astype(np.float32)
    width = max(8.0, min(2 * _WIDEST, min(grey.shape)) / 3)
    mean = _around(level, width)
    contrast = np.sqrt(_around((level - mean) ** 2, width))
    return stretch(_whole(128 + 50 * (level - mean) / (contrast + 1.5)))


def _around(level: np.ndarray, width: float) -> np.ndarray:
    """A wide Gaussian blur, worked out at a quarter of the size."""
    size = (max(1, level.shape[1] // 4), max(1, level.shape[0] // 4))
    small = cv2.GaussianBlur(cv2.resize(level, size, interpolation=cv2.INTER_AREA), (0, 0), width / 4)
    return cv2.resize(small, level.shape[::-1], interpolation=cv2.INTER_LINEAR)


def clahe(grey: np.ndarray) -> np.ndarray:
    """Local contrast raised (Zuiderveld 1994)."""
    return cv2.createCLAHE(3.0, (4, 8)).apply(grey)


def smooth(grey: np.ndarray, strength: float) -> np.ndarray:
    """Noise smoothed by non-local means, relative to the noise that is there."""
    deviation = noise_of(grey)
    return cv2.fastNlMeansDenoising(grey, None, max(2.0, strength * deviation), 5, 11)


def threshold(grey: np.ndarray) -> np.ndarray:
    """Black and white by the mean around each pixel."""
    side = max(11, int(min(2 * _WIDEST, min(grey.shape)) / 3) | 1)
    return cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, side, 9)


def otsu(grey: np.ndarray) -> np.ndarray:
    """Black and white by one threshold (Otsu 1979)."""
    return cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]


def tophat(grey: np.ndarray) -> np.ndarray:
    """Dark strokes alone, on white: the closing of the picture less the picture, then stretched.

    Source: the black top-hat (Meyer 1979); the closing is smoothed, so that its flat parts leave no edges.
    """
    side = max(9, min(_WIDEST, int(min(grey.shape) / 4)) | 1)
    small, times = grey, max(1, side // 24)
    if times > 1:
        small = cv2.resize(grey, None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side // times | 1,) * 2)
    ground = cv2.morphologyEx(small, cv2.MORPH_CLOSE, ellipse, borderType=cv2.BORDER_REPLICATE)
    ground = cv2.GaussianBlur(ground, (0, 0), side / times / 6)
    if times > 1:
        ground = cv2.resize(ground, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    strokes = (ground.astype(np.float32) - grey).clip(0)
    low, high = np.percentile(strokes, (50, 99))
    return _whole(255 - (strokes - low) * (255 / max(1.0, float(high - low))))


def sauvola(grey: np.ndarray) -> np.ndarray:
    """Black and white by the mean and the contrast around each pixel (Sauvola and Pietikainen 2000)."""
    level = grey.astype(np.float32)
    side = max(11, int(min(2 * _WIDEST, min(grey.shape)) / 3) | 1)
    mean = cv2.blur(level, (side, side), borderType=cv2.BORDER_REPLICATE)
    square = cv2.blur(level**2, (side, side), borderType=cv2.BORDER_REPLICATE)
    spread = np.sqrt((square - mean**2).clip(0))
    return np.where(level < mean * (1 + 0.2 * (spread / max(1.0, float(spread.max())) - 1)), 0, 255).astype(np.uint8)


def sharpen(grey: np.ndarray, width: float = 1.5, amount: float = 1.5) -> np.ndarray:
    """An unsharp mask."""
    level = grey.astype(np.float32)
    return _whole(level + amount * (level - cv2.GaussianBlur(level, (0, 0), width)))


def deblur(grey: np.ndarray, width: float = 1.5) -> np.ndarray:
    """A Gaussian blur reversed by ten steps of Richardson and Lucy."""
    seen = grey.astype(np.float32) + 1
    found = seen.copy()
    for _ in range(10):
        found = found * cv2.GaussianBlur(seen / (cv2.GaussianBlur(found, (0, 0), width) + 1e-3), (0, 0), width)
    return _whole(found - 1)


def enlarge(grey: np.ndarray) -> np.ndarray:
    """Twice the size."""
    return cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


def invert(grey: np.ndarray) -> np.ndarray:
    """Black becomes white."""
    return 255 - grey


def dark_on_light(grey: np.ndarray) -> np.ndarray:
    """Inverted where the picture is mostly dark after it is evened out: text covers less than its ground."""
    even = otsu(flatten(grey))
    return invert(grey) if even.mean() < 127 else grey


def deskew(grey: np.ndarray) -> np.ndarray:
    """Turned, by at most 8 degrees, so that the rows of text lie along those of the picture (`skew_of`)."""
    angle = skew_of(grey)
    return grey if angle == 0 else turned(grey, angle, None)


def skew_of(grey: np.ndarray) -> float:
    """The angle in degrees by which `deskew` turns a picture, for `turned`; 0 below 0.3.

    Source: the angle at which the sums of the rows differ most (Postl 1986).
    """
    small = flatten(grey)
    scale = min(1.0, 400 / max(small.shape))
    small = cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
    edges = np.abs(small - cv2.blur(small, (9, 9)))

    def profile(angle: float) -> float:
        rows = turned(edges, angle, 0.0).mean(axis=1)
        return float(np.square(np.diff(rows)).sum())

    best = max(np.arange(-8, 8.1, 1.0).tolist(), key=profile)
    best = max((best + step for step in (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75)), key=profile)
    return 0.0 if abs(best) < 0.3 else best


def turned(grey: np.ndarray, angle: float, border: float | None) -> np.ndarray:
    """A grey picture turned by an angle in degrees; beyond its border lies `border`, or the border itself."""
    height, width = grey.shape
    matrix = turning(height, width, angle)
    mode = cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT
    return cv2.warpAffine(grey, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=mode,
                          borderValue=border or 0.0)


def turning(height: int, width: int, angle: float) -> np.ndarray:
    """The matrix (2, 3) of `turned`: where a point (x, y, 1) of the picture comes to lie."""
    return np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0))


def noise_of(grey: np.ndarray) -> float:
    """Standard deviation of the noise, from differences that edges hardly touch (Immerkaer 1996), in 255ths."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    found = cv2.filter2D(grey.astype(np.float32), -1, kernel)
    return float(np.median(np.abs(found)) / 0.6745 / 6)


def _whole(level: np.ndarray) -> np.ndarray:
    return np.rint(level).clip(0, 255).astype(np.uint8)


#: The filters by the names that chains have.
FILTERS: dict[str, GreyFunction] = {
    "stretch": stretch, "flatten": flatten, "clahe": clahe, "smooth": partial(smooth, strength=1.5),
    "smooth-strong": partial(smooth, strength=3.0), "soften": lambda grey: cv2.GaussianBlur(grey, (0, 0), 1.0),
    "soften-strong": lambda grey: cv2.GaussianBlur(grey, (0, 0), 2.0),
    "median": lambda grey: cv2.medianBlur(grey, 3),
    "threshold": threshold, "sauvola": sauvola,
    "tophat": tophat, "otsu": otsu, "sharpen": sharpen, "deblur": deblur, "enlarge": enlarge, "invert": invert,
    "dark-on-light": dark_on_light, "deskew": deskew,
}


def apply_filters(grey: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A grey picture after filters, one after the other.

    Raises:
        UnknownName: there is no such filter.

    Example:
        >>> apply_filters(np.zeros((4, 6), np.uint8), ("invert", "enlarge")).shape
        (8, 12)
    """
    for name in names:
        if name not in FILTERS:
            raise UnknownName("filter", name, FILTERS)
        grey = FILTERS[name](grey)
    return grey


def _chain(words: str, layout: str = "block") -> ReadChain:
    return ReadChain(tuple(words.split()), layout)


#: What policies choose among: found on training scenes, each adding most to the best reading of those before it.
CHAINS: tuple[ReadChain, ...] = (
    _chain(""),
    _chain("deskew dark-on-light smooth tophat deblur", "sparse"),
    _chain("deskew dark-on-light soften-strong tophat"),
    _chain("invert soften tophat", "sparse"),
    _chain("smooth tophat"),
    _chain("dark-on-light smooth-strong tophat", "sparse"),
    _chain("smooth clahe"),
    _chain("dark-on-light soften tophat", "sparse"),
    _chain("dark-on-light smooth tophat enlarge", "sparse"),
    _chain("dark-on-light soften tophat"),
    _chain("deskew dark-on-light smooth tophat"),
    _chain("deskew dark-on-light soften tophat deblur"),
    _chain("dark-on-light smooth flatten otsu"),
    _chain("dark-on-light smooth-strong tophat"),
    _chain("deskew dark-on-light median tophat enlarge"),
    _chain("deskew dark-on-light smooth flatten"),
)
