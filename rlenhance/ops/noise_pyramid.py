"""Noise of large photographs: a denoiser for what a reduced picture shows, and shrinkage of the finer detail."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from rlenhance.core.tiling import bands

#: Removes noise: (h, w, 3) float32 in [0, 1] -> the same; of a picture that is reduced, with its noise.
Denoise = Callable[[np.ndarray], np.ndarray]
_ROWS, _HALO = 256, 8  # of a band, both multiples of four
# Shares of the noise's deviation in a picture reduced by two, and in the detail that this loses, of its brightness and
# of its colours: chosen on validation frames of exposure stacks, whose noise is smoothed by the camera.
REDUCED, _LIGHT, _COLOR = 0.7, 0.65, 0.8


def halved(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: (H, W, 3) uint8, uint16 or float32 -> (ceil(H / 2), ceil(W / 2), 3) float32 in [0, 1]."""
    height, width = picture.shape[:2]
    result = np.empty((-(-height // 2), -(-width // 2), 3), np.float32)
    for rows in bands(height, _ROWS):
        band = _as_float(picture[rows])
        if len(band) % 2 or width % 2:
            band = cv2.copyMakeBorder(band, 0, len(band) % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        first = rows.start // 2
        result[first : first + len(band) // 2] = cv2.resize(band, (band.shape[1] // 2, len(band) // 2),
                                                            interpolation=cv2.INTER_AREA)
    return result


def shrink_noise(picture: np.ndarray, noise: np.ndarray, denoise: Denoise, levels: int,
                 strength: float = 1.0) -> np.ndarray:
    """Remove noise from a pyramid: `denoise` cleans the picture reduced by 2**levels, and what each reduction loses is
    multiplied by the share of its local variance that is not noise (Wiener's gain).

    Args:
        picture: (H, W, 3) uint8, uint16 or float32 in [0, 1].
        noise: (h, w) float32, standard deviation on the scale of [0, 1]; interpolated.
        denoise: see `Denoise`; it has to know that the noise of the reduced picture is `REDUCED`**levels of this.
        levels: how often the picture is halved, 1 or more.
        strength: share of the change that is made.

    Returns:
        The same shape and dtype.

    Source: local Wiener filter, Lee 1980; of the bands of a pyramid, Simoncelli and Adelson 1996. The shares are ours.
    """
    small = halved(picture)
    clean = denoise(small) if levels == 1 else shrink_noise(small, REDUCED * noise, denoise, levels - 1)
    height, width = picture.shape[:2]
    result = np.empty_like(picture)
    for rows in bands(height, _ROWS):
        first, last = max(0, rows.start - _HALO), min(height, rows.stop + _HALO)
        part = slice(first // 2, -(-last // 2))
        band = _as_float(picture[first:last])
        changed = band + strength * _change(band, small[part], clean[part], _rows_of(noise, first, last, height, width))
        changed = changed[rows.start - first : rows.stop - first]
        if np.issubdtype(picture.dtype, np.floating):
            result[rows] = np.clip(changed, 0, 1)
        else:
            top = float(np.iinfo(picture.dtype).max)
            result[rows] = np.clip(np.rint(changed * top), 0, top)
    return result


def _change(band: np.ndarray, small: np.ndarray, clean: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """What is added to a band of a picture: (h, w, 3), its halved rows before and after, and the noise at these."""
    size = band.shape[1], band.shape[0]
    detail: np.ndarray = band - _doubled(small, size)
    light = _mean(detail)
    half = small.shape[1], small.shape[0]
    of_light = _mean_energy(light**2, half)
    of_color = _mean_energy(_mean(detail**2), half) - of_light
    keep_light = _doubled(_gain(of_light, _LIGHT * noise), size)
    keep_color = _doubled(_gain(of_color, _COLOR * noise), size)
    light *= keep_light - keep_color
    detail *= keep_color[..., None] - 1
    detail += light[..., None]
    detail += _doubled(clean - small, size)
    return detail


def _mean(picture: np.ndarray) -> np.ndarray:
    """Mean of the channels: (h, w, 3) -> (h, w)."""
    found: np.ndarray = cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32))
    return found


def _as_float(picture: np.ndarray) -> np.ndarray:
    if np.issubdtype(picture.dtype, np.floating):
        return picture.astype(np.float32, copy=False)
    return picture.astype(np.float32) * np.float32(1 / np.iinfo(picture.dtype).max)


def _rows_of(noise: np.ndarray, first: int, last: int, height: int, width: int) -> np.ndarray:
    """The noise at the halved rows of first to last: bilinear, as for the whole picture."""
    down = ((np.arange(first // 2, -(-last // 2)) + 0.5) * (2 * len(noise) / height) - 0.5).astype(np.float32)
    across = ((np.arange(-(-width // 2)) + 0.5) * (2 * noise.shape[1] / width) - 0.5).astype(np.float32)
    columns, rows = np.meshgrid(across, down)
    return np.asarray(cv2.remap(noise, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _doubled(small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear enlargement by two, cut to a size (width, height)."""
    large = cv2.resize(small, (2 * small.shape[1], 2 * small.shape[0]), interpolation=cv2.INTER_LINEAR)
    return large[: size[1], : size[0]]


def _mean_energy(energy: np.ndarray, half: tuple[int, int]) -> np.ndarray:
    """Means over about 6 x 6 pixels, on the halved grid."""
    if energy.shape[0] % 2 or energy.shape[1] % 2:
        energy = cv2.copyMakeBorder(energy, 0, energy.shape[0] % 2, 0, energy.shape[1] % 2, cv2.BORDER_REPLICATE)
    small = cv2.resize(energy, half, interpolation=cv2.INTER_AREA)
    found: np.ndarray = cv2.blur(small, (3, 3), borderType=cv2.BORDER_REPLICATE)
    return found


def _gain(variance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Share of a local variance that is not noise."""
    gain: np.ndarray = np.maximum(0, 1 - noise**2 / np.maximum(variance, 1e-12)).astype(np.float32)
    return gain
