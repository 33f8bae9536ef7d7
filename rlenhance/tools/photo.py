"""Shipped networks as tools for photographs: denoisers at given strengths, and the policy that brightens."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np

from rlenhance.core.pixels import resize_planes, tiles, to_pixels, to_planes
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import locate, weights_digest
from rlenhance.ops.noise_estimation import LARGEST_NOISE, noise_map_from_image, upsample_map
from rlenhance.tools.base import TOOLKITS, TOOLS, BatchFunction, Tool, cost_of

#: Strengths of the denoisers, standard deviations in 255ths: of noise that a camera smoothed and JPEG coded, and of
#: noise that is even.
CODED, EVEN = (3, 8, 20), (8, 20, 45)
#: The model that brightens; named, so that another default leaves tools, costs and planners what they were.
BRIGHTENER = "balanced"
#: Names of the toolkit "photo", in its order.
PHOTO = (*(f"denoise-coded-{sigma}" for sigma in CODED), *(f"denoise-even-{sigma}" for sigma in EVEN),
         "unsharp", "deconvolve-1", "deconvolve-2", "deblur-weak", "deblur-strong", "deblock-weak", "deblock-strong",
         "deblock-30")


_GREY = 0.5 / 255  # mean difference of the channels below which a picture is grey
_TILE, _LARGE_TILE = 192, 768  # pixels along a tile that is enlarged, and one that is denoised


@lru_cache(maxsize=8)
def _network(name: str) -> Any:
    """A shipped network, opened once."""
    return open_network(locate(name))


def _denoised(planes: np.ndarray, model: str, sigma: float) -> np.ndarray:
    return np.asarray(_network(model).denoise(planes, sigma / 255))


def _denoised_even(planes: np.ndarray, sigma: float) -> np.ndarray:
    """Pictures in colour by one network, grey ones, as coding and earlier tools leave them, by the other."""
    grey = (planes.max(axis=1) - planes.min(axis=1)).mean(axis=(1, 2)) < _GREY
    result = np.empty_like(planes)
    for rows, model in ((grey, "denoiser-grey"), (~grey, "denoiser")):
        if rows.any():
            part = planes[rows]
            result[rows] = _denoised(part.mean(axis=1, keepdims=True) if model == "denoiser-grey" else part, model,
                                     sigma)
    return result


def _brightened(planes: np.ndarray) -> np.ndarray:
    return np.concatenate([_network(BRIGHTENER)(each[None]) for each in planes])  # each has its own exposure


def _measured(planes: np.ndarray) -> np.ndarray:
    """The noise of each picture measured, and taken out."""
    network, result = _network("denoiser-photo"), np.empty_like(planes)
    for before, after in zip(planes, result, strict=True):
        found = noise_map_from_image(to_pixels(before, np.float32), noise_floor=network.noise_floor)
        noise = np.asarray(upsample_map(found, before.shape[1:])).clip(max=LARGEST_NOISE)
        for tile in tiles(before.shape[1], before.shape[2], _LARGE_TILE, network.receptive_radius):
            part = network.denoise(before[None][tile.outer], noise[tile.outer])
            after[tile.inner] = part[0][tile.crop]
    return result


def _resampled(planes: np.ndarray) -> np.ndarray:
    """Enlarged by 4 by the shipped network, which restores detail, and reduced to the size of before."""
    network, result = _network("upscale"), np.empty_like(planes)
    for tile in tiles(planes.shape[-2], planes.shape[-1], _TILE, network.receptive_radius):
        part = planes[tile.outer]
        result[tile.inner] = resize_planes(network(part), (part.shape[-2], part.shape[-1]))[tile.crop]
    return result


def _add(name: str, label: str, batched: BatchFunction, radius: int | None, *models: str, sigma: float = 0.0) -> None:
    def function(picture: Any) -> Any:
        return to_pixels(batched(to_planes(picture)), picture.dtype.type)

    def make() -> Tool:
        version = f"{' '.join(weights_digest(locate(model))[:16] for model in models)} {sigma:g}"
        return Tool(name, label, function, cost_of(name), radius, batched=batched, version=version)

    TOOLS.register(name)(make)


for _sigma in CODED:
    _add(f"denoise-coded-{_sigma}", "traces of noise and JPEG smoothed",
         partial(_denoised, model="denoiser-photo", sigma=_sigma), 72, "denoiser-photo", sigma=_sigma)
for _sigma in EVEN:
    _add(f"denoise-even-{_sigma}", "noise taken out", partial(_denoised_even, sigma=_sigma), 72, "denoiser",
         "denoiser-grey", sigma=_sigma)
_add("denoise-measured", "noise measured and taken out", _measured, None, "denoiser-photo")
_add("resample", "detail restored", _resampled, 40, "upscale")
_add("brighten", "brightened", _brightened, None, BRIGHTENER)


@TOOLKITS.register("photo")
def photo_tools(path: object = None) -> tuple[Tool, ...]:
    """The tools of `rlenhance restore`."""
    return tuple(TOOLS.create(name) for name in PHOTO)
