"""Simulated cameras: noisy photographs as files hold them, processed and coded, beside the same without noise.

    camera = SimulatedCamera()
    photograph, reference = camera(picture, np.random.default_rng(0))  # uint8, and float32 in [0, 1]
    maker = camera.draw(np.random.default_rng(0))  # one camera at one sensitivity
    same, other = (maker.photograph(picture, np.random.default_rng(seed)) for seed in (1, 2))  # two shots with it
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear

#: Arrangements of the colour filters over 2 x 2 pixels, rows first.
MOSAICS = ("RGGB", "BGGR", "GRBG", "GBRG")
#: How a camera smooths its brightness.
SMOOTHINGS = ("none", "bilateral", "means")
_PEDESTAL = 1 / 16  # added before demosaicing, so that noise below black survives
_BORDER = 8  # pixels of mirrored margin, even: the mosaic goes on in it
_MIDDLE = 0.2  # linear light at which a camera's smoothing is set
_CURVE = np.linspace(0, 1, 1025)


@dataclass(frozen=True)
class CameraSettings:
    """One camera at one sensitivity: its sensor and its processing, in the order of the steps.

    Attributes:
        reduction: the clean picture is reduced by this factor first, so that its own noise and coding average out.
        optics: standard deviation of the blur of lens and low-pass filter, in pixels.
        exposure: light, relative to the clean picture.
        shot: variance of the noise per unit of light, in units of the sensor's full scale.
        read: standard deviation of the noise without light.
        mosaic: see `MOSAICS`.
        red_gain, blue_gain: white balance; the light of that colour reaches the sensor weaker by this factor.
        edge_aware: demosaicing along edges; otherwise bilinear.
        saturation: of the colour matrix (1 + s) I - s / 3; it amplifies colour noise.
        smoothing: see `SMOOTHINGS`; "means" are non-local means.
        smoothing_strength: of that, relative to the deviation of the noise in middle grey.
        chroma_blur: standard deviation of the smoothing of the colour differences, in pixels; 0: none.
        chroma_median: side of a median over the colour differences, 0 (none), 3 or 5.
        contrast: share of an S-shaped tone curve; undone before the sensor, so that the picture keeps its look.
        sharpening, sharpening_width: of an unsharp mask on the brightness, its width in pixels.
        quality: of the JPEG; 0: 8 bits without coding.
        subsampled: the JPEG's colours have half the size (4:2:0); otherwise 4:4:4.
    """

    reduction: int = 2
    optics: float = 0.0
    exposure: float = 1.0
    shot: float = 1e-3
    read: float = 1e-3
    mosaic: str = "RGGB"
    red_gain: float = 2.0
    blue_gain: float = 1.7
    edge_aware: bool = True
    saturation: float = 0.4
    smoothing: str = "bilateral"
    smoothing_strength: float = 1.5
    chroma_blur: float = 1.0
    chroma_median: int = 3
    contrast: float = 0.3
    sharpening: float = 0.5
    sharpening_width: float = 0.8
    quality: int = 95
    subsampled: bool = True

    def __post_init__(self) -> None:
        if self.mosaic not in MOSAICS or self.smoothing not in SMOOTHINGS or self.chroma_median not in (0, 3, 5):
            raise UsageError(f"mosaic is one of {', '.join(MOSAICS)}, smoothing one of {', '.join(SMOOTHINGS)}, "
                             f"chroma_median 0, 3 or 5; got {self.mosaic}, {self.smoothing} and {self.chroma_median}")
        if self.reduction < 1 or not 0 <= self.quality <= 100 or not 0 <= self.contrast <= 1:
            raise UsageError(f"reduction is 1 or more, quality lies between 0 and 100, contrast between 0 and 1; got "
                             f"{self.reduction}, {self.quality} and {self.contrast}")

    def photograph(self, picture: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """The file of one shot.

        Args:
            picture: (H, W, 3) uint8, clean.
            rng: of the noise; None: the shot has none.

        Returns:
            (ceil(H / reduction), ceil(W / reduction), 3) uint8.
        """
        return self.code(self.develop(self.expose(picture, rng)))

    def reference(self, picture: np.ndarray) -> np.ndarray:
        """The same shot without noise, before it is rounded or coded: (h, w, 3) float32 in [0, 1].

        Data sets of real photographs (PolyU, SIDD) take a mean of many shots in its place, in which the camera's
        smoothing has worked on noisy pictures: theirs is slightly softer.
        """
        return self.develop(self.expose(picture, None))

    def expose(self, picture: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """What the sensor gives, one colour at each pixel: (H, W, 3) uint8 -> (h, w) float32, around [0, 1].

        The sRGB encoding, the tone curve, the colour matrix and the white balance are undone.
        """
        level: Any = picture.astype(np.float32) / 255
        if self.reduction > 1:
            height, width = (-(-side // self.reduction) for side in picture.shape[:2])
            level = cv2.resize(level, (width, height), interpolation=cv2.INTER_AREA)
        light: Any = linear_from_srgb(_look_up(level, self._tone(), _CURVE)) * np.float32(self.exposure)
        if self.optics:
            light = cv2.GaussianBlur(light, (0, 0), self.optics)
        light = light @ np.linalg.inv(self._matrix()).T.astype(np.float32) / self._gains()
        planes = _planes(self.mosaic, *light.shape[:2])
        raw = np.take_along_axis(light, planes[:, :, None], axis=2)[:, :, 0]
        if rng is not None:
            raw = raw + np.sqrt(self.shot * raw + self.read**2) * rng.standard_normal(raw.shape, dtype=np.float32)
        return np.asarray(np.minimum(raw, 1), np.float32)

    def develop(self, raw: np.ndarray) -> np.ndarray:
        """The processing of the camera: (h, w) of `expose` -> (h, w, 3) float32 in [0, 1], sRGB."""
        raw = raw * self._gains()[_planes(self.mosaic, *raw.shape)]
        light = self._demosaic(raw) @ self._matrix().T.astype(np.float32)
        level = _look_up(srgb_from_linear(light.clip(0, 1)), _CURVE, self._tone())
        bright, colors = np.split(cv2.cvtColor(level, cv2.COLOR_RGB2YCrCb), [1], axis=2)
        bright, colors = self._smooth(bright[:, :, 0]), np.ascontiguousarray(colors)
        if self.chroma_median:
            colors = np.stack([cv2.medianBlur(np.ascontiguousarray(colors[:, :, c]), self.chroma_median)
                               for c in range(2)], axis=2)
        if self.chroma_blur:
            colors = cv2.GaussianBlur(colors, (0, 0), self.chroma_blur)
        if self.sharpening:
            bright = bright + self.sharpening * (bright - cv2.GaussianBlur(bright, (0, 0), self.sharpening_width))
        done = cv2.cvtColor(np.dstack([bright, colors]).astype(np.float32), cv2.COLOR_YCrCb2RGB)
        return np.asarray(done.clip(0, 1), np.float32)

    def code(self, level: np.ndarray) -> np.ndarray:
        """The file: (h, w, 3) float in [0, 1] -> uint8, through JPEG where there is a quality."""
        pixels = np.rint(255 * level).clip(0, 255).astype(np.uint8)
        return as_jpeg(pixels, self.quality, self.subsampled) if self.quality else pixels

    @property
    def sensor_noise(self) -> float:
        """Standard deviation of the noise in middle grey after the encoding, before any smoothing, in [0, 1]."""
        gain = float(self._gains().mean())
        variance = gain * self.shot * _MIDDLE * self.exposure + (gain * self.read) ** 2
        return float(variance**0.5) * 1.055 / 2.4 * _MIDDLE ** (1 / 2.4 - 1)

    def _demosaic(self, raw: np.ndarray) -> np.ndarray:
        code = getattr(cv2, f"COLOR_Bayer{self.mosaic}2RGB" + "_EA" * self.edge_aware)
        raised = cv2.copyMakeBorder((raw + _PEDESTAL) / (1 + _PEDESTAL), *(_BORDER,) * 4, cv2.BORDER_REFLECT_101)
        full = cv2.cvtColor(np.rint(65535 * raised.clip(0, 1)).astype(np.uint16), code)[_BORDER:-_BORDER,
                                                                                       _BORDER:-_BORDER]
        return full.astype(np.float32) * np.float32((1 + _PEDESTAL) / 65535) - np.float32(_PEDESTAL)

    def _smooth(self, bright: np.ndarray) -> np.ndarray:
        deviation = self.smoothing_strength * self.sensor_noise
        bright = np.ascontiguousarray(bright)
        if self.smoothing == "none" or deviation < 1e-4:
            return bright
        if self.smoothing == "bilateral":
            return np.asarray(cv2.bilateralFilter(bright, 7, deviation, 1.5))
        rounded = np.rint(255 * bright).clip(0, 255).astype(np.uint8)
        return cv2.fastNlMeansDenoising(rounded, None, 255 * deviation, 5, 11).astype(np.float32) / 255

    def _gains(self) -> np.ndarray:
        return np.array([self.red_gain, 1, self.blue_gain], np.float32)

    def _matrix(self) -> np.ndarray:
        return (1 + self.saturation) * np.eye(3) - self.saturation / 3

    def _tone(self) -> np.ndarray:
        """The tone curve at `_CURVE`."""
        return np.asarray((1 - self.contrast) * _CURVE + self.contrast * _CURVE**2 * (3 - 2 * _CURVE))


def as_jpeg(picture: np.ndarray, quality: int, subsample: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 after JPEG compression; `subsample`: with chroma at half the size (4:2:0)."""
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if subsample else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]),
                            [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[:, :, ::-1])


