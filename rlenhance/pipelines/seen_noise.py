"""What is seen of a photograph's noise: how strong it is, of what kind, and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rlenhance.ops.camera_noise import SMALLEST_SIDE, CameraNoise, estimate_camera_noise
from rlenhance.ops.noise_estimation import NoiseModel, estimate_noise, noise_map

_LEAST = 1.5  # 255ths below which a picture counts as clean
_COLORLESS = -1.2  # octaves: fine noise whose colours are weaker than its brightness by more is texture
_FINE = 0.6  # share of the noise that second differences see, from which on it is that of a sensor


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
    if told and level < _LEAST:
        return SeenNoise("none", level, coded or camera.coded, camera)
    fine = estimate_noise(pixels)
    seen = 255 * float(np.sqrt(np.square(noise_map(pixels, fine)).mean()))
    if seen >= _FINE * level:
        if told and camera.color < _COLORLESS:
            return SeenNoise("none", level, coded or camera.coded, camera)
        return SeenNoise("fine", seen, coded or camera.coded, fine)
    return SeenNoise("camera", level, coded or camera.coded, camera)
