"""White balance: a careful estimate of the light's colour, gains of the channels in linear light, and what they did.

Colours of light are log-chromaticities (u, v) = (log R/G, log B/G) of linear sRGB; neutral is (0, 0). They are split
into warmth, along the locus of black bodies, and tint, off it (above 0: magenta, below: green).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import bands, linear_from_srgb, resized_planes, srgb_from_linear

#: Temperatures of light, in kelvin, that are corrected: from lamps to a blue sky.
COOLEST_LIGHT, HOTTEST_LIGHT = 2500, 12000
#: Of a picture that gets no correction.
NEUTRAL = np.ones(3)
_DAYLIGHT = 6504.0
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_ROWS = 256  # of a picture of 16 bits at a time
_SIDE = 128  # pixels of the picture that is looked at
_FLOOR = 6 / 255  # encoded value whose chromaticity is half reliable: noise, rounding and the coding's blocks lie below
_CLIPPED, _WHOLE = 0.96, 0.86  # largest channel that counts for nothing, and fully
_POWER = 6  # Minkowski norm
_FEW = 50  # pixels that an estimate needs
# The mean of the estimates counts as far as it exceeds a threshold and the disagreement of the estimates, in standard
# deviations; chosen on training and validation frames of exposure stacks, with and without known casts.
_DISAGREEMENT = 2.0
#: Of blue light and of tint: the share that is taken out. Warmth stays.
BLUE_SHARE, TINT_SHARE = 0.5, 0.9
_BLUE, _TINT = 0.3, 0.05  # thresholds
_TINT_OF_WARMTH = 0.1  # the colours of cameras stray from the locus: the threshold of tint rises by this per warmth
_BLUE_BOUND, _TINT_BOUND = 0.3, 0.25
_ROLL = 3  # power of the shoulder of `white_curve`


def light_of_kelvin(kelvin: float) -> np.ndarray:
    """Linear sRGB of a black body's light, of luminance 1, where 6504 K is (1, 1, 1).

    The division by the black body of 6504 K, which is a trace greener than the daylight of the same temperature, makes
    daylight neutral on one locus for all temperatures.

    Args:
        kelvin: 2500 to 12000.

    Raises:
        UsageError: outside that range.

    Source: Kim et al. 2002, Design of advanced color temperature control system for HDTV applications (cubic splines
    of the locus in CIE 1931 x, y; 1667 to 25000 K); the matrix is that of IEC 61966-2-1.

    Example:
        >>> light_of_kelvin(6504).tolist()
        [1.0, 1.0, 1.0]
    """
    if not COOLEST_LIGHT <= kelvin <= HOTTEST_LIGHT:
        raise UsageError(f"kelvin must lie between {COOLEST_LIGHT} and {HOTTEST_LIGHT}; got {kelvin:g}")
    light = _black_body(kelvin) / _black_body(_DAYLIGHT)
    return np.asarray(light / (_LUMINANCE @ light))


def _black_body(kelvin: float) -> np.ndarray:
    """Linear sRGB, of luminance 1."""
    t = 1e3 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return np.asarray(to_rgb @ np.array([x / y, 1.0, (1 - x - y) / y]))


def gains_against(light: np.ndarray) -> np.ndarray:
    """The gains (3,) that make a light (3,) neutral and keep its luminance: von Kries in linear sRGB."""
    return np.asarray((_LUMINANCE @ light) / light)


def kelvin_gains(kelvin: float) -> np.ndarray:
    """The gains (3,) that turn light of a temperature into daylight; see `light_of_kelvin`."""
    return gains_against(light_of_kelvin(kelvin))


def auto_gains(picture: np.ndarray) -> np.ndarray:
    """The gains (3,) against the part of a colour cast that is surely one; exactly 1 where there is none.

    Four estimates of the light are taken. The means of their warmth and of their tint count as far as they exceed a
    threshold and the disagreement of the estimates (two standard deviations). Of green or magenta light nine tenths are
    taken out, of blue light half, both within a bound. Warm light stays: it is the mood of lamps and evenings.

    Args:
        picture: (H, W, 3) uint8, uint16 or float in [0, 1], sRGB.
    """
    small = resized_planes(picture, _SIDE)[0].transpose(1, 2, 0)
    warmth, tint = warmth_and_tint(estimate_lights(small)).T
    blue = min(BLUE_SHARE * max(0.0, -_certain(warmth, _BLUE)), _BLUE_BOUND)
    even = TINT_SHARE * _certain(tint, _TINT + _TINT_OF_WARMTH * abs(float(warmth.mean())))
    even = min(max(even, -_TINT_BOUND), _TINT_BOUND)
    if not (blue or even):
        return NEUTRAL
    return gains_against(light_of_chroma(-blue, even))


def _certain(estimates: np.ndarray, threshold: float) -> float:
    """What is left of the mean of the estimates."""
    mean = float(estimates.mean())
    return float(np.sign(mean)) * max(0.0, abs(mean) - threshold - _DISAGREEMENT * float(estimates.std()))


@lru_cache(maxsize=1)
def _slope() -> float:
    """Tint per warmth along the locus of black bodies: between 4000 K and daylight, and nearly so elsewhere."""
    light = np.log(light_of_kelvin(4000))
    return float((light[0] + light[2] - 2 * light[1]) / 2 / (light[0] - light[2]))


def warmth_and_tint(chroma: np.ndarray) -> np.ndarray:
    """(..., 2) log-chromaticities u, v -> warmth u - v, and tint: half of u + v beyond that of the locus."""
    u, v = chroma[..., 0], chroma[..., 1]
    return np.stack([u - v, (u + v) / 2 - _slope() * (u - v)], axis=-1)


def light_of_chroma(warmth: float, tint: float) -> np.ndarray:
    """Linear sRGB (3,), of luminance 1, of a light whose warmth and tint are those of `warmth_and_tint`."""
    even = tint + _slope() * warmth
    light = np.exp([even + warmth / 2, 0.0, even - warmth / 2])
    return np.asarray(light / (_LUMINANCE @ light))


def estimate_lights(picture: np.ndarray) -> np.ndarray:
    """Four estimates of the light's colour, (4, 2) log-chromaticities: (h, w, 3) float in [0, 1], sRGB, small.

    Pixels count as far as their chromaticity lies above noise, rounding and coding, and no channel is clipped. An
    estimate that finds too little says neutral.

    Source: shades of grey, Finlayson and Trezzi 2004; grey edge, van de Weijer et al. 2007; bright pixels, Joze et al.
    2012 (here the median of the brightest tenth); grey pixels, Qian et al. 2019 (here the tenth whose local contrast
    is most alike in all channels).
    """
    level, top = picture.mean(axis=2), picture.max(axis=2)
    weight = level**2 / (level**2 + _FLOOR**2) * np.clip((_CLIPPED - top) / (_CLIPPED - _WHOLE), 0, 1)
    weight = np.where(picture.min(axis=2) > 0, weight, 0.0)[..., None]
    light = linear_from_srgb(picture).astype(np.float64)
    known = weight[..., 0] > 0.3
    lights = np.zeros((4, 2))
    if known.sum() < _FEW:
        return lights
    lights[0] = _of(_norm(weight, light))
    smooth = cv2.GaussianBlur(light, (0, 0), 1.0)
    across, down = smooth[1:-1, 2:] - smooth[1:-1, :-2], smooth[2:, 1:-1] - smooth[:-2, 1:-1]
    around = cv2.erode(weight[..., 0], np.ones((3, 3)))[1:-1, 1:-1, None]
    lights[1] = _of(_norm(around, np.hypot(across, down)))
    logs = np.log(np.maximum(light, 1e-6))
    bright = known & (level >= np.quantile(level[known], 0.9))
    lights[2] = _median(logs[bright][:, ::2] - logs[bright][:, 1:2])
    contrast = logs - cv2.GaussianBlur(logs, (0, 0), 1.5)
    largest = np.abs(contrast).max(axis=2)
    unlike = np.linalg.norm(contrast - contrast.mean(axis=2, keepdims=True), axis=2) / (largest + 1e-3)
    textured = known & (largest > 0.03)
    if textured.sum() >= _FEW:
        grey = textured & (unlike <= np.quantile(unlike[textured], 0.1))
        lights[3] = _of((weight[grey] * light[grey] * level[grey, None]).sum(axis=0))
    return lights


def _median(values: np.ndarray) -> np.ndarray:
    """(n, 2) -> (2,); that of NumPy waits for masked arrays to be imported."""
    ordered = np.sort(values, axis=0)
    return np.asarray((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def _norm(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Minkowski norm over the pixels, (h, w, 3) -> (3,)."""
    scale = values.max() or 1.0
    return np.asarray((weight * (values / scale) ** _POWER).sum(axis=(0, 1)) ** (1 / _POWER))


