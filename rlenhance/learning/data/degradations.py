"""Degradations: under-exposure, uneven light, and noise, each a function of a clean image and a random stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cv2
import numpy as np

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.core.registry import Registry
from rlenhance.learning.ops.image import NOISE_MARGIN

#: (H, W, C) uint8 and a random stream -> the degraded image, same shape: uint8, or float32 on the scale of [0, 1]
#: where nothing rounds it.
Degradation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
#: Kinds of uneven light, see `Relight`.
RELIGHT_KINDS = ("backlit", "lamp", "corner")

_LINEAR = linear_from_srgb(np.arange(256, dtype=np.float32) / 255)


def _check_sensor(shot: float, read: float, bits: int) -> None:
    if not (shot >= 0 and read >= 0 and 1 <= bits <= 16):
        raise UsageError(f"shot and read noise must not be negative, bits lie between 1 and 16; "
                         f"got {shot}, {read} and {bits}")


def _expose(picture: np.ndarray, exposure: float | np.ndarray, shot: float, read: float, bits: int,
            rng: np.random.Generator) -> np.ndarray:
    """Linearise, expose (a number, or (H, W, 1) of them), shot and read noise, quantise, re-encode."""
    light = _LINEAR[picture] * np.asarray(exposure, np.float32)
    deviation = np.sqrt(shot * light + read**2)
    light = light + deviation * rng.standard_normal(light.shape, dtype=np.float32)
    steps = 2**bits - 1
    light = np.rint(np.clip(light, 0, 1) * steps) / steps
    return np.rint(srgb_from_linear(light) * 255).astype(np.uint8)


@dataclass(frozen=True)
class Darken:
    """Physical under-exposure: linearise, expose for less time, shot and read noise, quantise, re-encode.

    Attributes:
        min_exposure, max_exposure: range of the exposure relative to the clean image; drawn log-uniformly.
        shot: variance per unit of signal, in units of full scale (photon noise).
        read: standard deviation of the read-out, in units of full scale.
        bits: depth of the sensor's linear values.
    """

    min_exposure: float = 1 / 32
    max_exposure: float = 1 / 2
    shot: float = 2e-4
    read: float = 5e-4
    bits: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.min_exposure <= self.max_exposure <= 1:
            raise UsageError(f"exposures must satisfy 0 < min_exposure <= max_exposure <= 1; got {self.min_exposure} "
                             f"and {self.max_exposure}")
        _check_sensor(self.shot, self.read, self.bits)

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 -> the dark image, uint8, same shape; all randomness from `rng`."""
        exposure = np.exp(rng.uniform(np.log(self.min_exposure), np.log(self.max_exposure)))
        return _expose(picture, exposure, self.shot, self.read, self.bits, rng)


