"""Noise as files hold it: white, or correlated, coloured and following the light, then rounded or coded."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.learning.data.simulated_camera import as_jpeg
from rlenhance.ops.noise_estimation import LARGEST_NOISE


@dataclass(frozen=True)
class MixedNoise:
    """Noise whose kind and strength are drawn for every crop. The noise map has the deviation before any coding.

    Attributes:
        levels: range of the deviation, in 255ths, drawn log-uniformly.
        clean_prob: probability of none: half of these crops are coded at a high quality, and the map has at most 1/255.
        white_prob: probability of white Gaussian noise; otherwise it is blurred, partly common to the three channels,
            and may grow with the light.
        dark_prob: probability, among the crops with noise, that it was coded in the dark and then brightened.
        jpeg_prob, quality: probability and quality of JPEG.
        rounded_prob: probability that what is not coded is clipped and rounded to 8 bits.

    Raises:
        UsageError: levels outside (0, 75], or no probability.
    """

    levels: tuple[float, float] = (2.0, 60.0)
    clean_prob: float = 0.12
    white_prob: float = 0.5
    dark_prob: float = 0.15
    jpeg_prob: float = 0.35
    quality: tuple[float, float] = (60.0, 99.0)
    rounded_prob: float = 0.6

    def __post_init__(self) -> None:
        check_ranges(self, "[0, 1]", "clean_prob", "white_prob", "dark_prob", "jpeg_prob", "rounded_prob")
        low, high = self.levels
        if not 0 < low <= high <= 255 * LARGEST_NOISE:
            raise UsageError(f"noise levels are a lowest and a highest deviation in (0, {255 * LARGEST_NOISE:g}] of "
                             f"255; got {low:g} and {high:g}")

    def __call__(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noisy crops and their noise map: (N, 3, H, W) -> (N, 3, H, W) and (N, 1, H, W)."""
        rng = np.random.default_rng(int(torch.randint(1 << 62, (), generator=generator)))
        made = [self._one(picture, rng) for picture in clean.permute(0, 2, 3, 1).numpy()]
        noisy = torch.from_numpy(np.stack([picture for picture, _ in made])).permute(0, 3, 1, 2)
        told = torch.tensor([level for _, level in made], dtype=clean.dtype)[:, None, None, None] / 255
        return noisy.contiguous(), told.expand(-1, 1, *clean.shape[2:]).contiguous()

    def _one(self, clean: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """The crop, (H, W, 3) float32, with noise, and its deviation in 255ths."""
        if rng.random() < self.clean_prob:
            return self._coded(clean, rng, (92, 99)) if rng.random() < 0.5 else clean, float(rng.random())
        if rng.random() < self.dark_prob:
            return self._dark(clean, rng)
        level = float(np.exp(rng.uniform(*np.log(self.levels))))
        if rng.random() < self.white_prob:
            noise = rng.standard_normal(clean.shape, dtype=np.float32)
        else:
            noise = _correlated(clean.shape, rng, rng.uniform(0.4, 1.0) if rng.random() < 0.7 else 0.0)
            if rng.random() < 0.6:
                share = rng.uniform(0, 0.7)  # of the variance that is there without light
                light = clean.mean(axis=2, keepdims=True)
                noise *= np.sqrt(share + (1 - share) * light / max(float(light.mean()), 1e-2))
        noisy = clean + np.float32(level / 255) * noise
        if rng.random() < self.jpeg_prob:
            return self._coded(noisy, rng, self.quality), level
        return _rounded(noisy) if rng.random() < self.rounded_prob else noisy, level

    def _dark(self, clean: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Noise of a dark frame, coded there, under the gain that brightens it."""
        gain = float(np.exp(rng.uniform(np.log(2), np.log(12))))
        level = float(np.exp(rng.uniform(np.log(0.3), np.log(4))))
        noise = _correlated(clean.shape, rng, rng.uniform(0.4, 1.5))
        dark = clean / np.float32(gain) + np.float32(level / 255) * noise
        dark = self._coded(dark, rng, (80, 99)) if rng.random() < 0.8 else _rounded(dark)
        return np.minimum(dark * np.float32(gain), 1), min(gain * level, self.levels[1])

    @staticmethod
    def _coded(picture: np.ndarray, rng: np.random.Generator, quality: tuple[float, float]) -> np.ndarray:
        pixels = np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
        coded = as_jpeg(pixels, round(rng.uniform(*quality)), bool(rng.random() < 0.6))
        return coded.astype(np.float32) / 255


def _correlated(shape: tuple[int, ...], rng: np.random.Generator, width: float) -> np.ndarray:
    """Gaussian noise of variance 1, blurred by `width` pixels, partly common to the channels: (H, W, 3) float32."""
    common = rng.uniform(0, 0.8) if rng.random() < 0.6 else 0.0
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = np.sqrt(1 - common) * noise + np.sqrt(common) * rng.standard_normal((*shape[:2], 1), dtype=np.float32)
    if width:
        noise = cv2.GaussianBlur(noise, (0, 0), width)
        if rng.random() < 0.4:  # colours smoother than light, as cameras leave them
            light = noise.mean(axis=2, keepdims=True)
            noise = light + rng.uniform(1, 1.6) * cv2.GaussianBlur(noise - light, (0, 0), rng.uniform(0.5, 1.5))
        noise /= max(float(noise.std()), 1e-6)
    return noise.astype(np.float32)


def _rounded(picture: np.ndarray) -> np.ndarray:
    return np.rint(255 * picture.clip(0, 1)) / np.float32(255)
