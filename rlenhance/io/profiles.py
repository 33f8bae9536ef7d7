"""Colour profiles: wide-gamut images are converted to sRGB for processing, and back without losing their gamut.

Little CMS interprets profiles. Those of cameras, screens and editors are three curves and a matrix, which are sampled
once and applied here, because its 16-bit path interpolates a coarse table (errors of up to 27 of 255 for ProPhoto, 1.2
on average in the shadows). Other profiles take its exact floating-point path, at 4 megapixels a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import cv2
import numpy as np

_FINE = 1 << 20  # entries of a table over linear light: finer than a 16-bit step where the slope is below 16
_BAND = 1 << 19  # pixels that are converted at a time
_GREY = np.array([0.2126, 0.7152, 0.0722], np.float32)  # luminance of linear sRGB (IEC 61966-2-1)
_MOST_GAIN = 16.0


@dataclass(frozen=True, eq=False)
class Profile:
    """A colour profile as two mappings, to and from linear light in the primaries of sRGB (not limited to [0, 1])."""

    icc: bytes

    def to_linear(self, codes: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 or uint16 -> (H, W, 3) float32."""
        return _transform(codes.astype(np.float32) / np.iinfo(codes.dtype).max, self.icc, linear_profile())

    def from_linear(self, light: np.ndarray, dtype: Any) -> np.ndarray:
        """(H, W, 3) float32 -> uint8 or uint16."""
        top = np.iinfo(dtype).max
        return np.rint(np.clip(_transform(light, linear_profile(), self.icc), 0, 1) * top).astype(dtype)


@dataclass(frozen=True, eq=False)
class MatrixProfile(Profile):
    """A profile of three curves and a matrix.

    Attributes:
        curves: (3, 65536) float32: linear light of each code of 16 bits.
        matrix: (3, 3): from the profile's linear light to that of sRGB.
    """

    curves: np.ndarray
    matrix: np.ndarray

    @cached_property
    def tables(self) -> list[np.ndarray]:
        """The curves inverted: three of (2**20,) float32, the codes of linear light."""
        places = np.linspace(0, 1, _FINE, dtype=np.float32)
        codes = np.linspace(0, 65535, 65536, dtype=np.float32)
        return [np.interp(places, curve, codes).astype(np.float32) for curve in self.curves]

    def to_linear(self, codes: np.ndarray) -> np.ndarray:
        curves = self.curves[:, ::257] if codes.dtype == np.uint8 else self.curves
        light = np.empty(codes.shape, np.float32)
        for k, curve in enumerate(curves):
            light[..., k] = np.take(np.ascontiguousarray(curve), codes[..., k])
        return cv2.transform(light, self.matrix)

    def from_linear(self, light: np.ndarray, dtype: Any) -> np.ndarray:
        own = cv2.transform(light, np.linalg.inv(self.matrix).astype(np.float32))
        codes = np.empty(light.shape, dtype)
        scale = np.iinfo(dtype).max / 65535
        for k, table in enumerate(self.tables):
            codes[..., k] = np.rint(np.take(table, _places(own[..., k])) * np.float32(scale))
        return codes


@dataclass(frozen=True)
class WideGamut:
    """Converts sRGB back to the profile of a file.

    Attributes:
        profile: of the file.
        original: (H, W, 3) uint8 or uint16, the pixels in the file.
    """

    profile: Profile
    original: np.ndarray

    def back(self, pixels: np.ndarray) -> np.ndarray:
        """sRGB pixels in the file's profile and depth.

        Colours of the original outside sRGB are restored, brightened as their pixels were: unchanged pixels give the
        original exactly, and a change does not reduce the gamut.

        Args:
            pixels: (H, W, 3) uint8 or uint16, sRGB.
        """
        kind = self.original.dtype
        codes = np.empty(pixels.shape, kind)
        same = pixels.shape == self.original.shape
        for rows in _bands(pixels):
            light = _from_srgb(pixels[rows])
            if same:
                before = self.profile.to_linear(self.original[rows])
                shown = np.clip(before, 0, 1)
                excess = before - shown
                if np.abs(excess).max(initial=0) > 1e-6:
                    gain = (light @ _GREY + 1e-4) / (shown @ _GREY + 1e-4)
                    light += excess * np.minimum(gain, _MOST_GAIN)[..., None]
            codes[rows] = self.profile.from_linear(light, kind)
            if same:
                untouched = (np.take(_srgb_table(), _places(before)) == pixels[rows]).all(axis=2)
                codes[rows][untouched] = self.original[rows][untouched]
        return codes