@dataclass(frozen=True)
class Relight:
    """A scene lit unevenly: its light is multiplied by 2**field, then taken with the noise of `Darken`.

    The field is a smooth map in stops, 0 where it is brightest and -depth where it is darkest, placed at random and
    scaled with the image.

    Attributes:
        kind: "backlit", a dark subject in the middle before a bright background; "lamp", dark but for a lit disc;
            "corner", a dark part next to a bright one, with a straight soft border; "any", one of the three.
        min_depth, max_depth: range of the depth in stops; drawn uniformly.
        shot, read, bits: see `Darken`.

    Example:
        >>> Relight("lamp")(np.full((4, 6, 3), 128, np.uint8), np.random.default_rng(0)).shape
        (4, 6, 3)
    """

    kind: str = "any"
    min_depth: float = 2.5
    max_depth: float = 4.5
    shot: float = 2e-4
    read: float = 5e-4
    bits: int = 12

    def __post_init__(self) -> None:
        if self.kind not in (*RELIGHT_KINDS, "any"):
            raise UsageError(f"kind is {', '.join(RELIGHT_KINDS)} or any; got {self.kind!r}")
        if not 0 < self.min_depth <= self.max_depth <= 16:
            raise UsageError(f"depths must satisfy 0 < min_depth <= max_depth <= 16 stops; "
                             f"got {self.min_depth} and {self.max_depth}")
        _check_sensor(self.shot, self.read, self.bits)

    def exposure_field(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Stops at every pixel, between -depth and 0: (H, W) float32."""
        kind = self.kind if self.kind != "any" else RELIGHT_KINDS[rng.integers(len(RELIGHT_KINDS))]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        depth, softness = rng.uniform(self.min_depth, self.max_depth), rng.uniform(0.08, 0.38)
        if kind == "backlit":  # inside an ellipse that stands a little below the middle
            across = (x - rng.uniform(-0.4, 0.4)) ** 2 / rng.uniform(0.2, 0.5)
            down = (y - rng.uniform(0.2, 0.8)) ** 2 / rng.uniform(0.4, 1.0)
            into_dark = (1 - across - down) / 2
        elif kind == "lamp":  # outside a disc, round whatever the picture's sides
            aspect = np.sqrt(width / height)
            across = (x - rng.uniform(-0.6, 0.6)) * aspect
            down = (y - rng.uniform(-0.6, 0.6)) / aspect
            into_dark = np.sqrt(across**2 + down**2) - rng.uniform(0.3, 0.6)
        else:  # beyond a straight line
            angle = rng.uniform(0, 2 * np.pi)
            into_dark = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.3, 0.3)
        shade = np.tanh(into_dark / (2 * softness))
        low, high = shade.min(), shade.max()
        return (-depth * (shade - low) / max(high - low, 1e-6)).astype(np.float32)

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 -> the relit image, uint8, same shape; all randomness from `rng`."""
        height, width = picture.shape[:2]
        exposure = np.exp2(self.exposure_field(height, width, rng))[:, :, None]
        return _expose(picture, exposure, self.shot, self.read, self.bits, rng)


#: Kinds of noise by name, built by `parse_noise`.
NOISES: Registry[type[Noise]] = Registry("noise")
#: Range of the standard deviation of noise "blind", in 255ths.
BLIND = (5.0, 55.0)


@dataclass(frozen=True)
class Noise:
    """Base class: a degradation whose level is drawn for every image, uniformly from `low` to `high`.

    The noise of the channels is independent: pass grey images with one channel.

    Attributes:
        low, high: range of the level, in the unit of the kind.
        eight_bit: clip and round the result to 8 bits; otherwise it stays float32 and may leave [0, 1], as the
            literature measures.
        unit: of the level.
        min_level, max_level: allowed range of the level.
    """

    low: float = 25.0
    high: float = 25.0
    eight_bit: bool = False
    unit: ClassVar[str] = "255ths"
    min_level: ClassVar[float] = 0.0
    max_level: ClassVar[float] = 100.0
    spec: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.min_level <= self.low <= self.high <= self.max_level:
            raise UsageError(f"a noise level lies between {self.min_level:g} and {self.max_level:g} {self.unit}, the "
                             f"lower one first; got {self.low:g} to {self.high:g}")

    def corrupt(self, picture: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        """(H, W, C) uint8 -> float32 on the scale of [0, 1]."""
        raise TypeError("a subclass of Noise defines corrupt")

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, C) uint8 -> float32, (H, W, C); all randomness from `rng`."""
        noisy = self.corrupt(picture, rng.uniform(self.low, self.high), rng)
        if self.eight_bit:
            return np.rint(noisy.clip(0, 1) * 255).astype(np.float32) / np.float32(255)
        return noisy.clip(-NOISE_MARGIN, 1 + NOISE_MARGIN).astype(np.float32)


def _normalised(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / np.float32(255)


@NOISES.register("gaussian")
@dataclass(frozen=True)
class GaussianNoise(Noise):
    """Gaussian noise; the level is its standard deviation in 255ths."""

    def corrupt(self, picture: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        return _normalised(picture) + np.float32(level / 255) * rng.standard_normal(picture.shape, dtype=np.float32)


@NOISES.register("poisson_gaussian")
@dataclass(frozen=True)
class PoissonGaussianNoise(Noise):
    """Sensor noise, whose variance grows with the signal.

    The level is the standard deviation at white, in 255ths; at black it is a tenth of that.

    Source: Foi et al. 2008, equation 3, with the Gaussian approximation of the photon noise.
    """

    def corrupt(self, picture: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        light = _normalised(picture)
        deviation = np.float32(level / 255) * np.sqrt(0.99 * light + 0.01)
        return light + deviation * rng.standard_normal(picture.shape, dtype=np.float32)


@NOISES.register("salt_pepper")
@dataclass(frozen=True)
class SaltPepperNoise(Noise):
    """Values become black or white with equal probability; the level is their share in percent."""

    low: float = 5.0
    high: float = 5.0
    unit: ClassVar[str] = "percent"

    def corrupt(self, picture: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        drawn, share = rng.random(picture.shape, dtype=np.float32), level / 100
        return np.where(drawn < share / 2, 0, np.where(drawn < share, 1, _normalised(picture)))


@NOISES.register("jpeg")
@dataclass(frozen=True)
class JpegNoise(Noise):
    """JPEG compression; the level is its quality, 1 to 100."""

    low: float = 10.0
    high: float = 10.0
    unit: ClassVar[str] = "of quality"
    min_level: ClassVar[float] = 1.0

    def corrupt(self, picture: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        ordered = np.ascontiguousarray(picture[:, :, ::-1])  # OpenCV writes BGR
        _, coded = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, round(level)])
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)).reshape(picture.shape)
        return _normalised(decoded[:, :, ::-1])


def parse_noise(text: str, eight_bit: bool = False) -> Noise:
    """A kind of noise from its description.

    Args:
        text: a level of Gaussian noise in 255ths ("25"), a range ("5-55"), "blind" (that range), or a kind with a
            level, a range or neither ("jpeg", "salt_pepper:2-10").
        eight_bit: see `Noise`.

    Raises:
        UnknownName: no such kind.
        UsageError: a level that is no number, or outside its range.

    Example:
        >>> parse_noise("25"), parse_noise("jpeg:10-40").high
        (GaussianNoise(low=25.0, high=25.0, eight_bit=False), 40.0)
    """
    kind, _, level = text.partition(":")
    if text == "blind":
        kind, level = "gaussian", f"{BLIND[0]}-{BLIND[1]}"
    elif kind[:1].isdigit() or kind[:1] in {"-", ".", ""}:
        kind, level = "gaussian", text
    if kind not in NOISES:
        raise UnknownName("noise", kind, [*NOISES, "blind"])
    if not level:
        return NOISES.create(kind, eight_bit=eight_bit)
    try:
        low, _, high = level.partition("-")
        ends = float(low), float(high or low)
    except ValueError as error:
        raise UsageError(f"a noise level is a number or a range, as in 25 or 5-55; got {level!r}") from error
    return NOISES.create(kind, low=ends[0], high=ends[1], eight_bit=eight_bit)