def _of(light: np.ndarray) -> np.ndarray:
    """Log-chromaticity of a light (3,); neutral where it is dark."""
    return np.asarray(np.log(light[::2] / light[1])) if light.min() > 1e-9 else np.zeros(2)


def white_curve(value: np.ndarray, gain: float) -> np.ndarray:
    """A gain of linear light in [0, 1] that keeps 0 and 1: y = g x / (1 + (g^3 - 1) x^3)^(1/3).

    For dark values it is the gain; a clipped channel, whose light is not known, stays clipped, so that lamps stay white
    and nothing clips newly. The curve of 1/g undoes it: y^3 / (1 - y^3) = g^3 x^3 / (1 - x^3).
    """
    return np.asarray(gain * value / (1 + (gain**_ROLL - 1) * value**_ROLL) ** (1 / _ROLL))


def apply_gains(picture: np.ndarray, gains: np.ndarray, wide: bool = False,
                out: np.ndarray | None = None) -> np.ndarray:
    """Gains in linear light, each by its `white_curve`.

    Args:
        picture: (H, W, 3) uint8, uint16 or float in [0, 1], sRGB.
        gains: (3,).
        wide: of 8 bits, give 16, so that small gains of dark values are not lost.
        out: contiguous, for a result of the same dtype; it may be the picture. None: a new array.

    Returns:
        The same shape and, but for `wide`, dtype.
    """
    if np.issubdtype(picture.dtype, np.floating):
        light = linear_from_srgb(picture)
        for channel, gain in enumerate(gains):
            light[..., channel] = white_curve(light[..., channel], gain)
        return np.asarray(srgb_from_linear(light).clip(0, 1).astype(picture.dtype))
    dtype = np.dtype(np.uint16) if wide else picture.dtype
    tables = _tables(np.iinfo(picture.dtype).max, np.iinfo(dtype).max, tuple(map(float, gains)))
    if picture.dtype == np.uint8:
        return np.asarray(cv2.LUT(np.ascontiguousarray(picture), tables[None].astype(dtype), dst=out))
    result = np.empty_like(picture) if out is None else out
    for rows in bands(len(picture), _ROWS):  # indices take eight bytes each
        for channel in range(3):
            result[rows, :, channel] = tables[:, channel].take(picture[rows, :, channel])
    return result


