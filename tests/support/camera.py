"""A stand-in camera: it takes a 16-bit picture of a scene at any exposure, with noise and clipping, in 8 bits."""

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from rlenhance.core.pixels import srgb_from_linear

#: A second at f/1 and ISO 100 is 0 stops; what the camera meters is this.
METERED = 1 / 60


def scene(height=120, width=160, seed=0):
    """A picture (H, W, 3) uint16 of linear light over ten stops: a dark room with things in it, and a window."""
    rng = np.random.default_rng(seed)
    light = np.full((height, width), 0.02, np.float32)
    for _ in range(60):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        bottom, right = top + rng.integers(4, height // 3), left + rng.integers(4, width // 3)
        light[top:bottom, left:right] = 0.002 * 2 ** rng.uniform(0, 6)
    window = np.s_[height // 8 : height // 2, width // 2 : width - width // 8]
    light[window] = 0.2 + 0.8 * cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), 1.5)[window]
    light *= 1 + 0.3 * cv2.GaussianBlur(rng.normal(0, 3, light.shape).astype(np.float32), (0, 0), 1.2)
    colors = np.array([1.0, 0.9, 0.75]) + 0.1 * cv2.resize(rng.random((6, 8, 3)), (width, height))
    return np.rint(65535 * (light[..., None] * colors / 1.1).clip(0, 1)).astype(np.uint16)


@dataclass
class Camera:
    """A camera on a scene (H, W, 3) uint16 of linear light.

    Attributes:
        scene: what it looks at.
        gain: of the scene's light at 0 EV.
        noise: standard deviation of its read noise, of full scale.
    """

    scene: np.ndarray
    gain: float = 8.0
    noise: float = 0.001
    seed: int = 0

    def shoot(self, ev=0.0):
        """A photograph at so many stops from the metered exposure: (H, W, 3) uint8."""
        light = self.scene / np.float32(65535) * self.gain * 2.0**ev
        rng = np.random.default_rng([self.seed, int(1000 * (ev + 10))])
        seen = light + rng.normal(0, 1, light.shape) * np.sqrt(self.noise**2 + 0.0002 * light)
        return np.rint(255 * srgb_from_linear(seen.clip(0, 1))).astype(np.uint8)


def exif(seconds=METERED, f_number=4.0, iso=100, order="<"):
    """An EXIF block that states an exposure; None leaves a number out."""
    tags = [(0x829A, 5, None if seconds is None else (round(seconds * 1e6), 10**6)),
            (0x829D, 5, None if f_number is None else (round(f_number * 10), 10)),
            (0x8827, 3, None if iso is None else (iso,))]
    tags = [tag for tag in tags if tag[2] is not None]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    head += struct.pack(f"{order}HHHIII", 1, 0x8769, 4, 1, 26, 0)
    place, rows, values = 26 + 2 + 12 * len(tags) + 4, b"", b""
    for tag, kind, numbers in tags:
        if kind == 5:
            rows += struct.pack(f"{order}HHII", tag, kind, 1, place + len(values))
            values += struct.pack(f"{order}II", *numbers)
        else:
            rows += struct.pack(f"{order}HHIHH", tag, kind, 1, *numbers, 0)
    return head + struct.pack(f"{order}H", len(tags)) + rows + struct.pack(f"{order}I", 0) + values


def psnr(one, two):
    """Of two pictures, uint8, in dB."""
    return float(-10 * np.log10(np.square((one.astype(float) - two) / 255).mean() + 1e-12))