def _look_up(values: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    return np.interp(values, inputs, outputs).astype(np.float32)


def _planes(mosaic: str, height: int, width: int) -> np.ndarray:
    """The colour of every pixel of a mosaic, 0 to 2: (height, width)."""
    tile = np.array(["RGB".index(color) for color in mosaic]).reshape(2, 2)
    return np.tile(tile, (-(-height // 2), -(-width // 2)))[:height, :width]


@dataclass(frozen=True)
class SimulatedCamera:
    """Draws a camera for every picture and takes a photograph with it. Numbers are ranges, drawn from evenly but for
    `shot` and `smoothing_strength`, which are drawn log-uniformly; names that end with `_prob` are probabilities.

    Ranges:
        shot: 1e-4 to 1e-2 per unit of light, as fitted to the raw pictures of the set DND; the read noise follows from
            it (Brooks et al.: the logarithm of its variance is 2.18 log shot + 1.2 with a deviation of 0.26).
        red_gain, blue_gain: from daylight to lamp light; theirs are 1.9 to 2.4 and 1.5 to 1.9.
        smoothing_strength: from 1 on, 3 to 6 of 255 remain of which second differences see 0.5 to 1.4, as in processed
            files of real cameras; below, more is left and seen.
        chroma_blur: colour noise is smoothed more than brightness, as the eye sees colour coarsely.
        quality: of a camera's finest JPEG to that of a picture sent on.
        exposure, optics, contrast, sharpening, saturation: ours, mild, chosen by eye.

    Source: noise and gains, Brooks et al. 2019 (Unprocessing images for learned raw denoising); noise that grows with
    the light, Foi et al. 2008; the order of the steps, Karaimer and Brown 2016.
    """

    reduction: int = 2
    optics: tuple[float, float] = (0.3, 0.7)
    exposure: tuple[float, float] = (0.5, 1.0)
    shot: tuple[float, float] = (1e-4, 1e-2)
    red_gain: tuple[float, float] = (1.4, 2.4)
    blue_gain: tuple[float, float] = (1.4, 2.2)
    edge_aware_prob: float = 0.7
    saturation: tuple[float, float] = (0.0, 0.6)
    smoothing_prob: float = 0.9
    smoothing_strength: tuple[float, float] = (0.5, 3.0)
    chroma_blur: tuple[float, float] = (0.0, 2.5)
    contrast: tuple[float, float] = (0.0, 0.6)
    sharpening: tuple[float, float] = (0.0, 1.0)
    sharpening_width: tuple[float, float] = (0.6, 1.2)
    jpeg_prob: float = 0.7
    quality: tuple[float, float] = (75.0, 98.0)
    subsampling_prob: float = 0.6

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = (value if isinstance(value, tuple) else (0.0, value))
            top = 1.0 if field.name.endswith("_prob") or field.name in ("exposure", "contrast") else np.inf
            if not 0 <= low <= high <= (100.0 if field.name == "quality" else top):
                raise UsageError(f"{field.name} must lie in its range, the lower end first; got {value}")
        if not self.shot[0] > 0 < self.smoothing_strength[0]:
            raise UsageError(f"shot and smoothing_strength are drawn log-uniformly, above 0; got {self.shot} and "
                             f"{self.smoothing_strength}")

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A photograph and its reference, see `CameraSettings`: (H, W, 3) uint8 -> (h, w, 3) uint8, and float32 in
        [0, 1]; all randomness from `rng`."""
        camera = self.draw(rng)
        return camera.photograph(picture, rng), camera.reference(picture)

    def draw(self, rng: np.random.Generator) -> CameraSettings:
        """One camera at one sensitivity."""
        shot = float(np.exp(rng.uniform(*np.log(self.shot))))
        read = float(np.exp(0.5 * (2.18 * np.log(shot) + 1.2 + 0.26 * rng.standard_normal())))
        smooths = rng.random() < self.smoothing_prob
        codes = rng.random() < self.jpeg_prob
        return CameraSettings(
            self.reduction, rng.uniform(*self.optics), rng.uniform(*self.exposure), shot, read,
            MOSAICS[rng.integers(len(MOSAICS))], rng.uniform(*self.red_gain), rng.uniform(*self.blue_gain),
            bool(rng.random() < self.edge_aware_prob), rng.uniform(*self.saturation),
            SMOOTHINGS[1 + rng.integers(2)] if smooths else "none",
            float(np.exp(rng.uniform(*np.log(self.smoothing_strength)))), rng.uniform(*self.chroma_blur),
            (0, 3, 5)[rng.integers(3)], rng.uniform(*self.contrast), rng.uniform(*self.sharpening),
            rng.uniform(*self.sharpening_width), round(rng.uniform(*self.quality)) if codes else 0,
            bool(rng.random() < self.subsampling_prob))
