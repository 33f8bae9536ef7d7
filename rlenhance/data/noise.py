"""Noise that is made on purpose: what a denoiser learns from, and is measured with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import cv2
import numpy as np

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.image import NOISE_MARGIN
from rlenhance.core.registry import Registry

#: Kinds of noise by name.
NOISES: Registry[type[Noise]] = Registry("noise")
#: What `blind` stands for, in 255ths.
BLIND = (5.0, 55.0)


@dataclass(frozen=True)
class Noise:
    """Base class: a degradation whose strength is drawn for every picture, uniformly from `low` to `high`.

    A picture of three equal channels has noise in each of its own: grey pictures are to be handed over as one plane.

    Attributes:
        low, high: range of the strength, in the unit of the kind.
        eight_bit: the result is clipped and rounded as a file of 8 bits has it; otherwise it stays float32, and leaves
            [0, 1] where the noise does, as the literature measures.
        unit: of the strength.
        least, most: what the strength may be.
    """

    low: float = 25.0
    high: float = 25.0
    eight_bit: bool = False
    unit: ClassVar[str] = "255ths"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 100.0
    spec: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.least <= self.low <= self.high <= self.most:
            raise UsageError(f"a noise level lies between {self.least:g} and {self.most:g} {self.unit}, the lower one "
                             f"first; got {self.low:g} to {self.high:g}")

    def corrupt(self, picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        """(H, W, C) uint8 -> float32 on the scale of [0, 1]."""
        raise TypeError("a kind of noise defines corrupt")

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, C) uint8 -> float32, (H, W, C); all randomness from `rng`."""
        noisy = self.corrupt(picture, rng.uniform(self.low, self.high), rng)
        if self.eight_bit:
            return np.rint(noisy.clip(0, 1) * 255).astype(np.float32) / np.float32(255)
        return noisy.clip(-NOISE_MARGIN, 1 + NOISE_MARGIN).astype(np.float32)


def _unit(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / np.float32(255)


@NOISES.register("gaussian")
@dataclass(frozen=True)
class GaussianNoise(Noise):
    """The same deviation everywhere, in 255ths."""

    def corrupt(self, picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        return _unit(picture) + np.float32(strength / 255) * rng.standard_normal(picture.shape, dtype=np.float32)


@NOISES.register("poisson_gaussian")
@dataclass(frozen=True)
class PoissonGaussianNoise(Noise):
    """A sensor's: the variance grows with the light. The strength is the deviation at white, in 255ths; a tenth of it
    is there in the dark.

    Source: Foi et al. 2008, equation 3, with the Gaussian approximation of the photon noise.
    """

    def corrupt(self, picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        light = _unit(picture)
        deviation = np.float32(strength / 255) * np.sqrt(0.99 * light + 0.01)
        return light + deviation * rng.standard_normal(picture.shape, dtype=np.float32)


@NOISES.register("salt_pepper")
@dataclass(frozen=True)
class SaltPepperNoise(Noise):
    """Some values become black or white, each as likely; the strength is their share in percent."""

    low: float = 5.0
    high: float = 5.0
    unit: ClassVar[str] = "percent"

    def corrupt(self, picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        drawn, share = rng.random(picture.shape, dtype=np.float32), strength / 100
        return np.where(drawn < share / 2, 0, np.where(drawn < share, 1, _unit(picture)))


@NOISES.register("jpeg")
@dataclass(frozen=True)
class JpegNoise(Noise):
    """What JPEG leaves of a picture; the strength is its quality, 1 to 100."""

    low: float = 10.0
    high: float = 10.0
    unit: ClassVar[str] = "of quality"
    least: ClassVar[float] = 1.0

    def corrupt(self, picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        ordered = np.ascontiguousarray(picture[:, :, ::-1])  # OpenCV writes BGR
        _, coded = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, round(strength)])
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)).reshape(picture.shape)
        return _unit(decoded[:, :, ::-1])


def parse_noise(text: str, eight_bit: bool = False) -> Noise:
    """A kind of noise from the words of the command line.

    Args:
        text: a level of Gaussian noise in 255ths ("25"), a range ("5-55"), "blind" (that range), or a kind with a
            level, a range or neither ("jpeg", "salt_pepper:2-10").

    Raises:
        UnknownName: no such kind.
        UsageError: a level that is no number, or cannot be.

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