@lru_cache(maxsize=8)
def _tables(top: int, new_top: int, gains: tuple[float, ...]) -> np.ndarray:
    """(top + 1, 3) uint16: the new value, up to `new_top`, of each value of a channel."""
    light = linear_from_srgb(np.linspace(0, 1, top + 1)).astype(np.float64)
    columns = [srgb_from_linear(white_curve(light, gain)) for gain in gains]
    return np.asarray(np.rint(new_top * np.stack(columns, axis=1).clip(0, 1)), dtype=np.uint16)


def describe_gains(gains: np.ndarray) -> str:
    """What gains do, in words; empty below one per cent.

    Magenta and green are red and blue against green; blue and yellow are blue against red, as far as it is not tint.

    Example:
        >>> describe_gains(np.array([1.02, 0.96, 1.03]))
        'a green cast was taken out: magenta +7 %'
        >>> describe_gains(NEUTRAL)
        ''
    """
    logs = np.log(gains)
    warmth, tint = warmth_and_tint(logs[::2] - logs[1])
    parts = [("green", "magenta", tint) if tint > 0 else ("magenta", "green", -tint),
             ("blue", "yellow", warmth) if warmth > 0 else ("yellow", "blue", -warmth)]
    return "; ".join(f"a {cast} cast was {done}: {other} +{100 * np.expm1(much):.0f} %"
                     for (cast, other, much), done in zip(parts, ("taken out", "made weaker"), strict=True)
                     if np.expm1(much) >= 0.01)
