"""Classical filters of OpenCV as tools."""

from __future__ import annotations

import sys

import cv2
import numpy as np

from rlenhance.core.plugins import digest_of
from rlenhance.tools.base import TOOLKITS, TOOLS, PictureFunction, Tool, cost_of

#: Names of the toolkit "opencv", in its order.
OPENCV = ("nlm-weak", "nlm", "bilateral", "median", "unsharp", "deconvolve-1", "deconvolve-2", "clahe", "white-balance",
          "brighten-gamma", "deblock-10", "deblock-30")


def _add(name: str, label: str, function: PictureFunction, radius: int | None) -> None:
    version = f"opencv {cv2.__version__} {digest_of(sys.modules[__name__])[1][:16]}"  # a change of this file is another
    TOOLS.register(name)(lambda: Tool(name, label, function, cost_of(name), radius, version=version))


def non_local_means(picture: np.ndarray, strength: float) -> np.ndarray:
    """Non-local means; `strength` is its filter parameter in 255ths. (Buades et al. 2005)"""
    noisy = np.rint(255 * picture).astype(np.uint8)
    return cv2.fastNlMeansDenoisingColored(noisy, None, strength, strength, 7, 21).astype(np.float32) / 255


def bilateral(picture: np.ndarray) -> np.ndarray:
    """A bilateral filter of 9 pixels, colour deviation 0.1 of white, 3 pixels in space. (Tomasi and Manduchi 1998)"""
    return cv2.bilateralFilter(picture, 9, 0.3, 3)  # OpenCV adds the differences of the three channels


def unsharp(picture: np.ndarray) -> np.ndarray:
    """The picture plus 0.7 of what a Gaussian blur of 1.5 pixels takes away."""
    return picture + 0.7 * (picture - cv2.GaussianBlur(picture, (0, 0), 1.5, borderType=cv2.BORDER_REFLECT_101))


def deconvolve(picture: np.ndarray, sigma: float, iterations: int = 10) -> np.ndarray:
    """Richardson-Lucy deconvolution of a Gaussian blur of `sigma` pixels. (Richardson 1972, Lucy 1974)"""
    size, estimate = 2 * round(4 * sigma) + 1, picture + 1e-3
    for _ in range(iterations):
        ratio = (picture + 1e-3) / cv2.GaussianBlur(estimate, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101)
        estimate = estimate * cv2.GaussianBlur(ratio, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101)
    return estimate - 1e-3


def clahe(picture: np.ndarray) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of the lightness, limit 2, 8x8 cells. (Zuiderveld 1994)"""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lightness = np.rint(lab[:, :, 0] * (65535 / 100)).clip(0, 65535).astype(np.uint16)
    lab[:, :, 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lightness).astype(np.float32) * (100 / 65535)
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def white_balance(picture: np.ndarray) -> np.ndarray:
    """Each channel scaled so that the three means are equal, by at most a factor of 2. (grey world, Buchsbaum 1980)"""
    means = picture.reshape(-1, 3).mean(axis=0)
    return picture * (means.mean() / np.maximum(means, 1e-3)).clip(0.5, 2).astype(np.float32)


def brighten_gamma(picture: np.ndarray) -> np.ndarray:
    """The power that brings the mean to 0.45; between 0.35 and 1, so that bright pictures stay."""
    mean = float(picture.mean())
    power = np.log(0.45) / np.log(min(max(mean, 1e-3), 0.999))
    return picture ** np.float32(min(max(power, 0.35), 1.0))


def deblock(picture: np.ndarray, quality: int) -> np.ndarray:
    """JPEG blocks removed: the mean over 16 shifts of the picture, each coded and decoded again with `quality`.

    The blocks of the shifted codings lie elsewhere, and their mean has none. Each rounds the mean colour of a block in
    the same direction, so that what is smooth (a Gaussian of 5 pixels) stays that of the picture.

    Source: re-application of JPEG (Nosratinia 2001); we take every second shift, and keep the smooth part.
    """
    padded = cv2.copyMakeBorder(np.rint(255 * picture).astype(np.uint8)[:, :, ::-1], 8, 8, 8, 8,
                                cv2.BORDER_REFLECT_101 if min(picture.shape[:2]) > 8 else cv2.BORDER_REPLICATE)
    total = np.zeros(picture.shape, np.float32)
    height, width = picture.shape[:2]
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    for down in range(0, 8, 2):
        for across in range(0, 8, 2):
            _, coded = cv2.imencode(".jpg", np.ascontiguousarray(padded[down:, across:]), settings)
            decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
            total += decoded[8 - down : 8 - down + height, 8 - across : 8 - across + width, ::-1]
    mean = total / (16 * 255)
    return mean + cv2.GaussianBlur(picture - mean, (21, 21), 5, borderType=cv2.BORDER_REFLECT_101)


_add("nlm-weak", "a little noise smoothed", lambda picture: non_local_means(picture, 5), 13)
_add("nlm", "noise smoothed", lambda picture: non_local_means(picture, 12), 13)
_add("bilateral", "noise smoothed between edges", bilateral, 4)
_add("median", "single pixels smoothed", lambda picture: cv2.medianBlur(np.ascontiguousarray(picture), 3), 1)
_add("unsharp", "sharpened a little", unsharp, 6)
_add("deconvolve-1", "a blur of 1 pixel reversed", lambda picture: deconvolve(picture, 1.0), 80)
_add("deconvolve-2", "a blur of 2 pixels reversed", lambda picture: deconvolve(picture, 2.0), 160)
_add("clahe", "local contrast raised", clahe, None)
_add("white-balance", "colours balanced", white_balance, None)
_add("brighten-gamma", "brightened", brighten_gamma, None)
_add("deblock-10", "strong JPEG blocks removed", lambda picture: deblock(picture, 10), 17)
_add("deblock-30", "JPEG blocks removed", lambda picture: deblock(picture, 30), 17)


@TOOLKITS.register("opencv")
def opencv_tools(path: object = None) -> tuple[Tool, ...]:
    """The classical filters."""
    return tuple(TOOLS.create(name) for name in OPENCV)
