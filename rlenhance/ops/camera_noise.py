"""Noise of processed files: what a camera's smoothing and coding have left, from statistics of flat blocks; and which
kind of noise a photograph shows, that or a sensor's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import bands
from rlenhance.ops.noise_estimation import NoiseModel, estimate_noise, noise_map

_SIDE, _LEVELS = 16, 4  # pixels along a block; scales, each half of the one before
_ENOUGH, _ROWS = 2_000_000, 256  # pixels that are read, in bands of so many rows spread over the picture
_BINS, _FEWEST = 4, 24  # parts of the range of light, and blocks that each needs
_CLIPPED = 0.03  # share of a block's pixels that may be at the ends of the range
_QUANTILES, _SPREAD = (0.05, 0.25, 0.5), (0.02, 0.1, 0.3, 0.6)  # of a bin's blocks, and of all
_LEAST = 0.05  # 255ths: deviations below it are not distinguished
_CODED = 0.15  # of `_grid`, from which on a picture has the grid of a JPEG
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SECOND = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6
_CLEAN = 1.5  # 255ths below which a picture counts as clean
_COLORLESS = -1.2  # octaves: fine noise whose colours are weaker than its brightness by more is texture
_FINE = 0.6  # share of the noise that second differences see, from which on it is that of a sensor
#: Pixels along a side below which nothing is said.
SMALLEST_SIDE = 64
#: 255ths, added to a deviation before its logarithm is taken.
OFFSET = 0.5
#: Number of statistics of a bin, see `noise_statistics`.
NUM_STATISTICS = 2 * _LEVELS * (len(_QUANTILES) + len(_SPREAD)) + 2


@dataclass(frozen=True)
class CameraNoise:
    """Noise by brightness, as it is in the file.

    Attributes:
        lumas: (B,) brightness of each bin, rising, in [0, 1].
        deviations: (B,) standard deviation there, over all frequencies, root mean square of the channels, in [0, 1].
        weights: (B,) share of the picture in each bin.
        coded: the picture has the grid of a JPEG.
        color: how much stronger the colour differences are than the brightness in the flattest blocks, in octaves, at
            the one of the three finest scales where it is most: about 0 for noise that is independent in the channels,
            below -1.5 for most texture; infinite for grey.
    """

    lumas: np.ndarray
    deviations: np.ndarray
    weights: np.ndarray
    coded: bool
    color: float = np.inf

    @property
    def level(self) -> float:
        """Root mean square of the deviation over the picture, in [0, 1]."""
        return float(np.sqrt((self.weights * self.deviations**2).sum()))

    def deviation(self, picture: np.ndarray) -> np.ndarray:
        """Standard deviation at every value of (H, W, 3) in [0, 1], between the bins by interpolation; float32."""
        found = np.interp(picture @ _LUMA, self.lumas, self.deviations).astype(np.float32)
        return np.repeat(found[..., None], picture.shape[-1], axis=-1)


def estimate_camera_noise(picture: np.ndarray) -> CameraNoise:
    """Estimate the noise that is left in a processed picture, smoothed or coded, of sensors or even.

    A small perceptron maps the statistics of the flattest blocks at four scales (`noise_statistics`) to the deviation:
    low-frequency noise, which second differences at full size do not see, shows at the coarser scales and in the
    colours, and texture shows as a spread of the blocks. It learned from simulated cameras
    (`rlenhance.learning.data.SimulatedCamera`), even noise, real dark frames beside their references, and
    pictures without noise.

    Args:
        picture: (H, W, 3) uint8, uint16 or float in [0, 1], sRGB; below 64 pixels along a side nothing is found.

    Raises:
        UsageError: another shape or dtype.

    Source: scales and flat blocks, Liu, Tanaka and Okutomi 2013; learned from simulated noise, CBDNet (Guo et al.
    2019). `python -m experiments.scripts.fit_camera_noise` fits it.
    """
    seen = noise_statistics(picture)
    if not seen.bins:
        return CameraNoise(np.zeros(1), np.zeros(1), np.ones(1), False)
    deviations = np.maximum(np.exp2(perceptron(_weights(), seen.values)) - OFFSET, 0) / 255
    counts = np.array([len(part) for part in seen.bins])
    weights, flattest = counts / counts.sum(), seen.values[:, : 2 * _LEVELS].reshape(-1, _LEVELS, 2)
    color = np.inf if np.ptp(picture[::7, ::7], axis=2).max() == 0 else float(
        weights @ (flattest[:, :3, 1] - flattest[:, :3, 0]).max(axis=1))
    return CameraNoise(seen.lumas, deviations, weights, seen.grid > _CODED, color)


def camera_noise_map(picture: np.ndarray, noise_floor: float = 0.0) -> np.ndarray:
    """`rlenhance.ops.noise_estimation.noise_map` with the noise that `estimate_camera_noise` finds in the picture."""
    return noise_map(picture, estimate_camera_noise(picture), noise_floor=noise_floor)


@dataclass(frozen=True)
class NoiseStatistics:
    """What `estimate_camera_noise` sees.

    Attributes:
        values: (B, NUM_STATISTICS), a row for each bin.
        bins: of each, which blocks it has, in the order of `block_means`.
        lumas: (B,) its brightness in [0, 1].
        grid: contrast of a grid of 8 pixels.
    """

    values: np.ndarray
    bins: list[np.ndarray]
    lumas: np.ndarray
    grid: float


def noise_statistics(picture: np.ndarray) -> NoiseStatistics:
    """Statistics of the flattest blocks at four scales.

    Blocks of 16 pixels are sorted by brightness into at most four bins, none where the picture is too small. For
    brightness and for colour (the mean of both differences), at each scale: quantiles over the bin's blocks of the
    logarithm of the root mean square of second differences along both sides, and over all blocks; then the bin's
    brightness, and the contrast of a grid of 8 pixels.

    Raises:
        UsageError: another shape or dtype.
    """
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
        raise UsageError(f"a picture must be an array (H, W, 3); got {getattr(picture, 'shape', picture)}")
    if min(picture.shape[:2]) < SMALLEST_SIDE:
        return NoiseStatistics(np.zeros((0, NUM_STATISTICS), np.float32), [], np.zeros(0), 0.0)
    found = [_block_statistics(picture[rows]) for rows in _bands(*picture.shape[:2])]
    luma, clipped, energy = (np.concatenate([part[number] for part in found]) for number in range(3))
    columns = np.mean([part[3] for part in found], axis=0)
    usable = np.flatnonzero(clipped <= _CLIPPED)
    if 4 * len(usable) < len(luma):
        usable = np.arange(len(luma))
    logs = 0.5 * np.log2(energy + _LEAST**2)
    bins = np.array_split(usable[np.argsort(luma[usable], kind="stable")],
                          max(1, min(_BINS, len(usable) // _FEWEST)))
    spread = np.quantile(logs[usable], _SPREAD, axis=0).ravel()
    lumas = np.array([luma[part].mean() for part in bins])
    grid = float(np.log2((columns.max() + 0.02) / (np.median(columns) + 0.02)))
    values = [[*np.quantile(logs[part], _QUANTILES, axis=0).ravel(), *spread, level, grid]
              for part, level in zip(bins, lumas, strict=True)]
    return NoiseStatistics(np.array(values, np.float32), bins, lumas, grid)


def block_means(plane: np.ndarray) -> np.ndarray:
    """Means of (H, W) float32 over the blocks of `noise_statistics`, in its order."""
    found = [plane[rows] for rows in _bands(*plane.shape)]
    return np.concatenate([_means(band[: len(band) // _SIDE * _SIDE, : band.shape[1] // _SIDE * _SIDE], _SIDE).ravel()
                           for band in found])


def _bands(height: int, width: int) -> list[slice]:
    return [rows for rows in bands(height, _ROWS, -(-height * width // _ENOUGH))
            if rows.stop - rows.start >= min(SMALLEST_SIDE, height)]


def _block_statistics(band: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the blocks of a band: brightness, share of clipped pixels, (B, 2 scales) energies in 255ths squared; and the
    mean difference of columns at the eight places of a grid."""
    height, width = (side // _SIDE * _SIDE for side in band.shape[:2])
    whole = np.issubdtype(band.dtype, np.integer)
    top = np.iinfo(band.dtype).max if whole else 1.0
    band = np.ascontiguousarray(band[:height, :width])
    ends = np.asarray(((band <= 0) | (band >= top)).any(axis=2), np.float32)
    planes: Any = cv2.cvtColor(band.astype(np.float32) * np.float32(255 / top), cv2.COLOR_RGB2YCrCb)
    luma, clipped = _means(planes[:, :, 0], _SIDE).ravel() / 255, _means(ends, _SIDE).ravel()
    step = cv2.absdiff(planes[:, 1:, 0], planes[:, :-1, 0])
    columns = np.array([step[:, place::8].mean() for place in range(8)])
    energies = []
    for level in range(_LEVELS):
        residual = cv2.filter2D(planes, -1, _SECOND, borderType=cv2.BORDER_REFLECT)
        squared: Any = residual * residual
        energy = _means(squared, _SIDE >> level)
        energies += [energy[:, :, 0].ravel(), energy[:, :, 1:].mean(axis=2).ravel()]
        planes = _means(planes, 2)
    return luma, clipped, np.stack(energies, axis=1), columns


def _means(planes: np.ndarray, side: int) -> np.ndarray:
    """Means of squares of pixels; sides are multiples of `side`."""
    return np.asarray(cv2.resize(planes, (planes.shape[1] // side, planes.shape[0] // side),
                                 interpolation=cv2.INTER_AREA))


@cache
def _weights() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def perceptron(weights: Mapping[str, np.ndarray], statistics: np.ndarray) -> np.ndarray:
    """The logarithm to base 2 of the deviation in 255ths plus `OFFSET`: (B, NUM_STATISTICS) -> (B,)."""
    values, last = (statistics - weights["mean"]) / weights["scale"], 2
    for layer in range(last + 1):
        values = values @ weights[f"weight{layer}"] + weights[f"bias{layer}"]
        if layer < last:
            values = values * (0.5 + 0.5 * np.tanh(0.5 * values))  # SiLU, without overflow
    return np.asarray(values[:, 0])


@dataclass(frozen=True)
class SeenNoise:
    """The noise of a photograph, measured or named.

    Attributes:
        kind: "none"; "fine": of a sensor, or even, independent from pixel to pixel; "camera": smoothed or coded;
            "named".
        level: standard deviation, root mean square over the picture, in 255ths.
        coded: the picture is, or was, a JPEG.
        model: by brightness; None where it is named.
    """

    kind: str
    level: float
    coded: bool = False
    model: NoiseModel | CameraNoise | None = None

    @property
    def words(self) -> str:
        """For people: "camera noise 4.1/255, coded"."""
        if self.kind == "none":
            return "no noise seen"
        if self.kind == "named":
            return f"noise {self.level:g}/255, named"
        return f"{'camera ' * (self.kind == 'camera')}noise {self.level:.1f}/255" + ", coded" * self.coded

    @property
    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        return {"noise": round(self.level, 3), "kind": self.kind, "coded": self.coded, "words": self.words}

    def map(self, picture: np.ndarray, noise_floor: float = 0.0) -> np.ndarray:
        """The noise map of a picture or a part of it, (1, 1, h, w): see `noise_map`."""
        if self.model is None:
            return np.full((1, 1, 1, 1), self.level / 255, np.float32)
        return noise_map(picture, self.model, noise_floor=noise_floor)


def see_noise(pixels: np.ndarray, coded: bool = False) -> SeenNoise:
    """Measure the noise of a picture.

    What second differences see as strong as it is counts as fine noise; of noise that a camera has smoothed or coded
    they see a part, and statistics at coarser scales measure how strong it is. Small pictures have fine noise. Texture
    is distinguished from fine noise by its colours, which are calmer than its brightness.

    Args:
        pixels: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.
        coded: its file is a JPEG.
    """
    camera = estimate_camera_noise(pixels)
    level, told = 255 * camera.level, min(pixels.shape[:2]) >= SMALLEST_SIDE
    if told and level < _CLEAN:
        return SeenNoise("none", level, coded or camera.coded, camera)
    fine = estimate_noise(pixels)
    seen = 255 * float(np.sqrt(np.square(noise_map(pixels, fine)).mean()))
    if seen >= _FINE * level:
        if told and camera.color < _COLORLESS:
            return SeenNoise("none", level, coded or camera.coded, camera)
        return SeenNoise("fine", seen, coded or camera.coded, fine)
    return SeenNoise("camera", level, coded or camera.coded, camera)
