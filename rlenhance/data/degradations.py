"""How a good picture becomes the picture that has to be enhanced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlenhance.errors import UsageError


def linear_from_srgb(value: np.ndarray) -> np.ndarray:
    """Undo the sRGB encoding (IEC 61966-2-1): [0, 1] -> [0, 1] proportional to light."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_from_linear(value: np.ndarray) -> np.ndarray:
    """The sRGB encoding (IEC 61966-2-1) of linear light in [0, 1]."""
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * np.maximum(value, 0) ** (1 / 2.4) - 0.055).astype(
        np.float32
    )


_LINEAR = linear_from_srgb(np.arange(256, dtype=np.float32) / 255)


@dataclass(frozen=True)
class Darken:
    """A physical under-exposure: linearise, expose for less time, shot and read noise, quantise, re-encode.

    Attributes:
        shortest, longest: range of the exposure relative to the good picture; drawn log-uniformly.
        shot: variance per unit of signal, in units of full scale (photon noise).
        read: standard deviation of the read-out, in units of full scale.
        bits: depth of the sensor's linear values.
    """

    shortest: float = 1 / 32
    longest: float = 1 / 2
    shot: float = 2e-4
    read: float = 5e-4
    bits: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.shortest <= self.longest <= 1:
            raise UsageError(
                f"exposures must satisfy 0 < shortest <= longest <= 1; got {self.shortest} and {self.longest}"
            )
        if not (self.shot >= 0 and self.read >= 0 and 1 <= self.bits <= 16):
            raise UsageError(f"shot and read noise must not be negative, bits lie between 1 and 16; "
                             f"got {self.shot}, {self.read} and {self.bits}")

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 -> the dark picture, uint8, same shape; all randomness from `rng`."""
        exposure = np.exp(rng.uniform(np.log(self.shortest), np.log(self.longest)))
        light = _LINEAR[picture] * np.float32(exposure)
        deviation = np.sqrt(self.shot * light + self.read**2)
        light = light + deviation * rng.standard_normal(light.shape, dtype=np.float32)
        steps = 2**self.bits - 1
        light = np.rint(np.clip(light, 0, 1) * steps) / steps
        return np.rint(srgb_from_linear(light) * 255).astype(np.uint8)
