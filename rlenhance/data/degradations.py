"""How a good picture becomes the picture that has to be enhanced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rlenhance.core.color import linear_from_srgb, srgb_from_linear
from rlenhance.core.errors import UsageError

#: (H, W, C) uint8 and a random stream -> the picture that has to be enhanced, same shape: uint8, or float32 on the
#: scale of [0, 1] where nothing rounds it.
Degradation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
#: Where the light falls in a relit picture, see `Relight`.
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
        _check_sensor(self.shot, self.read, self.bits)

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 -> the dark picture, uint8, same shape; all randomness from `rng`."""
        exposure = np.exp(rng.uniform(np.log(self.shortest), np.log(self.longest)))
        return _expose(picture, exposure, self.shot, self.read, self.bits, rng)


@dataclass(frozen=True)
class Relight:
    """A scene lit unevenly: its light is multiplied by 2**field, then taken with the noise of `Darken`.

    The field is a smooth map in stops, 0 at its brightest place and -depth at its darkest, placed at random and scaled
    with the picture.

    Attributes:
        kind: "backlit", a dark subject in the middle before a bright ground; "lamp", dark but for a lit disc;
            "corner", a dark part beside a bright one, with a straight soft border; "any", one of the three.
        shallowest, deepest: range of the depth in stops; drawn uniformly.
        shot, read, bits: see `Darken`.

    Example:
        >>> Relight("lamp")(np.full((4, 6, 3), 128, np.uint8), np.random.default_rng(0)).shape
        (4, 6, 3)
    """

    kind: str = "any"
    shallowest: float = 2.5
    deepest: float = 4.5
    shot: float = 2e-4
    read: float = 5e-4
    bits: int = 12

    def __post_init__(self) -> None:
        if self.kind not in (*RELIGHT_KINDS, "any"):
            raise UsageError(f"kind is {', '.join(RELIGHT_KINDS)} or any; got {self.kind!r}")
        if not 0 < self.shallowest <= self.deepest <= 16:
            raise UsageError(f"depths must satisfy 0 < shallowest <= deepest <= 16 stops; "
                             f"got {self.shallowest} and {self.deepest}")
        _check_sensor(self.shot, self.read, self.bits)

    def field(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Stops at every pixel, between -depth and 0: (H, W) float32."""
        kind = self.kind if self.kind != "any" else RELIGHT_KINDS[rng.integers(len(RELIGHT_KINDS))]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        depth, softness = rng.uniform(self.shallowest, self.deepest), rng.uniform(0.08, 0.38)
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
        """(H, W, 3) uint8 -> the relit picture, uint8, same shape; all randomness from `rng`."""
        height, width = picture.shape[:2]
        exposure = np.exp2(self.field(height, width, rng))[:, :, None]
        return _expose(picture, exposure, self.shot, self.read, self.bits, rng)
