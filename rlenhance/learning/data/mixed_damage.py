"""Pictures with unknown mixed damage: blur, noise and JPEG as RL-Restore mixes them, and darkness and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.learning.data.camera_jpeg import smooth_noise
from rlenhance.learning.data.simulated_camera import as_jpeg
from rlenhance.learning.ops.image import check_image, to_array, to_tensor

#: Levels of severity.
Level = Literal["mild", "moderate", "severe", "wide"]
LEVELS: tuple[Level, ...] = get_args(Level)
#: Columns of the degrees, each from 1 to `MOST_DEGREES`, or 0 where a picture does not have the damage.
DAMAGES = ("blur", "noise", "jpeg", "dark", "sensor")
#: Degrees of each damage.
MOST_DEGREES = 10
#: Smallest and largest severity of RL-Restore's levels: the sum of the degrees of blur, noise and JPEG, less 2.
SEVERITY: dict[str, tuple[int, int]] = {"mild": (9, 11), "moderate": (12, 17), "severe": (18, 20)}
#: Ends of the degrees; degree d lies between entries d - 1 and d: deviation of the blur in pixels, deviation of the
#: noise in 255ths, quality of the JPEG, stops of light that are missing, variance of the sensor's noise per light.
ENDS: dict[str, tuple[float, ...]] = {
    "blur": tuple(np.arange(0, 5.1, 0.5).tolist()),
    "noise": tuple(np.arange(0, 51, 5.0).tolist()),
    "jpeg": (100.0, 80.0, 60.0, 50.0, 40.0, 35.0, 30.0, 25.0, 20.0, 15.0, 10.0),
    "dark": tuple(np.arange(0, 4.1, 0.4).tolist()),
    "sensor": tuple(np.geomspace(1e-5, 1e-2, 11).tolist()),
}
#: Probability of each damage on the level "wide", in the order of `DAMAGES`.
WIDE = (0.5, 0.25, 0.5, 0.5, 0.5)
_BLUR_SIZE = 21  # pixels of the blur's window
_READ = 0.05  # deviation of the sensor's read-out over the root of its shot noise


@dataclass(frozen=True)
class MixedDamage:
    """Damages clean pictures, each by degrees that it draws for itself.

    On "mild", "moderate" and "severe": Gaussian blur, Gaussian noise and JPEG, in this order, all three on every
    picture, drawn uniformly from the combinations of degrees whose severity lies in `SEVERITY`. On "wide": blur,
    missing light with the shot and read noise of a sensor (half of the time smoothed, as cameras do), Gaussian noise
    and JPEG; each with its probability in `WIDE`, its degree uniform; a sixth of the pictures stays without damage.

    Attributes:
        level: see above.

    Example:
        >>> damaged, degrees = MixedDamage("mild")(torch.full((2, 3, 63, 63), 0.5), np.random.default_rng(0))
        >>> damaged.shape, degrees.shape
        (torch.Size([2, 3, 63, 63]), torch.Size([2, 5]))

    Source: RL-Restore (Yu et al. 2018), section 4.1, and the ranges of its released training data.
    """

    level: Level = "moderate"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise UsageError(f"level must be {', '.join(LEVELS)}; got {self.level!r:.40}")

    def __call__(self, clean: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The damaged pictures and their degrees.

        Args:
            clean: (N, 3, H, W) in [0, 1].
            rng: all randomness.

        Returns:
            (N, 3, H, W) float32, multiples of 1/255, and (N, 5) int64, see `DAMAGES`.

        Raises:
            UsageError: not such pictures.
        """
        degrees = self.draw(len(check_image(clean)), rng)
        return damage(clean, degrees, rng), torch.from_numpy(degrees)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Degrees of `count` pictures: (count, 5) int64."""
        degrees = np.zeros((count, len(DAMAGES)), np.int64)
        if self.level == "wide":
            degrees[:] = rng.integers(1, MOST_DEGREES + 1, degrees.shape) * (rng.random(degrees.shape) < WIDE)
            degrees[rng.random(count) < 1 / 6] = 0
        else:
            table = combinations(self.level)
            degrees[:, :3] = table[rng.integers(len(table), size=count)]
        return degrees


@lru_cache(maxsize=len(SEVERITY))
def combinations(level: str) -> np.ndarray:
    """The degrees of blur, noise and JPEG that a level has: (K, 3) int64.

    Example:
        >>> len(combinations("mild"))
        163
    """
    low, high = SEVERITY[level]
    degrees = range(1, MOST_DEGREES + 1)
    return np.array([each for each in product(degrees, repeat=3) if low <= sum(each) - 2 <= high], np.int64)


def damage(clean: Tensor, degrees: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Pictures with given degrees of damage: (N, 3, H, W) and (N, 5) -> (N, 3, H, W), multiples of 1/255.

    The strength lies anywhere within its degree.

    Raises:
        UsageError: degrees of another shape or outside 0 to 10.
    """
    if degrees.shape != (len(clean), len(DAMAGES)) or degrees.min() < 0 or degrees.max() > MOST_DEGREES:
        raise UsageError(f"degrees must be ({len(clean)}, {len(DAMAGES)}) between 0 and {MOST_DEGREES}; got "
                         f"{degrees.shape} between {degrees.min()} and {degrees.max()}")
    damaged = [to_tensor(_damaged(to_array(picture, np.float32), row, rng))
               for picture, row in zip(clean, degrees, strict=True)]
    return torch.cat(damaged).to(clean.device)


def _damaged(picture: np.ndarray, degrees: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One picture (H, W, 3) float32, as uint8."""
    drawn = {name: _strength(name, int(degree), rng) for name, degree in zip(DAMAGES, degrees, strict=True) if degree}
    if drawn.get("blur", 0) > 0.05:
        kernel = cv2.getGaussianKernel(_BLUR_SIZE, drawn["blur"], cv2.CV_32F)
        picture = cv2.sepFilter2D(picture, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    if "dark" in drawn or "sensor" in drawn:
        picture = _exposed(picture, 2 ** -drawn.get("dark", 0.0), drawn.get("sensor", 0.0), rng)
    if "noise" in drawn:
        picture = picture + np.float32(drawn["noise"] / 255) * rng.standard_normal(picture.shape, dtype=np.float32)
    rounded = np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
    return as_jpeg(rounded, round(drawn["jpeg"])) if "jpeg" in drawn else rounded


def _strength(name: str, degree: int, rng: np.random.Generator) -> float:
    low, high = sorted(ENDS[name][degree - 1 : degree + 1])
    return float(rng.uniform(low, high))


def _exposed(picture: np.ndarray, exposure: float, shot: float, rng: np.random.Generator) -> np.ndarray:
    """Less light, and the noise of a sensor in linear light, half of the time smoothed."""
    light = linear_from_srgb(picture) * np.float32(exposure)
    if shot:
        noise = np.sqrt(shot * light + _READ**2 * shot) * rng.standard_normal(light.shape, dtype=np.float32)
        light = light + (smooth_noise(noise, rng.uniform(0.4, 1.0), rng.uniform(0, 2)) if rng.random() < 0.5 else noise)
    return np.asarray(srgb_from_linear(light.clip(0, 1).astype(np.float32)), np.float32)