def to_srgb(pixels: np.ndarray, profile: Profile) -> np.ndarray:
    """(H, W, 3) uint8 or uint16 of a profile as sRGB, uint16; colours outside its gamut are clipped."""
    result = np.empty(pixels.shape, np.uint16)
    table = _srgb_table()
    for rows in _bands(pixels):
        result[rows] = np.take(table, _places(profile.to_linear(pixels[rows])))
    return result


def spread(pixels: np.ndarray, top: int) -> np.ndarray:
    """Values up to `top` as values up to 65535, in place and a band at a time: (H, ...) uint16."""
    for rows in _bands(pixels):
        pixels[rows] = np.rint(pixels[rows] * np.float32(65535 / top))
    return pixels


@lru_cache(maxsize=4)
def open_profile(icc: bytes) -> Profile | None:
    """Open a profile; None if it equals sRGB (within two of 255 levels).

    Raises:
        ValueError: a profile for other than RGB images, or a damaged one.
    """
    space = icc[16:20]
    if len(icc) < 132 or icc[36:40] != b"acsp":
        raise ValueError("it is damaged")
    if space != b"RGB ":
        raise ValueError(f"it is for {space.decode('latin-1').strip()}, not for RGB")
    rng = np.random.default_rng(0)
    some = np.concatenate([rng.integers(0, 65536, (1021, 3)), [[0, 0, 0], [65535] * 3, [32768] * 3]]).astype(np.uint16)
    some = some[None]
    exact = Profile(icc)
    try:
        light = exact.to_linear(some)
        there = exact.from_linear(light, np.uint16)
        ramp = np.zeros((3, 65536, 3), np.uint16)
        for k in range(3):
            ramp[k, :, k] = np.arange(65536)
        ramps = exact.to_linear(ramp)
    except RuntimeError as error:  # of Little CMS
        raise ValueError(f"it cannot be used both ways ({error})") from error
    if not np.isfinite(light).all() or np.abs(there.astype(int) - some).mean() > 655:
        raise ValueError("it does not lead back to the colours that it is given")
    if np.abs(np.take(_srgb_table(), _places(light)).astype(int) - some).max() <= 2 * 257:
        return None
    return _as_matrix(icc, ramps, some, light) or exact


def _as_matrix(icc: bytes, ramps: np.ndarray, some: np.ndarray, light: np.ndarray) -> MatrixProfile | None:
    """The equivalent three curves and matrix, if they exist."""
    black = ramps[:, :1]
    matrix = (ramps - black)[:, -1].T  # column k: what full light of channel k alone gives
    if np.abs(black).max() > 1e-4 or abs(np.linalg.det(matrix)) < 1e-4:
        return None
    strength = np.abs(matrix).argmax(axis=0)
    curves = np.stack([(ramps - black)[k, :, strength[k]] / matrix[strength[k], k] for k in range(3)])
    if (np.diff(curves) < -1e-6).any():
        return None
    found = MatrixProfile(icc, np.maximum.accumulate(curves, axis=1).astype(np.float32), matrix.astype(np.float32))
    return found if np.abs(found.to_linear(some) - light).max() < 1e-3 else None


def _bands(pixels: np.ndarray) -> Iterator[slice]:
    step = max(1, _BAND // max(1, pixels.shape[1]))
    return (slice(top, top + step) for top in range(0, pixels.shape[0], step))


def _places(light: np.ndarray) -> np.ndarray:
    return (np.clip(light, 0, 1) * np.float32(_FINE - 1) + np.float32(0.5)).astype(np.uint32)


def _from_srgb(pixels: np.ndarray) -> np.ndarray:
    curve = _srgb_curve()
    return np.take(np.ascontiguousarray(curve[::257]) if pixels.dtype == np.uint8 else curve, pixels)


@cache
def _srgb_curve() -> np.ndarray:
    """Linear light of each 16-bit code (IEC 61966-2-1)."""
    code = np.linspace(0, 1, 65536)
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _srgb_table() -> np.ndarray:
    """16-bit code of each place of linear light: the curve above, inverted."""
    light = np.linspace(0, 1, _FINE)
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(code * 65535).astype(np.uint16)


@cache
def linear_profile() -> bytes:
    """The profile of linear light in the primaries of sRGB."""
    from imagecodecs import cms_profile

    return cms_profile("rgb", whitepoint=[0.3127, 0.3290, 1.0], gamma=1.0,
                       primaries=[0.64, 0.33, 1.0, 0.30, 0.60, 1.0, 0.15, 0.06, 1.0])


def _transform(picture: np.ndarray, icc: bytes, out: bytes) -> np.ndarray:
    from imagecodecs import CMS, cms_transform

    return cms_transform(np.ascontiguousarray(picture, np.float32), icc, out, colorspace="rgb", outcolorspace="rgb",
                         outdtype=np.float32, intent=CMS.INTENT.RELATIVE_COLORIMETRIC, flags=CMS.FLAGS.NOOPTIMIZE)
